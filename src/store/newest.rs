//! The newest event of each process and type.
//!
//! A process is a pid and a start time. Until somebody has looked into `/proc`, events of one pid are taken for events of
//! one process. The look tells whose they are, and parts them where they were of two.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use audit_records::{EventType, Protocol, Who};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::order::Order;
use super::row::{Row, Whose};
use super::shared::Origin;
use super::shares::Shares;
use crate::process::Process;

/// How long an entry lives without activity, whether its process runs or not.
pub const MAX_IDLE: Duration = Duration::from_secs(10 * 60);

/// What all entries hold in memory, in bytes, counted as if they shared nothing with the history; most of it they share.
/// 65,536 usual entries count for 55 MiB.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What an entry takes beside itself, in bytes: its places in the maps and sets.
const PER_ENTRY: usize = 128;

/// What an entry counts for, in bytes: with what it may share, as if it did not.
fn weight(row: &Row) -> usize {
    size_of::<Entry>() + PER_ENTRY + row.size() + row.origin.size()
}

/// Sockets remembered of one process, so that its connects tell type and protocol. The oldest is forgotten.
pub(super) const MAX_SOCKETS: usize = 256;

/// All entries.
#[derive(Debug)]
pub(super) struct Newest {
    /// The processes that have or had a pid, the newest last.
    by_pid: HashMap<u32, Vec<Group>>,
    /// The pid of each entry.
    order: Order<u32>,
    /// Those of each owner.
    shares: Shares<Order<u32>>,
    bytes: usize,
    /// Pids with a process that has no entry and is kept for its sockets.
    retired: BTreeSet<u32>,
    max_entries: usize,
    evicted: u64,
}

/// The newest event of its process and type.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) row: Row,
    /// Events of that process and type since the entry was made.
    pub(super) count: u64,
    pub(super) seen: Duration,
}

/// One process.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) whose: Whose,
    /// The real user of its newest event. What `/proc` says is told only to the same user's.
    pub(super) uid: Option<u32>,
    /// At most one a type.
    pub(super) entries: Vec<Entry>,
    /// The sockets it made, the newest last.
    pub(super) sockets: Vec<Made>,
}

/// A socket that a process made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Made {
    fd: i32,
    socket: Option<Protocol>,
}

impl Newest {
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            by_pid: HashMap::new(),
            order: Order::default(),
            shares: Shares::of(max_entries),
            bytes: 0,
            retired: BTreeSet::new(),
            max_entries,
            evicted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// So many went before.
    pub(super) fn add_evicted(&mut self, more: u64) {
        self.evicted = self.evicted.saturating_add(more);
    }

    /// Calls `see` with the processes of each pid, for at most `steps` entries below `before`, the newest first; where to go
    /// on, `None` at the end.
    pub(super) fn step_pids(&self, before: u64, steps: usize, mut see: impl FnMut(u32, &[Group])) -> Option<u64> {
        let mut last = None;
        let mut passed = 0;
        for (sequence, pid) in self.order.below(before).take(steps) {
            last = Some(sequence);
            passed += 1;
            let Some((pid, groups)) = pid.and_then(|pid| Some((pid, self.by_pid.get(&pid)?))) else { continue };
            // Once for each: at the newest entry.
            let entries = groups.iter().flat_map(|group| &group.entries);
            if entries.map(|entry| entry.row.sequence).max() == Some(sequence) {
                see(pid, groups);
            }
        }
        last.filter(|_| passed == steps)
    }

    /// Puts back the processes of a pid that has none, the newest last, as [`step_pids`](Self::step_pids) told of them. No
    /// two entries have the same sequence. What is beyond the bounds is left out.
    pub(super) fn restore(&mut self, pid: u32, groups: Vec<Group>, entries: &mut Vec<(u64, u32)>) {
        for entry in groups.iter().flat_map(|group| &group.entries) {
            self.bytes += weight(&entry.row);
            entries.push((entry.row.sequence, pid));
        }
        self.by_pid.insert(pid, groups);
    }

