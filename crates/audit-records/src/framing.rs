//! Bytes become lines.

use memchr::memmem::{self, Finder};
use memchr::{memchr, memchr_iter};

/// The longest line, in bytes. The kernel's text ends at 8,970 (`MAX_AUDIT_MESSAGE_LENGTH`, lib/libaudit.h of
/// audit-userspace); auditd's interpretations can double it, and a node name may stand before it.
pub const MAX_LINE: usize = 2 * 8970 + 512;

/// The payload of a binary record up to auditd 4.1.1, in bytes, however short its text.
const FIXED_PAYLOAD: usize = 8970;

/// What is read at once, in bytes: some 300 records, so that a burst costs few system calls.
const CAPACITY: usize = 128 * 1024;

/// How far before `msg=audit(` a record may begin, in bytes: a type of 32 and a node name of 255.
const MAX_PREFIX: usize = 320;

/// What became of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramingCounts {
    /// Lines found.
    pub lines: u64,
    /// Lines that were cut off and joined to the next record, or cut off by the end of the stream; thrown away,
    /// since half a record says wrong things.
    pub torn: u64,
    /// Lines longer than [`MAX_LINE`], thrown away, and places where the binary format made no sense.
    pub oversized: u64,
}

/// How this auditd writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Not known yet.
    Unknown,
    /// A newline behind each record.
    Lines,
    /// Nothing between records (auditd 4.0.4 and 4.0.5).
    Joined,
    /// A header before each record.
    Binary(Payload),
}

/// How far it is from one binary header to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    /// Not known before the first record.
    Unknown,
    /// Not known behind the first record: the second begins here, or so many bytes further.
    Padded(usize),
    /// As the header says.
    Exact,
    /// Always [`FIXED_PAYLOAD`].
    Fixed,
}

/// Finds the lines in a stream of bytes.
///
/// Read into [`space`](Self::space), say how much with [`filled`](Self::filled), then take every [`line`](Self::line).
#[derive(Debug)]
pub struct Framer {
    buffer: Box<[u8]>,
    /// What is not consumed yet is `buffer[start..end]`.
    start: usize,
    end: usize,
    /// So many bytes behind `start` hold no newline.
    searched: usize,
    /// Bytes of a line given out and not consumed.
    pending: usize,
    /// The rest of a line too long is being thrown away.
    skipping: bool,
    format: Format,
    /// A binary record of protocol version 0, its type put before it.
    typed: Vec<u8>,
    mark: Finder<'static>,
    counts: FramingCounts,
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            buffer: vec![0; CAPACITY].into(),
            start: 0,
            end: 0,
            searched: 0,
            pending: 0,
            skipping: false,
            format: Format::Unknown,
            typed: Vec::new(),
            mark: Finder::new(b"msg=audit("),
            counts: FramingCounts::default(),
        }
    }
}

/// What stands at the beginning of the unread bytes.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// More bytes are needed to say.
    Nothing,
    /// A line of `length` bytes, `skip` bytes from here; the next one stands `next` bytes from here.
    Line { skip: usize, length: usize, next: usize },
    /// So many bytes are no line of ours; they were counted.
    Waste(usize),
}

impl Framer {
    /// What became of the bytes so far.
    #[must_use]
    pub fn counts(&self) -> FramingCounts {
        self.counts
    }

