//! Lines are the same however the bytes were split into reads, and every byte of a stream is in a line, between two lines,
//! or counted.

#![no_main]

use std::cell::RefCell;

use audit_records::{Framer, FramingCounts, MAX_LINE, Record, parse};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// One for all inputs: its buffer is large, and what an earlier stream left behind must not matter.
    static FRAMER: RefCell<Framer> = RefCell::default();
}

fn lines(stream: &[u8], steps: &[u8]) -> (Vec<Vec<u8>>, FramingCounts) {
    FRAMER.with_borrow_mut(|framer| {
        framer.reset();
        let before = framer.counts();
        let lines = lines_of(framer, stream, steps);
        let FramingCounts { lines: all, torn, oversized } = framer.counts();
        let counts = FramingCounts {
            lines: all - before.lines,
            torn: torn - before.torn,
            oversized: oversized - before.oversized,
        };
        (lines, counts)
    })
}

fn lines_of(framer: &mut Framer, mut stream: &[u8], steps: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut steps = steps.iter().cycle();
    while !stream.is_empty() {
        let step = steps.next().map_or(usize::MAX, |&step| usize::from(step) * usize::from(step) + 1);
        let space = framer.space();
        let taken = space.len().min(stream.len()).min(step);
        assert!(taken > 0, "no space");
        space[..taken].copy_from_slice(&stream[..taken]);
        framer.filled(taken);
        stream = &stream[taken..];
        while let Some(line) = framer.line() {
            // What the framer saw of it beside its end is what it says.
            let told = |record: Record<'_>| (record.kind, record.id, record.own().to_vec());
            assert_eq!(parse(line).map(told), parse(&*line).map(told));
            lines.push(line.to_vec());
        }
    }
    while let Some(line) = framer.last_line() {
        lines.push(line.to_vec());
    }
    assert!(!framer.has_rest());
    lines
}

/// Each piece between two newlines is a line, or a line whose interpretations were torn, or counted.
fn text_is_accounted_for(stream: &[u8], lines: &[Vec<u8>], counts: FramingCounts) {
    let mut left = lines.iter().peekable();
    let (mut oversized, mut pieces) = (0, 0);
    for piece in stream.split_inclusive(|&byte| byte == b'\n') {
        // What has no newline, at the end of the stream, has no carriage return before it either.
        let (piece, text) = match piece.strip_suffix(b"\n") {
            Some(piece) => (piece, piece.strip_suffix(b"\r").unwrap_or(piece)),
            None => (piece, piece),
        };
        let is_line = |line: &&Vec<u8>| {
            *line == text || text.strip_prefix(&***line).is_some_and(|rest| rest.starts_with(b"\x1d"))
        };
        if piece.len() > MAX_LINE {
            oversized += 1;
        } else if left.next_if(is_line).is_some() || !text.is_empty() {
            pieces += 1;
        }
    }
    assert_eq!(left.next(), None, "a line that nobody sent");
    assert_eq!(counts.oversized, oversized);
    assert!(pieces <= counts.lines + counts.torn, "{pieces} pieces, {counts:?}");
}

/// The words of a binary header: version, length of the header, type and length of the text.
fn header(stream: &[u8]) -> Option<([usize; 4], &[u8])> {
    let (header, rest) = stream.split_at_checked(16)?;
    let word = |at: usize| u32::from_ne_bytes(header[at * 4..][..4].try_into().unwrap()) as usize;
    Some((std::array::from_fn(word), rest))
}

fn is_binary(stream: &[u8]) -> bool {
    header(stream).is_some_and(|([version, length, kind, size], _)| {
        version <= 1 && length == 16 && kind < 0x1_0000 && size <= MAX_LINE
    })
}

/// The lines of a binary stream where each frame is as long as it says, or no shorter than `least`; none where it ends in
/// the middle of one, or makes no sense.
fn frames(mut stream: &[u8], least: usize) -> Option<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    while !stream.is_empty() {
        let ([version, _, kind, size], rest) = header(stream)?;
        let (text, _) = rest.split_at_checked(size)?;
        stream = rest.get(text.len().max(least)..)?;
        let length = text.iter().rposition(|byte| !b"\0\r\n".contains(byte)).map_or(0, |last| last + 1);
        match (version, length) {
            (_, 0) => {}
            (0, _) => lines.push([format!("type=UNKNOWN[{kind}] msg=").as_bytes(), &text[..length]].concat()),
            _ => lines.push(text[..length].to_vec()),
        }
    }
    Some(lines)
}

/// Where nothing is counted, the stream holds its lines and nothing else.
fn binary_is_accounted_for(stream: &[u8], lines: &[Vec<u8>], counts: FramingCounts) {
    if (counts.torn, counts.oversized) == (0, 0) {
        let least = [0, 8970];
        assert!(least.iter().any(|&least| frames(stream, least).as_deref() == Some(lines)), "bytes are missing");
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (stream, steps) = input;
    let (whole, counts) = lines(stream, &[]);
    let (split, split_counts) = lines(stream, steps);
    assert_eq!(whole, split);
    assert_eq!(counts, split_counts);
    assert_eq!(counts.lines, whole.len() as u64);
    for line in &whole {
        assert!(line.len() <= MAX_LINE + 64 && !line.contains(&b'\n'));
    }
    if is_binary(stream) {
        binary_is_accounted_for(stream, &whole, counts);
    } else {
        text_is_accounted_for(stream, &whole, counts);
    }
});
