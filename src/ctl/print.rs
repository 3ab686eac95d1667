//! Events for people, and as JSON for scripts.

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::Timestamp;
use opensnitch_audit_client::Event;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// What events have in common that are merged into one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// Process and type, as `GetEvents` merges: they went to many destinations.
    ByType,
    /// The destination too, as signals are merged.
    Alike,
}

/// Events one below the other: under a header that comes with the first of them, or as JSON, one a line.
pub(super) struct Rows<W> {
    out: W,
    as_json: bool,
    merged: Merged,
    has_header: bool,
}

const HEADER: &str = "TIME (UTC)               TYPE        PID     UID       PROGRAM → DESTINATION";

impl<W: Write> Rows<W> {
    pub(super) fn new(out: W, as_json: bool, merged: Merged) -> Self {
        Self { out, as_json, merged, has_header: false }
    }

    pub(super) fn row(&mut self, event: &Event) -> io::Result<()> {
        if self.as_json {
            return json(&mut self.out, event);
        }
        if !self.has_header {
            writeln!(self.out, "{HEADER}")?;
            self.has_header = true;
        }
        writeln!(self.out, "{}", one_line(event, self.merged))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A value as JSON, in a line of its own.
pub(super) fn json(mut out: impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut out, Printable))?;
    writeln!(out)
}

/// JSON that a terminal can show: what JSON lets through and a terminal obeys is escaped.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unprintable) {
            let (text, behind) = rest.split_at(at);
            out.write_all(text.as_bytes())?;
            let mut behind = behind.chars();
            if let Some(one) = behind.next() {
                // None of them is beyond U+FFFF, where JSON writes two.
                write!(out, "\\u{:04x}", u32::from(one))?;
            }
            rest = behind.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// What moves the cursor, begins a line, or turns the direction of text, which can make one path read as another.
fn is_unprintable(one: char) -> bool {
    one.is_control()
        || matches!(one, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text that somebody else chose, with what a terminal would obey escaped.
pub(super) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, one| {
        if is_unprintable(one) {
            let _ = write!(out, "{}", one.escape_default());
        } else {
            out.push(one);
        }
        out
    })
}

