//! Which events become signals, and when.
//!
//! The first event of its kind is signalled at once. It opens a **window** of `coalesce_ms`: those alike that come within it
//! are merged, and signalled as one when it closes, which opens the next. A window in which nothing came ends it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use audit_records::{Address, EventType, Family};

use crate::store::{Answer, Row};

/// Windows open at the same time; beyond it the oldest is closed early.
const MAX_WINDOWS: usize = 1024;

/// What the events in them hold together, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;

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
    exe: Option<Box<[u8]>>,
    event_type: Option<EventType>,
    family: Option<Family>,
    address: Option<Address>,
}

/// The newest of the events that were merged, and how many they are.
#[derive(Debug)]
struct Merged {
    row: Row,
    count: u64,
}

/// Merges events alike and bounds the rate. Pure: `now` is the time since any fixed moment.
#[derive(Debug)]
pub(super) struct Signals {
    limits: Limits,
    tokens: f64,
    refilled: Duration,
    /// What came in each open window; `None` where nothing did.
    windows: HashMap<Alike, Option<Merged>>,
    /// When each closes, the first one first.
    closing: VecDeque<(Duration, Alike)>,
    /// Signals that are due.
    due: VecDeque<Merged>,
    bytes: usize,
    told: Told,
    /// Events lost since the beginning, here and elsewhere, and as of the last `EventsLost`.
    lost: u64,
    lost_told: u64,
    lost_told_at: Option<Duration>,
}

impl Signals {
    /// As often as these say.
    #[must_use]
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            tokens: f64::from(limits.per_second),
            refilled: Duration::ZERO,
            windows: HashMap::new(),
            closing: VecDeque::new(),
            due: VecDeque::new(),
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

    /// So many events were lost since the beginning, wherever.
    pub(super) fn set_lost(&mut self, lost: u64) {
        self.lost = lost;
    }

    /// From now on as often as these say.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes an event.
    pub(super) fn push(&mut self, row: Row, now: Duration) {
        let alike = Alike::of(&row);
        if let Some(window) = self.windows.get_mut(&alike) {
            self.bytes += row.size();
            let count = window.as_ref().map_or(0, |merged| merged.count) + 1;
            if let Some(older) = window.replace(Merged { row, count }) {
                self.bytes -= older.row.size();
            }
            return;
        }
        if !self.limits.coalesce.is_zero() {
            self.windows.insert(alike.clone(), None);
            self.closing.push_back((now + self.limits.coalesce, alike));
        }
        self.bytes += row.size();
        self.due.push_back(Merged { row, count: 1 });
    }

    /// When [`next`](Self::next) should be asked again.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Duration> {
        let lost = self.lost > self.lost_told;
        let lost = lost.then(|| self.lost_told_at.map_or(Duration::ZERO, |told| told + LOST_EVERY));
        let closing = self.closing.front().map(|(closes, _)| *closes);
        lost.into_iter().chain(closing).min()
    }

    /// The next signal that is due.
    pub(super) fn next(&mut self, now: Duration) -> Option<Outgoing> {
        self.refill(now);
        self.close(now);
        while let Some(Merged { row, count }) = self.due.pop_front() {
            self.bytes -= row.size();
            if self.tokens < 1.0 {
                self.told.lost += count;
                continue;
            }
            self.tokens -= 1.0;
            self.told.sent += 1;
            self.told.coalesced += count - 1;
            return Some(Outgoing::EventSeen(Answer { row, count }));
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

    /// Closes the windows whose time has come, and the oldest where there are too many.
    fn close(&mut self, now: Duration) {
        while let Some((closes, _)) = self.closing.front() {
            let is_crowded = self.closing.len() > MAX_WINDOWS || self.bytes > MAX_BYTES;
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
            exe: row.exe().map(|exe| exe.into_owned().into()),
            event_type: row.event_type,
            family: row.family,
            address: row.address.clone(),
        }
    }
}
