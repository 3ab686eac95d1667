//! What is known of the machine's connections: the centre of the service. Everything before it fills it, everything behind
//! it asks it.
//!
//! - A **row** is one event. The **history** holds every row in order of arrival, [`Config`](crate::config::Config)'s
//!   `history` of them; the **newest** holds the last one of each process and type, as lists show them.
//! - **Who** is what the records say of a process, **whose** is what `/proc` says. Rows of one process share both.
//! - **Sight** is what somebody may see.
//!
//! The lock is std's. It is held for one insert, or for some dozen rows of a walk, so that a caller who walks the whole
//! history delays neither the reader nor other callers: walks pass the rows together, and let the reader in between two
//! steps. A mutex would not: whoever walks takes it again before those who wait for it wake up.

mod history;
mod newest;
mod order;
mod past;
mod query;
mod row;
mod shared;
mod shares;
mod snapshot;
mod statistics;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use audit_records::{Event, EventId, EventType};

use self::history::{History, Path};
use self::newest::{Entry, Newest};
use self::shared::Shared;

pub use newest::MAX_IDLE;
pub use past::Past;
pub use query::{DEFAULT_LIMIT, Exe, MAX_LIMIT, Prefix, Query, Sight};
pub use row::{Extra, OUTCOMES, Row, Source, Whose, outcome_name};
pub use shared::Origin;
pub use shares::Owner;
pub use snapshot::{MAX_SNAPSHOT, Restored, Unusable};
pub use statistics::{Counter, Losses, Statistics};

/// Rows passed while the lock is held: some microseconds.
const CHUNK: usize = 64;

/// Pids that are told of while the lock is held: some microseconds.
const TOGETHER: usize = 16;

/// What the history holds in memory, in bytes: its rows and what they share.
pub const MAX_HISTORY_BYTES: usize = 48 * 1024 * 1024;

/// How many rows are looked through for processes that may hold a connection.
const MAX_LOOK_BACK: usize = 1024;

/// How many processes are worth a look before all are looked at.
const MAX_CANDIDATES: usize = 32;

/// The rows, and the counters of everything that led to them.
#[derive(Debug)]
pub struct Store {
    inner: RwLock<Inner>,
    /// This machine's name, as records name it.
    node: Box<[u8]>,
    /// What happened so far.
    pub statistics: Statistics,
    /// The kernel's own count of lost records, as it was when last looked.
    kernel_lost: Mutex<Option<u32>>,
}

#[derive(Debug)]
struct Inner {
    sequence: u64,
    /// Grows with everything that is told of rows.
    changes: u64,
    shared: Shared,
    history: History,
    newest: Newest,
}

/// Whose the rows of a pid are.
#[derive(Clone, Debug)]
pub struct Found {
    /// The pid.
    pub pid: u32,
    /// Rows since this one are its for certain.
    pub since: u64,
    /// What `/proc` said.
    pub whose: Whose,
}

/// A row as it is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The event.
    pub row: Row,
    /// How many events it stands for.
    pub count: u64,
}

impl Store {
    /// Empty; for so many rows, and so many of the newest. Records of another machine than `node` belong to no user of this
    /// one.
    #[must_use]
    pub fn new(history: usize, max_events: usize, node: &[u8]) -> Self {
        let inner = Inner {
            sequence: 0,
            changes: 0,
            shared: Shared::default(),
            history: History::new(history, MAX_HISTORY_BYTES),
            newest: Newest::new(max_events),
        };
        Self {
            inner: RwLock::new(inner),
            node: node.into(),
            statistics: Statistics::default(),
            kernel_lost: Mutex::default(),
        }
    }

    /// From now on for so many.
    pub fn set_limits(&self, history: usize, max_events: usize) {
        let mut inner = self.write();
        let Inner { history: rows, newest, shared, .. } = &mut *inner;
        rows.set_max_rows(history, shared);
        newest.set_max_entries(max_events);
    }

    /// Whether the event is this machine's own.
    #[must_use]
    pub fn is_local(&self, event: &Event<'_>) -> bool {
        event.who().node().is_none_or(|node| is_named(node, &self.node))
    }

    /// Takes an event that arrived now from this source, `seen_us` microseconds since the epoch. Returns its row.
    pub fn insert(&self, event: &Event<'_>, source: Source, now: Duration, seen_us: u64) -> Row {
        let mut inner = self.write();
        let mut row = inner.next_row(event, source, seen_us, &self.node);
        let Inner { shared, history, newest, .. } = &mut *inner;
        newest.insert(&mut row, now);
        history.push(row.clone(), shared);
        row
    }

    /// Tells whose the rows of pids are: of each those since `since` for certain, and those before that nobody has told of.
    pub fn attach(&self, found: &[Found]) {
        for together in found.chunks(TOGETHER) {
            let mut inner = self.write();
            for found in together {
                inner = self.attach_one(inner, found);
            }
        }
    }

