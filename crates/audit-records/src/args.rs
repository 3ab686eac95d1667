//! Argument vectors, from EXECVE and from titles.

use std::borrow::Cow;

use memchr::memchr;

use crate::record::{Fields, split_at};
use crate::value::{Value, decimal};
use crate::who::Bytes;

/// Bytes of arguments that are kept, a NUL behind each counted: most command lines have less than a tenth of it, and what
/// one process can make a reader keep must be small. The kernel itself takes up to 2 MiB (`ARG_MAX`).
pub const MAX_ARGS_BYTES: usize = 4096;

/// The longest title in bytes: `MAX_PROCTITLE_AUDIT_LEN`, kernel/auditsc.c.
pub const MAX_TITLE: usize = 128;

/// An argument vector in one piece of memory, at most [`MAX_ARGS_BYTES`] of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Written"))]
pub struct Args {
    /// Each argument with a NUL behind it, as in `/proc/PID/cmdline`; an argument itself holds none.
    joined: Bytes,
    count: Option<u32>,
    /// Whether these are the whole vector, every argument from its first byte to its last.
    pub whole: bool,
    /// Whether they are longer than what is kept. Only then the last argument may be the beginning of one.
    pub cut: bool,
}

impl Args {
    /// From arguments each with a NUL behind it; the last one's may be missing. `whole` says whether they are all of the
    /// vector. `None` where there are no bytes.
    ///
    /// ```
    /// use audit_records::Args;
    ///
    /// let args = Args::from_nul_terminated(b"sh\0-c\0true\0".to_vec(), true).unwrap();
    /// assert_eq!(args.iter().collect::<Vec<_>>(), [&b"sh"[..], b"-c", b"true"]);
    /// assert_eq!(args.count(), Some(3));
    /// ```
    #[must_use]
    pub fn from_nul_terminated(mut joined: Vec<u8>, whole: bool) -> Option<Self> {
        if joined.is_empty() {
            return None;
        }
        if joined.last() != Some(&0) {
            // No more than that: none of it is for later.
            joined.reserve_exact(1);
            joined.push(0);
        }
        let count = whole.then(|| joined.iter().filter(|&&byte| byte == 0).count().try_into().ok()).flatten();
        Some(Self::kept(joined, count, whole, false))
    }

    /// From a process's title, as PROCTITLE or `/proc/PID/cmdline` has it. A program that changes its title fills the rest
    /// with NULs: more than one argument that is empty at the end is taken for that.
    ///
    /// A title of PROCTITLE is never `whole`: the kernel keeps [`MAX_TITLE`] bytes of it and then takes away what is not
    /// printable at its end (`audit_proctitle_rtrim`, kernel/auditsc.c), so that a short one too may go on.
    #[must_use]
    pub fn from_title(mut title: Vec<u8>, whole: bool) -> Option<Self> {
        let length = title.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if title.len() > length + 2 {
            title.truncate(length);
        }
        Self::from_nul_terminated(title, whole)
    }

    /// Keeps what may be kept of `joined`.
    fn kept(mut joined: Vec<u8>, count: Option<u32>, whole: bool, cut: bool) -> Self {
        let too_long = joined.len() > MAX_ARGS_BYTES;
        if too_long {
            joined.truncate(MAX_ARGS_BYTES - 1);
            joined.push(0);
        }
        Self { joined: joined.into(), count, whole: whole && !too_long, cut: cut || too_long }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.joined.split_inclusive(|&byte| byte == 0).map(|arg| arg.strip_suffix(b"\0").unwrap_or(arg))
    }

    /// Whether there are none: a program may be started without any argument, not even a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty()
    }

    /// How many arguments the vector has, kept or not; `None` where nothing tells.
    #[must_use]
    pub const fn count(&self) -> Option<u32> {
        self.count
    }

    /// Whether these are the beginning of the `whole` arguments, perhaps cut in the middle of one.
    #[must_use]
    pub fn are_beginning_of(&self, whole: &Self) -> bool {
        let own = self.joined.strip_suffix(b"\0").unwrap_or_default();
        whole.joined.starts_with(own)
    }

    /// The bytes that are kept, a NUL behind each argument counted.
    #[must_use]
    pub fn size(&self) -> usize {
        self.joined.len()
    }
}

/// Arguments as somebody wrote them down; perhaps not by this crate.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
struct Written {
    joined: Bytes,
    count: Option<u32>,
    whole: bool,
    cut: bool,
}

#[cfg(feature = "serde")]
impl TryFrom<Written> for Args {
    type Error = &'static str;