    /// After the last [`restore`](Self::restore): all of these entries are there, in order of arrival now.
    pub(super) fn restored(&mut self, mut entries: Vec<(u64, u32)>) {
        entries.sort_unstable();
        for (sequence, pid) in entries {
            let Some(entry) = entry(&self.by_pid, pid, sequence) else { continue };
            let (owner, weight) = (entry.row.origin.owner, weight(&entry.row));
            self.order.push(sequence, pid);
            self.shares.change(owner, weight, 0, |order| order.push(sequence, pid));
        }
        self.evict();
    }

    pub(super) fn set_max_entries(&mut self, max_entries: usize) {
        self.max_entries = max_entries;
        self.shares.resize(max_entries);
        self.evict();
    }

    /// Adds to a row what is known of its process, whose it is and of the socket it uses, and puts it in the place of the last
    /// one of its process and type. A row without a pid has no place.
    pub(super) fn insert(&mut self, row: &mut Row, now: Duration) {
        let Some(pid) = row.origin.pid else { return };
        let Some(group) = group_of(self.by_pid.entry(pid).or_default(), row) else { return };
        group.complete(row);
        let (sequence, owner, more) = (row.sequence, row.origin.owner, weight(row));
        let row = row.clone();
        match group.entry_of(row.event_type) {
            Some(entry) if entry.row.origin.owner == owner => {
                let (last, less) = (entry.row.sequence, weight(&entry.row));
                *entry = Entry { row, count: entry.count + 1, seen: now };
                self.shares.change(owner, more, less, |order| order.replace(last, sequence, pid));
                self.order.replace(last, sequence, pid);
                self.bytes = self.bytes + more - less;
            }
            other => {
                let count = other.map_or(0, |entry| entry.count) + 1;
                let last = group.take(row.event_type);
                // Most processes do two things: room for more is not kept.
                group.entries.reserve_exact(1);
                group.entries.push(Entry { row, count, seen: now });
                self.shares.change(owner, more, 0, |order| order.push(sequence, pid));
                self.order.push(sequence, pid);
                self.bytes += more;
                if let Some(last) = last {
                    self.uncount(&last);
                }
            }
        }
        self.evict();
    }

    /// The origin that says this, if the last process with that pid has an entry of it.
    pub(super) fn origin_of(&self, pid: u32, who: Who<'_>) -> Option<&Arc<Origin>> {
        let entries = &self.by_pid.get(&pid)?.last()?.entries;
        entries.iter().map(|entry| &entry.row.origin).find(|origin| origin.who() == who)
    }

    /// Tells which process the entries of this pid belong to. Those since `since` are its for certain; of the others,
    /// those that nobody has looked for.
    pub(super) fn attach(&mut self, pid: u32, since: u64, whose: &Whose) {
        let Some(groups) = self.by_pid.get_mut(&pid) else { return };
        match whose {
            Whose::Pending => {}
            Whose::Gone { .. } | Whose::Nothing => {
                for group in groups.iter_mut().filter(|group| matches!(group.whose, Whose::Pending)) {
                    group.tell(whose);
                }
            }
            Whose::Process(process) => {
                let dropped = attach(groups, since, process);
                for entry in dropped {
                    self.uncount(&entry);
                }
            }
        }
    }

    /// The newest entry of this pid that may be seen.
    pub(super) fn of_pid(&self, pid: u32, now: Duration, sees: impl Fn(&Row) -> bool) -> Option<&Entry> {
        let entries = self.by_pid.get(&pid)?.iter().flat_map(|group| &group.entries);
        entries.filter(|entry| !entry.is_idle(now) && sees(&entry.row)).max_by_key(|entry| entry.row.sequence)
    }

    /// Calls `see` for at most `steps` entries below `before`, the newest first; where to go on, `None` at the end.
    pub(super) fn step(&self, before: u64, steps: usize, now: Duration, mut see: impl FnMut(&Entry)) -> Option<u64> {
        let mut last = None;
        let mut passed = 0;
        for (sequence, pid) in self.order.below(before).take(steps) {
            last = Some(sequence);
            passed += 1;
            if let Some(entry) = pid.and_then(|pid| entry(&self.by_pid, pid, sequence))
                && !entry.is_idle(now)
            {
                see(entry);
            }
        }
        last.filter(|_| passed == steps)
    }

