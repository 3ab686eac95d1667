//! The screen: what was counted, what is known to be lost, the programs, where the chosen one went, and the keys.

use opensnitch_audit_client::Loss;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table};

use super::model::{Destination, Model, Row, Sort};
use super::view::View;
use crate::ctl::column::Shown;
use crate::ctl::escape::{shortened, width};

/// Lines of a terminal below which the destinations of the chosen program have no room.
const ROOM_FOR_DESTINATIONS: u16 = 14;

/// Columns of a terminal from which on a program's row has room for the time of its last event.
const ROOM_FOR_TIMES: u16 = 100;

/// Columns of an address of IPv4 with its port, the least that a destination has.
const ADDRESS: u16 = 21;

/// What happens beside events.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    /// Why nothing is heard of the service.
    pub(super) away: Option<String>,
    /// No events arrive at the service.
    pub(super) is_deaf: bool,
    /// What the service knows to be lost; it tells that to some only.
    pub(super) loss: Option<Loss>,
    /// Rows of other users are hidden.
    pub(super) hides_rows: bool,
}

/// What is drawn, and how.
pub(super) struct Scene<'a> {
    pub(super) model: &'a Model,
    pub(super) news: &'a News,
    pub(super) shown: &'a Shown,
    pub(super) colours: bool,
}

/// A column of a table.
struct Column {
    title: String,
    width: u16,
    /// Numbers stand at the right.
    is_number: bool,
}

/// Draws all of it.
pub(super) fn screen(frame: &mut Frame<'_>, scene: &Scene<'_>, rows: &[Row], view: &mut View) {
    let area = frame.area();
    let below = if area.height < ROOM_FOR_DESTINATIONS { 0 } else { area.height.saturating_sub(3) * 2 / 5 };
    let parts = [Constraint::Length(2), Constraint::Min(0), Constraint::Length(below), Constraint::Length(1)];
    let [above, programs, destinations, keys] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(vec![scene.counted(rows, view), scene.remarks(area.width)]), above);
    let chosen = view.chosen(rows).cloned();
    scene.programs(frame, programs, rows, view);
    if let Some(chosen) = chosen.filter(|_| below > 0) {
        scene.destinations(frame, destinations, &chosen);
    }
    frame.render_widget(scene.keys(view), keys);
}

