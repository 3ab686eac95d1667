//! What is likely is compared, and what is near is found eight bytes at once: where a call of a vector search would cost more
//! than the search.

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

/// Which byte of a word the highest of these bits is in.
#[inline]
const fn last(bits: u64) -> usize {
    ((u64::BITS - 1 - bits.leading_zeros()) / u8::BITS) as usize
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

/// Where the last `byte` stands in `text`.
#[inline]
pub(crate) fn near_end(text: &[u8], byte: u8) -> Option<usize> {
    let (rest, words) = text.as_rchunks();
    let mut at = text.len();
    for word in words.iter().rev() {
        at -= WORD;
        let equal = equal(*word, byte);
        if equal != 0 {
            return Some(at + last(equal));
        }
    }
    rest.iter().rposition(|&one| one == byte)
}

/// The most bytes of a [`Known`].
const MAX_KNOWN: usize = 40;

/// A short text that was read and is likely to come next again: it is compared and not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    text: [u8; MAX_KNOWN],
    length: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self { text: [0; MAX_KNOWN], length: 0 }
    }
}

impl Known {
    /// Empty where none is known.
    #[inline]
    pub(crate) fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// Takes this one from now on, unless it is too long.
    pub(crate) fn set(&mut self, text: &[u8]) -> bool {
        let Some(slot) = self.text.get_mut(..text.len()) else { return false };
        slot.copy_from_slice(text);
        self.length = text.len();
        true
    }

    /// What stands behind it in `text`, where that begins with it. Where it has 16 to 32 bytes its first and its last 16 are
    /// compared, without a call.
    #[inline]
    pub(crate) fn strip<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        const HALF: usize = 16;
        let known = self.text();
        let (begin, rest) = text.split_at_checked(known.len())?;
        let is_it = match (begin.first_chunk::<HALF>(), known.first_chunk::<HALF>()) {
            (Some(one), Some(other)) if known.len() <= 2 * HALF => {
                one == other && begin.last_chunk::<HALF>() == known.last_chunk::<HALF>()
            }
            _ => begin == known,
        };
        (is_it && !known.is_empty()).then_some(rest)
    }
}

/// What stands between the spaces of a text, one after the other. Spaces are found eight bytes at once and not word by word:
/// where a word ends does not wait for where the one before it does.
#[derive(Clone, Debug)]
pub(crate) struct Words<'a> {
    text: &'a [u8],
    /// Where the next word begins.
    start: usize,
    /// Up to here spaces were looked for.
    known: usize,
    /// Those of the last eight bytes at which no word ended yet, as [`equal`] tells them.
    spaces: u64,
}

impl<'a> Words<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { text, start: 0, known: 0, spaces: 0 }
    }

    /// From the next word to the end.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.text.get(self.start..).unwrap_or_default()
    }

    /// The next word, where a space behind it ends it at least [`WORD`] bytes before the end of the text.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<&'a [u8]> {
        while self.spaces == 0 {
            self.spaces = equal(*self.text.get(self.known..)?.first_chunk()?, b' ');
            self.known += WORD;
        }
        let end = self.known - WORD + first(self.spaces);
        self.spaces &= self.spaces - 1;
        let word = self.text.get(self.start..end)?;
        self.start = end + 1;
        Some(word)
    }
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
                let mut text = vec![filling; length];
                assert_eq!(near_end(&text, b' '), None);
                for at in 0..length {
                    text[at] = b' ';
                    assert_eq!(near_end(&text, b' '), Some(at), "{filling} {length}");
                }
            }
        }
    }

    #[test]
    fn words_are_those_between_spaces() {
        for text in
            ["", " ", "a", "a b", "  a  b c ", "one two three four five six seven eight nine ten", &"x ".repeat(40)]
        {
            let mut words = Words::new(text.as_bytes());
            let mut found = 0;
            for word in text.split(' ') {
                let Some(one) = words.next() else { break };
                assert_eq!(one, word.as_bytes(), "{text}");
                found += 1;
                assert_eq!(words.rest(), text.splitn(found + 1, ' ').last().unwrap().as_bytes(), "{text}");
            }
            // Those at the end of the text are left to others.
            let far = text.len().saturating_sub(WORD);
            assert!(found >= text.as_bytes()[..far].iter().filter(|&&byte| byte == b' ').count(), "{text}");
        }
    }

    #[test]
    fn what_is_known_is_compared_whole() {
        let mut known = Known::default();
        assert_eq!(known.strip(b"a"), None);
        for length in 1..=MAX_KNOWN {
            let text: Vec<u8> = (b'0'..).take(length).collect();
            assert!(known.set(&text));
            assert_eq!(known.strip(&text), Some(&b""[..]));
            assert_eq!(known.strip(&[&text[..], b"x"].concat()), Some(&b"x"[..]));
            assert_eq!(known.strip(&text[1..]), None);
            for at in 0..length {
                let mut other = text.clone();
                other[at] ^= 1;
                assert_eq!(known.strip(&other), None, "{length} {at}");
            }
        }
        assert!(!known.set(&[b'x'; MAX_KNOWN + 1]));
        assert_eq!(known.text().len(), MAX_KNOWN);
    }
}
