//! The bounded cache of events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Process;
use crate::event::{Event, EventType};

/// How long an entry lives without activity.
pub const MAX_IDLE: Duration = Duration::from_secs(10 * 60);

/// What all entries together may take, in bytes: arguments of execve can be long, and `max_events` of them would be
/// gigabytes. Some 2 kB for each of 4,096 events.
pub const MAX_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// One place for each event type, and one for the system calls that are none.
const SLOTS: usize = EventType::ALL.len() + 1;

/// One event in the cache and what is known of its process.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The newest event of this process and type.
    pub event: Arc<Event>,
    /// Its place in the order of all events.
    pub sequence: u64,
    /// When it came, in microseconds since the epoch.
    pub last_seen_us: u64,
    /// How many events of this process and type it stands for.
    pub count: u64,
    /// What `/proc` knew.
    pub process: Option<Arc<Process>>,
    /// When it came, by the clock that `now` is taken from.
    seen: Duration,
    /// The part of `count` that was there before this event, until its process is known.
    earlier: Option<Earlier>,
}

/// Events of a pid counted so far, which may turn out to be another process's.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    count: u64,
    /// The start time of their process, where it is known.
    start_time: Option<u64>,
    /// When the last of them happened, in milliseconds since the epoch.
    milliseconds: u64,
}

impl Earlier {
    fn are_of(&self, process: &Process) -> bool {
        self.start_time
            .map_or_else(|| process.lived_at(self.milliseconds), |start_time| start_time == process.start_time)
    }
}

impl Entry {
    fn size(&self) -> usize {
        // The process is shared by the entries of one process, and counted at each: never too little.
        size_of::<Self>() + self.event.size() + self.process.as_ref().map_or(0, |process| process.size())
    }

    /// What the next event of this pid and type finds: all that were counted, or while this one's process is not known
    /// those before it whose process is.
    fn earlier(&self) -> Earlier {
        match self.earlier {
            Some(earlier) if self.process.is_none() && earlier.start_time.is_some() => earlier,
            _ => Earlier { count: self.count, start_time: self.start_time(), milliseconds: self.event.id.milliseconds },
        }
    }

    fn belongs_to(&mut self, process: &Arc<Process>) {
        let foreign = self.earlier.take().filter(|earlier| !earlier.are_of(process));
        self.count -= foreign.map_or(0, |earlier| earlier.count);
        self.process = Some(process.clone());
    }

    /// The start time of its process, in microseconds since boot.
    #[must_use]
    pub fn start_time(&self) -> Option<u64> {
        self.process.as_ref().map(|process| process.start_time)
    }
}

/// The newest event of each process and type, found by pid at once.
///
/// At any time a pid belongs to one process here: when it is found to be another's, the entries of the old one go.
/// `now` is the time since any fixed moment.
#[derive(Debug)]
pub struct Cache {
    by_pid: HashMap<u32, [Option<Entry>; SLOTS]>,
    /// The oldest first.
    order: BTreeMap<u64, (u32, usize)>,
    sequence: u64,
    max_events: usize,
    bytes: usize,
    evicted: u64,
}