    /// Drops at most `steps` entries that had no activity for [`MAX_IDLE`], and processes that ended; whether there may be
    /// more.
    pub(super) fn expire(&mut self, steps: usize, now: Duration) -> bool {
        for _ in 0..steps {
            // The order is that of arrival, so the first that is not idle ends it.
            let Some((sequence, pid)) = self.order.oldest() else { break };
            if entry(&self.by_pid, pid, sequence).is_some_and(|entry| !entry.is_idle(now)) {
                let ended = self.retired.iter().copied().take(steps).filter(|pid| !self.is_needed(*pid));
                for pid in ended.collect::<Vec<_>>() {
                    self.tidy(pid);
                }
                return false;
            }
            self.remove(pid, sequence);
        }
        self.order.len() > 0
    }

    fn is_needed(&self, pid: u32) -> bool {
        self.by_pid.get(&pid).is_some_and(|groups| groups.iter().all(Group::is_needed))
    }

    fn evict(&mut self) {
        while self.len() > self.max_entries || self.bytes > MAX_BYTES {
            let Some((sequence, pid)) = self.shares.heaviest().and_then(Order::oldest) else { return };
            self.remove(pid, sequence);
            self.evicted += 1;
        }
    }

    fn remove(&mut self, pid: u32, sequence: u64) {
        let Some(groups) = self.by_pid.get_mut(&pid) else { return };
        let removed = groups.iter_mut().find_map(|group| {
            let place = group.entries.iter().position(|entry| entry.row.sequence == sequence)?;
            Some(group.entries.swap_remove(place))
        });
        if let Some(entry) = removed {
            self.uncount(&entry);
        }
        self.tidy(pid);
    }

    /// Drops the processes of this pid that nothing is kept of.
    fn tidy(&mut self, pid: u32) {
        let Some(groups) = self.by_pid.get_mut(&pid) else { return };
        groups.retain(Group::is_needed);
        let is_retired = groups.iter().any(|group| group.entries.is_empty());
        if groups.is_empty() {
            self.by_pid.remove(&pid);
        }
        if is_retired {
            self.retired.insert(pid);
        } else {
            self.retired.remove(&pid);
        }
    }

    fn uncount(&mut self, entry: &Entry) {
        let (sequence, bytes) = (entry.row.sequence, weight(&entry.row));
        self.shares.change(entry.row.origin.owner, 0, bytes, |order| order.remove(sequence));
        self.order.remove(sequence);
        self.bytes -= bytes;
    }
}

fn entry(by_pid: &HashMap<u32, Vec<Group>>, pid: u32, sequence: u64) -> Option<&Entry> {
    let entries = by_pid.get(&pid)?.iter().flat_map(|group| &group.entries);
    entries.into_iter().find(|entry| entry.row.sequence == sequence)
}

/// The process that a row is of: the newest that can have made it, or a new one.
fn group_of<'a>(groups: &'a mut Vec<Group>, row: &Row) -> Option<&'a mut Group> {
    let known = groups.iter().rposition(|group| group.can_be_of(row));
    let place = known.unwrap_or(groups.len());
    if known.is_none() {
        groups.reserve_exact(1);
        groups.push(Group { whose: row.whose.clone(), uid: row.origin.uid, entries: Vec::new(), sockets: Vec::new() });
    }
    groups.get_mut(place)
}

