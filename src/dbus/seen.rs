//! Events on their way to the signals that all receive.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event as Notifier;

use super::Limits;
use super::signals::{Outgoing, Room, Signals};
use crate::store::Row;

/// Filled by whoever sees events, emptied by the one task that sends.
///
/// That task is woken where it had nothing to do and now has. Whenever something waits it comes at a time of its own, so a storm
/// does not wake it for each batch of events, of which it sends next to none.
#[derive(Debug)]
pub(super) struct Seen {
    signals: Mutex<Signals>,
    /// Notified when there is something to do.
    pub(super) changed: Notifier,
}

impl Seen {
    /// Nothing yet. As often as these say.
    pub(super) fn new(limits: Limits) -> Self {
        Self { signals: Mutex::new(Signals::new(limits, Room::FOR_ALL)), changed: Notifier::new() }
    }

    /// Takes events. Waits for nobody.
    pub(super) fn push(&self, rows: impl IntoIterator<Item = Row>, now: Duration) {
        let mut signals = self.lock();
        let was_idle = signals.is_idle();
        rows.into_iter().for_each(|row| signals.push(row, now));
        let has_work = was_idle && !signals.is_idle();
        drop(signals);
        if has_work {
            self.changed.notify(1);
        }
    }

    /// The next signal that is due.
    pub(super) fn next(&self, now: Duration) -> Option<Outgoing> {
        self.lock().next(now)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use event_listener::listener;
    use futures_util::FutureExt;

    use super::*;
    use crate::store::tests::connect;

    #[test]
    fn the_sender_is_woken_where_it_had_nothing_to_do() {
        let limits = Limits { per_second: 2, coalesce: Duration::from_millis(100) };
        let seen = Seen::new(limits);
        let now = Duration::from_secs(7);
        let wakes = |pids: std::ops::Range<u32>| {
            listener!(seen.changed => changed);
            seen.push(pids.map(|pid| connect(pid, 80)), now);
            changed.now_or_never().is_some()
        };
        assert!(wakes(1..2));
        assert!(seen.lock().deadline().is_some_and(|at| at <= now), "it may be sent now");
        assert!(!wakes(2..4), "it is awake");
        assert_eq!(std::iter::from_fn(|| seen.next(now)).count(), 2);
        // The third waits for its turn, and whatever comes now waits behind it.
        assert!(seen.lock().deadline().is_some_and(|at| at > now));
        assert!(!wakes(4..1_000));
        // A loss alone has to be counted.
        let seen = Seen::new(Limits { per_second: 0, ..limits });
        listener!(seen.changed => changed);
        seen.push([connect(1, 80)], now);
        assert!(changed.now_or_never().is_some());
        assert_eq!(seen.lock().deadline(), Some(Duration::ZERO));
    }
}
