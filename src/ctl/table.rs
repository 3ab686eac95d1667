//! Events one below the other: a table that fits its terminal, or JSON, one a line.
//!
//! Guarantee: a row is one line. Its header comes with the first row, and never without one. Where a terminal is narrow, times,
//! pids and the like stay whole, and paths give way; a destination or a result that is wider than its column takes room from the
//! other cells of its row.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::Style;
use opensnitch_audit_client::Event;

use super::column::{Column, Merged, Shown};
use super::escape::{json, shortened, width};

/// Rows that are waited for before the widths of the columns are decided. Those behind them have to fit in.
const SAMPLE: usize = 1000;

/// Columns of a terminal that a cell takes at the most, also where there is no terminal: a command line has thousands.
const MAX_CELL: usize = 256;

/// Columns of a terminal that a path keeps where its row's destination and result need the room: `/us…curl` still says something.
const SQUEEZED: usize = 8;

/// How tables look.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) as_json: bool,
    pub(super) columns: Vec<Column>,
    /// A header above the rows.
    pub(super) legend: bool,
    pub(super) colours: bool,
    /// Columns of the terminal; none where there is no terminal.
    pub(super) width: Option<usize>,
    pub(super) shown: Shown,
}

impl Look {
    /// Between two columns. A name with a blank in it stands in quotes, so one is enough where there is little room.
    fn gap(&self) -> &'static str {
        if self.shown.roomy { "  " } else { " " }
    }
}

/// A table in the making.
pub(super) struct Table<'a, W: Write> {
    out: W,
    look: &'a Look,
    merged: Merged,
    rows: u64,
    /// Rows that wait for the widths.
    sample: Vec<Vec<(String, Style)>>,
    /// Of the columns, once they are decided.
    widths: Option<Vec<usize>>,
}

impl<'a, W: Write> Table<'a, W> {
    /// One whose widths suit its first rows.
    pub(super) fn new(out: W, look: &'a Look, merged: Merged) -> Self {
        Self { out, look, merged, rows: 0, sample: Vec::new(), widths: None }
    }

    /// One whose rows are shown as they come.
    pub(super) fn live(out: W, look: &'a Look, merged: Merged) -> Self {
        let widths = look.columns.iter().map(|column| column.usual_width(&look.shown)).collect();
        Self { widths: Some(fitted(widths, look)), ..Self::new(out, look, merged) }
    }

    pub(super) fn row(&mut self, event: &Event) -> io::Result<()> {
        self.rows += 1;
        if self.look.as_json {
            return json(&mut self.out, event);
        }
        let cells = self.look.columns.iter().map(|column| {
            let cell = column.cell(event, self.merged, &self.look.shown);
            (shortened(&cell, MAX_CELL), column.style(event))
        });
        let cells: Vec<_> = cells.collect();
        if let Some(widths) = &self.widths {
            if self.rows == 1 {
                header(&mut self.out, self.look, widths)?;
            }
            return line(&mut self.out, self.look, widths, &cells);
        }
        self.sample.push(cells);
        if self.sample.len() == SAMPLE { self.decide() } else { Ok(()) }
    }