    /// Forgets what is unread and how the stream was written: another one begins.
    pub fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
        self.searched = 0;
        self.pending = 0;
        self.skipping = false;
        self.format = Format::Unknown;
    }

    /// Where to read into; never empty once every [`line`](Self::line) was taken.
    pub fn space(&mut self) -> &mut [u8] {
        self.consume_pending();
        // What is unread is at most two lines: moving it now and then costs less than reading in small pieces.
        if self.start == self.end || self.buffer.len() - self.end < CAPACITY / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Whether part of a line waits for the rest of it.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.start < self.end
    }

    /// So many bytes were read into [`space`](Self::space).
    pub fn filled(&mut self, bytes: usize) {
        self.end = self.buffer.len().min(self.end + bytes);
    }

    /// The next line; `None` until more bytes are there.
    pub fn line(&mut self) -> Option<&[u8]> {
        self.take(|framer| framer.find())
    }

    /// The EOE that stands at the end of a stream without newlines while nothing more arrives: the one record that
    /// somebody waits for, and the one that is known to be whole.
    pub fn line_when_silent(&mut self) -> Option<&[u8]> {
        self.take(|framer| {
            let rest = framer.unread().trim_ascii_end();
            let is_eoe = memmem::find(rest, b"type=EOE msg=audit(").is_some() && rest.ends_with(b"):");
            if framer.format == Format::Joined && is_eoe { framer.rest() } else { Found::Nothing }
        })
    }

    /// The line that stands at the end of a stream that has ended. Where lines end in newlines what has none is torn.
    pub fn last_line(&mut self) -> Option<&[u8]> {
        self.take(|framer| match framer.format {
            Format::Unknown | Format::Joined => framer.find_joined_at_end(),
            Format::Lines | Format::Binary(_) => {
                let rest = framer.unread().len();
                framer.counts.torn += u64::from(rest > 0 && !framer.skipping);
                framer.advance(rest);
                Found::Nothing
            }
        })
    }

    fn take(&mut self, find: impl Fn(&mut Self) -> Found) -> Option<&[u8]> {
        self.consume_pending();
        loop {
            match find(self) {
                Found::Nothing => return None,
                Found::Waste(bytes) => self.advance(bytes),
                Found::Line { length: 0, next, .. } => self.advance(next),
                Found::Line { skip, length, next } => {
                    self.counts.lines += 1;
                    self.pending = next;
                    if !self.typed.is_empty() {
                        return Some(&self.typed);
                    }
                    let begin = self.start + skip;
                    return self.buffer.get(begin..begin + length);
                }
            }
        }
    }

    fn consume_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.advance(pending);
        self.typed.clear();
    }

    fn advance(&mut self, bytes: usize) {
        self.start = self.end.min(self.start + bytes);
        self.searched = 0;
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn find(&mut self) -> Found {
        if self.format == Format::Unknown && !self.recognise() {
            return Found::Nothing;
        }
        match self.format {
            Format::Binary(payload) => self.find_binary(payload),
            Format::Joined => self.find_joined(),
            Format::Lines | Format::Unknown => self.find_line(),
        }
    }

    /// Tells the format by the first bytes of a stream; whether they suffice. Records without newlines are told from
    /// a torn line by three of them in a row.
    fn recognise(&mut self) -> bool {
        let unread = self.unread();
        match unread.first() {
            None => return false,
            Some(0 | 1) => {
                if unread.len() < HEADER {
                    return false;
                }
                self.format =
                    if Header::read(unread).is_some() { Format::Binary(Payload::Unknown) } else { Format::Lines };
                return true;
            }
            Some(_) => {}
        }
        let window = unread.get(..MAX_LINE).unwrap_or(unread);
        let newline = memchr(b'\n', window);
        let before = window.get(..newline.unwrap_or(window.len())).unwrap_or_default();
        let third = self.record_starts(before).filter(|&at| at > 0).nth(1);
        self.format = match (third, newline) {
            (Some(_), _) => Format::Joined,
            (None, Some(_)) => Format::Lines,
            (None, None) if window.len() == MAX_LINE => Format::Lines,
            (None, None) => return false,
        };
        true
    }

    fn find_line(&mut self) -> Found {
        let unread = self.unread();
        let window = unread.get(..=MAX_LINE).unwrap_or(unread);
        let new = window.get(self.searched..).unwrap_or_default();
        let Some(newline) = memchr(b'\n', new).map(|at| at + self.searched) else {
            let length = window.len();
            self.searched = length;
            return if length > MAX_LINE { self.discard_oversized() } else { Found::Nothing };
        };
        let line = window.get(..newline).unwrap_or_default();
        let second = self.record_starts(line).find(|&at| at >= self.first_start() && !is_quoted(line, at));
        match second {
            Some(second) => {
                self.counts.torn += u64::from(!self.skipping);
                self.skipping = false;
                Found::Waste(second)
            }
            None if std::mem::take(&mut self.skipping) => Found::Waste(newline + 1),
            None => Found::Line { skip: 0, length: newline, next: newline + 1 },
        }
    }

    fn find_joined(&mut self) -> Found {
        let unread = self.unread();
        let window = unread.get(..MAX_LINE).unwrap_or(unread);
        let newline = memchr(b'\n', window);
        let before = window.get(..newline.unwrap_or(window.len())).unwrap_or_default();
        let is_open = |at| is_open_quote(before.get(..at).unwrap_or_default());
        let second = self.record_starts(before).find(|&at| at >= self.first_start() && !is_open(at));
        let (length, next) = match (second, newline) {
            (Some(second), _) => (second, second),
            (None, Some(newline)) => (newline, newline + 1),
            (None, None) if window.len() == MAX_LINE => return self.discard_oversized(),
            (None, None) => return Found::Nothing,
        };
        if second.is_none() {
            self.format = Format::Lines;
        }
        if std::mem::take(&mut self.skipping) { Found::Waste(next) } else { Found::Line { skip: 0, length, next } }
    }

    /// Throws away the beginning of a line that is too long, up to the next record in it where there is one.
    fn discard_oversized(&mut self) -> Found {
        self.counts.oversized += u64::from(!self.skipping);
        let window = self.unread().get(..MAX_LINE).unwrap_or_default();
        let second = self.record_starts(window).find(|&at| at >= self.first_start());
        self.skipping = second.is_none();
        // The next record may begin in the last bytes and go on behind them.
        Found::Waste(second.unwrap_or(MAX_LINE - MAX_PREFIX))
    }

    /// From where on a record is another one than that which stands at the beginning.
    fn first_start(&self) -> usize {
        usize::from(!self.skipping)
    }

    fn find_joined_at_end(&mut self) -> Found {
        match self.find_joined() {
            Found::Nothing => self.rest(),
            found => found,
        }
    }

    /// All that is unread is one line.
    fn rest(&self) -> Found {
        match self.unread().len() {
            0 => Found::Nothing,
            length => Found::Line { skip: 0, length, next: length },
        }
    }

    fn find_binary(&mut self, payload: Payload) -> Found {
        let unread = self.unread();
        let Some(header) = Header::read(unread) else {
            return if unread.len() < HEADER { Found::Nothing } else { self.find_header(payload) };
        };
        let Some(text) = unread.get(HEADER..HEADER + header.size) else { return Found::Nothing };
        let next = match payload {
            Payload::Fixed => HEADER + FIXED_PAYLOAD.max(header.size),
            Payload::Exact | Payload::Unknown | Payload::Padded(_) => HEADER + header.size,
        };
        if unread.len() < next {
            return Found::Nothing;
        }
        let length = text.iter().rposition(|byte| !matches!(byte, 0 | b'\n')).map_or(0, |last| last + 1);
        if header.version == 0 && length > 0 {
            let mut typed = format!("type=UNKNOWN[{}] msg=", header.record_type).into_bytes();
            typed.extend_from_slice(text.get(..length).unwrap_or_default());
            self.typed = typed;
        }
        self.skipping = false;
        self.format = Format::Binary(match payload {
            Payload::Unknown => Payload::Padded(FIXED_PAYLOAD.saturating_sub(header.size)),
            Payload::Padded(_) => Payload::Exact,
            known => known,
        });
        Found::Line { skip: HEADER, length, next }
    }

    /// Finds the next header where none is: behind the padding of the first record, else wherever the stream makes sense
    /// again.
    fn find_header(&mut self, payload: Payload) -> Found {
        let unread = self.unread();
        if let Payload::Padded(padding) = payload {
            if unread.len() < padding + HEADER {
                return Found::Nothing;
            }
            if unread.get(padding..).and_then(Header::read).is_some() {
                self.format = Format::Binary(Payload::Fixed);
                return Found::Waste(padding);
            }
        }
        let window = unread.get(..2 * MAX_LINE).unwrap_or(unread);
        let next = memchr_iter(16, window)
            .filter_map(|at| at.checked_sub(HEADER_LENGTH_AT))
            .find(|&at| window.get(at..).and_then(Header::read).is_some());
        let waste = match next {
            Some(next) => next,
            None if window.len() == 2 * MAX_LINE => MAX_LINE,
            None => return Found::Nothing,
        };
        self.counts.oversized += u64::from(!self.skipping);
        self.skipping = true;
        self.format = Format::Binary(match payload {
            Payload::Padded(_) => Payload::Unknown,
            other => other,
        });
        Found::Waste(waste)
    }

    /// Where records begin in `line`: `[node=NAME ]type=NAME msg=audit(`.
    fn record_starts(&self, line: &[u8]) -> impl Iterator<Item = usize> {
        self.mark.find_iter(line).filter_map(|mark| {
            let low = mark.saturating_sub(MAX_PREFIX);
            Some(low + record_prefix(line.get(low..mark)?)?)
        })
    }
}

