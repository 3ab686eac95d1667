//! Finds bytes that are a few bytes away, where a call of a vector search would cost more than the search: eight bytes are
//! compared at once.

const WORD: usize = size_of::<u64>();
/// All bits of each byte but the highest.
const LOWER: u64 = u64::from_ne_bytes([0x7F; WORD]);

/// The highest bit of each byte of `word` that is `byte`, the first byte lowest.
#[inline]
fn equal(word: [u8; WORD], byte: u8) -> u64 {
    // What is equal becomes zero, and no byte carries into the next one.
    let different = u64::from_le_bytes(word) ^ u64::from_ne_bytes([byte; WORD]);
    !(((different & LOWER) + LOWER) | different | LOWER)
}

/// Which byte of a word the lowest of these bits is in.
#[inline]
const fn first(bits: u64) -> usize {
    (bits.trailing_zeros() / u8::BITS) as usize
}

/// Where the first `byte` stands in `text`.
#[inline]
pub(crate) fn near(text: &[u8], byte: u8) -> Option<usize> {
    match text.first_chunk().map(|word| equal(*word, byte)) {
        None | Some(0) => further(text, byte),
        Some(equal) => Some(first(equal)),
    }
}

/// As [`near`], of a text that is short or has none in its first word.
fn further(text: &[u8], byte: u8) -> Option<usize> {
    let (words, rest) = text.as_chunks();
    let mut at = 0;
    for word in words {
        let equal = equal(*word, byte);
        if equal != 0 {
            return Some(at + first(equal));
        }
        at += WORD;
    }
    rest.iter().position(|&one| one == byte).map(|behind| at + behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_where_a_loop_finds_it() {
        // Bytes that differ from a space in one bit or by one.
        for filling in [0, 1, b' ' - 1, b' ' + 1, b' ' | 0x80, b'!' | 0x80, 0x7F, 0xFF] {
            for length in 0..40 {
                let mut text = vec![filling; length];
                assert_eq!(near(&text, b' '), None);
                for at in (0..length).rev() {
                    text[at] = b' ';
                    assert_eq!(near(&text, b' '), Some(at), "{filling} {length}");
                }
            }
        }
    }
}