    /// Lets others in between where the pid has many rows.
    fn attach_one<'a>(&'a self, mut inner: RwLockWriteGuard<'a, Inner>, found: &Found) -> RwLockWriteGuard<'a, Inner> {
        let Found { pid, since, ref whose } = *found;
        let of_row = |row: &Row| {
            let is_open = matches!(row.whose, Whose::Pending);
            // Those of another machine, or before the process, are not its own.
            match whose {
                _ if !is_open && row.sequence < since => None,
                _ if !is_open && !matches!(row.whose, Whose::Process(_)) => Some(row.whose.clone()),
                // Another user's: for that one somebody looks, too.
                Whose::Process(process) if row.origin.uid != Some(process.uid) => Some(row.whose.clone()),
                Whose::Process(process) if !process.lived_at(row.id.milliseconds) => Some(Whose::Nothing),
                whose => Some(whose.clone()),
            }
        };
        inner.changes += 1;
        inner.newest.attach(pid, since, whose);
        // Under the same lock: a row that came in between would know its process already, and end the walk before those
        // that do not.
        let mut walk = inner.history.walk(Path::Pid(pid), u64::MAX);
        loop {
            let Inner { history, shared, .. } = &mut *inner;
            if !history.tell(&mut walk, CHUNK, shared, of_row) {
                return inner;
            }
            drop(inner);
            inner = self.write();
        }
    }

    /// The newest event of that pid that may be seen.
    #[must_use]
    pub fn of_pid(&self, pid: u32, sight: Sight, now: Duration) -> Option<Answer> {
        if let Some(entry) = self.read().newest.of_pid(pid, now, |row| sight.allows(row)) {
            return Some(Answer::of(entry));
        }
        self.first(Path::Pid(pid), usize::MAX, |row| sight.allows(row)).map(Answer::single)
    }

    /// Hands the newest of each process and type to `take`, the newest first, until it says stop.
    pub fn newest(&self, sight: Sight, now: Duration, mut take: impl FnMut(Answer) -> bool) {
        let mut before = Some(u64::MAX);
        while let Some(cursor) = before {
            let mut chunk = Vec::new();
            before = self.read().newest.step(cursor, CHUNK, now, |entry| {
                if sight.allows(&entry.row) {
                    chunk.push(Answer::of(entry));
                }
            });
            if !chunk.into_iter().all(&mut take) {
                return;
            }
        }
    }

    /// Hands what the history has to `take`, the newest first, until there are as many as the query wants or it says stop.
    /// Returns the cursor that continues, 0 at the end.
    pub fn find(&self, query: &Query, sight: Sight, mut take: impl FnMut(Answer) -> bool) -> u64 {
        let mut walk = self.read().history.walk(query.path(), query.before);
        let mut wanted = query.limit;
        let mut last = query.before;
        loop {
            let mut chunk = Vec::new();
            // One more than wanted: whether there is more.
            let more = self.read().history.step(&mut walk, CHUNK, |row| {
                if sight.allows(row) && query.matches(row) {
                    chunk.push(row.clone());
                }
                chunk.len() <= wanted
            });
            for row in chunk {
                let sequence = row.sequence;
                if wanted == 0 || !take(Answer::single(row)) {
                    return last;
                }
                wanted -= 1;
                last = sequence;
            }
            if !more {
                return 0;
            }
        }
    }

    /// The processes with a wanted row that names this address, the newest first: each by its newest such row. Of many rows
    /// only the newest are looked through.
    #[must_use]
    pub fn users_of(&self, host: IpAddr, wanted: impl Fn(&Row) -> bool) -> Vec<Row> {
        let wanted = |row: &Row| !row.is_recalled() && wanted(row);
        self.processes(Path::Host(host.to_canonical()), MAX_LOOK_BACK, MAX_CANDIDATES, wanted)
    }

    /// The newest wanted row that names this address, if all such rows are of one process.
    #[must_use]
    pub fn sole_user_of(&self, host: IpAddr, wanted: impl Fn(&Row) -> bool) -> Option<Row> {
        let mut users = self.processes(Path::Host(host.to_canonical()), usize::MAX, 2, wanted).into_iter();
        users.next().filter(|_| users.next().is_none())
    }

    /// The processes of that user that made sockets last, the newest first: each by its newest socket.
    #[must_use]
    pub fn makers(&self, uid: u32, sight: Sight) -> Vec<Row> {
        let makes = |row: &Row| {
            row.event_type == Some(EventType::Socket)
                && !row.is_recalled()
                && row.origin.uid == Some(uid)
                && sight.allows(row)
        };
        self.processes(Path::All, MAX_LOOK_BACK, MAX_CANDIDATES, makes)
    }

    /// The newest row of that process that is wanted.
    #[must_use]
    pub fn of_process(&self, pid: u32, start_time_us: u64, wanted: impl Fn(&Row) -> bool) -> Option<Row> {
        let is_its = |row: &Row| {
            !row.is_recalled() && row.process().is_none_or(|process| process.start_time_us == start_time_us)
        };
        self.first(Path::Pid(pid), usize::MAX, |row| is_its(row) && wanted(row))
    }

