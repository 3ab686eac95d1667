//! Bytes become lines.

use std::ops::Range;

use memchr::memmem;
use memchr::{memchr, memchr_iter, memchr2_iter};

use crate::line::{self, Line};
use crate::record::ENRICHED_SEPARATOR;

/// The longest line, in bytes. The kernel's text ends at 8,970 (`MAX_AUDIT_MESSAGE_LENGTH`, lib/libaudit.h of
/// audit-userspace); auditd's interpretations can double it, and a node name may stand before it.
pub const MAX_LINE: usize = 2 * 8970 + 512;

/// The payload of a binary record up to auditd 4.1.1, in bytes, however short its text.
const FIXED_PAYLOAD: usize = 8970;

/// What is read at once, in bytes: some 300 records, so that a burst costs few system calls.
const CAPACITY: usize = 128 * 1024;

/// In every record's header.
const MARK: &[u8; 10] = b"msg=audit(";

/// How far before [`MARK`] a record may begin, in bytes: a type of 32 and a node name of 255.
const MAX_PREFIX: usize = 320;

/// What became of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramingCounts {
    /// Lines found.
    pub lines: u64,
    /// Lines in which a second record begins, or that the end of the stream cut off. They are thrown away: which half is whole
    /// cannot be told, and a program may have written the second beginning. Where it stands behind the line's own
    /// fields, in auditd's interpretations, and these fields hold no security label, the line is given out without them.
    pub torn: u64,
    /// Lines longer than [`MAX_LINE`], thrown away, and places where the binary format made no sense.
    pub oversized: u64,
}

/// How this auditd writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
enum Format {
    /// Not known yet.
    Unknown,
    /// A newline behind each record.
    Lines,
    /// A header before each record.
    Binary(Payload),
}

/// How far it is from one binary header to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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

/// Finds the lines in a stream of bytes, as auditd's af_unix plugin writes it: text, or the binary format with a header
/// before each record. A file such as `audit.log` is read the same way.
///
/// Read into [`space`](Self::space), say how much with [`filled`](Self::filled), then take every [`line`](Self::line).
///
/// ```
/// use audit_records::Framer;
///
/// let mut framer = Framer::default();
/// let bytes = b"type=EOE msg=audit(1.000:1): \ntype=EOE msg=audit(1.000:2): \nty";
/// framer.space()[..bytes.len()].copy_from_slice(bytes);
/// framer.filled(bytes.len());
/// assert_eq!(framer.line().as_deref(), Some(&b"type=EOE msg=audit(1.000:1): "[..]));
/// assert_eq!(framer.line().as_deref(), Some(&b"type=EOE msg=audit(1.000:2): "[..]));
/// assert_eq!(framer.line().as_deref(), None);
/// ```
///
/// A record never begins inside a line. Text that a program chose stands in some records as it is, so that `type=…
/// msg=audit(…` in the middle of a line may be a forgery as well as a line that was torn: see [`FramingCounts::torn`].
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
    /// A newline came.
    has_newlines: bool,
    /// Records were thrown away since the last newline, so many that one must be missing.
    lacks_newlines: bool,
    format: Format,
    /// A binary record of protocol version 0, its type put before it.
    typed: Vec<u8>,
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
            has_newlines: false,
            lacks_newlines: false,
            format: Format::Unknown,
            typed: Vec::new(),
            counts: FramingCounts::default(),
        }
    }
}

/// Where a [`Framer`] is in its stream, for another one that goes on from there, in another process even.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FramerState {
    /// The beginning of a line, or of a binary record.
    unread: Vec<u8>,
    skipping: bool,
    has_newlines: bool,
    lacks_newlines: bool,
    format: Format,
    /// The end of a line that is thrown away is still to come, and was not counted.
    is_torn: bool,
}

impl FramerState {
    /// The same place of the stream, where the bytes that are read and not given out yet are lost: whoever goes on from
    /// here throws the rest of their line away, and counts it as torn.
    #[must_use]
    pub fn without_rest(self) -> Self {
        if self.unread.is_empty() { self } else { self.somewhere_behind() }
    }