/// A name that somebody else chose: in quotes where it holds what would read as another part of the row.
fn name(text: &str) -> String {
    let is_plain = !text.contains(['→', '…', '"']) && !text.contains(" (") && !text.contains(is_unprintable);
    if is_plain { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(&text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// An event in one line.
fn one_line(event: &Event, merged: Merged) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let time = event.timestamp.map_or_else(|| "-".to_owned(), utc);
    let what = event.event_type.as_deref().or(event.syscall_name.as_deref()).map_or_else(|| "-".to_owned(), name);
    let program = event.proc_path.as_deref().or(event.proc_name.as_deref()).map_or_else(|| "?".to_owned(), name);
    let mut line = format!("{time:24} {what:11} {:7} {:9} {program}", number(event.pid), number(event.uid));
    if let Some(destination) = destination(event) {
        let _ = write!(line, " → {destination}");
    }
    match event.outcome.as_deref() {
        Some("failure") => {
            let _ = write!(line, " ({})", event.error.as_deref().map_or_else(|| "failed".to_owned(), printable));
        }
        Some("in-progress") => line.push_str(" (in progress)"),
        _ => {}
    }
    match (event.count, merged) {
        (Some(count @ 2..), Merged::Alike) => {
            let _ = write!(line, " ×{count}");
        }
        (Some(count @ 2..), Merged::ByType) => {
            let _ = write!(line, " … and {}", more(count - 1, event.event_type.as_deref()));
        }
        _ => {}
    }
    line
}

/// So many more of that type.
fn more(count: u64, event_type: Option<&str>) -> String {
    let what = match event_type {
        Some("connect" | "accept") => "connection",
        Some("socket" | "socketpair") => "socket",
        Some("execve") => "program",
        _ => "event",
    };
    format!("{count} more {what}{}", if count == 1 { "" } else { "s" })
}

fn destination(event: &Event) -> Option<String> {
    if event.event_type.as_deref() == Some("execve") {
        return command_line(event);
    }
    match (event.dst_host.as_deref().map(printable), event.dst_port) {
        (Some(host), Some(port)) if host.contains(':') => Some(format!("[{host}]:{port}")),
        (Some(host), Some(port)) => Some(format!("{host}:{port}")),
        _ => event.dst_path.as_deref().or(event.net_family.as_deref()).map(name),
    }
}

/// The arguments as a shell would take them, more or less.
fn command_line(event: &Event) -> Option<String> {
    let word = |word: &String| if word.is_empty() || word.contains(' ') { quoted(word) } else { name(word) };
    match event.args.as_slice() {
        [] => event.proc_cmd_line.as_deref().map(name),
        args => Some(args.iter().map(word).collect::<Vec<_>>().join(" ")),
    }
}

/// All that is known of an event, a line a key.
pub(super) fn all_lines(event: &Event) -> Result<String, serde_json::Error> {
    let mut lines = String::new();
    let value = serde_json::to_value(event)?;
    for (key, signature) in Event::KEYS {
        let Some(value) = value.get(key) else { continue };
        let shown = match (*key, *signature, value) {
            ("Timestamp" | "LastSeen", _, us) => us.as_u64().map(utc).unwrap_or_default(),
            ("StartTime", _, us) => us.as_u64().map(after_boot).unwrap_or_default(),
            (_, "ay", Value::Array(bytes)) => bytes.iter().map(hexadecimal).collect(),
            (_, "a(us)", Value::Array(parents)) => parents.iter().map(words).collect::<Vec<_>>().join(", "),
            (_, _, list @ Value::Array(_)) => words(list),
            (_, _, Value::Bool(truth)) => (if *truth { "yes" } else { "no" }).to_owned(),
            (_, _, Value::String(text)) => printable(text),
            (_, _, other) => other.to_string(),
        };
        let _ = writeln!(lines, "{key:14} {shown}");
    }
    Ok(lines)
}

/// Texts in quotes, numbers without.
fn words(list: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), quoted);
    list.as_array().map(|list| list.iter().map(word).collect::<Vec<_>>().join(" ")).unwrap_or_default()
}

fn hexadecimal(byte: &Value) -> String {
    byte.as_u64().map(|byte| format!("{byte:02x}")).unwrap_or_default()
}

fn after_boot(us: u64) -> String {
    format!("{}.{:02} s after boot", us / 1_000_000, us % 1_000_000 / 10_000)
}

