//! Finds serials that never came.

/// How far behind the highest serial a late one may come, in serials. Processors race to write; more than this is no race.
const WINDOW: u32 = 1024;
const WORDS: usize = 16;

/// Counts the serials missing from a stream: a serial counts as missing once the stream is [`WINDOW`] ahead of it.
///
/// The kernel gives each event the next serial (`audit_serial`, kernel/audit.c) and auditd passes all of them on, so a
/// missing one is an event somebody lost.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct SerialGaps {
    /// The highest serial seen; nothing was seen where it is `None`.
    highest: Option<u32>,
    /// One bit for each of the last [`WINDOW`] serials: it came, or lies before the first one.
    seen: [u64; WORDS],
    /// What is counted here is told, and no part of the state.
    #[cfg_attr(feature = "serde", serde(skip))]
    missing: u64,
}

impl SerialGaps {
    pub(crate) fn count(&self) -> u64 {
        self.missing
    }

    pub(crate) fn highest(&self) -> Option<u32> {
        self.highest
    }

    /// The serials that have not come, though later ones have: they are not counted yet, and may still come.
    pub(crate) fn outstanding(&self) -> u32 {
        self.highest.map_or(0, |_| self.seen.iter().map(|word| word.count_zeros()).sum())
    }

    /// Counting begins behind this serial: those up to it came, as far as anybody can tell.
    pub(crate) fn after(serial: Option<u32>) -> Self {
        Self { highest: serial, seen: [u64::MAX; WORDS], missing: 0 }
    }

    /// The same serials seen, and nothing counted.
    pub(crate) fn state(&self) -> Self {
        Self { missing: 0, ..self.clone() }
    }

    /// Takes a serial that came; whether it may have come before.
    #[inline]
    pub(crate) fn see(&mut self, serial: u32) -> bool {
        self.highest == Some(serial) || self.see_other(serial)
    }

    /// One that is not the highest.
    fn see_other(&mut self, serial: u32) -> bool {
        let Some(highest) = self.highest else {
            self.seen = [u64::MAX; WORDS];
            self.highest = Some(serial);
            return false;
        };
        // Serials wrap: the distance tells which side of the highest this one is on.
        let ahead = serial.wrapping_sub(highest);
        if ahead > u32::MAX / 2 {
            return ahead.wrapping_neg() >= WINDOW || self.mark(serial, true);
        }
        // Each serial that enters the window pushes one out at its other end.
        for step in 1..=ahead.min(WINDOW) {
            let entering = highest.wrapping_add(step);
            self.missing += u64::from(!self.mark(entering, false));
        }
        self.missing += u64::from(ahead.saturating_sub(WINDOW));
        self.mark(serial, true);
        self.highest = Some(serial);
        false
    }

    /// Sets the bit of `serial` and returns what it was.
    fn mark(&mut self, serial: u32, came: bool) -> bool {
        let place = serial % WINDOW;
        let Some(word) = self.seen.get_mut(place as usize / 64) else { return true };
        let bit = 1 << (place % 64);
        let was = *word & bit != 0;
        *word = if came { *word | bit } else { *word & !bit };
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(serials: impl IntoIterator<Item = u32>) -> u64 {
        let mut gaps = SerialGaps::default();
        for serial in serials {
            gaps.see(serial);
        }
        gaps.count()
    }

    #[test]
    fn what_never_came_counts_once_it_is_out_of_the_window() {
        assert_eq!(missing(1..5000), 0);
        assert_eq!(missing([1, 2, 3, 3, 3, 2]), 0);
        assert_eq!(missing((1..5000).filter(|serial| *serial != 100)), 1);
        assert_eq!(missing((1..5000).filter(|serial| serial % 2 == 0)), (3973 - 3) / 2 + 1);
        assert_eq!(missing((1..1000).filter(|serial| *serial != 100)), 0);
    }

    #[test]
    fn what_may_still_come_is_outstanding() {
        let mut gaps = SerialGaps::default();
        let mut outstanding = |serial| {
            gaps.see(serial);
            (gaps.outstanding(), gaps.count())
        };
        let expected = [(0, 0), (0, 0), (3, 0), (2, 0), (1022, 1), (1021, 2)];
        assert_eq!([100, 101, 105, 103, 1127, 1128].map(&mut outstanding), expected);
        assert_eq!(SerialGaps::default().outstanding(), 0);
        assert_eq!(SerialGaps::after(Some(7)).outstanding(), 0);
    }

    #[test]
    fn out_of_order_is_no_gap() {
        let swapped = (0..4000u32).map(|serial| serial ^ 7);
        assert_eq!(missing(swapped), 0);
    }

    #[test]
    fn a_leap_counts_what_it_leaps_over() {
        let leap = [1].into_iter().chain(10_001..20_000);
        assert_eq!(missing(leap), 9_999);
    }

    #[test]
    fn serials_wrap() {
        assert_eq!(missing((0..5000u32).map(|step| (u32::MAX - 2000).wrapping_add(step))), 0);
    }
}