    /// Somewhere behind this place of the stream, nobody knows where in a line: the rest of that one is thrown away.
    #[must_use]
    pub fn somewhere_behind(self) -> Self {
        Self { unread: Vec::new(), is_torn: self.is_torn || !self.skipping, skipping: true, ..self }
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

    /// Whether this stream puts no newline between its records, as auditd 4.0.4 and 4.0.5 do: three began since the last
    /// one. Such a stream cannot be told from one forged, and no line of it is given out. The plugin's `format = binary`
    /// can be read.
    #[must_use]
    pub fn is_newline_less(&self) -> bool {
        let waits_for_newline = || !matches!(self.format, Format::Binary(_)) && memchr(b'\n', self.unread()).is_none();
        self.lacks_newlines || waits_for_newline() && lacks_newline(self.unread())
    }

    /// Forgets what is unread and how the stream was written: another one begins.
    pub fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
        self.searched = 0;
        self.pending = 0;
        self.skipping = false;
        self.has_newlines = false;
        self.lacks_newlines = false;
        self.format = Format::Unknown;
        self.typed.clear();
    }

    /// Where it is in its stream. What was counted so far is no part of it.
    #[must_use]
    pub fn state(&self) -> FramerState {
        FramerState {
            unread: self.unread().get(self.pending..).unwrap_or_default().to_vec(),
            skipping: self.skipping,
            has_newlines: self.has_newlines,
            lacks_newlines: self.lacks_newlines,
            format: self.format,
            is_torn: false,
        }
    }

    /// Goes on where another one was, on the rest of the same stream. `None` where no framer can have been there.
    ///
    /// ```
    /// use audit_records::Framer;
    ///
    /// let (first, second) = (b"type=EOE msg=aud", b"it(1.000:1): \n");
    /// let mut framer = Framer::default();
    /// framer.space()[..first.len()].copy_from_slice(first);
    /// framer.filled(first.len());
    /// assert_eq!(framer.line().as_deref(), None);
    ///
    /// let mut framer = Framer::resume(framer.state()).unwrap();
    /// framer.space()[..second.len()].copy_from_slice(second);
    /// framer.filled(second.len());
    /// assert_eq!(framer.line().as_deref(), Some(&b"type=EOE msg=audit(1.000:1): "[..]));
    /// ```
    #[must_use]
    pub fn resume(state: FramerState) -> Option<Self> {
        let FramerState { unread, skipping, has_newlines, lacks_newlines, format, is_torn } = state;
        if matches!(format, Format::Binary(Payload::Padded(padding)) if padding > FIXED_PAYLOAD) {
            return None;
        }
        let counts = FramingCounts { torn: is_torn.into(), ..FramingCounts::default() };
        let mut framer = Self { skipping, has_newlines, lacks_newlines, format, counts, ..Self::default() };
        // What no line could be found in yet: less than its buffer holds.
        framer.buffer.get_mut(..unread.len()).filter(|_| unread.len() < CAPACITY / 2)?.copy_from_slice(&unread);
        framer.end = unread.len();
        Some(framer)
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
        self.start + self.pending < self.end
    }

    /// So many bytes were read into [`space`](Self::space).
    pub fn filled(&mut self, bytes: usize) {
        self.end = self.buffer.len().min(self.end.saturating_add(bytes));
    }

