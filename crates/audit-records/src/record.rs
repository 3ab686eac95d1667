//! Lines become records: header, type and fields.

use std::fmt;

use memchr::{memchr, memrchr};

use crate::line::{Header, Line};
use crate::near::{Known, near, near_end};
use crate::value::{Value, decimal, escape_bounded};

/// The event a record belongs to: `audit(SECONDS.MILLIS:SERIAL)`. All records of one event share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EventId {
    /// When it happened, in milliseconds since the epoch.
    pub milliseconds: u64,
    /// The kernel's running number of the event since boot; it wraps.
    pub serial: u32,
}

/// The type of a record: `AUDIT_…` of the kernel's include/uapi/linux/audit.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Kind {
    /// Who called which system call.
    Syscall,
    /// Who did which operation through io_uring.
    Uringop,
    /// The address that was given.
    Sockaddr,
    /// The arguments behind the 32-bit `socketcall`.
    Socketcall,
    /// The working directory.
    Cwd,
    /// A file that took part.
    Path,
    /// The arguments of execve, or a part of them.
    Execve,
    /// The command line as the process shows it now, its first 128 bytes.
    Proctitle,
    /// The event is complete.
    Eoe,
    /// The audit configuration was changed: a rule added or removed, by whom.
    ConfigChange,
    /// Any other type; none of them is an error.
    Other,
}

impl Kind {
    /// By the kernel's number.
    ///
    /// ```
    /// assert_eq!(audit_records::Kind::of_number(1300), audit_records::Kind::Syscall);
    /// ```
    #[must_use]
    pub const fn of_number(number: u16) -> Self {
        match number {
            1300 => Self::Syscall,
            1302 => Self::Path,
            1304 => Self::Socketcall,
            1305 => Self::ConfigChange,
            1306 => Self::Sockaddr,
            1307 => Self::Cwd,
            1309 => Self::Execve,
            1320 => Self::Eoe,
            1327 => Self::Proctitle,
            1336 => Self::Uringop,
            _ => Self::Other,
        }
    }

    /// The name auditd gives it; `None` for [`Kind::Other`].
    pub(crate) const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Syscall => "SYSCALL",
            Self::Uringop => "URINGOP",
            Self::Sockaddr => "SOCKADDR",
            Self::Socketcall => "SOCKETCALL",
            Self::Cwd => "CWD",
            Self::Path => "PATH",
            Self::Execve => "EXECVE",
            Self::Proctitle => "PROCTITLE",
            Self::Eoe => "EOE",
            Self::ConfigChange => "CONFIG_CHANGE",
            Self::Other => return None,
        })
    }

    /// By the name auditd gives; a type newer than auditd is `UNKNOWN[NUMBER]`, and some programs write the number alone.
    #[inline]
    fn of_name(name: &[u8]) -> Self {
        match name {
            b"SYSCALL" => Self::Syscall,
            b"PROCTITLE" => Self::Proctitle,
            b"EOE" => Self::Eoe,
            b"SOCKADDR" => Self::Sockaddr,
            b"CWD" => Self::Cwd,
            b"PATH" => Self::Path,
            b"EXECVE" => Self::Execve,
            b"SOCKETCALL" => Self::Socketcall,
            b"URINGOP" => Self::Uringop,
            b"CONFIG_CHANGE" => Self::ConfigChange,
            _ => {
                let number = name.strip_prefix(b"UNKNOWN[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(name);
                Value::new(number).unsigned().map_or(Self::Other, Self::of_number)
            }
        }
    }
}

/// One record: its header is read, its fields are not yet.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The machine's name, where auditd's `name_format` is set.
    pub node: Option<&'a [u8]>,
    /// The event it belongs to.
    pub id: EventId,
    /// Its type.
    pub kind: Kind,
    /// Without the end of line.
    line: &'a [u8],
    /// Where the text behind the header begins in `line`.
    body: usize,
    /// It came through auditd, which may have added its interpretations.
    by_auditd: bool,
}

/// Why a line is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What was expected and not there.
    pub expected: &'static str,
    /// The beginning of the line, escaped.
    pub line: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an audit record: {} expected in \"{}\"", self.expected, self.line)
    }
}

impl std::error::Error for Malformed {}

