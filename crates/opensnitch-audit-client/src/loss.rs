//! What was not seen, as far as the service knows.

use crate::Statistics;

/// What is known to be lost since the service started, by its `Statistics`.
///
/// ```
/// use opensnitch_audit_client::{Loss, Statistics};
///
/// let mut statistics = Statistics::from([("Since".to_owned(), 1_795_344_720_000_000)]);
/// let clock = |microseconds: u64| format!("second {}", microseconds / 1_000_000 % 60);
/// assert_eq!(Loss::of(&statistics).sentence(clock), "Since second 0 every event was seen.");
/// statistics.insert("SerialGaps".to_owned(), 12);
/// statistics.insert("LastLoss".to_owned(), 1_795_344_725_000_000);
/// assert_eq!(
///     Loss::of(&statistics).sentence(clock),
///     "Since second 0 not every event was seen, the last loss was noticed at second 5: 12 events never arrived."
/// );
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Since when the service counts, in microseconds since the epoch; unknown to a service that does not tell.
    pub since: Option<u64>,
    /// When it noticed the last loss, in microseconds since the epoch. A missing event is noticed when 1,024 later ones
    /// have come, and what the kernel lost within half a minute.
    pub last: Option<u64>,
    /// Records that the kernel threw away, its own queue being full. Events of any kind, not only connections.
    pub in_kernel: u64,
    /// Events whose serials never came: lost in the kernel, in auditd, or on the way from there. Of any kind, too.
    pub on_the_way: u64,
    /// Lines that were torn, by auditd or by the end of a connection.
    pub torn: u64,
    /// Events that came in part.
    pub incomplete: u64,
    /// Events that came, and that a crash of the service took with it.
    pub unsaved: u64,
    /// Times that the kernel threw records away because the service did not read its multicast in time. The events among
    /// them are in [`on_the_way`](Self::on_the_way).
    pub overruns: u64,
}

impl Loss {
    /// As these numbers tell.
    #[must_use]
    pub fn of(statistics: &Statistics) -> Self {
        let number = |name: &str| statistics.get(name).copied().unwrap_or(0);
        let time = |name: &str| statistics.get(name).copied().filter(|time| *time > 0);
        Self {
            since: time("Since"),
            last: time("LastLoss"),
            in_kernel: number("KernelLostSince"),
            on_the_way: number("SerialGaps"),
            torn: number("LinesTorn"),
            incomplete: number("EventsIncomplete"),
            unsaved: number("EventsUnsaved"),
            overruns: number("MulticastOverruns"),
        }
    }

    /// Whether nothing is known to be lost.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        let counts = [self.in_kernel, self.on_the_way, self.torn, self.incomplete, self.unsaved, self.overruns];
        matches!(counts, [0, 0, 0, 0, 0, 0])
    }

    /// For people; `time` writes a time, given in microseconds since the epoch.
    #[must_use]
    pub fn sentence(&self, time: impl Fn(u64) -> String) -> String {
        let since = self.since.map_or_else(|| "its start".to_owned(), &time);
        if self.is_none() {
            return format!("Since {since} every event was seen.");
        }
        let last = self.last.map(|last| format!(", the last loss was noticed at {}", time(last))).unwrap_or_default();
        let parts = [
            count(self.on_the_way, "event never arrived", "events never arrived"),
            count(self.in_kernel, "record was lost in the kernel", "records were lost in the kernel"),
            count(self.torn, "line was torn", "lines were torn"),
            count(self.incomplete, "event came in part", "events came in part"),
            count(self.unsaved, "event was lost in a crash", "events were lost in a crash"),
            count(
                self.overruns,
                "burst did not fit into the kernel's multicast",
                "bursts did not fit into the kernel's multicast",
            ),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("Since {since} not every event was seen{last}: {}.", parts.join(", "))
    }
}

fn count(number: u64, one: &str, many: &str) -> Option<String> {
    (number > 0).then(|| format!("{number} {}", if number == 1 { one } else { many }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(statistics: &[(&str, u64)]) -> String {
        let statistics = statistics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Loss::of(&statistics).sentence(|time| time.to_string())
    }

    #[test]
    fn what_was_lost_where_and_when() {
        let table: [(&[(&str, u64)], &str); 6] = [
            (&[], "Since its start every event was seen."),
            (&[("Since", 9), ("LastLoss", 0), ("SerialGaps", 0)], "Since 9 every event was seen."),
            // What the kernel lost before the start is not the service's to tell.
            (&[("Since", 9), ("KernelLost", 70)], "Since 9 every event was seen."),
            (
                &[("Since", 9), ("LastLoss", 12), ("KernelLostSince", 1), ("LinesTorn", 2)],
                "Since 9 not every event was seen, the last loss was noticed at 12: 1 record was lost in the kernel, \
                 2 lines were torn.",
            ),
            (
                &[("SerialGaps", 1), ("EventsIncomplete", 1), ("EventsUnsaved", 3)],
                "Since its start not every event was seen: 1 event never arrived, 1 event came in part, 3 events were lost \
                 in a crash.",
            ),
            (
                &[("MulticastOverruns", 2)],
                "Since its start not every event was seen: 2 bursts did not fit into the kernel's multicast.",
            ),
        ];
        for (statistics, expected) in table {
            assert_eq!(sentence(statistics), expected);
        }
    }
}