    /// The next line, without its end; `None` until more bytes are there.
    pub fn line(&mut self) -> Option<Line<'_>> {
        self.counted_line().map(|(line, _)| line)
    }

    /// As [`line`](Self::line), and how many lines were [torn](FramingCounts::torn) by then, this one among them: whoever
    /// goes on from there may have to know before it reads on.
    pub fn counted_line(&mut self) -> Option<(Line<'_>, u64)> {
        self.consume_pending();
        match self.plain_line() {
            Some((header, range)) => {
                let text = self.buffer.get(range)?;
                Some((Line { text, header: Some(header) }, self.counts.torn))
            }
            None => self.take(Self::find),
        }
    }

    /// As [`line`](Self::line), at the end of a stream. What has no newline is torn, but for a line that is the whole stream.
    pub fn last_line(&mut self) -> Option<Line<'_>> {
        self.last_counted_line().map(|(line, _)| line)
    }

    /// As [`last_line`](Self::last_line) and [`counted_line`](Self::counted_line).
    pub fn last_counted_line(&mut self) -> Option<(Line<'_>, u64)> {
        self.consume_pending();
        self.take(|framer| {
            if framer.format == Format::Unknown && framer.recognise().is_none() {
                // Too short for a header: then it is text, whatever it begins with.
                framer.format = Format::Lines;
            }
            match framer.find() {
                Found::Nothing => framer.find_at_end(),
                found => found,
            }
        })
    }

    fn take(&mut self, find: impl Fn(&mut Self) -> Found) -> Option<(Line<'_>, u64)> {
        loop {
            match find(self) {
                Found::Nothing => return None,
                Found::Waste(bytes) => self.advance(bytes),
                Found::Line { length: 0, next, .. } => self.advance(next),
                Found::Line { skip, length, next } => {
                    self.counts.lines += 1;
                    self.pending = next;
                    let torn = self.counts.torn;
                    if !self.typed.is_empty() {
                        return Some((Line::from(&self.typed), torn));
                    }
                    let begin = self.start + skip;
                    return self.buffer.get(begin..begin + length).map(|line| (Line::from(line), torn));
                }
            }
        }
    }

    fn consume_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending > 0 {
            self.advance(pending);
            self.typed.clear();
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.start = self.end.min(self.start + bytes);
        self.searched = 0;
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn find(&mut self) -> Found {
        match self.format {
            Format::Binary(payload) => self.find_binary(payload),
            Format::Lines => self.find_line(),
            Format::Unknown => match self.recognise() {
                None => Found::Nothing,
                Some(format) => {
                    self.format = format;
                    self.find()
                }
            },
        }
    }

    /// Tells the format by the first bytes of a stream, where there are enough: text does not begin with a number.
    fn recognise(&self) -> Option<Format> {
        let unread = self.unread();
        match unread.first()? {
            0 | 1 if unread.len() < HEADER => None,
            0 | 1 if Header::read(unread).is_some() => Some(Format::Binary(Payload::Unknown)),
            _ => Some(Format::Lines),
        }
    }

    /// The next line, where it is here as a whole, begins as nearly all do, and no other record begins in it; what
    /// [`find_line`](Self::find_line) would find. One pass: where the line ends, and whether there is a second mark.
    #[inline]
    fn plain_line(&mut self) -> Option<(line::Header, Range<usize>)> {
        if self.format != Format::Lines || self.skipping || self.searched > 0 {
            return None;
        }
        let unread = self.unread();
        let header = line::Header::of(unread)?;
        let text = unread.get(header.length..)?;
        let mut has_mark = false;
        let newline = memchr2_iter(b'\n', b'(', text).find(|&at| {
            let is_newline = text.get(at) == Some(&b'\n');
            has_mark |= !is_newline && ends_mark(text, at);
            is_newline
        })?;
        let length = header.length + newline;
        if has_mark || length > MAX_LINE {
            return None;
        }
        let end = if text.get(..newline)?.ends_with(b"\r") { length - 1 } else { length };
        self.has_newlines = true;
        self.lacks_newlines = false;
        self.counts.lines += 1;
        self.pending = length + 1;
        Some((header, self.start..self.start + end))
    }

    fn find_line(&mut self) -> Found {
        let unread = self.unread();
        let window = unread.get(..=MAX_LINE).unwrap_or(unread);
        let Some(newline) = memchr(b'\n', window.get(self.searched..).unwrap_or_default()) else {
            let length = window.len();
            if length > MAX_LINE {
                self.lacks_newlines |= lacks_newline(window);
                self.counts.oversized += u64::from(!self.skipping);
                self.skipping = true;
                return Found::Waste(length);
            }
            self.searched = length;
            return Found::Nothing;
        };
        let newline = self.searched + newline;
        let next = newline + 1;
        self.has_newlines = true;
        self.lacks_newlines = false;
        if std::mem::take(&mut self.skipping) {
            return Found::Waste(next);
        }
        let line = self.unread().get(..newline).unwrap_or_default();
        let (length, is_torn) = whole(line.strip_suffix(b"\r").unwrap_or(line));
        self.counts.torn += u64::from(is_torn);
        Found::Line { skip: 0, length, next }
    }

    /// What has no newline at the end of the stream.
    fn find_at_end(&mut self) -> Found {
        let rest = self.unread();
        let length = rest.len();
        if length == 0 {
            return Found::Nothing;
        }
        let is_text = !matches!(self.format, Format::Binary(_));
        if is_text && !self.has_newlines && !self.skipping && whole(rest) == (length, false) {
            return Found::Line { skip: 0, length, next: length };
        }
        self.counts.torn += u64::from(!self.skipping);
        Found::Waste(length)
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
        let length = text.iter().rposition(|byte| !matches!(byte, 0 | b'\n' | b'\r')).map_or(0, |last| last + 1);
        let text = text.get(..length).unwrap_or_default();
        if memchr(0, text).is_some() {
            // No text holds a NUL: the record is torn, and what was to be its end is the next one.
            self.counts.torn += u64::from(!self.skipping);
            self.skipping = true;
            return Found::Waste(HEADER);
        }
        let (length, is_torn) = match memchr(b'\n', text) {
            Some(_) => (0, true),
            None => whole(text),
        };
        if header.version == 0 && length > 0 {
            let mut typed = format!("type=UNKNOWN[{}] msg=", header.record_type).into_bytes();
            typed.extend_from_slice(text.get(..length).unwrap_or_default());
            self.typed = typed;
        }
        self.counts.torn += u64::from(is_torn);
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
}

/// How many bytes of `line` are one record for certain, and whether another one begins in it.
fn whole(line: &[u8]) -> (usize, bool) {
    let Some(second) = record_starts(line).find(|&at| at > 0) else {
        return (line.len(), false);
    };
    let before = line.get(..second).unwrap_or_default();
    let own = memchr(ENRICHED_SEPARATOR, before).and_then(|length| line.get(..length)).unwrap_or_default();
    // A label may hold the separator: then the record's own end is behind it, and what stands before it may be a lie.
    let has_label = [&b"subj="[..], b"obj="].iter().any(|label| memmem::find(own, label).is_some());
    (if has_label { 0 } else { own.len() }, true)
}

/// Whether so many records begin in `text`, which has no newline, that there should be one: two may be a torn line.
fn lacks_newline(text: &[u8]) -> bool {
    record_starts(text).nth(2).is_some()
}

/// Where [`MARK`] stands in `text`: parentheses are rare, and one byte is found faster than ten.
fn marks(text: &[u8]) -> impl Iterator<Item = usize> {
    memchr_iter(b'(', text).filter(|&at| ends_mark(text, at)).map(|at| at + 1 - MARK.len())
}

/// Whether a [`MARK`] ends with the byte at this place.
fn ends_mark(text: &[u8], at: usize) -> bool {
    text.get(..=at).is_some_and(|text| text.ends_with(MARK))
}

/// Where records begin in `line`: `[node=NAME ]type=NAME msg=audit(`.
fn record_starts(line: &[u8]) -> impl Iterator<Item = usize> {
    marks(line).filter_map(|mark| {
        let low = mark.saturating_sub(MAX_PREFIX);
        Some(low + record_prefix(line.get(low..mark)?)?)
    })
}

/// Whether the name of a type may hold this: `SYSCALL`, `UNKNOWN[1336]`.
const fn is_name(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'[' | b']')
}