impl Cache {
    /// Holds at most `max_events` entries and [`MAX_CACHE_BYTES`].
    #[must_use]
    pub fn new(max_events: usize) -> Self {
        Self { by_pid: HashMap::new(), order: BTreeMap::new(), sequence: 0, max_events, bytes: 0, evicted: 0 }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many went because there were too many.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Holds from now on at most `max_events`.
    pub fn set_max_events(&mut self, max_events: usize) {
        self.max_events = max_events;
        self.evict();
    }

    /// Puts an event in the place of the last one of its process and type, and returns its sequence. An event without
    /// a pid gets a sequence and no place.
    pub fn insert(&mut self, event: Arc<Event>, now: Duration, last_seen_us: u64) -> u64 {
        self.sequence += 1;
        let Some(pid) = event.subject.pid else { return self.sequence };
        let slot = slot(event.event_type);
        let last = self.remove(pid, slot);
        let count = last.as_ref().map_or(0, |last| last.count) + 1;
        let earlier = last.as_ref().map(Entry::earlier);
        let entry = Entry { event, sequence: self.sequence, last_seen_us, count, process: None, seen: now, earlier };
        self.put(pid, slot, entry);
        self.evict();
        self.sequence
    }

    /// Tells whose pid it is now. Entries of another process with this pid go, and those from before its time; of those of
    /// which nothing is known yet the others become this one's.
    pub fn attach(&mut self, pid: u32, process: &Arc<Process>) {
        for slot in 0..SLOTS {
            let Some(mut entry) = self.remove(pid, slot) else { continue };
            match entry.start_time() {
                Some(start_time) if start_time != process.start_time => continue,
                Some(_) => {}
                None if process.lived_at(entry.event.id.milliseconds) => entry.belongs_to(process),
                // It happened before this process began.
                None => continue,
            }
            self.put(pid, slot, entry);
        }
        self.evict();
    }

    /// The newest event of the process with this pid.
    #[must_use]
    pub fn newest_of(&self, pid: u32, now: Duration) -> Option<&Entry> {
        self.by_pid.get(&pid)?.iter().flatten().filter(|entry| !is_idle(entry, now)).max_by_key(|entry| entry.sequence)
    }

    /// All entries with a sequence below `before`, the newest first.
    pub fn newest_first(&self, before: u64, now: Duration) -> impl Iterator<Item = &Entry> {
        let entry = |(pid, slot): &(u32, usize)| self.by_pid.get(pid)?.get(*slot)?.as_ref();
        self.order
            .range(..before)
            .rev()
            .filter_map(move |(_, place)| entry(place))
            .filter(move |entry| !is_idle(entry, now))
    }

    /// Drops what had no activity for [`MAX_IDLE`].
    pub fn expire(&mut self, now: Duration) {
        // The order is that of arrival, so the first that is fresh ends it.
        while let Some((pid, slot)) = self.order.first_key_value().map(|(_, place)| *place) {
            let entry = self.by_pid.get(&pid).and_then(|slots| slots.get(slot)?.as_ref());
            if !entry.is_some_and(|entry| is_idle(entry, now)) {
                break;
            }
            self.remove(pid, slot);
        }
    }

    /// The processes that have entries: pid, and start time in microseconds since boot where it is known.
    #[must_use]
    pub fn processes(&self) -> Vec<(u32, Option<u64>)> {
        let mut processes: Vec<_> = self
            .newest_first(u64::MAX, Duration::ZERO)
            .filter_map(|entry| Some((entry.event.subject.pid?, entry.start_time())))
            .collect();
        processes.sort_unstable();
        processes.dedup();
        processes
    }

    /// Drops the entries of a process that has ended.
    pub fn remove_process(&mut self, pid: u32, start_time: Option<u64>) {
        for slot in 0..SLOTS {
            let entry = self.by_pid.get(&pid).and_then(|slots| slots.get(slot)?.as_ref());
            if entry.is_some_and(|entry| entry.start_time() == start_time) {
                self.remove(pid, slot);
            }
        }
    }

    fn put(&mut self, pid: u32, slot: usize, entry: Entry) {
        self.bytes += entry.size();
        self.order.insert(entry.sequence, (pid, slot));
        if let Some(place) = self.by_pid.entry(pid).or_default().get_mut(slot) {
            *place = Some(entry);
        }
    }

    fn remove(&mut self, pid: u32, slot: usize) -> Option<Entry> {
        let slots = self.by_pid.get_mut(&pid)?;
        let entry = slots.get_mut(slot)?.take()?;
        if slots.iter().all(Option::is_none) {
            self.by_pid.remove(&pid);
        }
        self.order.remove(&entry.sequence);
        self.bytes -= entry.size();
        Some(entry)
    }

    fn evict(&mut self) {
        while self.order.len() > self.max_events || self.bytes > MAX_CACHE_BYTES {
            let Some((pid, slot)) = self.order.first_key_value().map(|(_, place)| *place) else { break };
            self.remove(pid, slot);
            self.evicted += 1;
        }
    }
}

fn is_idle(entry: &Entry, now: Duration) -> bool {
    now.saturating_sub(entry.seen) >= MAX_IDLE
}

fn slot(event_type: Option<EventType>) -> usize {
    EventType::ALL.iter().position(|one| Some(*one) == event_type).unwrap_or(EventType::ALL.len())
}