/// Microseconds since the epoch as date and time, to the millisecond. A time that no calendar has stays a number.
fn utc(us: u64) -> String {
    let time = i64::try_from(us).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
    let shown = time.map(|time| time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string());
    shown.unwrap_or_else(|| us.to_string())
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
            (u64::MAX, "18446744073709551615"),
        ];
        for (us, expected) in table {
            assert_eq!(utc(us), expected);
        }
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{202e}d é"), "a\\u{1b}[2Jb\\nc\\u{202e}d é");
    }

    fn connect() -> Event {
        let mut event = Event::default();
        event.timestamp = Some(1_795_344_941_704_000);
        event.event_type = Some("connect".to_owned());
        event.pid = Some(4711);
        event.uid = Some(1000);
        event.proc_path = Some("/usr/bin/curl".to_owned());
        event.dst_host = Some("2001:db8::1".to_owned());
        event.dst_port = Some(443);
        event
    }

    fn row(event: &Event, merged: Merged) -> String {
        one_line(event, merged)[HEADER.find("PROGRAM").unwrap()..].to_owned()
    }

    #[test]
    fn a_row() {
        let mut event = connect();
        let expected = "2026-11-22 10:55:41.704  connect     4711    1000      /usr/bin/curl → [2001:db8::1]:443";
        assert_eq!(one_line(&event, Merged::ByType), expected);
        event.outcome = Some("failure".to_owned());
        event.error = Some("ECONNREFUSED".to_owned());
        event.dst_host = Some("192.0.2.1".to_owned());
        assert_eq!(row(&event, Merged::ByType), "/usr/bin/curl → 192.0.2.1:443 (ECONNREFUSED)");
    }

    #[test]
    fn what_is_merged_does_not_read_as_if_all_went_to_one_destination() {
        let mut event = connect();
        let table = [
            (None, "", ""),
            (Some(1), "", ""),
            (Some(2), " … and 1 more connection", " ×2"),
            (Some(20), " … and 19 more connections", " ×20"),
        ];
        for (count, by_type, alike) in table {
            event.count = count;
            assert_eq!(row(&event, Merged::ByType), format!("/usr/bin/curl → [2001:db8::1]:443{by_type}"));
            assert_eq!(row(&event, Merged::Alike), format!("/usr/bin/curl → [2001:db8::1]:443{alike}"));
        }
    }

    #[test]
    fn a_name_cannot_pretend_to_be_another_part_of_the_row() {
        let table = [
            ("/opt/My App/app", "/opt/My App/app"),
            ("curl → 1.1.1.1:443", "\"curl → 1.1.1.1:443\""),
            ("curl … and 3 more connections", "\"curl … and 3 more connections\""),
            ("curl (ECONNREFUSED)", "\"curl (ECONNREFUSED)\""),
            ("\"curl\"", "\"\\\"curl\\\"\""),
            ("a\\\"\n\u{9b}2J", "\"a\\\\\\\"\\n\\u{9b}2J\""),
            ("a\\xff", "a\\xff"),
        ];
        for (text, expected) in table {
            let mut event = connect();
            event.proc_path = Some(text.to_owned());
            assert_eq!(row(&event, Merged::Alike), format!("{expected} → [2001:db8::1]:443"));
            let mut event = connect();
            (event.dst_host, event.dst_path) = (None, Some(text.to_owned()));
            assert_eq!(row(&event, Merged::Alike), format!("/usr/bin/curl → {expected}"));
        }
    }

    #[test]
    fn arguments_are_told_apart() {
        let mut event = connect();
        event.event_type = Some("execve".to_owned());
        event.args = ["sh", "-c", "a b", "", "x\n"].map(str::to_owned).to_vec();
        assert_eq!(row(&event, Merged::Alike), "/usr/bin/curl → sh -c \"a b\" \"\" \"x\\n\"");
    }

    #[test]
    fn json_holds_nothing_that_a_terminal_obeys() {
        let text = "a\"\\\n\u{7f}\u{80}\u{9b}2J\u{9f}\u{a0}é\u{61c}\u{200e}\u{200f}\u{2028}\u{202e}\u{2066}\u{2069}😀";
        let mut event = Event::default();
        event.proc_name = Some(text.to_owned());
        let mut out = Vec::new();
        json(&mut out, &event).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with("}\n") && !line.trim_end().contains(is_unprintable), "{line}");
        assert!(line.contains("\\u007f\\u0080\\u009b2J\\u009f\u{a0}é\\u061c"), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn all_that_is_known_is_shown() {
        let mut event = connect();
        event.success = Some(true);
        event.exit = Some(-115);
        event.args = vec!["curl".to_owned(), "a \"b\"\u{1b}".to_owned()];
        event.proc_path_raw = Some(vec![0x2f, 0xff]);
        event.parents = vec![(7, "/bin/sh".to_owned()), (1, "/sbin/init".to_owned())];
        event.holders = vec![1, 2];
        event.start_time = Some(12_345_678);
        let expected = "\
Timestamp      2026-11-22 10:55:41.704
EventType      connect
Pid            4711
UID            1000
ProcPath       /usr/bin/curl
ProcPathRaw    2fff
DstHost        2001:db8::1
DstPort        443
Success        yes
Exit           -115
Args           \"curl\" \"a \\\"b\\\"\\u{1b}\"
StartTime      12.34 s after boot
Parents        7 \"/bin/sh\", 1 \"/sbin/init\"
Holders        1 2
";
        assert_eq!(all_lines(&event).unwrap(), expected);
    }
}