impl Scene<'_> {
    /// A style, where there are colours.
    fn coloured(&self, style: Style) -> Style {
        if self.colours { style } else { Style::new() }
    }

    fn counted(&self, rows: &[Row], view: &View) -> Line<'static> {
        let model = self.model;
        let is_well = self.news.away.is_none() && !self.news.is_deaf;
        let dot = self.coloured(Style::new().fg(if is_well { Color::Green } else { Color::Red }));
        let since = self.shown.clock.time_of_day(model.since);
        let found = match &*view.choice.text {
            "" => String::new(),
            text => format!("; {} with \"{text}\"", count(rows.len() as u64, "program", "programs")),
        };
        let events = count(model.events(), "event", "events");
        let text = format!(" {events} since {since}, {} a second{found}", tenths(model.rate()));
        Line::from(vec![Span::styled("●", dot), Span::raw(text)])
    }

    /// What a person has to know of the numbers, the worst first.
    fn remarks(&self, columns: u16) -> Line<'static> {
        let News { away, is_deaf, loss, hides_rows } = self.news;
        let (lost, forgotten) = (self.model.lost, self.model.forgotten);
        let loss = loss.as_ref().map(|loss| loss.sentence(|time| self.shown.clock.time_of_day(time)));
        let is_loss = self.news.loss.is_some_and(|loss| !loss.is_none());
        let bad = [
            away.clone(),
            is_deaf.then(|| "No events arrive: 'opensnitch-auditctl diagnose' says why.".to_owned()),
            (lost > 0).then(|| format!("{lost} more were too many to be told: 'find' shows them.")),
            loss.clone().filter(|_| is_loss),
        ];
        let good = [
            (forgotten > 0).then(|| format!("{forgotten} rows made room for newer ones.")),
            hides_rows.then(|| "Rows of other users are hidden.".to_owned()),
            loss.filter(|_| !is_loss),
        ];
        let bad: Vec<String> = bad.into_iter().flatten().collect();
        let colour = if bad.is_empty() { Style::new().dim() } else { Style::new().fg(Color::Red) };
        let all: Vec<String> = bad.into_iter().chain(good.into_iter().flatten()).collect();
        let text = all.join(" ");
        // Its end is the least of it.
        let text: String = if width(&text) <= usize::from(columns) { text } else { beginning(&text, columns) };
        Line::styled(text, self.coloured(colour))
    }

    fn programs(&self, frame: &mut Frame<'_>, area: Rect, rows: &[Row], view: &mut View) {
        let choice = &view.choice;
        let title = |name: &str, sort: Sort| match (choice.sort == sort, choice.is_reversed) {
            (false, _) => name.to_owned(),
            (true, false) => format!("{name}▾"),
            (true, true) => format!("{name}▴"),
        };
        let number = |name, sort, width| Column { title: title(name, sort), width, is_number: true };
        let text = |name, sort, width| Column { title: title(name, sort), width, is_number: false };
        let mut columns = vec![
            number("RATE", Sort::Rate, 6),
            number("EVENTS", Sort::Events, 7),
            text("USER", Sort::User, 9),
            text("PROGRAM", Sort::Program, 0),
            number("TO", Sort::Destinations, 4),
            text("LAST DESTINATION", Sort::Newest, 0),
        ];
        let has_times = area.width >= ROOM_FOR_TIMES;
        if has_times {
            columns.push(Column { title: "AT".to_owned(), width: 8, is_number: false });
        }
        // What the others leave is for these two.
        let free = free(&columns, area.width);
        let newest = (free / 2).max(ADDRESS);
        let program = free.saturating_sub(newest);
        for (column, width) in columns.iter_mut().filter(|column| column.width == 0).zip([program, newest]) {
            column.width = width;
        }
        let cells = |row: &Row| {
            let mut cells = vec![
                (tenths(row.rate), self.rate(row.rate)),
                (row.events.to_string(), Style::new()),
                (row.user.clone(), Style::new()),
                (row.key.program.clone(), self.coloured(Style::new().bold())),
                (row.destinations.to_string(), Style::new()),
                (row.newest.clone(), self.coloured(Style::new().fg(Color::Cyan))),
            ];
            if has_times {
                cells.push((self.time(row.last), self.coloured(Style::new().dim())));
            }
            cells
        };
        let table = table(&columns, rows.iter().map(cells));
        let table = table.row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut view.table);
    }

    fn destinations(&self, frame: &mut Frame<'_>, area: Rect, of: &Row) {
        let [title, area] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        let destinations = count(of.destinations as u64, "destination", "destinations");
        let behind = format!(" ({}): {destinations} ", of.user);
        let before = "── ";
        let room = usize::from(title.width).saturating_sub(width(before) + width(&behind));
        let name = shortened(&of.key.program, room);
        let rule = "─".repeat(room.saturating_sub(width(&name)));
        let dim = self.coloured(Style::new().dim());
        let name = Span::styled(name, self.coloured(Style::new().bold()));
        let line = Line::from(vec![Span::styled(before, dim), name, Span::raw(behind), Span::styled(rule, dim)]);
        frame.render_widget(line, title);

        let number = |title: &str, width| Column { title: title.to_owned(), width, is_number: true };
        let text = |title: &str, width| Column { title: title.to_owned(), width, is_number: false };
        let mut columns = [
            number("RATE", 6),
            number("EVENTS", 7),
            text("PROTOCOL", 9),
            text("DESTINATION", 0),
            text("RESULT", 15),
            text("AT", 8),
        ];
        let free = free(&columns, area.width);
        for column in columns.iter_mut().filter(|column| column.width == 0) {
            column.width = free;
        }
        let cells = |row: Destination| {
            let result = if row.is_failure { Style::new().fg(Color::Red) } else { Style::new().fg(Color::Yellow) };
            vec![
                (tenths(row.rate), self.rate(row.rate)),
                (row.events.to_string(), Style::new()),
                (row.protocol, Style::new()),
                (row.destination, self.coloured(Style::new().fg(Color::Cyan))),
                (row.result, self.coloured(result)),
                (self.time(row.last), self.coloured(Style::new().dim())),
            ]
        };
        let rows = self.model.destinations(&of.key);
        // Those that fit; the busiest come first.
        let rows = rows.into_iter().take(usize::from(area.height)).map(cells);
        frame.render_widget(table(&columns, rows), area);
    }

    fn keys(&self, view: &View) -> Line<'static> {
        let bold = Style::new().bold();
        if view.is_typing {
            let text = format!("{}▏", view.choice.text);
            let help = Span::raw("  Enter keeps it, Esc shows all again");
            return Line::from(vec![Span::styled("/", bold), Span::raw(text), help]);
        }
        let keys =
            [("q", "quit"), ("s", "sort by the next column"), ("r", "reverse"), ("/", "filter"), ("↑↓", "choose")];
        let spans = keys.iter().flat_map(|(key, what)| [Span::styled(*key, bold), Span::raw(format!(" {what}   "))]);
        Line::from(spans.collect::<Vec<_>>())
    }

    fn rate(&self, rate: u64) -> Style {
        self.coloured(if rate > 0 { Style::new().fg(Color::Green) } else { Style::new().dim() })
    }

    fn time(&self, time: u64) -> String {
        self.shown.clock.time_of_day(time)
    }
}