/// Reads the header of a line. An end of line (`\n`, `\r\n`) may stand behind it. Allocates only where it fails.
///
/// ```
/// use audit_records::{Kind, parse};
///
/// let record = parse(b"type=SOCKADDR msg=audit(1795344942.320:71): saddr=020000097F000001")?;
/// assert_eq!(record.kind, Kind::Sockaddr);
/// assert_eq!(record.id.serial, 71);
/// assert_eq!(record.field("saddr").written(), b"020000097F000001");
/// # Ok::<_, audit_records::Malformed>(())
/// ```
///
/// # Errors
/// [`Malformed`] where the line does not begin with `[node=NAME ]type=NAME msg=audit(SECONDS.MILLIS:SERIAL):`.
pub fn parse<'a>(line: impl Into<Line<'a>>) -> Result<Record<'a>, Malformed> {
    let line = line.into();
    LastId::default().parse(line).map_err(|expected| Malformed { expected, line: escape_bounded(&line) })
}

/// Reads the header of a record as the kernel itself sends it (`AUDIT_NLGRP_READLOG`, `kauditd_send_multicast_skb` in
/// kernel/audit.c): the number of its type stands in the message's header, and the text begins with the event id. All of
/// the text is this one record, whatever it holds.
///
/// ```
/// use audit_records::{Kind, parse_message};
///
/// let record = parse_message(1306, b"audit(1795344942.320:71): saddr=020000097F000001")?;
/// assert_eq!(record.kind, Kind::Sockaddr);
/// assert_eq!(record.field("saddr").written(), b"020000097F000001");
/// # Ok::<_, audit_records::Malformed>(())
/// ```
///
/// # Errors
/// [`Malformed`] where the text does not begin with `audit(SECONDS.MILLIS:SERIAL):`.
pub fn parse_message(number: u16, text: &[u8]) -> Result<Record<'_>, Malformed> {
    LastId::default().parse_message(number, text).map_err(|expected| Malformed { expected, line: escape_bounded(text) })
}

/// How many bytes of an event id say the second, with the point behind it: until the year 2286.
const SECOND: usize = 11;

/// The last event id, as text and as number. The records of an event stand mostly one behind the other: an id that is
/// written like the last one is compared and not read; nor is the second read again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastId {
    /// With `):` behind it.
    text: Known,
    id: EventId,
}

impl LastId {
    /// As [`parse`], but for the error.
    #[inline]
    pub(crate) fn parse<'a>(&mut self, line: Line<'a>) -> Result<Record<'a>, &'static str> {
        let Some(Header { kind, length }) = line.header else { return self.parse_any(line.text) };
        let rest = line.text.get(length..).unwrap_or_default();
        let record = |id, text: &[u8]| {
            let body = line.text.len() - text.len();
            Record { node: None, id, kind, line: without_end(line.text), body, by_auditd: true }
        };
        match self.text.strip(rest) {
            Some(text) => Ok(record(self.id, text)),
            None => self.another(rest).map(|(id, text)| record(id, text)),
        }
    }

    fn parse_any<'a>(&mut self, line: &'a [u8]) -> Result<Record<'a>, &'static str> {
        let (node, rest) = match line.strip_prefix(b"node=") {
            Some(rest) => split_at(rest, b' ').map(|(node, rest)| (Some(node), rest)).ok_or("a space after node=")?,
            None => (None, line),
        };
        let rest = rest.strip_prefix(b"type=").ok_or("type=")?;
        let (name, rest) = split_at(rest, b' ').ok_or("a space after type=")?;
        let rest = rest.strip_prefix(b"msg=audit(").ok_or("msg=audit(")?;
        let (id, body) = self.id(rest)?;
        let body = line.len() - body.len();
        Ok(Record { node, id, kind: Kind::of_name(name), line: without_end(line), body, by_auditd: true })
    }

    /// As the function [`parse_message`], but for the error.
    #[inline]
    pub(crate) fn parse_message<'a>(&mut self, number: u16, text: &'a [u8]) -> Result<Record<'a>, &'static str> {
        let (id, body) = self.id(text.strip_prefix(b"audit(").ok_or("audit(")?)?;
        let body = text.len() - body.len();
        Ok(Record { node: None, id, kind: Kind::of_number(number), line: without_end(text), body, by_auditd: false })
    }

    /// The event id that `rest` begins with, and what stands behind its colon.
    #[inline]
    fn id<'a>(&mut self, rest: &'a [u8]) -> Result<(EventId, &'a [u8]), &'static str> {
        match self.text.strip(rest) {
            Some(body) => Ok((self.id, body)),
            None => self.another(rest),
        }
    }

    fn another<'a>(&mut self, rest: &'a [u8]) -> Result<(EventId, &'a [u8]), &'static str> {
        let (id, body) = self.in_last_second(rest).map_or_else(|| read_id(rest), Ok)?;
        if self.text.set(rest.get(..rest.len() - body.len()).unwrap_or_default()) {
            self.id = id;
        }
        Ok((id, body))
    }

    /// Assumes an id of the same second as the last one, both written by the kernel: `%llu.%03lu:%u`.
    fn in_last_second<'a>(&self, rest: &'a [u8]) -> Option<(EventId, &'a [u8])> {
        let (second, rest) = rest.split_first_chunk::<SECOND>()?;
        if self.text.text().first_chunk() != Some(second) || second.last() != Some(&b'.') {
            return None;
        }
        let (milliseconds, rest) = rest.split_first_chunk::<3>()?;
        let (serial, rest) = split_at(rest.strip_prefix(b":")?, b')')?;
        let before = self.id.milliseconds - self.id.milliseconds % 1000;
        let id = EventId { milliseconds: before + decimal(milliseconds)?, serial: decimal(serial)?.try_into().ok()? };
        Some((id, rest.strip_prefix(b":")?))
    }
}