/// Gives the process what is its; what it takes the place of is returned.
fn attach(groups: &mut Vec<Group>, since: u64, process: &Arc<Process>) -> Vec<Entry> {
    let whose = Whose::Process(process.clone());
    let uid = Some(process.uid);
    let mut own = Group { whose: whose.clone(), uid, entries: Vec::new(), sockets: Vec::new() };
    let mut dropped = Vec::new();
    groups.retain_mut(|group| match &group.whose {
        Whose::Process(known) if known.start_time_us == process.start_time_us => {
            // Known before, and looked at again: it has started another program.
            own.entries.extend(group.entries.drain(..).map(|mut entry| {
                if entry.row.sequence >= since {
                    entry.row.whose = whose.clone();
                }
                entry
            }));
            own.sockets.append(&mut group.sockets);
            false
        }
        Whose::Pending if group.uid == uid => {
            let mut earlier = Vec::new();
            for mut entry in group.entries.drain(..) {
                if !process.lived_at(entry.row.id.milliseconds) {
                    entry.row.whose = Whose::Nothing;
                    earlier.push(entry);
                    continue;
                }
                entry.row.whose = whose.clone();
                match own.take(entry.row.event_type) {
                    None => own.entries.push(entry),
                    Some(other) => {
                        let (mut newer, older) =
                            if entry.row.sequence > other.row.sequence { (entry, other) } else { (other, entry) };
                        newer.count += older.count;
                        own.entries.push(newer);
                        dropped.push(older);
                    }
                }
            }
            own.sockets.append(&mut group.sockets);
            // It happened before this process began: another one had the pid then.
            group.whose = Whose::Nothing;
            group.entries = earlier;
            !group.entries.is_empty()
        }
        _ => true,
    });
    if !own.entries.is_empty() {
        groups.push(own);
    }
    dropped
}

impl Group {
    /// Whether this process can have made that row.
    fn can_be_of(&self, row: &Row) -> bool {
        let milliseconds = row.id.milliseconds;
        if self.uid != row.origin.uid {
            return false;
        }
        match (&self.whose, &row.whose) {
            (Whose::Nothing, Whose::Nothing | Whose::Pending) => self.entries.iter().any(|entry| {
                let (known, new) = (entry.row.origin.who(), row.origin.who());
                known.node() == new.node() && known.ppid() == new.ppid()
            }),
            (_, Whose::Nothing) | (Whose::Nothing, _) => false,
            (Whose::Pending, _) => true,
            (Whose::Process(process), _) => {
                process.lived_at(milliseconds) && process.ended_at_ms().is_none_or(|end| milliseconds <= end)
            }
            (Whose::Gone { at_ms, .. }, _) => milliseconds <= *at_ms,
        }
    }

    /// Tells a row of this process whose it is; a socket call is remembered, and a call that uses a socket told which.
    fn complete(&mut self, row: &mut Row) {
        row.whose = self.whose.clone();
        let Some(fd) = row.fd else { return };
        match row.event_type {
            Some(EventType::Socket) if row.success == Some(true) => {
                self.remember(Made { fd, socket: row.socket });
            }
            Some(EventType::Connect | EventType::Bind | EventType::Send) => {
                if let Some(made) = self.sockets.iter().rfind(|made| made.fd == fd) {
                    row.socket = made.socket;
                }
            }
            _ => {}
        }
    }

    /// It is kept for its entries, and while it is known to run for its sockets.
    fn is_needed(&self) -> bool {
        let runs = || matches!(&self.whose, Whose::Process(process) if process.is_watched());
        !self.entries.is_empty() || (!self.sockets.is_empty() && runs())
    }

    fn tell(&mut self, whose: &Whose) {
        self.whose = whose.clone();
        for entry in &mut self.entries {
            entry.row.whose = whose.clone();
        }
    }

    fn entry_of(&mut self, event_type: Option<EventType>) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.row.event_type == event_type)
    }

    fn take(&mut self, event_type: Option<EventType>) -> Option<Entry> {
        let place = self.entries.iter().position(|entry| entry.row.event_type == event_type)?;
        Some(self.entries.swap_remove(place))
    }

    fn remember(&mut self, made: Made) {
        self.sockets.retain(|known| known.fd != made.fd);
        if self.sockets.len() == MAX_SOCKETS {
            self.sockets.remove(0);
        }
        self.sockets.push(made);
    }
}

impl Entry {
    fn is_idle(&self, now: Duration) -> bool {
        now.saturating_sub(self.seen) >= MAX_IDLE
    }
}