/// What columns leave of this width.
fn free(columns: &[Column], width: u16) -> u16 {
    let gaps = u16::try_from(columns.len().saturating_sub(1)).unwrap_or(u16::MAX);
    width.saturating_sub(columns.iter().map(|column| column.width).sum()).saturating_sub(gaps)
}

/// A table whose cells fit their columns.
fn table(columns: &[Column], rows: impl Iterator<Item = Vec<(String, Style)>>) -> Table<'static> {
    let cell = |text: String, style: Style, column: &Column| {
        let line = Line::styled(shortened(&text, usize::from(column.width)), style);
        Cell::new(if column.is_number { line.right_aligned() } else { line })
    };
    let header = columns.iter().map(|column| cell(column.title.clone(), Style::new().underlined(), column));
    let header = TableRow::new(header.collect::<Vec<_>>());
    let rows = rows.map(|cells| {
        TableRow::new(cells.into_iter().zip(columns).map(|((text, style), column)| cell(text, style, column)))
    });
    let widths = columns.iter().map(|column| Constraint::Length(column.width)).collect::<Vec<_>>();
    Table::new(rows.collect::<Vec<_>>(), widths).header(header)
}

fn tenths(number: u64) -> String {
    format!("{}.{}", number / 10, number % 10)
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// As much of a text as fits, and a sign that there is more.
fn beginning(text: &str, columns: u16) -> String {
    let mut taken = String::new();
    for one in text.chars() {
        taken.push(one);
        if width(&taken) >= usize::from(columns) {
            taken.pop();
            break;
        }
    }
    taken + "…"
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyCode;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;
    use crate::ctl::column::tests::shown;
    use crate::ctl::top::model::tests::event;

    fn model() -> Model {
        let mut model = Model::new(1_795_344_941_704_000, 0);
        for (program, port, second) in [("/usr/lib/firefox/firefox", 443, 1), ("/usr/bin/curl", 80, 2)] {
            for _ in 0..port / 10 {
                model.remember(&event(program, port, second));
            }
        }
        let mut refused = event("/usr/bin/curl", 9, 3);
        refused.outcome = Some("failure".into());
        refused.error = Some("ECONNREFUSED".into());
        model.see(&refused);
        model.see(&event(&format!("/usr/lib/{}program name", "folder/".repeat(20)), 22, 4));
        model
    }

    fn draw(columns: u16, lines: u16, news: &News, view: &mut View, colours: bool) -> Buffer {
        let (model, shown) = (model(), shown());
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        let scene = Scene { model: &model, news, shown: &shown, colours };
        let rows = model.rows(&view.choice, &shown);
        terminal.draw(|frame| screen(frame, &scene, &rows, view)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &Buffer) -> String {
        let line = |line: &[ratatui::buffer::Cell]| line.iter().map(|cell| cell.symbol()).collect::<String>();
        let lines = buffer.content.chunks(usize::from(buffer.area.width)).map(line);
        lines.map(|line| format!("{}\n", line.trim_end())).collect()
    }

    #[test]
    fn a_screen() {
        let news = News { hides_rows: true, ..News::default() };
        let expected = "\
● 54 events since 10:55:41, 2.0 a second
Rows of other users are hidden.
 RATE▾  EVENTS USER      PROGRAM                     TO LAST DESTINATION
   1.0       9 1000      /usr/bin/curl                2 192.0.2.7:9
   1.0       1 1000      \"/usr/lib/fo…rogram name\"    1 192.0.2.7:22
   0.0      44 1000      /usr/lib/firefox/firefox     1 192.0.2.7:443




── /usr/bin/curl (1000): 2 destinations ────────────────────────────────────────
  RATE  EVENTS PROTOCOL  DESTINATION                    RESULT          AT
   1.0       1 tcp       192.0.2.7:9                    ECONNREFUSED    10:55:44
   0.0       8 tcp       192.0.2.7:80                                   10:55:43

q quit   s sort by the next column   r reverse   / filter   ↑↓ choose
";
        assert_eq!(text(&draw(80, 16, &news, &mut View::default(), false)), expected);
    }

    #[test]
    fn a_wide_screen() {
        let news = News { loss: Some(Loss::default()), ..News::default() };
        let mut view = View::default();
        view.press(KeyCode::Down.into(), &model().rows(&view.choice, &shown()));
        let expected = "\
● 54 events since 10:55:41, 2.0 a second
Since its start every event was seen.
 RATE▾  EVENTS USER      PROGRAM                                          TO LAST DESTINATION                               AT
   1.0       9 1000      /usr/bin/curl                                     2 192.0.2.7:9                                    10:55:44
   1.0       1 1000      \"/usr/lib/folder/folde…er/folder/program name\"    1 192.0.2.7:22                                   10:55:45
   0.0      44 1000      /usr/lib/firefox/firefox                          1 192.0.2.7:443                                  10:55:42




── \"/usr/lib/folder/folder/folder/folder/folder/folder/…lder/folder/folder/folder/folder/folder/program name\" (1000): 1 destination
  RATE  EVENTS PROTOCOL  DESTINATION                                                                        RESULT          AT
   1.0       1 tcp       192.0.2.7:22                                                                                       10:55:45


q quit   s sort by the next column   r reverse   / filter   ↑↓ choose
";
        assert_eq!(text(&draw(132, 16, &news, &mut view, false)), expected);
    }

    #[test]
    fn a_screen_of_any_size() {
        let news = News { away: Some("x".repeat(300)), is_deaf: true, ..News::default() };
        for columns in [1, 2, 20, 39, 40, 80, 99, 100, 300] {
            for lines in [1, 2, 3, 4, 13, 14, 24, 100] {
                draw(columns, lines, &news, &mut View::default(), true);
            }
        }
    }

    #[test]
    fn what_is_wrong_stands_first_and_in_red() {
        let mut loss = Loss::default();
        loss.torn = 1;
        let news = News { away: Some("Gone.".to_owned()), is_deaf: true, loss: Some(loss), hides_rows: true };
        let drawn = draw(200, 10, &news, &mut View::default(), true);
        let expected = "Gone. No events arrive: 'opensnitch-auditctl diagnose' says why. Since its start not every event was \
                        seen: 1 line was torn. Rows of other users are hidden.\n";
        assert_eq!(text(&drawn).lines().nth(1).unwrap(), expected.trim_end());
        assert_eq!([drawn[(0, 0)].fg, drawn[(0, 1)].fg], [Color::Red, Color::Red]);
        let narrow = text(&draw(20, 10, &news, &mut View::default(), true));
        assert_eq!(narrow.lines().nth(1).unwrap(), "Gone. No events arr…");
        let plain = draw(200, 10, &news, &mut View::default(), false);
        assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset));
    }

    #[test]
    fn what_is_typed_is_shown_and_what_was_found() {
        let mut view = View::default();
        for key in ['/', 'c', 'u'] {
            view.press(KeyCode::Char(key).into(), &[]);
        }
        let drawn = text(&draw(80, 10, &News::default(), &mut view, false));
        assert!(drawn.lines().next().unwrap().ends_with("a second; 1 program with \"cu\""), "{drawn}");
        assert!(drawn.contains("/cu▏") && drawn.contains("curl") && !drawn.contains("firefox"), "{drawn}");
    }
}
