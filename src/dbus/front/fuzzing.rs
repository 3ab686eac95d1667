//! The way in for fuzz targets (`fuzz/`); built only by cargo-fuzz.

use super::cut::{Cut, MAX_ARGUMENTS, MAX_HEADER};

/// What zbus gets to see of a stream that comes in these pieces, and how many messages were thrown away.
pub fn cut<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, u64) {
    let mut cut = Cut::default();
    let mut seen = Vec::new();
    for piece in pieces {
        cut.take(piece, &mut seen);
    }
    (seen, cut.thrown_away)
}

/// The longest header and the longest body that zbus gets to see, in bytes.
pub const BOUNDS: (usize, usize) = (MAX_HEADER, MAX_ARGUMENTS);