fn read_id(rest: &[u8]) -> Result<(EventId, &[u8]), &'static str> {
    let (seconds, rest) = split_at(rest, b'.').ok_or("the seconds")?;
    let (milliseconds, rest) = split_at(rest, b':').ok_or("the milliseconds")?;
    let (serial, rest) = split_at(rest, b')').ok_or("the serial")?;
    let body = rest.strip_prefix(b":").ok_or("a colon after the event id")?;
    let seconds = decimal(seconds).ok_or("the seconds")?;
    let milliseconds = decimal(milliseconds).filter(|&part| part < 1000).ok_or("the milliseconds")?;
    let milliseconds = seconds
        .checked_mul(1000)
        .and_then(|whole| whole.checked_add(milliseconds))
        .filter(|&time| time <= MAX_MILLISECONDS)
        .ok_or("the seconds")?;
    let serial = decimal(serial).and_then(|serial| serial.try_into().ok()).ok_or("the serial")?;
    Ok((EventId { milliseconds, serial }, body))
}

/// A line without its end (`\n`, `\r\n`).
#[inline]
pub(crate) fn without_end(mut line: &[u8]) -> &[u8] {
    while let Some((b'\n' | b'\r', rest)) = line.split_last() {
        line = rest;
    }
    line
}

/// The latest time a record may claim: so that it can be told in microseconds in 64 bits.
const MAX_MILLISECONDS: u64 = u64::MAX / 1000;