    fn try_from(Written { joined, count, whole, cut }: Written) -> Result<Self, Self::Error> {
        if joined.len() > MAX_ARGS_BYTES || joined.last().is_some_and(|&last| last != 0) {
            return Err("arguments that are too long, or without their end");
        }
        Ok(Self { joined, count, whole, cut })
    }
}

/// A piece of an argument: `aN=…`, or `aN[M]=…` where the argument is spread.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    argument: u32,
    /// 0 for `aN=`.
    chunk: u32,
    is_chunk: bool,
    /// The digits or characters of the whole argument, `aN_len=`; with its first chunk.
    length: Option<u64>,
    /// Which record it came in.
    record: usize,
    value: Value<'a>,
}

/// What the EXECVE records of an event say.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) args: Option<Args>,
    /// A piece never came, or what came makes no sense behind some place: the arguments end before it.
    pub(crate) lost: bool,
}

/// Reads the EXECVE records of one event, their own texts in any order (`audit_log_execve_info`, kernel/auditsc.c).
///
/// An argument of which not every piece is there is left out and so is all behind it: at another place it would be made up.
/// No number sizes an allocation.
pub(crate) fn read<'a>(records: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut argc = None;
    let mut argc_record = None;
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    let mut came = false;
    for (record, own) in records.enumerate() {
        came = true;
        let mut length = None;
        for (name, value) in Fields::new(own) {
            if name == b"argc" {
                if argc.is_none() {
                    argc = value.unsigned::<u32>();
                    argc_record = Some(record);
                }
                continue;
            }
            match Name::read(name) {
                Some(Name::Length(argument)) => length = value.unsigned().map(|length| (argument, length)),
                Some(Name::Piece { argument, chunk }) => {
                    let length = length.take().filter(|(of, _)| *of == argument).map(|(_, length)| length);
                    let (is_chunk, chunk) = (chunk.is_some(), chunk.unwrap_or(0));
                    pieces.push(Piece { argument, chunk, is_chunk, length, record, value });
                }
                None => {}
            }
        }
    }
    let place = |piece: &Piece<'_>| (piece.argument, piece.chunk);
    if !pieces.is_sorted_by(|one, next| place(one) < place(next)) {
        pieces.sort_by_key(place);
        pieces.dedup_by_key(|piece| place(piece));
    }
    let mut joined = Joined::default();
    let mut next = 0;
    let mut last_record = argc_record;
    let mut lost = false;
    let mut rest = &*pieces;
    while let Some(first) = rest.first() {
        if argc.is_some_and(|argc| first.argument >= argc) || joined.cut {
            break;
        }
        // Kernels before 5.5 leave out empty arguments: a gap within one record is such, one between records is a loss.
        let gap = first.argument - next;
        if gap > 0 && last_record != Some(first.record) {
            lost = true;
            break;
        }
        joined.push_empty(gap);
        let length = rest.iter().take_while(|piece| piece.argument == first.argument).count();
        let (own, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let goes_on = behind.first().map(|next| next.record) == own.last().map(|piece| piece.record);
        if !joined.cut && !joined.push(own, goes_on) {
            lost = true;
            break;
        }
        last_record = own.last().map(|piece| piece.record);
        next = first.argument + 1;
        rest = behind;
    }
    let whole = !lost && !joined.cut && argc == Some(next);
    lost |= came && !whole && !joined.cut;
    let Joined { bytes, cut } = joined;
    let args = (whole || !bytes.is_empty()).then(|| Args::kept(bytes, argc, whole, cut));
    Read { args, lost }
}

/// The name of a field of EXECVE.
enum Name {
    /// `aN_len`.
    Length(u32),
    /// `aN`, `aN[M]`.
    Piece { argument: u32, chunk: Option<u32> },
}

impl Name {
    fn read(name: &[u8]) -> Option<Self> {
        let number = |digits: &[u8]| decimal(digits)?.try_into().ok().filter(|&number: &u32| number < u32::MAX);
        let name = name.strip_prefix(b"a")?;
        if let Some(argument) = name.strip_suffix(b"_len") {
            return Some(Self::Length(number(argument)?));
        }
        match name.strip_suffix(b"]") {
            None => Some(Self::Piece { argument: number(name)?, chunk: None }),
            Some(name) => {
                let (argument, chunk) = split_at(name, b'[')?;
                Some(Self::Piece { argument: number(argument)?, chunk: Some(number(chunk)?) })
            }
        }
    }
}

/// Arguments as they are put together; not longer than one byte above [`MAX_ARGS_BYTES`].
#[derive(Debug, Default)]
struct Joined {
    bytes: Vec<u8>,
    cut: bool,
}

impl Joined {
    fn space(&self) -> usize {
        (MAX_ARGS_BYTES + 1).saturating_sub(self.bytes.len())
    }

