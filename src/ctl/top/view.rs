//! What a person chose to see, key by key.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::TableState;

use super::model::{Choice, Key, Row};
use crate::ctl::escape::is_unprintable;

/// Characters of a text that is looked for: no name that anybody types is longer.
const MAX_TEXT: usize = 64;

/// Rows that a page is.
const PAGE: usize = 10;

/// What comes after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The screen is drawn anew.
    Draw,
    /// It ends.
    Leave,
    /// The shell gets the terminal, until it gives it back.
    Suspend,
}

/// Which rows, in which order, and which one of them is chosen.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) choice: Choice,
    /// The text that is looked for is being typed.
    pub(super) is_typing: bool,
    chosen: Option<Key>,
    /// How far the rows are scrolled.
    pub(super) table: TableState,
}

impl View {
    /// The program that is chosen: the first one where none is, or where it is not among the rows any more.
    pub(super) fn chosen<'a>(&mut self, rows: &'a [Row]) -> Option<&'a Row> {
        let chosen = self.place(rows);
        self.table.select(rows.get(chosen).map(|_| chosen));
        rows.get(chosen)
    }

    fn place(&self, rows: &[Row]) -> usize {
        let is_chosen = |row: &Row| self.chosen.as_ref() == Some(&row.key);
        rows.iter().position(is_chosen).unwrap_or(0)
    }

    fn choose(&mut self, rows: &[Row], place: usize) {
        self.chosen = rows.get(place.min(rows.len().saturating_sub(1))).map(|row| row.key.clone());
    }

    /// A key was pressed while these rows were shown.
    pub(super) fn press(&mut self, key: KeyEvent, rows: &[Row]) -> Then {
        if key.kind == KeyEventKind::Release {
            return Then::Draw;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Then::Leave,
                KeyCode::Char('z') => Then::Suspend,
                _ => Then::Draw,
            };
        }
        if self.is_typing {
            self.type_text(key.code);
            return Then::Draw;
        }
        let place = self.place(rows);
        match key.code {
            KeyCode::Char('q') => return Then::Leave,
            KeyCode::Char('s') => self.choice.sort = self.choice.sort.next(),
            KeyCode::Char('r') => self.choice.is_reversed = !self.choice.is_reversed,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc => self.choice.text.clear(),
            KeyCode::Up | KeyCode::Char('k') => self.choose(rows, place.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.choose(rows, place + 1),
            KeyCode::PageUp => self.choose(rows, place.saturating_sub(PAGE)),
            KeyCode::PageDown => self.choose(rows, place + PAGE),
            // The first one, whichever that is from now on.
            KeyCode::Home | KeyCode::Char('g') => self.chosen = None,
            KeyCode::End | KeyCode::Char('G') => self.choose(rows, rows.len()),
            _ => {}
        }
        Then::Draw
    }

    fn type_text(&mut self, key: KeyCode) {
        let text = &mut self.choice.text;
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                text.clear();
                self.is_typing = false;
            }
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(one) if !is_unprintable(one) && text.chars().count() < MAX_TEXT => text.push(one),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::column::tests::shown;
    use crate::ctl::top::model::tests::event;
    use crate::ctl::top::model::{Model, Sort};

    fn rows() -> Vec<Row> {
        let mut model = Model::new(0, 0);
        for (at, program) in ["/a", "/b", "/c"].into_iter().enumerate() {
            for _ in at..3 {
                model.remember(&event(program, 80, 0));
            }
        }
        model.rows(&Choice::default(), &shown())
    }

    fn press(view: &mut View, keys: &[KeyCode]) -> Then {
        let rows = rows();
        keys.iter().map(|key| view.press((*key).into(), &rows)).last().unwrap()
    }

    fn chosen(view: &mut View) -> String {
        view.chosen(&rows()).unwrap().key.program.clone()
    }

    #[test]
    fn keys_choose_a_program_which_stays_chosen_wherever_it_stands() {
        use KeyCode::{Char, Down, End, Home, PageDown, PageUp, Up};
        let table: [(&[KeyCode], &str); 10] = [
            (&[], "/a"),
            (&[Down], "/b"),
            (&[Char('j'), Char('j')], "/c"),
            (&[Down, Down, Down, Down], "/c"),
            (&[PageDown], "/c"),
            (&[End, Up], "/b"),
            (&[End, Char('k'), Up, Up], "/a"),
            (&[End, PageUp], "/a"),
            (&[Char('G')], "/c"),
            (&[End, Home], "/a"),
        ];
        for (keys, expected) in table {
            let mut view = View::default();
            if !keys.is_empty() {
                assert_eq!(press(&mut view, keys), Then::Draw);
            }
            assert_eq!(chosen(&mut view), expected, "{keys:?}");
        }
        let mut view = View::default();
        press(&mut view, &[Down]);
        let mut turned = rows();
        turned.rotate_left(2);
        assert_eq!(view.chosen(&turned).unwrap().key.program, "/b");
        assert_eq!(view.table.selected(), Some(2));
        assert!(view.chosen(&[]).is_none() && view.table.selected().is_none());
    }

    #[test]
    fn keys_sort_and_filter_and_leave() {
        use KeyCode::{Backspace, Char, Enter, Esc};
        let mut view = View::default();
        press(&mut view, &[Char('s'), Char('r')]);
        assert_eq!((view.choice.sort, view.choice.is_reversed), (Sort::Events, true));
        // While a text is typed a letter is a letter.
        assert_eq!(press(&mut view, &[Char('/'), Char('q'), Char('s'), Char('\u{202e}'), Char('x')]), Then::Draw);
        assert!(view.is_typing && view.choice.text == "qsx" && view.choice.sort == Sort::Events);
        press(&mut view, &[Backspace, Enter]);
        assert!(!view.is_typing && view.choice.text == "qs");
        press(&mut view, &[Esc]);
        assert_eq!(view.choice.text, "");
        press(&mut view, &[Char('/')]);
        press(&mut view, &[Char('y'); 1000]);
        assert_eq!(view.choice.text.len(), MAX_TEXT);
        press(&mut view, &[Esc]);
        assert!(!view.is_typing && view.choice.text.is_empty());
        assert_eq!(press(&mut view, &[Char('q')]), Then::Leave);
        let control = |one| KeyEvent::new(Char(one), KeyModifiers::CONTROL);
        view.is_typing = true;
        assert_eq!([control('c'), control('z')].map(|key| view.press(key, &rows())), [Then::Leave, Then::Suspend]);
    }
}
