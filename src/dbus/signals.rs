//! Which events become signals, and when.
//!
//! The first event of its kind is signalled at once. It opens a **window** of `coalesce_ms`: those alike that come within it
//! are merged, and signalled as one when it closes, which opens the next. A window in which nothing came ends it.
//!
//! Beyond the rate, signals wait for as long as a second, in [`Turns`]; what would wait longer is lost. Both are the affair of
//! the user who causes it: a flood of one user delays nobody else's signals by more than one turn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use audit_records::{Address, EventType, Family};
use hashbrown::HashMap;

use super::turns::Turns;
use crate::process::program_id;
use crate::store::{Answer, Owner, Row};

/// Windows open at the same time for the signals that all receive.
const MAX_WINDOWS: usize = 1024;

/// What waits holds together, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What comes to its time is looked at so often in the time that a window is open.
const STEPS: u128 = 8;

/// How long `EventsLost` waits for the next one.
const LOST_EVERY: Duration = Duration::from_secs(1);

/// A signal to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// `EventSeen`.
    EventSeen(Answer),
    /// `EventsLost`: so many events.
    EventsLost(u64),
}

/// How often.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `EventSeen` signals a second.
    pub per_second: u32,
    /// Events alike within this time become one.
    pub coalesce: Duration,
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Windows open at the same time; beyond it the oldest is closed early. As many signals may be due where nobody takes
    /// them.
    pub windows: usize,
    /// What the events in them hold together, in bytes.
    pub bytes: usize,
}

impl Room {
    /// For the signals that all receive.
    pub(super) const FOR_ALL: Self = Self { windows: MAX_WINDOWS, bytes: MAX_BYTES };
}

/// What became of events, in events, since the last time somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Signalled; others may have been merged into them.
    pub sent: u64,
    /// Merged into the signal of another.
    pub coalesced: u64,
    /// Not signalled: too many.
    pub lost: u64,
}

/// Events alike: the same process did the same thing to the same destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alike {
    pid: Option<u32>,
    start_time: Option<u64>,
    /// By [`program_id`].
    program: Option<u64>,
    event_type: Option<EventType>,
    family: Option<Family>,
    address: Option<Address>,
}

/// Merges events alike and bounds the rate. Pure: `now` is the time since any fixed moment.
#[derive(Debug)]
pub(super) struct Signals {
    limits: Limits,
    is_stopped: bool,
    room: Room,
    tokens: f64,
    refilled: Duration,
    /// What came in each open window, the newest of the events that were merged; `None` where nothing did.
    windows: HashMap<Alike, Option<Answer>>,
    /// When each closes, the first one first.
    closing: VecDeque<(Duration, Alike)>,
    /// Signals that are due, and wait for their turn.
    due: Turns,
    bytes: usize,
    told: Told,
    /// Events lost since the beginning, here and elsewhere, and as of the last `EventsLost`.
    lost: u64,
    lost_told: u64,
    lost_told_at: Option<Duration>,
}

impl Signals {
    /// As often as these say, and as much as there is room for.
    #[must_use]
    pub(super) fn new(limits: Limits, room: Room) -> Self {
        Self {
            limits,
            is_stopped: false,
            room,
            tokens: f64::from(limits.per_second),
            refilled: Duration::ZERO,
            windows: HashMap::new(),
            closing: VecDeque::new(),
            due: Turns::default(),
            bytes: 0,
            told: Told::default(),
            lost: 0,
            lost_told: 0,
            lost_told_at: None,
        }
    }

    /// What became of events since the last call.
    pub(super) fn take_told(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }

    /// Whose events were lost since the last call.
    pub(super) fn take_losses(&mut self) -> BTreeMap<Option<Owner>, u64> {
        self.due.take_losses()
    }

    /// So many events were lost since the beginning, wherever.
    pub(super) fn set_lost(&mut self, lost: u64) {
        self.lost = lost;
    }

    /// From now on as often as these say.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether nothing more should be pushed until what is due was taken.
    #[must_use]
    pub(super) fn is_full(&self) -> bool {
        self.due.len() >= self.room.windows || self.bytes > self.room.bytes
    }