/// What stands before and behind the first `byte`.
#[inline]
pub(crate) fn split_at(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = near(text, byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Begins auditd's interpretations in the ENRICHED format.
pub(crate) const ENRICHED_SEPARATOR: u8 = 0x1D;

impl<'a> Record<'a> {
    /// The record's own text behind its header, as the kernel wrote it.
    #[must_use]
    pub fn own(&self) -> &'a [u8] {
        self.text().get(..self.own_length()).unwrap_or_default()
    }

    /// auditd's interpretations of the fields, where it writes them (`log_format = ENRICHED`). They are for reading: text
    /// of programs stands in them as it is.
    #[must_use]
    pub fn interpretations(&self) -> &'a [u8] {
        self.text().get(self.own_length()..).and_then(|text| text.get(1..)).unwrap_or_default()
    }

    /// All behind the header.
    fn text(&self) -> &'a [u8] {
        self.line.get(self.body..).unwrap_or_default()
    }

    fn own_length(&self) -> usize {
        let text = self.text();
        if !self.by_auditd {
            return text.len();
        }
        let separator = match self.kind {
            // A label may hold the separator too. Behind it stand fields of the kernel's, and in the interpretations of these
            // types no text of a program.
            Kind::Syscall | Kind::Uringop | Kind::ConfigChange => {
                let last = last_word(text);
                let is_kernels = last.starts_with(b"key=") || last.starts_with(b"res=");
                if is_kernels && near(last, ENRICHED_SEPARATOR).is_none() {
                    None
                } else {
                    memrchr(ENRICHED_SEPARATOR, text)
                }
            }
            _ => memchr(ENRICHED_SEPARATOR, text),
        };
        separator.unwrap_or(text.len())
    }

    /// auditd tells of itself with serials of its own, which begin anywhere (`send_audit_event` in auditd.c).
    pub(crate) fn is_auditds_own(&self) -> bool {
        self.kind == Kind::Other && self.by_auditd && self.line.starts_with(b"type=DAEMON_")
    }

    /// The whole line, and the places in it where the own text begins and ends.
    pub(crate) fn places(&self) -> (&'a [u8], usize, usize) {
        (self.line, self.body.min(self.line.len()), self.line.len().min(self.body + self.own_length()))
    }

    /// The record's own fields one by one, as they stand there. What comes behind `subj=` or `obj=` need not be a field: a
    /// label may hold any text.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(self.own())
    }

    /// The first field of that name before any label (`subj=`, `obj=`); an empty [`Value`] where there is none.
    #[must_use]
    pub fn field(&self, name: &str) -> Value<'a> {
        field(self.own(), name.as_bytes())
    }

    /// The `key` of the rule that asked for this record: the last field of SYSCALL and URINGOP, where the kernel writes it
    /// (`audit_log_exit`, kernel/auditsc.c). What a program calls itself has no say, nor has a label.
    #[must_use]
    pub fn key(&self) -> Value<'a> {
        last_key(self.own())
    }
}

/// The first field `name` of `own` before any label.
pub(crate) fn field<'a>(own: &'a [u8], name: &[u8]) -> Value<'a> {
    Fields::new(own).before_label().find(|(one, _)| *one == name).map_or(Value::default(), |(_, value)| value)
}

/// As [`field`], for the field that stands first in `own` where the kernel wrote it; `prefix` is `name=`.
#[inline]
pub(crate) fn first_field<'a, const N: usize>(own: &'a [u8], prefix: &[u8; N]) -> Value<'a> {
    match own.strip_prefix(b" ").unwrap_or(own).split_first_chunk() {
        Some((begin, rest)) if begin == prefix && rest.first() != Some(&b'"') => {
            Value::new(memchr(b' ', rest).and_then(|end| rest.get(..end)).unwrap_or(rest))
        }
        _ => field(own, prefix.split_last().map_or(&[], |(_, name)| name)),
    }
}

/// The last field where it is `key`, else the first `key` before any label.
pub(crate) fn last_key(own: &[u8]) -> Value<'_> {
    match last_word(own).strip_prefix(b"key=") {
        Some(value) => Value::new(value),
        None => field(own, b"key"),
    }
}

/// What stands behind the last space, spaces at the end aside.
fn last_word(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_end();
    near_end(text, b' ').map_or(text, |space| text.get(space + 1..).unwrap_or_default())
}

/// `name=value` by `name=value`. A value ends at a space, a quoted one at its quote; words without `=` are passed over.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Those before the first security label, the one text of a record that the kernel does not escape.
    pub(crate) fn before_label(self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
        self.take_while(|(name, _)| !is_label(name))
    }

    /// Takes the field that begins with `prefix` (`name=`) where it comes next and ends in one space or the end of the text:
    /// the way the kernel writes.
    #[inline]
    pub(crate) fn named<const N: usize>(&mut self, prefix: &[u8; N]) -> Option<Value<'a>> {
        let (begin, rest) = self.rest.split_first_chunk()?;
        if begin != prefix {
            return None;
        }
        if rest.first() == Some(&b'"') {
            return self.quoted(rest);
        }
        let (value, rest) = split_at(rest, b' ').unwrap_or((rest, &[]));
        self.rest = rest;
        Some(Value::new(value))
    }

    /// The value in quotes that `rest` begins with, as [`named`](Self::named).
    fn quoted(&mut self, rest: &'a [u8]) -> Option<Value<'a>> {
        let (value, rest) = rest.split_at_checked(near(rest.get(1..)?, b'"')? + 2)?;
        self.rest = match rest.split_first() {
            None => rest,
            Some((b' ', rest)) => rest,
            Some(_) => return None,
        };
        Some(Value::new(value))
    }
}