/// Where in `before`, the text that leads to `msg=audit(`, the record begins.
fn record_prefix(before: &[u8]) -> Option<usize> {
    let name_end = before.len().checked_sub(1)?;
    if before.get(name_end) != Some(&b' ') {
        return None;
    }
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'[' | b']');
    let name_start = before.get(..name_end)?.iter().rposition(|byte| !is_name(byte))? + 1;
    let head = before.get(..name_start)?;
    let type_start = head.strip_suffix(b"type=")?.len();
    if name_start == name_end {
        return None;
    }
    let node = before.get(..type_start)?.strip_suffix(b" ").and_then(|head| {
        let word = head.iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
        let at = memmem::rfind(head.get(word..)?, b"node=")?;
        Some(word + at)
    });
    Some(node.unwrap_or(type_start))
}

/// Whether what stands at `at` is text that a program gave to audit: `msg='…'` opened before it and closed behind it.
fn is_quoted(line: &[u8], at: usize) -> bool {
    let (before, behind) = line.split_at_checked(at).unwrap_or((line, b""));
    is_open_quote(before) && memchr(b'\'', behind).is_some()
}

/// Whether a `msg='` is open at the end of `text`.
fn is_open_quote(text: &[u8]) -> bool {
    let opened = memmem::find(text, b"msg='").and_then(|at| text.get(at + 5..));
    opened.is_some_and(|behind| memchr(b'\'', behind).is_none())
}