/// Where in `before`, the text that leads to `msg=audit(`, the record begins.
fn record_prefix(before: &[u8]) -> Option<usize> {
    let name_end = before.len().checked_sub(1)?;
    if before.get(name_end) != Some(&b' ') {
        return None;
    }
    let name_start = before.get(..name_end)?.iter().rposition(|&byte| !is_name(byte))? + 1;
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
        let mut keep = |line: Line<'_>| lines.push(String::from_utf8_lossy(&line).into_owned());
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
    fn no_line_is_passed_over_in_which_a_record_begins() {
        let lines = [
            "type=SYSCALL msg=audit(1.000:1): a0=1 key=\"x\"",
            "node=vm type=UNKNOWN[1336] msg=audit(1.000:1): a0=1",
            "type=type=EOE msg=audit(1.000:1): ",
            "type=SOCKADDR msg=audit(1.000:1): saddr=02",
            "type=PROCTITLE msg=audit(1.000:1): proctitle=61",
            "type=EOE msg=audit(1.000:1): ",
            "type=PATH msg=audit(1.000:1): item=0",
            "type=EXECVE msg=audit(1.000:1): argc=0",
            "type=URINGOP msg=audit(1.000:1): uring_op=16",
            "type=CWD msg=audit(1.000:1): cwd=\"/\" type=CWD msg=audit(1.000:2): ",
            "type=A_NAME_LONGER_THAN_ANY_THAT_THE_KERNEL_HAS msg=audit(1.000:1): (",
            "msg=audit(type= msg=audit(",
        ];
        let mut framer = Framer::default();
        let mut torn = 0;
        for line in lines {
            for at in 0..line.len() {
                for byte in *b" =(X" {
                    let mut changed = format!("{line}\n").into_bytes();
                    changed[at] = byte;
                    framer.space()[..changed.len()].copy_from_slice(&changed);
                    framer.filled(changed.len());
                    while let Some(line) = framer.line() {
                        // What was seen of it beside its end is what it says.
                        let [seen, read] = [crate::parse(line), crate::parse(line.text)];
                        let told = |one: crate::Record<'_>| (one.kind, one.id, one.own().to_vec());
                        assert_eq!(seen.map(told), read.map(told), "{}", line.escape_ascii());
                    }
                    torn += u64::from(record_starts(&changed).any(|at| at > 0));
                    assert_eq!(framer.counts().torn, torn, "{}", changed.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn another_stream_begins_with_its_own_line() {
        let mut framer = Framer::default();
        let read = |framer: &mut Framer, bytes: &[u8]| {
            framer.space()[..bytes.len()].copy_from_slice(bytes);
            framer.filled(bytes.len());
            framer.line().map(|line| String::from_utf8_lossy(&line).into_owned())
        };
        // Of version 0: the line is made, and lies beside what was read.
        assert!(read(&mut framer, &binary(0, "audit(1.000:1): a=1", 0)).is_some());
        framer.reset();
        let line = record("SYSCALL", "a=2");
        assert_eq!(read(&mut framer, format!("{line}\n").as_bytes()), Some(line));
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
    fn carriage_returns_are_part_of_the_end() {
        let a = record("SYSCALL", "a=1");
        check(format!("{a}\r\n\r\n{a}\r\n"), &[&a, &a], 0, 0);
        check(format!("{a}\r\n{a}\r\n{a}\n"), &[&a, &a, &a], 0, 0);
    }

    #[test]
    fn a_line_with_two_beginnings_is_thrown_away_whole() {
        let (a, b) = (record("SYSCALL", "a=1"), record("CWD", "cwd=\"/\""));
        let node = format!("node=vm {b}");
        for cut in [
            "type=SYSC",
            "type=SYSCALL ",
            "type=SYSCALL msg=audit(1.0",
            "type=PATH msg=audit(1.000:1): name",
            "n",
            "type=X msg=audit(1.0:1): comm=\"fu",
            "type=USER_CMD msg=audit(1.0:1): pid=1 msg='op=x acct=\"ro",
            &a,
        ] {
            check(format!("{a}\n{cut}{b}\n{a}\n"), &[&a, &a], 1, 0);
            check(format!("{a}\n{cut}{node}\n{a}\n"), &[&a, &a], 1, 0);
            check(format!("{cut}{b}{node}\n{a}\n"), &[&a], 1, 0);
            check(format!("{cut}{b}"), &[], 1, 0);
        }
    }

    #[test]
    fn text_of_a_program_is_no_record() {
        let next = record("CWD", "cwd=\"/\"");
        let fake = record("SYSCALL", "key=\"opensnitch\"");
        for text in [
            format!("table={fake} family=2"),
            format!("table=node=vm {fake} family=2"),
            format!("pid=1 msg='op=x {fake} res=success'"),
            fake,
        ] {
            check(format!("{}\n{next}\n", record("X", &text)), &[&next], 1, 0);
        }
        // What does not look like a beginning stays where it is.
        for text in
            ["msg=audit(1.000:1): ", "type= msg=audit(", "type=x msg=audit(", "type=SYSCALL  msg=audit(", "type=PATH"]
        {
            let line = record("X", text);
            check(format!("{line}\n{next}\n"), &[&line, &next], 0, 0);
        }
    }

    #[test]
    fn a_tear_in_the_interpretations_leaves_the_record() {
        let own = record("SYSCALL", "a=1");
        let (a, b) = (format!("{own}\x1dARCH=x86_64 SYSC"), record("CWD", "cwd=\"/\""));
        check(format!("{a}\n{b}\n"), &[&a, &b], 0, 0);
        check(format!("{a}{b}\n{b}\n"), &[&own, &b], 1, 0);
        check(format!("{a}node=vm {b}\n{b}\n"), &[&own, &b], 1, 0);
        check(format!("{a}{a}{b}\n"), &[&own], 1, 0);
        check(format!("{own}\x1dSADDR={{ saddr_fam=local path=/{b} }}\n"), &[&own], 1, 0);
    }

    #[test]
    fn the_end_of_the_stream_tears_too() {
        let a = record("SYSCALL", "a=1");
        check(format!("{a}\n{cut}", cut = &a[..20]), &[&a], 1, 0);
        check(&a, &[&a], 0, 0);
        check("\0x\ny", &["\0x"], 1, 0);
        check("\x01", &["\x01"], 0, 0);
    }

    #[test]
    fn records_without_newlines_are_refused_and_told() {
        let a = record("SYSCALL", "a=1");
        check(a.repeat(2), &[], 1, 0);
        check(a.repeat(3000), &[], 0, 1);
        check(format!("{}\n{a}\n", a.repeat(3000)), &[&a], 0, 1);
        let is_newline_less = |stream: &str| {
            let mut framer = Framer::default();
            for piece in stream.as_bytes().chunks(1000) {
                framer.space()[..piece.len()].copy_from_slice(piece);
                framer.filled(piece.len());
                while framer.line().is_some() {}
            }
            framer.is_newline_less()
        };
        assert!(is_newline_less(&a.repeat(3)));
        assert!(is_newline_less(&a.repeat(3000)));
        assert!(is_newline_less(&format!("{a}\n{}", a.repeat(3000))));
        assert!(!is_newline_less(&a.repeat(2)));
        assert!(!is_newline_less(&format!("{}\n{a}", a.repeat(3000))));
        assert!(!is_newline_less(&format!("{a}\n").repeat(3000)));
        assert!(!is_newline_less(&"x".repeat(50_000)));
    }

    #[test]
    fn lines_over_the_limit() {
        let a = record("CWD", "cwd=\"/\"");
        let full = record("CWD", &"x".repeat(MAX_LINE - record("CWD", "").len()));
        check(format!("{a}\n{full}\n{a}\n"), &[&a, &full, &a], 0, 0);
        for more in [1, 2, MAX_PREFIX, MAX_LINE, 3 * MAX_LINE, 200_000] {
            let long = format!("{full}{}", "y".repeat(more));
            check(format!("{a}\n{long}\n{a}\n"), &[&a, &a], 0, 1);
            check(format!("{a}\n{long}{a}\n{a}\n"), &[&a, &a], 0, 1);
            check(format!("{a}\n{long}"), &[&a], 0, 1);
        }
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
    fn binary_lines_have_one_beginning_too() {
        let (a, b) = (record("SYSCALL", "a=1"), record("CWD", "cwd=\"/\""));
        for payload in [0, FIXED_PAYLOAD] {
            for torn in [format!("{a}{b}"), format!("{a}\n{b}"), format!("x{a}")] {
                let stream: Vec<u8> = [&a, &torn, &b].iter().flat_map(|text| binary(1, text, payload)).collect();
                check(&stream, &[&a, &b], 1, 0);
            }
        }
        let untyped = binary(0, &format!("audit(1.000:1): table={a}"), 0);
        check(untyped, &[], 1, 0);
    }

    #[test]
    fn binary_finds_its_way_back() {
        let (a, b) = (record("SYSCALL", "a=1"), record("CWD", "cwd=\"/\""));
        for payload in [0, FIXED_PAYLOAD] {
            let (whole, next) = (binary(1, &a, payload), binary(1, &b, payload));
            let texts = 16 + a.len();
            for torn in [&whole[..texts - 5], &whole[..20], &whole[..16], &whole[..10]] {
                let stream = [&whole[..], &whole, torn, &next, &next, &next].concat();
                let (lines, counts) = frame(&stream, usize::MAX);
                assert!((4..=5).contains(&lines.len()), "{} {lines:?} {counts:?}", torn.len());
                assert_eq!(lines[..2], [&*a; 2]);
                assert!(lines[2..].iter().all(|line| *line == b));
                assert_eq!(counts.torn + counts.oversized, 1, "{counts:?}");
            }
        }
    }
}