    /// Drops what is old.
    pub fn expire(&self, now: Duration) {
        while self.write().newest.expire(CHUNK, now) {}
    }

    /// How many events it took so far.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.read().sequence
    }

    /// The ids of the last events of this machine, so many at the most, the oldest first.
    #[must_use]
    pub fn last_ids(&self, most: usize) -> Vec<EventId> {
        let mut ids = Vec::new();
        self.walk(Path::All, most, |row| {
            ids.extend(row.origin.is_local.then_some(row.id));
            true
        });
        ids.reverse();
        ids
    }

    /// Another number whenever a row came or something was told of one.
    #[must_use]
    pub fn changes(&self) -> u64 {
        let inner = self.read();
        inner.sequence.wrapping_add(inner.changes)
    }

    /// The kernel's own count of lost records, as it was when last looked.
    pub fn kernel_lost(&self) -> MutexGuard<'_, Option<u32>> {
        self.kernel_lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A store that was restored goes on where the last one ended: that one had taken `reached` events, and `under_way` more
    /// had begun. Counts those that were not saved, and returns how many they are. Signals that were on their way are
    /// counted as lost; of the rows that it has, so many `pending` ones will still be signalled.
    pub fn goes_on(&self, reached: u64, under_way: u64, pending: usize) -> u64 {
        let counters = &self.statistics;
        let (unsaved, sequence) = {
            let mut inner = self.write();
            let unsaved = reached.saturating_sub(inner.sequence);
            inner.sequence = inner.sequence.max(reached);
            (unsaved.saturating_add(under_way), inner.sequence)
        };
        counters.events_unsaved.add(unsaved);
        let matched = sequence.saturating_sub(counters.events_recalled.get());
        counters.events_matched.set(matched);
        let told = [&counters.signals_sent, &counters.signals_coalesced, &counters.signals_lost];
        let told = told.iter().fold(pending as u64, |sum, counter| sum.saturating_add(counter.get()));
        counters.signals_lost.add(matched.saturating_sub(told));
        unsaved
    }

    /// Each counter with its name.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        {
            let inner = self.read();
            self.statistics.events_cached.set(inner.newest.len() as u64);
            self.statistics.events_evicted.set(inner.newest.evicted());
            self.statistics.events_remembered.set(inner.history.len() as u64);
            self.statistics.oldest_event.set(inner.history.oldest().map_or(0, Row::timestamp_us));
            self.statistics.events_forgotten.set(inner.history.forgotten());
        }
        self.statistics.iter().collect()
    }

    /// The newest row on a path that is wanted, among so many.
    fn first(&self, path: Path, limit: usize, wanted: impl Fn(&Row) -> bool) -> Option<Row> {
        let mut found = None;
        self.walk(path, limit, |row| {
            found = wanted(row).then(|| row.clone());
            found.is_none()
        });
        found
    }

    /// The newest row of each process on a path that is wanted: among so many rows, of so many processes.
    fn processes(&self, path: Path, limit: usize, most: usize, wanted: impl Fn(&Row) -> bool) -> Vec<Row> {
        let mut found: Vec<Row> = Vec::new();
        self.walk(path, limit, |row| {
            if wanted(row) && !found.iter().any(|newer| newer.is_of_same_process(row)) {
                found.push(row.clone());
            }
            found.len() < most
        });
        found
    }

    fn walk(&self, path: Path, limit: usize, mut see: impl FnMut(&Row) -> bool) {
        let mut walk = self.read().history.walk(path, u64::MAX);
        let mut left = limit;
        let mut stopped = false;
        while left > 0 && !stopped {
            let steps = left.min(CHUNK);
            left -= steps;
            let more = self.read().history.step(&mut walk, steps, |row| {
                stopped = !see(row);
                !stopped
            });
            if !more {
                return;
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The next row, of this event, for the history. `node` is this machine.
    fn next_row(&mut self, event: &Event<'_>, source: Source, seen_us: u64, node: &[u8]) -> Row {
        self.sequence += 1;
        let who = event.who();
        // Mostly its process did the same before.
        let known = who.pid().and_then(|pid| self.newest.origin_of(pid, who)).and_then(Origin::held_again);
        let origin = known.unwrap_or_else(|| self.shared.intern(who, |other| is_named(other, node)));
        Row::new(event, source, self.sequence, seen_us, origin)
    }
}

impl Answer {
    fn of(entry: &Entry) -> Self {
        Self { row: entry.row.clone(), count: entry.count }
    }

    /// Of a row that stands for itself.
    #[must_use]
    pub fn single(row: Row) -> Self {
        Self { row, count: 1 }
    }
}

/// Whether a record's node is the machine of that name: auditd writes the name with or without its domain (`name_format`,
/// auditd.conf(5)).
fn is_named(node: &[u8], name: &[u8]) -> bool {
    node.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}
