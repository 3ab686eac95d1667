//! A line, and what was seen of it while its end was searched for.

use std::ops::Deref;

use crate::record::Kind;

/// One line of a stream, without its newline, as [`Framer::line`](crate::Framer::line) finds it and
/// [`Assembler::push`](crate::Assembler::push) takes it. Any bytes can be made one.
///
/// ```
/// use audit_records::Line;
///
/// assert_eq!(*Line::from("type=EOE msg=audit(1.000:1): "), *b"type=EOE msg=audit(1.000:1): ");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub(crate) text: &'a [u8],
    /// `None` where nobody looked, or where the line does not begin as nearly all do.
    pub(crate) header: Option<Header>,
}

/// The header of a line that begins with `type=NAME msg=audit(`, where the type is one that tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Its length up to the parenthesis: the event id begins there.
    pub(crate) length: usize,
}

impl Header {
    /// Compares and does not search: nearly every line begins in one of these ways, and no record begins inside them.
    #[inline]
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let is = |kind, header: &'static [u8]| line.starts_with(header).then_some(Self { kind, length: header.len() });
        is(Kind::Syscall, b"type=SYSCALL msg=audit(")
            .or_else(|| is(Kind::Sockaddr, b"type=SOCKADDR msg=audit("))
            .or_else(|| is(Kind::Proctitle, b"type=PROCTITLE msg=audit("))
            .or_else(|| is(Kind::Eoe, b"type=EOE msg=audit("))
            .or_else(|| is(Kind::Cwd, b"type=CWD msg=audit("))
            .or_else(|| is(Kind::Path, b"type=PATH msg=audit("))
            .or_else(|| is(Kind::Execve, b"type=EXECVE msg=audit("))
            .or_else(|| is(Kind::Uringop, b"type=URINGOP msg=audit("))
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Line<'a> {
    fn from(text: &'a T) -> Self {
        Self { text: text.as_ref(), header: None }
    }
}

impl Deref for Line<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.text
    }
}