    /// Shows what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.decide()?;
        self.out.flush()
    }

    /// How many rows there were.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Decides on the widths, and shows the rows that waited for them.
    fn decide(&mut self) -> io::Result<()> {
        if self.sample.is_empty() || self.widths.is_some() {
            return Ok(());
        }
        let name = |column: &Column| if self.look.legend { width(&column.header()) } else { 0 };
        let mut widths: Vec<usize> = self.look.columns.iter().map(name).collect();
        for row in &self.sample {
            for (widest, (cell, _)) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        let widths = fitted(widths, self.look);
        header(&mut self.out, self.look, &widths)?;
        for row in std::mem::take(&mut self.sample) {
            line(&mut self.out, self.look, &widths, &row)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn header(out: impl Write, look: &Look, widths: &[usize]) -> io::Result<()> {
    if !look.legend {
        return Ok(());
    }
    let names: Vec<_> = look.columns.iter().map(|column| (column.header(), Style::new().underline())).collect();
    line(out, look, widths, &names)
}

/// One row. Nothing stands behind its last cell.
fn line(mut out: impl Write, look: &Look, widths: &[usize], cells: &[(String, Style)]) -> io::Result<()> {
    let mut text = String::new();
    let widths = shared(widths, look, cells);
    for ((cell, style), (columns, column)) in cells.iter().zip(widths.iter().zip(&look.columns)) {
        let cell = if look.width.is_some() { shortened(cell, *columns) } else { cell.clone() };
        let free = " ".repeat(columns.saturating_sub(width(&cell)));
        let (before, behind) = if column.is_number() { (&*free, "") } else { ("", &*free) };
        let style = if look.colours && !cell.is_empty() { *style } else { Style::new() };
        // Writing into a string does not fail.
        let _ = write!(text, "{before}{style}{cell}{style:#}{behind}{}", look.gap());
    }
    writeln!(out, "{}", text.trim_end())
}

/// The widths of one row. A cell that is wider than its column, and may not lose its middle, takes what the cells behind it
/// leave; and where that makes it whole, what those before it can spare.
fn shared(widths: &[usize], look: &Look, cells: &[(String, Style)]) -> Vec<usize> {
    let Some(terminal) = look.width else { return widths.to_vec() };
    let gaps = look.gap().len() * widths.len().saturating_sub(1);
    let mut free = terminal.saturating_sub(gaps + widths.iter().sum::<usize>());
    let places = widths.iter().zip(cells).zip(&look.columns);
    let mut row: Vec<_> =
        places.map(|((&columns, (cell, _)), &column)| Place { column, columns, needed: width(cell) }).collect();
    for at in (0..row.len()).rev() {
        let (before, rest) = row.split_at_mut(at);
        let Some((place, behind)) = rest.split_first_mut() else { break };
        let wanted = place.needed.saturating_sub(place.columns);
        if wanted == 0 || place.column.is_long_by_nature() {
            continue;
        }
        let mut missing = wanted - wanted.min(free);
        free -= wanted - missing;
        behind.iter_mut().rev().for_each(|other| other.give(&mut missing));
        if before.iter().map(Place::spare).sum::<usize>() >= missing {
            before.iter_mut().rev().for_each(|other| other.give(&mut missing));
        }
        place.columns += wanted - missing;
    }
    row.into_iter().map(|place| place.columns).collect()
}

/// A cell's place in its row.
struct Place {
    column: Column,
    /// What it has, of the terminal's columns.
    columns: usize,
    /// What would show it whole.
    needed: usize,
}

impl Place {
    /// What it does not need, or can do without.
    fn spare(&self) -> usize {
        let least = match self.column {
            column if column.is_long_by_nature() => SQUEEZED.min(self.needed),
            column if column.least() < usize::MAX => self.needed,
            // What stands in a column of numbers and words stays there.
            _ => self.columns,
        };
        self.columns.saturating_sub(least)
    }

    fn give(&mut self, missing: &mut usize) {
        let given = self.spare().min(*missing);
        self.columns -= given;
        *missing -= given;
    }
}

/// The widths of columns that fit a terminal together: the widest of those that can gives way, and where that is not enough the
/// widest of all.
fn fitted(mut widths: Vec<usize>, look: &Look) -> Vec<usize> {
    let Some(terminal) = look.width else { return widths };
    let gaps = look.gap().len() * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > terminal {
        let gives_way = |(width, column): &(&mut usize, &Column)| **width > column.least();
        let elastic = widths.iter_mut().zip(&look.columns).filter(gives_way).map(|(width, _)| width).max();
        match elastic {
            Some(widest) => *widest -= 1,
            None => match widths.iter_mut().max() {
                Some(widest) if *widest > 1 => *widest -= 1,
                _ => break,
            },
        }
    }
    widths
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ctl::column::tests::{connect, shown};

    pub(in crate::ctl) fn look(width: Option<usize>) -> Look {
        let columns = Column::DEFAULT.to_vec();
        Look { as_json: false, columns, legend: true, colours: false, width, shown: shown() }
    }

    fn table(look: &Look, events: &[Event]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, look, Merged::Alike);
        for event in events {
            table.row(event).unwrap();
        }
        table.flush().unwrap();
        assert_eq!(table.rows(), events.len() as u64);
        drop(table);
        String::from_utf8(out).unwrap()
    }

    fn failed() -> Event {
        let mut event = connect();
        (event.outcome, event.error) = (Some("failure".into()), Some("ECONNREFUSED".into()));
        event.proc_path = Some(format!("/usr/lib/{}/program", "folder/".repeat(30)));
        event.pid = Some(7);
        event
    }

    #[test]
    fn no_header_without_a_row() {
        assert_eq!(table(&look(Some(80)), &[]), "");
    }

    #[test]
    fn a_table_fits() {
        let expected = "\
TIME                     TYPE      PID  USER  PROGRAM        DESTINATION        RESULT
2026-11-22 10:55:41.704  connect  4711  1000  /usr/bin/curl  [2001:db8::1]:443
";
        assert_eq!(table(&look(None), &[connect()]), expected);
        for columns in [60, 80, 132, 250] {
            let shown = table(&look(Some(columns)), &[connect(), failed()]);
            assert_eq!(shown.lines().count(), 3, "{shown}");
            assert!(shown.lines().all(|line| width(line) <= columns), "{columns}:\n{shown}");
            assert!(shown.contains('…') && (columns == 60 || shown.contains("ECONNREFUSED")), "{columns}:\n{shown}");
        }
    }

    #[test]
    fn nothing_but_a_path_is_cut_where_its_row_has_room() {
        let mut look = look(Some(80));
        look.shown.roomy = false;
        let mut repeated = failed();
        (repeated.dst_host, repeated.count) = (Some("198.51.100.66".to_owned()), Some(3));
        repeated.dst_port = Some(6667);
        let mut six = connect();
        six.dst_host = Some("2001:db8:0:1:2:3:4".to_owned());
        let mut other = connect();
        other.pid = Some(4_194_304);
        let mut out = Vec::new();
        let mut live = Table::live(&mut out, &look, Merged::Alike);
        for event in [&repeated, &six, &other] {
            live.row(event).unwrap();
        }
        drop(live);
        let live = String::from_utf8(out).unwrap();
        for shown in [live, table(&look, &[repeated, six, other])] {
            assert!(shown.contains(" 198.51.100.66:6667 ECONNREFUSED ×3\n"), "{shown}");
            assert!(shown.contains(" [2001:db8:0:1:2:3:4]:443\n"), "{shown}");
            assert!(shown.contains("11-22 10:55 connect") && shown.contains(" 4194304 1000 "), "{shown}");
            assert!(shown.lines().all(|line| width(line) <= 80), "{shown}");
        }
    }

    #[test]
    fn a_row_is_one_line_whatever_a_program_is_called() {
        let mut event = connect();
        event.event_type = Some("execve".into());
        event.args = vec!["sh".to_owned(), "\n\r\u{9b}2J".repeat(10_000)];
        for width in [None, Some(80)] {
            let shown = table(&look(width), &[event.clone()]);
            assert_eq!(shown.lines().count(), 2);
            assert!(shown.len() < 1000, "{}", shown.len());
        }
    }

    #[test]
    fn a_live_table_shows_each_row_at_once() {
        let look = look(Some(80));
        let mut out = Vec::new();
        Table::live(&mut out, &look, Merged::Alike).row(&failed()).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.lines().count() == 2 && shown.lines().all(|line| width(line) <= 80), "{shown}");
    }
}
