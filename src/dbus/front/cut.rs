//! What of the bus's bytes zbus gets to see. It reads a message whole, into memory, before anybody can look at it: so what
//! is too long never reaches it.
//!
//! - A body longer than [`MAX_ARGUMENTS`] is **cut off**: the message comes without it, and [`is_cut`] tells. What the
//!   bus itself says may be longer.
//! - A message whose header is longer than [`MAX_HEADER`] is thrown away: no name or path that means anything here is as long.
//!   So is one whose header is not written as the specification has it.
//! - A message that came with file descriptors comes as one without: see [`read_fields`].
//! - A call that wants no reply comes as one that does, and with a mark: see [`wants_reply`].

use std::mem;

use zbus::message::{Flags, Message, Type};

use super::BUS;

/// What the arguments of a call may take, in bytes. The longest that mean anything are a query with two paths of 4 kB, each
/// byte shown as four. Read by zbus, an array of short strings takes 20 times as much room as it does in its message.
pub(crate) const MAX_ARGUMENTS: usize = 64 * 1024;

/// The same for what the bus itself says: dbus-broker's statistics have half a kilobyte for each connection, of which there may
/// be 2,048.
const MAX_ANSWER: usize = 2 * 1024 * 1024;

/// The same for the header: four names and a signature of at most 255 bytes each, and a path.
pub(super) const MAX_HEADER: usize = 2 * 1024;

/// The part of a header that has the same length in all messages; the array of fields follows.
const FIXED: usize = 16;

/// The field that says who sent a message. The bus writes it.
const SENDER: u8 = 7;

/// The field that says how many file descriptors come with a message.
const UNIX_FDS: u8 = 9;

/// The mark: a flag that the specification does not define, and asks to ignore.
const NO_REPLY: u8 = 0x80;

/// Whether the body of a message was cut off. Any other that has a signature has a body.
pub(crate) fn is_cut(message: &Message) -> bool {
    let body = message.body();
    body.is_empty() && !body.signature().to_string().is_empty()
}

/// Whether the caller wants a reply. zbus replies to every call, so that it is known when a call is over.
pub(super) fn wants_reply(call: &Message) -> bool {
    call.primary_header().flags().bits() & NO_REPLY == 0
}

/// Takes the stream of the bus in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Cut {
    state: State,
    /// Messages thrown away.
    pub(super) thrown_away: u64,
}

#[derive(Debug, Default)]
enum State {
    /// Lines of text, and the first byte of one is next.
    #[default]
    Line,
    /// Inside a line.
    InLine,
    /// This much of a header.
    Header(Vec<u8>),
    /// So many bytes of a body, or of nothing that can be read, are still to come.
    Body(u64),
    /// So many are still to be thrown away.
    Tail(u64),
}

impl Cut {
    /// Adds to `out` what is to be seen of these bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(&first) = bytes.first() {
            self.state = match mem::take(&mut self.state) {
                // The answers to the authentication are lines in capitals: OK, DATA, REJECTED, ERROR, AGREE_UNIX_FD. A
                // message begins with the letter of its byte order.
                State::Line if matches!(first, b'l' | b'B') => State::Header(Vec::new()),
                State::Line | State::InLine => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let length = end.map_or(bytes.len(), |end| end + 1);
                    out.extend(split_off(&mut bytes, length));
                    if end.is_some() { State::Line } else { State::InLine }
                }
                State::Header(head) => self.header(head, &mut bytes, out),
                State::Body(left) => {
                    let piece = split_off(&mut bytes, at_most(left));
                    out.extend(piece);
                    next(left - piece.len() as u64, State::Body)
                }
                State::Tail(left) => {
                    let piece = split_off(&mut bytes, at_most(left));
                    next(left - piece.len() as u64, State::Tail)
                }
            };
        }
    }

    fn header(&mut self, mut head: Vec<u8>, bytes: &mut &[u8], out: &mut Vec<u8>) -> State {
        let missing = FIXED.saturating_sub(head.len());
        head.extend(split_off(bytes, missing));
        let Some((fields, body)) = lengths(&head) else { return State::Header(head) };
        // The fields are filled up to a multiple of eight.
        let length = (FIXED as u64 + u64::from(fields)).next_multiple_of(8);
        if length > MAX_HEADER as u64 {
            self.thrown_away += 1;
            return next(length - FIXED as u64 + u64::from(body), State::Tail);
        }
        let missing = at_most(length) - head.len();
        head.extend(split_off(bytes, missing));
        if (head.len() as u64) < length {
            return State::Header(head);
        }
        let Some(is_of_bus) = read_fields(&mut head, FIXED + fields as usize) else {
            self.thrown_away += 1;
            return next(body.into(), State::Tail);
        };
        let is_cut = body as usize > if is_of_bus { MAX_ANSWER } else { MAX_ARGUMENTS };
        if let [_, kind, flags, _, length @ ..] = head.as_mut_slice() {
            let wants_none = *flags & Flags::NO_REPLY_EXPECTED.bits() != 0;
            *flags &= !NO_REPLY;
            if *kind == Type::MethodCall as u8 && wants_none {
                *flags = *flags & !Flags::NO_REPLY_EXPECTED.bits() | NO_REPLY;
            }
            if is_cut {
                length.iter_mut().take(4).for_each(|byte| *byte = 0);
            }
        }
        out.append(&mut head);
        next(body.into(), if is_cut { State::Tail } else { State::Body })
    }
}