/// The size of a binary header in bytes: `struct audit_dispatcher_header`, lib/libaudit.h of audit-userspace.
const HEADER: usize = 16;

/// Where in a header the one byte of its length that is not zero stands.
const HEADER_LENGTH_AT: usize = if cfg!(target_endian = "little") { 4 } else { 7 };

struct Header {
    version: u32,
    record_type: u32,
    size: usize,
}

impl Header {
    /// A header that makes sense, from the first bytes.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.get(..HEADER)?.as_chunks::<4>();
        let [version, length, record_type, size] = *words else { return None };
        let word = u32::from_ne_bytes;
        let size = usize::try_from(word(size)).ok()?;
        let (version, record_type) = (word(version), word(record_type));
        let makes_sense = version <= 1 && word(length) == 16 && record_type < 0x1_0000 && size <= MAX_LINE;
        makes_sense.then_some(Self { version, record_type, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines of `stream`, read in pieces of `step` bytes.
    fn frame(stream: &[u8], step: usize) -> (Vec<String>, FramingCounts) {
        let mut framer = Framer::default();
        let mut lines = Vec::new();
        let mut keep = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        for mut piece in stream.chunks(step) {
            while !piece.is_empty() {
                let space = framer.space();
                let taken = space.len().min(piece.len());
                assert!(taken > 0, "no space");
                space[..taken].copy_from_slice(&piece[..taken]);
                framer.filled(taken);
                piece = &piece[taken..];
                while let Some(line) = framer.line() {
                    keep(line);
                }
            }
        }
        while let Some(line) = framer.last_line() {
            keep(line);
        }
        (lines, framer.counts())
    }

    fn record(name: &str, text: &str) -> String {
        format!("type={name} msg=audit(1.000:1): {text}")
    }

    fn binary(version: u32, text: &str, payload: usize) -> Vec<u8> {
        let size = u32::try_from(text.len()).unwrap();
        let mut bytes: Vec<u8> = [version, 16, 1300, size].into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(16 + payload.max(text.len()), 0);
        bytes
    }

    #[track_caller]
    fn check(stream: impl AsRef<[u8]>, lines: &[&str], torn: u64, oversized: u64) {
        for step in [1, 2, 3, 7, 16, 100, 8192, usize::MAX] {
            if step < stream.as_ref().len() / 5000 {
                continue;
            }
            let (found, counts) = frame(stream.as_ref(), step);
            let expected = FramingCounts { lines: lines.len() as u64, torn, oversized };
            assert_eq!(found, lines, "in steps of {step}");
            assert_eq!(counts, expected, "in steps of {step}");
        }
    }

    #[test]
    fn newlines() {
        let (a, b) = (record("SYSCALL", "a=1"), format!("node=vm {}", record("CWD", "cwd=\"/\"")));
        check(format!("{a}\n{b}\n"), &[&a, &b], 0, 0);
        check(format!("\n\n{a}\n\n{b}\n"), &[&a, &b], 0, 0);
        check("", &[], 0, 0);
        check("\n", &[], 0, 0);
    }

    #[test]
    fn noise_is_a_line_too() {
        let a = record("SYSCALL", "a=1");
        check(format!("noise\n{a}\n"), &["noise", &a], 0, 0);
    }

    #[test]
    fn a_torn_line_is_thrown_away_and_what_is_joined_to_it_is_not() {
        let (a, b) = (record("SYSCALL", "a=1"), record("CWD", "cwd=\"/\""));
        let node = format!("node=vm {b}");
        for cut in [
            "type=SYSC",
            "type=SYSCALL msg=audit(1.0",
            "type=PATH msg=audit(1.000:1): name",
            "n",
            "type=X msg=audit(1.0:1): comm=\"fu",
        ] {
            check(format!("{a}\n{cut}{b}\n{a}\n"), &[&a, &b, &a], 1, 0);
            check(format!("{a}\n{cut}{node}\n{a}\n"), &[&a, &node, &a], 1, 0);
        }
        check(format!("{cut}{b}\n{a}\n", cut = "type=PATH msg=audit(1.000:1): name"), &[&b, &a], 1, 0);
    }

    #[test]
    fn the_end_of_the_stream_tears_too() {
        let a = record("SYSCALL", "a=1");
        check(format!("{a}\n{cut}", cut = &a[..20]), &[&a], 1, 0);
        check(&a, &[&a], 0, 0);
    }

    #[test]
    fn nothing_between_records() {
        let records: Vec<String> =
            ["SYSCALL", "CWD", "PATH", "EOE"].map(|name| record(name, "x=\"1\"")).into_iter().collect();
        let lines: Vec<&str> = records.iter().map(String::as_str).collect();
        check(records.concat(), &lines, 0, 0);
        check(records[..2].concat(), &lines[..2], 0, 0);
        let with_node: Vec<String> = records.iter().map(|record| format!("node=vm {record}")).collect();
        check(with_node.concat(), &with_node.iter().map(String::as_str).collect::<Vec<_>>(), 0, 0);
        let mixed = format!("{}{}{}\n{}\n", records[0], records[1], records[2], records[3]);
        check(mixed, &lines, 0, 0);
    }

    #[test]
    fn text_that_a_program_gave_is_no_record() {
        let fake = record("SYSCALL", "key=\"opensnitch\"");
        let user = record("USER_CMD", &format!("pid=1 msg='op=x {fake} res=success'"));
        let next = record("CWD", "cwd=\"/\"");
        check(format!("{user}\n{next}\n"), &[&user, &next], 0, 0);
        check([&*user, &next, &user, &next].concat(), &[&user, &next, &user, &next], 0, 0);
        let torn = record("USER_CMD", "pid=1 msg='op=x acct=\"ro");
        check(format!("{next}\n{torn}{next}\n"), &[&next, &next], 1, 0);
    }

    #[test]
    fn lines_over_the_limit() {
        let a = record("CWD", "cwd=\"/\"");
        let full = record("CWD", &"x".repeat(MAX_LINE - record("CWD", "").len()));
        check(format!("{a}\n{full}\n{a}\n"), &[&a, &full, &a], 0, 0);
        for more in [1, 2, MAX_PREFIX, MAX_LINE, 3 * MAX_LINE, 200_000] {
            let long = format!("{full}{}", "y".repeat(more));
            check(format!("{a}\n{long}\n{a}\n"), &[&a, &a], 0, 1);
            check(format!("{a}\n{long}{a}\n{a}\n"), &[&a, &a, &a], 0, 1);
        }
        let joined = [&*a, &a, &a, &full, &"y".repeat(50_000), &a, &a].concat();
        check(joined, &[&a, &a, &a, &a, &a], 0, 1);
    }

    #[test]
    fn binary_with_either_payload() {
        let (a, b) = (record("SYSCALL", "a=1"), record("CWD", "cwd=\"/\""));
        for payload in [0, FIXED_PAYLOAD] {
            let stream: Vec<u8> = [&a, &b, &a].iter().flat_map(|text| binary(1, text, payload)).collect();
            check(&stream, &[&a, &b, &a], 0, 0);
            let newline: Vec<u8> = [&a, &b].iter().flat_map(|text| binary(1, &format!("{text}\n"), payload)).collect();
            check(&newline, &[&a, &b], 0, 0);
        }
        let untyped = binary(0, "audit(1.000:1): a=1", 0);
        check([untyped.clone(), untyped].concat(), &["type=UNKNOWN[1300] msg=audit(1.000:1): a=1"; 2], 0, 0);
    }

    #[test]
    fn binary_finds_its_way_back() {
        let a = record("SYSCALL", "a=1");
        let whole = binary(1, &a, 0);
        let torn = &whole[..whole.len() - 5];
        let stream = [&whole[..], &whole, torn, &whole, &whole, &whole].concat();
        let (lines, counts) = frame(&stream, usize::MAX);
        assert!(lines.len() >= 4 && counts.oversized == 1, "{lines:?} {counts:?}");
        assert_eq!(lines.last(), Some(&a));
    }

    #[test]
    fn silence_finishes_what_waits_for_an_end() {
        let (a, eoe) = (record("SYSCALL", "a=1"), record("EOE", ""));
        let mut framer = Framer::default();
        let stream = [&*a, &a, &eoe].concat();
        framer.space()[..stream.len()].copy_from_slice(stream.as_bytes());
        framer.filled(stream.len());
        assert!(framer.line().is_some() && framer.line().is_some());
        assert_eq!(framer.line(), None);
        assert_eq!(framer.line_when_silent(), Some(eoe.as_bytes()));
        assert_eq!(framer.line_when_silent(), None);
    }
}
