//! What the multicast brought while auditd served.

use std::collections::VecDeque;

/// Records that are kept: as many as events that [`HandedOn`](super::HandedOn) recognises, so whatever of it was served by
/// auditd is recognised.
pub const MAX_RESERVE: usize = super::MAX_HANDED_ON;

/// Bytes of text that they may have together: a record has some 150.
pub const MAX_RESERVE_BYTES: usize = 8 * 1024 * 1024;

/// The last records of the kernel, in order. Where auditd fails, what it did not bring any more is in here.
#[derive(Debug, Default)]
pub struct Reserve {
    records: VecDeque<(u16, Box<[u8]>)>,
    bytes: usize,
}

impl Reserve {
    /// Keeps one more record; the oldest go.
    pub fn push(&mut self, number: u16, text: &[u8]) {
        self.bytes += text.len();
        self.records.push_back((number, text.into()));
        while self.records.len() > MAX_RESERVE || self.bytes > MAX_RESERVE_BYTES {
            let Some((_, oldest)) = self.records.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    /// Takes all of them, the oldest first.
    pub fn take(&mut self) -> impl Iterator<Item = (u16, Box<[u8]>)> + use<> {
        std::mem::take(self).records.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_are_kept_in_order_within_both_bounds() {
        let mut reserve = Reserve::default();
        for number in 0..=MAX_RESERVE {
            reserve.push(1300, &number.to_ne_bytes());
        }
        let kept: Vec<_> = reserve.take().map(|(_, text)| usize::from_ne_bytes((*text).try_into().unwrap())).collect();
        assert!(kept.iter().copied().eq(1..=MAX_RESERVE));
        for _ in 0..3 {
            reserve.push(1300, &vec![0; MAX_RESERVE_BYTES / 2]);
        }
        assert_eq!((reserve.records.len(), reserve.bytes), (2, MAX_RESERVE_BYTES));
        assert_eq!(reserve.take().count(), 2);
        assert_eq!(reserve.bytes, 0);
        reserve.push(1300, &vec![0; MAX_RESERVE_BYTES + 1]);
        assert_eq!((reserve.records.len(), reserve.bytes), (0, 0));
    }
}
