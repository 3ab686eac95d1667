//! Whether records come in a storm.

use std::time::Duration;

/// What a record counts for: sixteen in a millisecond are no storm, for as long as they come. That is 2,000 events a second, where
/// auditd and the kernel both bring them.
const EACH: Duration = Duration::from_nanos(62_500);

/// Nor are so many more at once: 2,000 records.
const MOST: Duration = Duration::from_millis(125);

/// How long records gather in a storm before they are read. auditd sends up to 13 events in it, and its socket holds fifty.
const LINGER: Duration = Duration::from_millis(1);

/// Who reads so many at once is not called too often, and who waits longer holds up auditd.
const BATCH: u64 = 128;

/// auditd writes a record at a time. Who reads each as it comes is woken thousands of times a second, and wakes others as often:
/// in a storm that takes several times what the records themselves take. So there they are read by the batch. Outside of one
/// nobody waits.
#[derive(Debug, Default)]
pub struct Storm {
    /// What came so far would have come by then without a storm.
    due: Duration,
}

impl Storm {
    /// So many `records` were read by `now`, a time since any fixed moment. Returns how long to let the next ones gather.
    pub fn linger(&mut self, records: u64, now: Duration) -> Duration {
        let came = EACH * u32::try_from(records).unwrap_or(u32::MAX);
        self.due = (self.due.max(now) + came).min(now + 2 * MOST);
        if self.due > now + MOST && records < BATCH { LINGER } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it lingers at the end, where so many records come each millisecond, one by one.
    fn lingers(per_millisecond: u32, milliseconds: u64) -> bool {
        let mut storm = Storm::default();
        let mut lingers = false;
        for now in (0..milliseconds).map(Duration::from_millis) {
            (0..per_millisecond).for_each(|_| lingers = !storm.linger(1, now).is_zero());
        }
        lingers
    }

    #[test]
    fn a_storm_is_many_records_for_long() {
        assert!(!lingers(16, 100_000));
        assert!(!lingers(50, 20));
        assert!(lingers(50, 100));
        assert!(lingers(2_001, 1));
    }

    #[test]
    fn a_storm_ends() {
        let mut storm = Storm::default();
        let storms = |storm: &mut Storm, at| !storm.linger(1, Duration::from_millis(at)).is_zero();
        (0..100_000).for_each(|_| _ = storms(&mut storm, 0));
        assert!(storms(&mut storm, 100));
        assert!(!storms(&mut storm, 200));
    }

    #[test]
    fn nobody_waits_where_much_was_read_at_once() {
        let mut storm = Storm::default();
        assert_eq!(storm.linger(10_000, Duration::ZERO), Duration::ZERO);
        assert_eq!(storm.linger(1, Duration::ZERO), LINGER);
    }
}