/// The lengths of the fields and of the body; `None` where the header is not there as far as that.
fn lengths(head: &[u8]) -> Option<(u32, u32)> {
    Some((number(head, 12)?, number(head, 4)?))
}

fn number(head: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 4] = head.get(at..at + 4)?.try_into().ok()?;
    Some(if head.first() == Some(&b'B') { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

/// Reads a header whose fields end there: whether the bus itself sent the message; `None` where the fields are not of the types
/// that the specification has. Makes it say that no file descriptor comes with the message, since zbus refuses to go on where
/// there are fewer than it says.
fn read_fields(head: &mut [u8], end: usize) -> Option<bool> {
    let mut is_of_bus = false;
    let mut at = FIXED;
    while at < end {
        // A field is a byte that says which, and a variant: a signature, here of one letter, and a value.
        at = at.next_multiple_of(8);
        let [code, 1, kind, 0] = *head.get(at..at + 4)? else { return None };
        at += 4;
        at += match kind {
            b'u' => {
                if code == UNIX_FDS {
                    head.get_mut(at..at + 4)?.fill(0);
                }
                4
            }
            b's' | b'o' => {
                let length = usize::try_from(number(head, at)?).ok().filter(|length| *length < end)?;
                is_of_bus |= code == SENDER && head.get(at + 4..at + 4 + length)? == BUS.as_bytes();
                4 + length + 1
            }
            b'g' => 1 + usize::from(*head.get(at)?) + 1,
            _ => return None,
        };
    }
    (at == end).then_some(is_of_bus)
}

/// The state with so many bytes to come, or that in which the next message begins.
fn next(left: u64, state: impl FnOnce(u64) -> State) -> State {
    if left == 0 { State::Header(Vec::new()) } else { state(left) }
}

fn at_most(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn split_off<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (piece, rest) = bytes.split_at(length.min(bytes.len()));
    *bytes = rest;
    piece
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A message as it stands on the bus.
    fn message(path: &str, body: &str, flags: u8) -> Vec<u8> {
        let call = Message::method_call(path, "Method").build(&(body,)).unwrap();
        let mut bytes = call.data().to_vec();
        bytes[2] = flags;
        bytes
    }

    fn cut_in_pieces(stream: &[u8], piece: usize) -> (Vec<u8>, u64) {
        let (mut cut, mut out) = (Cut::default(), Vec::new());
        stream.chunks(piece).for_each(|piece| cut.take(piece, &mut out));
        (out, cut.thrown_away)
    }

    #[test]
    fn what_is_too_long_never_passes_and_the_rest_does() {
        let short = message("/a", "text", 0);
        let longest = message("/a", &"x".repeat(MAX_ARGUMENTS - 5), 0);
        let long = message("/a", &"x".repeat(MAX_ARGUMENTS - 4), 0);
        let far = message(&format!("/{}", "x".repeat(MAX_HEADER)), &"x".repeat(100_000), 0);
        let text = b"OK 1234\r\n".to_vec();
        let stream = [&*text, &short, &long, &far, &longest, &far, &short].concat();
        let (whole, _) = cut_in_pieces(&stream, usize::MAX);
        for piece in [1, 3, 16, 1000, 70_000, usize::MAX] {
            let (out, thrown_away) = cut_in_pieces(&stream, piece);
            assert_eq!((out.len(), thrown_away), (whole.len(), 2), "{piece}");
            assert!(out == whole, "{piece}");
        }
        let head = whole.len() - text.len() - 2 * short.len() - longest.len();
        assert!(head < 200, "{head}");
        let rest = whole.strip_prefix(&*[&*text, &*short].concat()).unwrap();
        let (cut_off, rest) = rest.split_at(head);
        assert_eq!(cut_off[4..8], [0; 4]);
        assert!(rest == [longest, short].concat());
    }

    proptest! {
        #[test]
        fn whatever_comes_pieces_change_nothing(
            changes in vec((any::<usize>(), any::<u8>()), 0..8),
            piece in 1_usize..200,
        ) {
            let long = "x".repeat(MAX_ARGUMENTS);
            let messages = [message("/a", "text", 0), message("/b", &long, 1), message("/c", "", 0)];
            let mut stream = [&b"OK 1234\r\n"[..], &messages.concat()].concat();
            for (at, byte) in changes {
                // Where the headers are.
                let at = at % 400;
                stream[at] = byte;
            }
            let whole = cut_in_pieces(&stream, usize::MAX);
            prop_assert!(whole.0.len() <= stream.len());
            prop_assert!(cut_in_pieces(&stream, piece) == whole);
        }
    }

    #[test]
    fn only_the_bus_may_say_more() {
        for (sender, passes) in [(BUS, true), (":1.7", false)] {
            let signal = Message::signal("/a", "org.example.Interface", "Signal").sender(sender);
            let signal = signal.build(&("x".repeat(MAX_ANSWER - 5),)).unwrap();
            let stream = signal.data().to_vec();
            assert_eq!(cut_in_pieces(&stream, 4096).0.len() == stream.len(), passes, "{sender}");
        }
    }

    #[test]
    fn a_call_that_wants_no_reply_is_marked_and_no_other_is() {
        let table = [(0, 0), (1, 0x80), (2, 2), (3, 0x82), (0x80, 0), (0x81, 0x80), (4, 4)];
        for (flags, expected) in table {
            let stream = message("/a", "", flags);
            assert_eq!(stream[2], flags);
            assert_eq!(cut_in_pieces(&stream, 16).0[2], expected, "{flags}");
        }
    }

    #[test]
    fn a_message_with_descriptors_comes_as_one_without() {
        let file = || zbus::OwnedFd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        let call = Message::method_call("/a", "Method").interface("org.example.Interface");
        let call = call.build(&vec![file(), file(), file()]).unwrap();
        let bytes = call.data().to_vec();
        let field = [UNIX_FDS, 1, b'u', 0, 3, 0, 0, 0];
        let at = bytes.windows(8).position(|window| window == field).unwrap();
        for piece in [1, 16, usize::MAX] {
            let (out, thrown_away) = cut_in_pieces(&bytes, piece);
            let differ: Vec<_> = (0..bytes.len()).filter(|at| out[*at] != bytes[*at]).collect();
            assert_eq!((out.len(), thrown_away, out[at + 4]), (bytes.len(), 0, 0));
            assert_eq!(differ, [at + 4]);
        }
        // A field that is not as the specification has it may hide one that is: the message never passes, and the next does.
        let short = message("/a", "text", 0);
        for (offset, byte) in [(1, 2), (2, b'v'), (2, b's'), (3, b'u')] {
            let mut odd = bytes.clone();
            odd[at + offset] = byte;
            assert_eq!(cut_in_pieces(&[&*odd, &short].concat(), usize::MAX), (short.clone(), 1), "{offset} {byte}");
        }
    }

    #[test]
    fn no_number_in_a_header_makes_room() {
        for (fields, body) in [(u32::MAX, u32::MAX), (u32::MAX, 0), (0, u32::MAX), (2032, u32::MAX)] {
            let mut stream = b"l\x01\0\x01".to_vec();
            stream.extend(body.to_le_bytes());
            stream.extend([1, 0, 0, 0]);
            stream.extend(fields.to_le_bytes());
            stream.resize(1 << 20, b'x');
            let (out, _) = cut_in_pieces(&stream, 4096);
            assert!(out.len() <= MAX_HEADER && out.capacity() <= 4 * MAX_HEADER, "{} {}", out.len(), out.capacity());
        }
    }
}