    /// Whether nothing is due and no loss is to be counted. Windows alone close at their [`deadline`](Self::deadline).
    #[must_use]
    pub(super) fn is_idle(&self) -> bool {
        self.due.len() == 0 && self.told.lost == 0
    }

    /// Whether every event is lost from now on.
    pub(super) fn set_stopped(&mut self, is_stopped: bool) {
        self.is_stopped = is_stopped;
    }

    /// Takes an event.
    pub(super) fn push(&mut self, row: Row, now: Duration) {
        if self.bytes > self.room.bytes {
            self.lose(&row);
            return;
        }
        let alike = Alike::of(&row);
        if let Some(window) = self.windows.get_mut(&alike) {
            self.bytes += row.size();
            let count = window.as_ref().map_or(0, |merged| merged.count) + 1;
            if let Some(older) = window.replace(Answer { row, count }) {
                self.bytes -= older.row.size();
            }
            return;
        }
        self.refill(now);
        if self.is_stopped || (self.is_spent() && self.due.has_most(row.owner())) {
            // No window for what is not sent: the next of its kind is the first again.
            self.lose(&row);
            return;
        }
        if !self.limits.coalesce.is_zero() {
            self.windows.insert(alike.clone(), None);
            self.closing.push_back((now + self.limits.coalesce, alike));
        }
        self.bytes += row.size();
        self.due.push_back(Answer::single(row));
    }

    /// When [`next`](Self::next) should be asked again.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Duration> {
        let lost = self.lost > self.lost_told;
        let lost = lost.then(|| self.lost_told_at.map_or(Duration::ZERO, |told| told + LOST_EVERY));
        let closing = self.closing.front().map(|(closes, _)| self.together(*closes));
        let token = (self.due.len() > 0).then(|| {
            let missing = (1.0 - self.tokens).max(0.0) / f64::from(self.limits.per_second);
            match missing > 0.0 {
                true => self.together(self.refilled + Duration::from_secs_f64(missing)),
                false => self.refilled,
            }
        });
        let uncounted = (self.told.lost > 0).then_some(Duration::ZERO);
        lost.into_iter().chain(closing).chain(token).chain(uncounted).min()
    }

    /// When what comes to its time then is looked at, with all that does shortly before: in a storm some window closes every
    /// millisecond, and some signal's turn comes every few.
    fn together(&self, then: Duration) -> Duration {
        let step = (self.limits.coalesce.as_nanos() / STEPS).max(1);
        let nanoseconds = then.as_nanos().div_ceil(step) * step;
        nanoseconds.try_into().map_or(Duration::MAX, Duration::from_nanos)
    }

    /// The next signal that is due.
    pub(super) fn next(&mut self, now: Duration) -> Option<Outgoing> {
        self.refill(now);
        self.close(now);
        if !self.is_stopped
            && self.tokens >= 1.0
            && let Some(answer) = self.due.pop_front()
        {
            self.bytes -= answer.row.size();
            self.tokens -= 1.0;
            self.told.sent += 1;
            self.told.coalesced += answer.count - 1;
            return Some(Outgoing::EventSeen(answer));
        }
        // What is left waits, for a second at the most.
        let most = if self.is_stopped { 0 } else { self.limits.per_second as usize };
        while (self.due.len() > most || self.bytes > self.room.bytes)
            && let Some(answer) = self.due.lose_one()
        {
            self.bytes -= answer.row.size();
            self.told.lost += answer.count;
        }
        let may_tell = self.lost_told_at.is_none_or(|told| now >= told + LOST_EVERY);
        if self.lost > self.lost_told && may_tell {
            let count = self.lost - self.lost_told;
            self.lost_told = self.lost;
            self.lost_told_at = Some(now);
            return Some(Outgoing::EventsLost(count));
        }
        None
    }

    /// Nobody will be told of it.
    fn lose(&mut self, row: &Row) {
        self.due.count_loss(row.owner(), 1);
        self.told.lost += 1;
    }

    /// Closes the windows whose time has come, and the oldest where there are too many.
    fn close(&mut self, now: Duration) {
        while let Some((closes, _)) = self.closing.front() {
            let is_crowded = self.closing.len() > self.room.windows || self.bytes > self.room.bytes;
            if *closes > now && !is_crowded {
                return;
            }
            let Some((_, alike)) = self.closing.pop_front() else { return };
            if let Some(merged) = self.windows.remove(&alike).flatten() {
                self.due.push_back(merged);
                if !is_crowded {
                    self.windows.insert(alike.clone(), None);
                    self.closing.push_back((now + self.limits.coalesce, alike));
                }
            }
        }
    }

    /// All that may be sent within a second is due already.
    fn is_spent(&self) -> bool {
        let due = u32::try_from(self.due.len()).unwrap_or(u32::MAX);
        self.tokens + f64::from(self.limits.per_second) < f64::from(due) + 1.0
    }

    fn refill(&mut self, now: Duration) {
        let rate = f64::from(self.limits.per_second);
        self.tokens = (self.tokens + now.saturating_sub(self.refilled).as_secs_f64() * rate).min(rate);
        self.refilled = now;
    }
}

