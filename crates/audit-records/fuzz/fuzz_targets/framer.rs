//! Lines are the same however the bytes were split into reads, and hold one beginning each.

#![no_main]

use audit_records::{Framer, FramingCounts};
use libfuzzer_sys::fuzz_target;

fn lines(mut stream: &[u8], steps: &[u8]) -> (Vec<Vec<u8>>, FramingCounts) {
    let mut framer = Framer::default();
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
            lines.push(line.to_vec());
        }
    }
    while let Some(line) = framer.last_line() {
        lines.push(line.to_vec());
    }
    assert!(!framer.has_rest());
    (lines, framer.counts())
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (stream, steps) = input;
    let (whole, counts) = lines(stream, &[]);
    let (split, split_counts) = lines(stream, steps);
    assert_eq!(whole, split);
    assert_eq!(counts, split_counts);
    assert_eq!(counts.lines, whole.len() as u64);
    for line in &whole {
        assert!(line.len() <= audit_records::MAX_LINE + 64 && !line.contains(&b'\n'));
    }
});