    /// So many empty arguments.
    fn push_empty(&mut self, count: u32) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let fits = count.min(self.space());
        self.bytes.resize(self.bytes.len() + fits, 0);
        self.cut |= self.bytes.len() > MAX_ARGS_BYTES;
    }

    /// One argument of all its pieces; whether every one was there. Without a trace where one was not. `goes_on`: the next
    /// argument stands behind it in the same record, so that this one has ended.
    fn push(&mut self, pieces: &[Piece<'_>], goes_on: bool) -> bool {
        let start = self.bytes.len();
        let mut written = 0u64;
        for (at, piece) in pieces.iter().enumerate() {
            // No argument holds a NUL: it would be two.
            let is_next = |text: &Cow<'_, [u8]>| piece.chunk as usize == at && memchr(0, text).is_none();
            let Some(text) = piece.value.strict_text().filter(is_next) else {
                self.bytes.truncate(start);
                return false;
            };
            let is_quoted = piece.value.written().first() == Some(&b'"');
            written += if is_quoted { text.len() } else { piece.value.written().len() } as u64;
            // Of a long argument the first pieces suffice.
            self.bytes.extend_from_slice(text.get(..self.space()).unwrap_or(&text));
            if self.bytes.len() > MAX_ARGS_BYTES {
                self.cut = true;
                return true;
            }
        }
        let is_whole = match pieces {
            [piece] if !piece.is_chunk => true,
            [first, ..] => goes_on || first.length.is_some_and(|length| written >= length),
            [] => false,
        };
        if is_whole {
            self.bytes.push(0);
            self.cut |= self.bytes.len() > MAX_ARGS_BYTES;
        } else {
            self.bytes.truncate(start);
        }
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(args: &Args) -> Vec<String> {
        args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
    }

    #[test]
    fn padding_of_a_title_is_no_argument() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("a\0b\0", Some(&["a", "b"])),
            ("a\0b", Some(&["a", "b"])),
            ("a\0\0", Some(&["a", ""])),
            ("a\0\0\0", Some(&["a"])),
            ("title of its own\0\0\0\0\0\0", Some(&["title of its own"])),
            ("\0\0\0\0", None),
            ("", None),
        ];
        for (title, expected) in table {
            let args = Args::from_title((*title).into(), true);
            let args = args.as_ref().map(texts);
            assert_eq!(args, expected.map(|args| args.iter().map(|&arg| arg.to_owned()).collect()), "{title:?}");
        }
    }

    #[test]
    fn a_title_is_the_beginning_of_its_own_arguments_only() {
        let args = |joined: &str| Args::from_nul_terminated(joined.into(), false).unwrap();
        let whole = args("/bin/sh\0-c\0sleep 100\0");
        for (title, expected) in [
            ("/bin/sh\0-c\0sleep 100\0", true),
            ("/bin/sh\0-c\0sleep 100", true),
            ("/bin/sh\0-c\0sle", true),
            ("/bin/bash", false),
        ] {
            assert_eq!(args(title).are_beginning_of(&whole), expected, "{title:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let args = Args::from_nul_terminated([b"x\0".repeat(3000), b"yy\0".to_vec()].concat(), true).unwrap();
        assert_eq!((args.whole, args.cut, args.count(), args.size()), (false, true, Some(3001), MAX_ARGS_BYTES));
        assert_eq!(args.iter().count(), MAX_ARGS_BYTES / 2);
        let full = Args::from_nul_terminated(vec![b'x'; MAX_ARGS_BYTES - 1], true).unwrap();
        assert_eq!((full.whole, full.cut, full.size()), (true, false, MAX_ARGS_BYTES));
        let one_more = Args::from_nul_terminated(vec![b'x'; MAX_ARGS_BYTES], true).unwrap();
        assert_eq!((one_more.whole, one_more.cut, one_more.size()), (false, true, MAX_ARGS_BYTES));
    }

    /// Arguments, and whether they are whole, are cut, and something was lost.
    type Expected<'a> = (Option<&'a [&'a str]>, bool, bool, bool);

    #[test]
    fn execve() {
        let table: &[(&[&str], Expected<'_>)] = &[
            (&["argc=2 a0=\"sh\" a1=612062"], (Some(&["sh", "a b"]), true, false, false)),
            (&["argc=1 a0=\"\""], (Some(&[""]), true, false, false)),
            (&["argc=1 a0=\"cafe\""], (Some(&["cafe"]), true, false, false)),
            // Pieces, in one record or several, in any order.
            (&["argc=2 a0=\"sh\" a1_len=8 a1[0]=4142", " a1[1]=4344"], (Some(&["sh", "ABCD"]), true, false, false)),
            (&[" a1[1]=4344", "argc=2 a0=\"sh\" a1_len=8 a1[0]=4142"], (Some(&["sh", "ABCD"]), true, false, false)),
            (&["argc=1 a0_len=4 a0[0]=\"AB\" a0[1]=\"CD\""], (Some(&["ABCD"]), true, false, false)),
            // A piece twice is one piece.
            (&["argc=1 a0=\"x\"", "argc=1 a0=\"x\""], (Some(&["x"]), true, false, false)),
            // Half an argument is none.
            (&["argc=4 a0=\"sh\" a1=\"-c\" a2_len=8 a2[0]=3031"], (Some(&["sh", "-c"]), false, false, true)),
            (&["argc=4 a0=\"sh\" a2_len=8 a2[0]=3031", " a3=\"x\""], (Some(&["sh", ""]), false, false, true)),
            (&["argc=2 a0=\"sh\" a1_len=8 a1[1]=3031"], (Some(&["sh"]), false, false, true)),
            (&["argc=2 a0=\"sh\" a1[0]=3031"], (Some(&["sh"]), false, false, true)),
            (&["argc=3 a0=\"sh\" a1[0]=3031", " a1[1]=32 a2=\"x\""], (Some(&["sh", "012", "x"]), true, false, false)),
            (&["argc=2 a0=\"sh\" a1=303"], (Some(&["sh"]), false, false, true)),
            (&["argc=2 a0=\"sh\" a1=410042"], (Some(&["sh"]), false, false, true)),
            (&["argc=2 a0=\"sh\" a1=\"torn"], (Some(&["sh"]), false, false, true)),
            // The first record is lost, or one between.
            (&[" a3=\"x\""], (None, false, false, true)),
            (&["a0=\"sh\""], (Some(&["sh"]), false, false, true)),
            (&["argc=3 a0=\"sh\"", " a2=\"x\""], (Some(&["sh"]), false, false, true)),
            (&["argc=3 a0=\"sh\""], (Some(&["sh"]), false, false, true)),
            // Old kernels leave out what is empty, and name an environment where there are no arguments.
            (&["argc=3 a0=\"grep\" a2=\"/etc/passwd\""], (Some(&["grep", "", "/etc/passwd"]), true, false, false)),
            (&["argc=2 a1=\"x\""], (Some(&["", "x"]), true, false, false)),
            (&["argc=0 a0=\"SECRET=env\""], (Some(&[]), true, false, false)),
            (&["argc=0"], (Some(&[]), true, false, false)),
            (&["argc=1 a0=\"x\" a1=\"y\""], (Some(&["x"]), true, false, false)),
            // What is no argument is passed over.
            (&["argc=1 ab=2 a=1 a1[=3 a99999999999=4 a0=\"x\""], (Some(&["x"]), true, false, false)),
            (&[""], (None, false, false, true)),
            (&[], (None, false, false, false)),
        ];
        for (records, (args, whole, cut, lost)) in table {
            let read = read(records.iter().map(|record| record.as_bytes()));
            let found = read.args.as_ref().map(texts);
            let expected: Option<Vec<String>> = args.map(|args| args.iter().map(|&arg| arg.to_owned()).collect());
            assert_eq!(found, expected, "{records:?}");
            assert_eq!(read.args.as_ref().is_some_and(|args| args.whole), *whole, "whole: {records:?}");
            assert_eq!(read.args.as_ref().is_some_and(|args| args.cut), *cut, "cut: {records:?}");
            assert_eq!(read.lost, *lost, "lost: {records:?}");
        }
    }

    #[test]
    fn no_number_makes_much_of_little() {
        for record in
            ["argc=4294967295 a0=\"x\" a4294967294=\"y\"", "argc=4294967295 a4000000000_len=9 a4000000000[0]=41"]
        {
            let args = read([record.as_bytes()].into_iter()).args.unwrap();
            assert_eq!((args.size(), args.cut, args.whole), (MAX_ARGS_BYTES, true, false), "{record}");
            assert_eq!(args.count(), Some(u32::MAX));
        }
    }

    #[test]
    fn of_a_long_argument_its_beginning_is_kept() {
        let long = "41".repeat(3700);
        let first = format!("argc=3 a0=\"x\" a1_len=200000 a1[0]={long}");
        let second = format!(" a1[1]={long}");
        let read = read([first.as_bytes(), second.as_bytes()].into_iter());
        let args = read.args.unwrap();
        assert_eq!((args.size(), args.cut, args.whole, args.count()), (MAX_ARGS_BYTES, true, false, Some(3)));
        assert!(args.iter().nth(1).unwrap().iter().all(|&byte| byte == b'A'));
        assert!(!read.lost);
    }
}