impl Alike {
    fn of(row: &Row) -> Self {
        Self {
            pid: row.origin.pid,
            start_time: row.process().map(|process| process.start_time_us),
            program: row.origin.program.or_else(|| row.exe().map(|exe| program_id(&exe))),
            event_type: row.event_type,
            family: row.family,
            address: row.address.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{connect, connect_of};

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// The ports and counts of the signals that are due.
    fn due(signals: &mut Signals, now: Duration) -> Vec<(u16, u64)> {
        let next = || match signals.next(now) {
            Some(Outgoing::EventSeen(answer)) => Some((answer.row.address?.ip()?.1, answer.count)),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_first_of_its_kind_goes_at_once_and_those_that_follow_as_one() {
        let mut signals = Signals::new(Limits { per_second: 1000, coalesce: ms(100) }, Room::FOR_ALL);
        signals.push(connect(7, 80), ms(0));
        signals.push(connect(7, 443), ms(0));
        signals.push(connect(8, 80), ms(0));
        assert_eq!(due(&mut signals, ms(0)), [(80, 1), (443, 1), (80, 1)]);
        for at in [10, 20, 30] {
            signals.push(connect(7, 80), ms(at));
        }
        assert_eq!(due(&mut signals, ms(99)), []);
        assert_eq!(signals.deadline(), Some(ms(100)));
        assert_eq!(due(&mut signals, ms(100)), [(80, 3)]);
        // The next window is open, and ends when nothing came in it.
        signals.push(connect(7, 80), ms(150));
        assert_eq!(due(&mut signals, ms(150)), []);
        assert_eq!(due(&mut signals, ms(200)), [(80, 1)]);
        assert_eq!(due(&mut signals, ms(300)), []);
        assert_eq!(signals.deadline(), None);
        signals.push(connect(7, 80), ms(301));
        assert_eq!(due(&mut signals, ms(301)), [(80, 1)]);
        assert_eq!(signals.take_told(), Told { sent: 6, coalesced: 2, lost: 0 });
    }

    #[test]
    fn windows_that_close_at_nearly_the_same_time_wake_nobody_one_by_one() {
        let mut signals = Signals::new(Limits { per_second: 10_000, coalesce: ms(160) }, Room::FOR_ALL);
        let mut wakes = 0;
        for at in 0..1_000 {
            wakes += u32::from(signals.deadline().is_some_and(|deadline| deadline <= ms(at)));
            due(&mut signals, ms(at));
            (0..2).for_each(|_| signals.push(connect(u32::try_from(at).unwrap() % 500, 80), ms(at)));
            due(&mut signals, ms(at));
        }
        assert!((30..=50).contains(&wakes), "{wakes}");
    }

    #[test]
    fn every_event_is_sent_merged_or_lost_and_losses_are_told_once_a_second() {
        let mut signals = Signals::new(Limits { per_second: 2, coalesce: ms(5) }, Room::FOR_ALL);
        let (mut all, mut told, mut lost) = (Told::default(), Vec::new(), 0);
        for step in 0..4000 {
            if step < 2500 {
                signals.push(connect(7, u16::try_from(step % 3).unwrap()), ms(step));
            }
            while let Some(signal) = signals.next(ms(step)) {
                if let Outgoing::EventsLost(count) = signal {
                    told.push((step, count));
                }
            }
            let Told { sent, coalesced, lost: more } = signals.take_told();
            all = Told { sent: all.sent + sent, coalesced: all.coalesced + coalesced, lost: all.lost + more };
            lost += more;
            signals.set_lost(lost);
        }
        assert_eq!(all.sent + all.coalesced + all.lost, 2500);
        // Two at once and two a second.
        assert!((6..=10).contains(&all.sent), "{all:?}");
        assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1000), "{told:?}");
        assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), all.lost);
    }

