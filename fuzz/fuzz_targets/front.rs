//! Whatever comes from the bus, and however it was split into reads: zbus gets to see the same, no more than came, and no message
//! that is too long.

#![no_main]

use libfuzzer_sys::fuzz_target;
use opensnitch_audit::dbus::fuzzing::front::{BOUNDS, cut};

/// The stream in pieces of these lengths, again and again.
fn pieces<'a>(mut stream: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(usize::MAX, |&length| usize::from(length) + 1);
        let (piece, rest) = stream.split_at(length.min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The length of the lines at the beginning, which are those of the authentication.
fn lines(stream: &[u8]) -> usize {
    let is_line = |line: &&[u8]| !b"lB".contains(&line[0]);
    stream.split_inclusive(|&byte| byte == b'\n').take_while(is_line).map(<[u8]>::len).sum()
}

/// Every message is within the bounds, as far as it is there.
fn is_bounded(mut seen: &[u8]) {
    while let Some(fixed) = seen.first_chunk::<16>() {
        let number = |at: usize| {
            let bytes = fixed[at..at + 4].try_into().unwrap();
            if fixed[0] == b'B' { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let (header, body) = ((16 + number(12) as usize).next_multiple_of(8), number(4) as usize);
        assert!(header <= BOUNDS.0 && body <= BOUNDS.1, "{header} and {body} bytes");
        seen = seen.get(header + body..).unwrap_or_default();
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (stream, lengths) = input;
    let whole = cut([stream]);
    assert_eq!(cut(pieces(stream, lengths)), whole);
    assert!(whole.0.len() <= stream.len());
    is_bounded(&whole.0[lines(stream)..]);
});
