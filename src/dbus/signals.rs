//! Which events become signals, and when.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::wire::{Context, Row, text};
use crate::event::{Event, EventType};
use crate::process::Process;
use crate::record::{Address, Family};

/// Events that wait to be merged with others alike, at the most; beyond it the oldest is signalled at once.
const MAX_PENDING: usize = 1024;

/// What they may hold together, in bytes.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// How long `EventsLost` waits for the next one.
const LOST_EVERY: Duration = Duration::from_secs(1);

/// An event that was seen, on its way to a signal.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The event.
    pub event: Arc<Event>,
    /// What `/proc` knew of its process.
    pub process: Option<Arc<Process>>,
    /// Its place in the order of all events.
    pub sequence: u64,
    /// When it came, in microseconds since the epoch.
    pub last_seen_us: u64,
}

impl Seen {
    /// What it holds in memory, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.event.size()
    }
}

/// A signal to send.
#[derive(Debug)]
pub enum Outgoing {
    /// `EventSeen`: the type's name, the program's path, the event.
    EventSeen(&'static str, String, Row),
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

#[derive(Debug)]
struct Pending {
    /// The newest of them.
    seen: Seen,
    count: u64,
}

/// Merges events alike and bounds the rate. Pure: `now` is the time since any fixed moment.
#[derive(Debug)]
pub struct Signals {
    limits: Limits,
    pending: HashMap<Alike, Pending>,
    /// When each is due, the earliest first.
    due: VecDeque<(Duration, Alike)>,
    bytes: usize,
    /// Signals that may be sent now: a bucket of a second's worth, refilled all the time.
    tokens: f64,
    refilled: Duration,
    /// Events beyond the rate, and events merged into the signal of another one, since somebody asked.
    dropped: u64,
    coalesced: u64,
    /// Events lost since the beginning, wherever, and how many of them were told when.
    lost: u64,
    told: u64,
    told_at: Option<Duration>,
}

impl Signals {
    /// Nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            pending: HashMap::new(),
            due: VecDeque::new(),
            bytes: 0,
            tokens: limits.per_second.into(),
            refilled: Duration::ZERO,
            dropped: 0,
            coalesced: 0,
            lost: 0,
            told: 0,
            told_at: None,
        }
    }

    /// How many events were beyond the rate, and how many were merged into the signal of another one, since the last call.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.dropped), std::mem::take(&mut self.coalesced))
    }

    /// So many events were lost since the beginning, wherever.
    pub fn set_lost(&mut self, lost: u64) {
        self.lost = lost;
    }

    /// From now on as often as these say.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes an event.
    pub fn push(&mut self, seen: Seen, now: Duration) {
        let alike = Alike::of(&seen);
        self.bytes += seen.size();
        if let Some(pending) = self.pending.get_mut(&alike) {
            self.bytes -= pending.seen.size();
            pending.seen = seen;
            pending.count += 1;
            self.coalesced += 1;
            return;
        }
        self.pending.insert(alike.clone(), Pending { seen, count: 1 });
        self.due.push_back((now + self.limits.coalesce, alike));
    }

    /// When [`next`](Self::next) should be asked again.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let lost = (self.lost > self.told).then(|| self.told_at.map_or(Duration::ZERO, |told| told + LOST_EVERY));
        let event = self.due.front().map(|(due, _)| *due);
        lost.into_iter().chain(event).min()
    }

    /// The next signal that is due.
    pub fn next(&mut self, now: Duration) -> Option<Outgoing> {
        self.refill(now);
        while self.is_due(now) {
            let (_, alike) = self.due.pop_front()?;
            let Pending { seen, count } = self.pending.remove(&alike)?;
            self.bytes -= seen.size();
            if self.tokens < 1.0 {
                self.dropped += count;
                continue;
            }
            self.tokens -= 1.0;
            let context = Context {
                process: seen.process.as_deref(),
                running: None,
                count: Some(count),
                last_seen_us: Some(seen.last_seen_us),
                sequence: Some(seen.sequence),
            };
            let name = seen.event.event_type.map_or("", EventType::name);
            let exe = seen.event.subject.exe.as_deref().or_else(|| context.process?.exe.as_deref());
            let exe = exe.map(|exe| text(exe).0).unwrap_or_default();
            return Some(Outgoing::EventSeen(name, exe, Row::new(&seen.event, context)));
        }
        let may_tell = self.told_at.is_none_or(|told| now >= told + LOST_EVERY);
        if self.lost > self.told && may_tell {
            let count = self.lost - self.told;
            self.told = self.lost;
            self.told_at = Some(now);
            return Some(Outgoing::EventsLost(count));
        }
        None
    }

    fn is_due(&self, now: Duration) -> bool {
        let crowded = self.due.len() > MAX_PENDING || self.bytes > MAX_PENDING_BYTES;
        self.due.front().is_some_and(|(due, _)| *due <= now || crowded)
    }

    fn refill(&mut self, now: Duration) {
        let rate = f64::from(self.limits.per_second);
        self.tokens = (self.tokens + now.saturating_sub(self.refilled).as_secs_f64() * rate).min(rate);
        self.refilled = now;
    }
}

impl Alike {
    fn of(seen: &Seen) -> Self {
        let event = &*seen.event;
        Self {
            pid: event.subject.pid,
            start_time: seen.process.as_ref().map(|process| process.start_time),
            exe: event.subject.exe.clone(),
            event_type: event.event_type,
            family: event.family,
            address: event.address.clone(),
        }
    }
}