/// Whether a field of that name is a security label.
pub(crate) fn is_label(name: &[u8]) -> bool {
    name.starts_with(b"subj") || name.starts_with(b"obj")
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.trim_ascii_start();
            if rest.is_empty() {
                return None;
            }
            // Names are a few bytes: a loop beats a vector search.
            let at = rest.iter().position(|&byte| byte == b'=' || byte == b' ').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(at);
            let Some((b'=', rest)) = rest.split_first() else {
                self.rest = rest;
                continue;
            };
            let length = match rest.split_first() {
                Some((b'"', text)) => memchr(b'"', text).map_or(rest.len(), |quote| quote + 2),
                // The message of a program is one value, whatever it holds.
                Some((b'\'', text)) if name == b"msg" => memrchr(b'\'', text).map_or(rest.len(), |quote| quote + 2),
                _ => memchr(b' ', rest).unwrap_or(rest.len()),
            };
            let (value, rest) = rest.split_at_checked(length)?;
            self.rest = rest;
            return Some((name, Value::new(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Record<'_> {
        parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn headers() {
        let record = parsed("type=EOE msg=audit(1795345120.740:1623): ");
        assert_eq!(record.id, EventId { milliseconds: 1_795_345_120_740, serial: 1623 });
        assert_eq!((record.kind, record.node, record.own()), (Kind::Eoe, None, &b" "[..]));
        let record = parsed("node=vm type=UNKNOWN[1336] msg=audit(0.001:4294967295):");
        assert_eq!((record.kind, record.node), (Kind::Uringop, Some(&b"vm"[..])));
        assert_eq!(record.id, EventId { milliseconds: 1, serial: u32::MAX });
    }

    #[test]
    fn types_by_name_and_by_number() {
        let table = [
            (1300, "SYSCALL", Kind::Syscall),
            (1302, "PATH", Kind::Path),
            (1304, "SOCKETCALL", Kind::Socketcall),
            (1305, "CONFIG_CHANGE", Kind::ConfigChange),
            (1306, "SOCKADDR", Kind::Sockaddr),
            (1307, "CWD", Kind::Cwd),
            (1309, "EXECVE", Kind::Execve),
            (1320, "EOE", Kind::Eoe),
            (1327, "PROCTITLE", Kind::Proctitle),
            (1336, "URINGOP", Kind::Uringop),
            (1325, "NETFILTER_CFG", Kind::Other),
            (70_000, "NEVER_HEARD_OF", Kind::Other),
        ];
        for (number, name, kind) in table {
            for name in [name.to_owned(), format!("UNKNOWN[{number}]"), number.to_string()] {
                assert_eq!(parsed(&format!("type={name} msg=audit(1.0:1): a=b")).kind, kind, "{name}");
            }
        }
    }

    #[test]
    fn what_is_no_header_says_so() {
        let table = [
            ("", "type="),
            ("node=vm", "a space after node="),
            ("node=vm node=vm type=EOE msg=audit(1.0:1):", "type="),
            ("type=EOE", "a space after type="),
            ("type=EOE  msg=audit(1.0:1):", "msg=audit("),
            ("type=EOE msg=audit(16523210---):", "the seconds"),
            ("type=EOE msg=audit(1.1000:1):", "the milliseconds"),
            ("type=EOE msg=audit(1.000:4294967296):", "the serial"),
            ("type=EOE msg=audit(1.000:-1):", "the serial"),
            ("type=EOE msg=audit(99999999999999999999.000:1):", "the seconds"),
            ("type=EOE msg=audit(18446744073709551.000:1):", "the seconds"),
            ("type=EOE msg=audit(1.000:1)", "a colon after the event id"),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line.as_bytes()).unwrap_err().expected, expected, "{line}");
        }
        let error = parse(&[0xFF; 300]).unwrap_err().to_string();
        assert!(error.len() < 400 && error.is_ascii() || error.contains('…'), "{error}");
    }

    #[test]
    fn an_id_that_is_compared_is_the_id_that_is_read() {
        let long = format!("{}1795344942.320:71", "0".repeat(30));
        let lines = [
            "1795344942.320:71",
            "1795344942.320:71",
            "1795344942.320:72",
            "1795344942.320:7",
            "1795344942.320:71",
            "1795344942.321:71",
            &long,
            &long,
            "1.000:1",
            "1.000:1",
            "1.000:12",
            "1.000:1",
            "01.000:1",
            "1.000:1)",
            "1.000:12345",
            "1.000:12345678:9",
            "1795344942.5:1",
            "1795344942.25:1",
            "1795344942.999:1",
            "1795344942.1000:1",
            "",
            "1.000:2",
        ];
        let mut last = LastId::default();
        for id in lines {
            let line = format!("type=EOE msg=audit({id}): x=1");
            let (compared, read) =
                (last.parse(Line::from(&line)).ok(), LastId::default().parse(Line::from(&line)).ok());
            assert_eq!(compared.map(|one| (one.id, one.own())), read.map(|one| (one.id, one.own())), "{id}");
        }
    }

    #[test]
    fn an_end_of_line_is_no_text() {
        for end in ["", "\n", "\r\n", "\r"] {
            let line = format!("type=CWD msg=audit(1.000:1): cwd=\"/\"{end}");
            assert_eq!(parsed(&line).own(), b" cwd=\"/\"");
        }
    }

    #[test]
    fn fields_are_the_records_own() {
        let record = parsed(
            "type=X msg=audit(1.000:1): a=1 junk b=\"two words\" c= d=\"x\"e=2 msg='op=x id=\"y\" z' f=\x1dA=\"3\"",
        );
        let fields: Vec<_> = record.fields().map(|(name, value)| (name, value.written())).collect();
        let expected: [(&[u8], &[u8]); 7] = [
            (b"a", b"1"),
            (b"b", b"\"two words\""),
            (b"c", b""),
            (b"d", b"\"x\""),
            (b"e", b"2"),
            (b"msg", b"'op=x id=\"y\" z'"),
            (b"f", b""),
        ];
        assert_eq!(fields, expected);
        assert_eq!(record.interpretations(), b"A=\"3\"");
        assert_eq!(parsed("type=X msg=audit(1.000:1): a=1").interpretations(), b"");
        assert_eq!(record.field("a").written(), b"1");
        assert_eq!(record.field("A").written(), b"");
    }

    #[test]
    fn a_label_sets_no_field_and_the_first_field_stays() {
        let record = parsed("type=PATH msg=audit(1.000:1): inode=1 inode=2 obj=x ouid=0 inode=3 nametype=NORMAL");
        assert_eq!(record.field("inode").written(), b"1");
        assert_eq!(record.field("ouid").written(), b"");
    }

    #[test]
    fn the_first_field_is_read_as_any_other() {
        for own in [
            " a=1",
            "a=1 b=2",
            " a=\"x y\" b",
            "  a=1",
            " b=1 a=2",
            " a",
            " a=",
            "",
            " subj=x a=1",
            " a='x y'",
            " a=1\ta=2",
        ] {
            assert_eq!(first_field(own.as_bytes(), b"a="), field(own.as_bytes(), b"a"), "{own}");
        }
    }

    #[test]
    fn only_the_own_key_counts() {
        let table: &[(&str, &str)] = &[
            ("comm=\"x\" key=\"ours\"", "\"ours\""),
            ("comm=\"x\" key=\"ours\" ", "\"ours\""),
            ("comm=\"x\" key=(null)\x1dARCH=x86_64 UID=\"key=ours\"", "(null)"),
            ("key=\"first\" subj=x", "\"first\""),
            ("comm=\"x\" subj=a key=\"label\" (enforce) key=\"ours\"", "\"ours\""),
            ("comm=\"x\" subj=a key=\"label\" (enforce)", ""),
            ("comm=\"x\" subj=a key=\"label\"\x1dARCH=x (enforce) key=\"ours\"", "\"ours\""),
            ("comm=\"x\" subj=a key=\"label\"\x1dARCH=x (enforce) key=\"ours\"\x1dARCH=x86_64", "\"ours\""),
            ("comm=\"x\" monkey=\"ours\"", ""),
            ("a1=\"key=ours\"", ""),
            ("a1=\"two words key=ours\" b=c", ""),
            ("", ""),
        ];
        for (fields, key) in table {
            let line = format!("type=SYSCALL msg=audit(1.000:1): {fields}");
            assert_eq!(parsed(&line).key(), Value::new(key.as_bytes()), "{fields}");
        }
    }
}