    #[test]
    fn a_flood_of_one_user_delays_nobody_elses_signals() {
        let mut signals = Signals::new(Limits { per_second: 100, coalesce: ms(0) }, Room::FOR_ALL);
        let (mut heard, mut asked) = (Vec::new(), Vec::new());
        for step in 0..2000 {
            let pid = u32::try_from(step).unwrap();
            (0..5).for_each(|_| signals.push(connect_of(1000, pid, 80), ms(step)));
            if step % 100 == 50 {
                asked.push(step);
                signals.push(connect_of(1001, pid, 443), ms(step));
            }
            heard.extend(due(&mut signals, ms(step)).into_iter().filter(|(port, _)| *port == 443).map(|_| step));
            assert!(signals.due.len() <= 101);
        }
        assert_eq!(heard.len(), asked.len());
        // A token takes ten milliseconds, and every second one is the other user's.
        assert!(asked.iter().zip(&heard).all(|(asked, heard)| heard - asked <= 20), "{asked:?} {heard:?}");
        let losses: Vec<_> = signals.take_losses().into_iter().collect();
        let [(Some(owner), lost)] = losses.as_slice() else { panic!("{losses:?}") };
        assert_eq!((owner.to_string(), *lost), ("user 1000".to_owned(), signals.take_told().lost));
    }

    #[test]
    fn while_signals_are_stopped_every_event_is_lost() {
        let mut signals = Signals::new(Limits { per_second: 100, coalesce: ms(0) }, Room::FOR_ALL);
        signals.set_stopped(true);
        (0..50).for_each(|pid| signals.push(connect(pid, 80), ms(0)));
        assert_eq!(due(&mut signals, ms(0)), []);
        signals.set_stopped(false);
        signals.push(connect(7, 443), ms(0));
        assert_eq!(due(&mut signals, ms(0)), [(443, 1)]);
        assert_eq!(signals.take_told(), Told { sent: 1, coalesced: 0, lost: 50 });
    }

    #[test]
    fn what_waits_is_bounded_though_nobody_takes_it() {
        let room = Room { windows: 10, bytes: 20 * connect(1, 80).size() };
        let mut signals = Signals::new(Limits { per_second: 10_000, coalesce: ms(100) }, room);
        (0..500).for_each(|pid| signals.push(connect(pid, 80), ms(0)));
        assert!(signals.bytes <= room.bytes + connect(1, 80).size() && signals.due.len() <= 21, "{signals:?}");
        assert_eq!(signals.take_told().lost, 500 - signals.due.len() as u64);
    }

    #[test]
    fn a_crowd_of_kinds_is_bounded() {
        let mut signals = Signals::new(Limits { per_second: 10_000, coalesce: ms(10_000) }, Room::FOR_ALL);
        for pid in 0..5000 {
            signals.push(connect(pid, 80), ms(0));
            signals.push(connect(pid, 80), ms(0));
            due(&mut signals, ms(0));
        }
        assert!(signals.windows.len() <= MAX_WINDOWS + 1 && signals.closing.len() <= MAX_WINDOWS + 1);
        let Told { sent, coalesced, lost } = signals.take_told();
        assert!(lost == 0 && sent + coalesced >= 5000 + 3900, "{sent} {coalesced}");
    }
}
