//! Text that somebody else chose, as a terminal may show it.
//!
//! Guarantee: what leaves here moves no cursor, begins no line, turns no text around, and hides nothing.

use std::io::{self, Write};

pub(super) use opensnitch_audit_client::{is_unprintable, printable};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A value as JSON, in a line of its own.
pub(super) fn json(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut out, Printable))?;
    writeln!(out)
}

/// JSON that a terminal can show: what JSON lets through and a terminal obeys is escaped. Its values stay the same.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unprintable) {
            let (text, behind) = rest.split_at(at);
            out.write_all(text.as_bytes())?;
            let mut behind = behind.chars();
            if let Some(one) = behind.next() {
                for unit in one.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = behind.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// A name: in quotes where it holds what a table uses, so that it reads as one name and as nothing else.
pub(super) fn name(text: &str) -> String {
    let is_plain = |one: char| !one.is_whitespace() && !is_unprintable(one) && !matches!(one, '"' | '…' | '×');
    if text.chars().all(is_plain) && !matches!(text, "" | "-") { text.to_owned() } else { quoted(text) }
}

/// Text in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(&text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Columns of a terminal that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// A text that takes at most so many columns. What is too long is cut out of the middle: a path says the most at its ends.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(left) = columns.checked_sub(1) else { return String::new() };
    let head = beginning(text.chars(), left / 2);
    let tail: String = beginning(text.chars().rev(), left - width(&head)).chars().rev().collect();
    format!("{head}…{tail}")
}

/// The first characters that fit.
fn beginning(text: impl Iterator<Item = char>, columns: usize) -> String {
    let mut taken = 0;
    let fits = |one: &char| {
        taken += one.width().unwrap_or(0);
        taken <= columns
    };
    text.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use opensnitch_audit_client::Event;

    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_be_another_part_of_the_row() {
        let table = [
            ("/usr/bin/curl", "/usr/bin/curl"),
            ("/opt/My App/app", "\"/opt/My App/app\""),
            ("curl → 1.1.1.1:443", "\"curl → 1.1.1.1:443\""),
            ("curl\u{a0}\u{a0}1.1.1.1:443", "\"curl\u{a0}\u{a0}1.1.1.1:443\""),
            ("/usr/…/curl", "\"/usr/…/curl\""),
            ("curl (ECONNREFUSED)", "\"curl (ECONNREFUSED)\""),
            ("\"curl\"", "\"\\\"curl\\\"\""),
            ("a\\\"\n\u{9b}2J", "\"a\\\\\\\"\\u{a}\\u{9b}2J\""),
            ("", "\"\""),
            ("-", "\"-\""),
            ("a\\xff", "a\\xff"),
        ];
        for (text, expected) in table {
            assert_eq!(name(text), expected);
        }
    }

    #[test]
    fn json_holds_nothing_that_a_terminal_obeys() {
        let text = "a\"\\\n\u{7f}\u{80}\u{9b}2J\u{9d}\u{9f}\u{a0}é\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}😀";
        let mut event = Event::default();
        event.proc_name = Some(text.to_owned());
        let mut out = Vec::new();
        json(&mut out, &event).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with("}\n") && !line.trim_end().contains(is_unprintable), "{line}");
        assert!(line.contains("\\u007f\\u0080\\u009b2J\\u009d\\u009f\u{a0}é\\u061c"), "{line}");
        assert!(line.contains("\\ufeff\\udb40\\udc41😀"), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn what_is_too_long_loses_its_middle() {
        let table = [
            ("/usr/bin/curl", 13, "/usr/bin/curl"),
            ("/usr/bin/curl", 12, "/usr/…n/curl"),
            ("/usr/bin/curl", 3, "/…l"),
            ("/usr/bin/curl", 1, "…"),
            ("/usr/bin/curl", 0, ""),
            ("日本語日本語", 7, "日…本語"),
        ];
        for (text, columns, expected) in table {
            assert_eq!(shortened(text, columns), expected);
            assert!(width(expected) <= columns.max(1) || expected.is_empty());
        }
    }
}
