//! The kernel's `struct audit_rule_data` (`include/uapi/linux/audit.h`), byte for byte.
//!
//! A **mask** has one bit for each call number. A **field** is a condition: what is compared, how, with what value.
//! Text (here only the key) stands behind the fixed part, and the value of its field is its length.
//!
//! Rules are only written here. What the kernel lists is compared with what we would have written, so that no
//! length, count or field number of a foreign rule is ever believed.

use crate::netlink::word;

/// `AUDIT_BITMASK_SIZE`, in words of 32 bits.
const MASK_WORDS: u32 = 64;
/// `AUDIT_MAX_FIELDS`.
const MAX_FIELDS: usize = 64;
const WORD: usize = size_of::<u32>();
/// List, action, number of fields; then the mask and the fields' kinds; then come their values.
const VALUES_AT: usize = (3 + MASK_WORDS as usize + MAX_FIELDS) * WORD;
/// All that stands before the text: three words, the mask, three words a field, the text's length.
pub(super) const FIXED: usize = (3 + MASK_WORDS as usize + 3 * MAX_FIELDS + 1) * WORD;

/// `AUDIT_ALWAYS`: write an event.
const ALWAYS: u32 = 2;
/// `AUDIT_NEVER`: write none.
const NEVER: u32 = 0;

/// `AUDIT_FILTER_TASK`: asked once, when a process is born.
const LIST_TASK: u32 = 1;
/// `AUDIT_FILTER_EXIT`: asked at the end of each system call.
pub(super) const LIST_EXIT: u32 = 4;
/// `AUDIT_FILTER_URING_EXIT`: asked at the end of each operation of a ring. Kernel 5.16.
pub(super) const LIST_IO_URING: u32 = 7;

/// What a field looks at: `AUDIT_PID` and its neighbours in `audit.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Pid = 0,
    Arch = 11,
    PPid = 18,
    /// Family of the socket address that the call handed over. Kernel 5.2.
    SaddrFam = 113,
    /// The file of the program: for tests that may not disturb others.
    #[cfg(test)]
    Exe = 112,
    Arg0 = 200,
    Arg2 = 202,
    Arg3 = 203,
    Key = 210,
}

/// How it is compared: `AUDIT_BIT_MASK`, `AUDIT_EQUAL`, `AUDIT_NOT_EQUAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// They have a bit in common.
    AnyBit = 0x0800_0000,
    NotEqual = 0x3000_0000,
    Equal = 0x4000_0000,
}

/// One condition of a rule.
pub(super) type Condition = (Field, Op, u32);

/// The bytes of a rule that always writes an event, with `text` as its only text.
///
/// The kernel lists a rule with the very bytes it was added with, if it was written as the kernel itself writes it:
/// unused words zero, nothing behind the text.
pub(super) fn encode(list: u32, calls: &[u32], conditions: &[Condition], text: &[u8]) -> Vec<u8> {
    let mask = (0..MASK_WORDS).map(|word| {
        let ours = calls.iter().filter(|call| *call / u32::BITS == word);
        ours.fold(0, |bits, call| bits | 1 << (call % u32::BITS))
    });
    let fields = conditions.iter().map(|(field, _, _)| *field as u32);
    let values = conditions.iter().map(|(_, _, value)| *value);
    let ops = conditions.iter().map(|(_, op, _)| *op as u32);

    let mut words = Vec::with_capacity(FIXED / WORD);
    words.extend([list, ALWAYS, word_of(conditions.len())]);
    words.extend(mask);
    words.extend(padded(fields));
    words.extend(padded(values));
    words.extend(padded(ops));
    words.push(word_of(text.len()));

    let mut bytes = Vec::with_capacity(FIXED + text.len());
    bytes.extend(words.into_iter().flat_map(u32::to_ne_bytes));
    bytes.extend_from_slice(text);
    bytes
}

/// The value of the field at this place, if the bytes reach so far.
pub(super) fn value(rule: &[u8], place: usize) -> Option<u32> {
    word(rule, VALUES_AT / WORD + place)
}

/// Whether this is a rule `-a task,never` without conditions: no process born under it has events at all.
pub(super) fn silences_everything(rule: &[u8]) -> bool {
    (word(rule, 0), word(rule, 1), word(rule, 2)) == (Some(LIST_TASK), Some(NEVER), Some(0))
}

fn padded(words: impl Iterator<Item = u32>) -> impl Iterator<Item = u32> {
    words.chain(std::iter::repeat(0)).take(MAX_FIELDS)
}

/// A length as the kernel counts it. Keys and conditions are bounded far below the limit of a word.
fn word_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fixed_part_is_as_long_as_the_kernels() {
        // sizeof(struct audit_rule_data), and offsetof(values) in it.
        assert_eq!(FIXED, 1040);
        assert_eq!(VALUES_AT, 524);
    }

    #[test]
    fn every_word_stands_where_the_kernel_reads_it() {
        let conditions = [(Field::Arg0, Op::Equal, 7), (Field::Key, Op::NotEqual, 2)];
        let bytes = encode(LIST_EXIT, &[0, 33, 2047], &conditions, b"ab");
        let expected = [
            (0, 4),
            (1, 2),
            (2, 2),
            (3, 1),
            (4, 2),
            (66, 1 << 31),
            (67, 200),
            (68, 210),
            (131, 7),
            (132, 2),
            (195, 0x4000_0000),
            (196, 0x3000_0000),
            (259, 2),
        ];
        for place in 0..FIXED / WORD {
            let wanted = expected.iter().find(|(at, _)| *at == place).map_or(0, |(_, word)| *word);
            assert_eq!(word(&bytes, place), Some(wanted), "word {place}");
        }
        assert_eq!(&bytes[FIXED..], b"ab");
    }

    #[test]
    fn only_an_unconditional_task_never_silences_everything() {
        let cases = [([1, 0, 0], true), ([1, 0, 1], false), ([1, 2, 0], false), ([4, 0, 0], false)];
        for (words, silences) in cases {
            let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
            assert_eq!(silences_everything(&bytes), silences, "{words:?}");
            assert!(!silences_everything(&bytes[..11]), "cut short");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..1200), place in any::<usize>()) {
            let _ = (word(&bytes, place), value(&bytes, place % 100), silences_everything(&bytes));
        }
    }
}
