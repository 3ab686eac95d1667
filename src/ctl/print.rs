//! Events for people.

use std::collections::HashMap;
use std::fmt::Write as _;

use zbus::{OwnedVariant, Variant};

use crate::dbus::wire::{KEYS, Row};

/// What a program chose to be called must not move the cursor of whoever reads it: controls are escaped.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, one| {
        if one.is_control() || is_direction(one) {
            let _ = write!(out, "{}", one.escape_default());
        } else {
            out.push(one);
        }
        out
    })
}

/// Unicode's marks that turn the direction of text, which could make a path read as another one.
fn is_direction(one: char) -> bool {
    matches!(one, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Something with the keys of an event.
pub trait Keyed {
    /// The value of a key.
    fn value(&self, key: &str) -> Option<&Variant<'_>>;
}

impl Keyed for Row {
    fn value(&self, key: &str) -> Option<&Variant<'_>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

impl Keyed for HashMap<String, OwnedVariant> {
    fn value(&self, key: &str) -> Option<&Variant<'_>> {
        self.get(key).map(|value| &**value)
    }
}

/// The pairs of an event in the order of the contract, then those this version does not know.
pub(super) fn in_order(row: &HashMap<String, OwnedVariant>) -> Vec<(&str, &Variant<'_>)> {
    let mut pairs: Vec<(&str, &Variant<'_>)> = row.iter().map(|(key, value)| (key.as_str(), &**value)).collect();
    pairs.sort_by_key(|(key, _)| (KEYS.iter().position(|(name, _)| name == key).unwrap_or(KEYS.len()), *key));
    pairs
}

/// The columns of [`one_line`].
pub(super) const HEADER: &str = "TIME (UTC)               TYPE        PID     UID       PROGRAM → DESTINATION";

/// An event in one line.
#[must_use]
pub fn one_line(row: &impl Keyed) -> String {
    let show = |key: &str| row.value(key).map(text);
    let time = match row.value("Timestamp") {
        Some(Variant::U64(us)) => utc(*us),
        _ => "-".to_owned(),
    };
    let what = show("EventType").or_else(|| show("SyscallName")).unwrap_or_else(|| "-".to_owned());
    let pid = show("Pid").unwrap_or_else(|| "-".to_owned());
    let user = show("UID").unwrap_or_else(|| "-".to_owned());
    let program = show("ProcPath").or_else(|| show("ProcName")).unwrap_or_else(|| "?".to_owned());
    let mut line = format!("{time:24} {what:11} {pid:7} {user:9} {program}");
    if let Some(destination) = destination(row) {
        line.push_str(" → ");
        line.push_str(&destination);
    }
    match show("Outcome").as_deref() {
        Some("failure") => {
            let error = show("Error").unwrap_or_else(|| "failed".to_owned());
            let _ = write!(line, " ({error})");
        }
        Some("in-progress") => line.push_str(" (in progress)"),
        _ => {}
    }
    if let Some(Variant::U64(count @ 2..)) = row.value("Count") {
        let _ = write!(line, " ×{count}");
    }
    line
}

fn destination(row: &impl Keyed) -> Option<String> {
    let show = |key: &str| row.value(key).map(text);
    if show("EventType").as_deref() == Some("execve") {
        return show("ProcCmdLine");
    }
    match (show("DstHost"), show("DstPort"), show("DstPath"), show("NetFamily")) {
        (Some(host), Some(port), ..) if host.contains(':') => Some(format!("[{host}]:{port}")),
        (Some(host), Some(port), ..) => Some(format!("{host}:{port}")),
        (_, _, Some(path), _) => Some(path),
        (_, _, _, family) => family,
    }
}

/// A value for people.
pub(super) fn text(value: &Variant<'_>) -> String {
    match value {
        Variant::Str(text) => printable(text.as_str()),
        Variant::Array(array) => {
            let parts: Vec<String> = array
                .iter()
                .map(|one| match one {
                    Variant::Str(text) => format!("\"{}\"", text.as_str().escape_debug()),
                    Variant::U8(byte) => format!("{byte:02x}"),
                    other => other.to_string(),
                })
                .collect();
            parts.join(" ")
        }
        Variant::Bool(truth) => (if *truth { "yes" } else { "no" }).to_owned(),
        Variant::U16(number) => number.to_string(),
        Variant::U32(number) => number.to_string(),
        Variant::U64(number) => number.to_string(),
        Variant::I64(number) => number.to_string(),
        other => other.to_string(),
    }
}

/// All that is known of an event, a line a key.
pub(super) fn all_lines(row: &HashMap<String, OwnedVariant>) -> String {
    let mut lines = String::new();
    for (key, value) in in_order(row) {
        let shown = match (key, value) {
            ("Timestamp" | "LastSeen", Variant::U64(us)) => utc(*us),
            ("StartTime", Variant::U64(us)) => {
                format!("{}.{:02} s after boot", us / 1_000_000, us % 1_000_000 / 10_000)
            }
            (_, value) => text(value),
        };
        let _ = writeln!(lines, "{key:12} {shown}");
    }
    lines
}

/// Microseconds since the epoch as date and time, to the millisecond.
fn utc(us: u64) -> String {
    let seconds = us / 1_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}.{:03}", second % 60, us / 1000 % 1000)
}

/// The date so many days after 1970-01-01. Years are counted from March, so that the leap day is their last one, in eras
/// of 400 years, which all have the same number of days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let table = [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400_000_000, "2000-02-29 00:00:00.000"),
            (1_795_344_941_704_000, "2026-11-22 10:55:41.704"),
            (4_102_444_799_999_999, "2099-12-31 23:59:59.999"),
        ];
        for (us, expected) in table {
            assert_eq!(utc(us), expected);
        }
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{202e}d é"), "a\\u{1b}[2Jb\\nc\\u{202e}d é");
    }
}
