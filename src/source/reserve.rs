//! What the multicast brought while auditd served.

use std::collections::VecDeque;

use audit_records::parse_message;

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
    /// The highest serial of what is not in here any more, or never was: an event of it, or of a lower one, may be in here in
    /// part.
    gone: Option<u32>,
    /// The highest serial of what was served before there was a reserve.
    served: Option<u32>,
    /// How much came since auditd brought anything.
    ahead: usize,
    ahead_bytes: usize,
}

impl Reserve {
    /// An empty one. What has this serial, or a lower one, was served from the multicast.
    #[must_use]
    pub fn after(serial: Option<u32>) -> Self {
        Self { gone: serial, served: serial, ..Self::default() }
    }

    /// An empty one. What has this serial, or a lower one, went with another one, and only auditd still brings it.
    #[must_use]
    pub fn without(serial: Option<u32>) -> Self {
        Self { gone: serial, ..Self::default() }
    }

    /// Keeps one more record; the oldest go.
    pub fn push(&mut self, number: u16, text: &[u8]) {
        self.ahead += 1;
        self.ahead_bytes += text.len();
        self.bytes += text.len();
        self.records.push_back((number, text.into()));
        while self.records.len() > MAX_RESERVE || self.bytes > MAX_RESERVE_BYTES {
            let Some((number, oldest)) = self.records.pop_front() else { return };
            self.bytes -= oldest.len();
            if let Some(serial) = serial(number, &oldest)
                && self.gone.is_none_or(|gone| is_after(serial, gone))
            {
                self.gone = Some(serial);
            }
        }
    }

    /// auditd brought something.
    pub fn auditd_brought(&mut self) {
        (self.ahead, self.ahead_bytes) = (0, 0);
    }

    /// auditd has to fail now or never: a little more, and what it did not bring goes.
    #[must_use]
    pub fn is_at_risk(&self) -> bool {
        self.ahead > MAX_RESERVE / 4 * 3 || self.ahead_bytes > MAX_RESERVE_BYTES / 4 * 3
    }

    /// The serial of the newest record.
    #[must_use]
    pub fn newest(&self) -> Option<u32> {
        self.records.back().map_or(self.gone, |(number, text)| serial(*number, text))
    }

    /// How many serials went that nobody served: auditd's newest is this one.
    #[must_use]
    pub fn missed(&self, brought: Option<u32>) -> u32 {
        let (Some(gone), Some(brought)) = (self.gone, brought) else { return 0 };
        let had = self.served.filter(|served| is_after(*served, brought)).unwrap_or(brought);
        if is_after(gone, had) { gone.wrapping_sub(had) } else { 0 }
    }

    /// Takes all records, the oldest first, of events that are in here from their beginning.
    pub fn take(&mut self) -> impl Iterator<Item = (u16, Box<[u8]>)> + use<> {
        let Self { records, gone, .. } = std::mem::take(self);
        let is_whole = move |number, text: &[u8]| match (serial(number, text), gone) {
            (Some(serial), Some(gone)) => is_after(serial, gone),
            _ => true,
        };
        records.into_iter().filter(move |(number, text)| is_whole(*number, text))
    }
}

fn serial(number: u16, text: &[u8]) -> Option<u32> {
    parse_message(number, text).ok().map(|record| record.id.serial)
}

/// Serials wrap: the distance tells which one is later.
fn is_after(serial: u32, other: u32) -> bool {
    (1..=u32::MAX / 2).contains(&serial.wrapping_sub(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(serial: u32) -> String {
        format!("audit(1.000:{serial}): ")
    }

    fn serials(reserve: &mut Reserve) -> Vec<u32> {
        reserve.take().map(|(number, text)| serial(number, &text).unwrap()).collect()
    }

    #[test]
    fn the_last_records_are_kept_in_order_within_both_bounds() {
        let mut reserve = Reserve::default();
        let most = u32::try_from(MAX_RESERVE).unwrap();
        for serial in 0..=most {
            reserve.push(1300, record(serial).as_bytes());
        }
        assert!(serials(&mut reserve).into_iter().eq(1..=most));
        for _ in 0..3 {
            reserve.push(1300, &vec![0; MAX_RESERVE_BYTES / 2]);
        }
        assert_eq!((reserve.records.len(), reserve.bytes), (2, MAX_RESERVE_BYTES));
        assert_eq!(reserve.take().count(), 2);
        assert_eq!(reserve.bytes, 0);
        reserve.push(1300, &vec![0; MAX_RESERVE_BYTES + 1]);
        assert_eq!((reserve.records.len(), reserve.bytes), (0, 0));
    }

    #[test]
    fn an_event_that_is_there_in_part_is_not_taken() {
        // Two processors write at the same time, while serials wrap.
        let texts = [u32::MAX - 1, u32::MAX, u32::MAX - 1, u32::MAX, 0, 1, 0].map(record);
        let mut reserve = Reserve::after(Some(u32::MAX - 1));
        texts.iter().for_each(|text| reserve.push(1300, text.as_bytes()));
        assert_eq!(serials(&mut reserve), [u32::MAX, u32::MAX, 0, 1, 0]);
        texts.iter().for_each(|text| reserve.push(1300, text.as_bytes()));
        for filler in 0..MAX_RESERVE - 5 {
            reserve.push(1320, record(10 + u32::try_from(filler).unwrap()).as_bytes());
        }
        // Two are gone, the second with the higher serial: the rests of both events are of no use.
        assert_eq!(reserve.missed(Some(u32::MAX - 1)), 1);
        assert_eq!((reserve.missed(Some(u32::MAX)), reserve.missed(Some(5)), reserve.missed(None)), (0, 0, 0));
        // What auditd did not bring before it had to serve alone came from the multicast.
        assert_eq!(Reserve::after(Some(7)).missed(Some(2)), 0);
        assert_eq!(Reserve::without(Some(7)).missed(Some(2)), 5);
        assert_eq!(serials(&mut reserve)[..4], [0, 1, 0, 10]);
    }

    #[test]
    fn there_is_time_before_anything_goes() {
        let mut reserve = Reserve::default();
        let pushes = (1..=MAX_RESERVE).find(|_| {
            reserve.push(1300, record(1).as_bytes());
            reserve.is_at_risk()
        });
        assert!(pushes.is_some() && reserve.gone.is_none());
        reserve.auditd_brought();
        assert!(!reserve.is_at_risk());
        reserve.push(1300, &vec![0; MAX_RESERVE_BYTES - reserve.bytes]);
        assert!(reserve.is_at_risk() && reserve.gone.is_none());
    }
}
