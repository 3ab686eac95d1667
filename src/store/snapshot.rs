//! The store as bytes: what the next process goes on with.
//!
//! Its own [`HEAD`], **items** with their lengths before them, and a checksum of all that behind them. What rows share is an
//! item of its own, before the first item that has its number. The rows are written the newest first: where there is no room
//! for all, the oldest are missing.
//!
//! Writing takes the store's lock for some dozen rows at a time, as every walk does. What arrives meanwhile is in, or it is
//! not; [`Store::sequence`] tells which was the last one.
//!
//! Reading guarantees: whatever the bytes are, the result is a store within its bounds, or nothing. Nothing is sized by a
//! number in them, and what is read takes no more memory than a store may.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use audit_records::{Address, Arch, Bytes, EventId, EventType, Family, Protocol, WhoBuf};
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

use super::history::Path;
use super::newest::{self, Entry, Group, MAX_SOCKETS, Made};
use super::row::{Extra, Row, Source, Whose};
use super::shared::Origin;
use super::{CHUNK, Inner, MAX_HISTORY_BYTES, Store};
use crate::process::{Ancestor, Cgroup, Parents, Process, Revived, WrittenProcess};

/// What it begins with. The number is another one whenever an item changes: what another version wrote is not read.
pub(super) const HEAD: &[u8] = b"opensnitch-audit store 2\n";

/// The longest, in bytes: more than the history takes in memory, and written down it takes half of that.
pub const MAX_SNAPSHOT: usize = 64 * 1024 * 1024;

/// The longest item, in bytes. An event's records have 80 KiB at the most; a pid with more is left out.
const MAX_ITEM: usize = 1024 * 1024;

/// What is left free for the last item and the checksum, in bytes.
const RESERVED: usize = 16 * 1024;

/// What all that is read may take in memory, in bytes: what the history and the newest may.
const MAX_READ: usize = MAX_HISTORY_BYTES + newest::MAX_BYTES;

/// The number of something that rows share, among its kind.
type Number = u32;

#[derive(Serialize, Deserialize)]
enum Item {
    Origin(WhoBuf),
    /// Its path tells the rest.
    Cgroup(Bytes),
    Parents(Vec<Ancestor>),
    Process {
        process: WrittenProcess,
        cgroup: Option<Number>,
        parents: Option<Number>,
    },
    /// The processes of one pid among the newest.
    Pid {
        pid: u32,
        groups: Vec<WrittenGroup>,
    },
    /// A row of the history.
    Row(WrittenRow),
    /// The last one.
    End(End),
}

#[derive(Serialize, Deserialize)]
struct WrittenRow {
    sequence: u64,
    id: EventId,
    seen_us: u64,
    source: Source,
    event_type: Option<EventType>,
    arch: Option<Arch>,
    syscall: Option<u32>,
    success: Option<bool>,
    exit: Option<i64>,
    fd: Option<i32>,
    socket: Option<Protocol>,
    family: Option<Family>,
    address: Option<Address>,
    origin: Number,
    whose: WrittenWhose,
    extra: Option<Arc<Extra>>,
}

#[derive(Serialize, Deserialize)]
enum WrittenWhose {
    Pending,
    Process(Number),
    Gone { at_ms: u64, parents: Option<Number> },
    Nothing,
}

#[derive(Serialize, Deserialize)]
struct WrittenGroup {
    whose: WrittenWhose,
    uid: Option<u32>,
    entries: Vec<WrittenEntry>,
    sockets: Vec<Made>,
}

#[derive(Serialize, Deserialize)]
struct WrittenEntry {
    row: WhichRow,
    count: u64,
    seen: Duration,
}

#[derive(Serialize, Deserialize)]
enum WhichRow {
    /// The one of this sequence in the history.
    OfHistory(u64),
    Own(Box<WrittenRow>),
}

#[derive(Serialize, Deserialize)]
struct End {
    sequence: u64,
    /// Rows of the history.
    rows: u64,
    forgotten: u64,
    evicted: u64,
    counters: Vec<u64>,
    kernel_lost: Option<u32>,
}

/// Why a snapshot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not of this version.
    #[error("another version of the service wrote it")]
    AnotherVersion,
    /// It does not make sense.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

use Unusable::Damaged;

/// A store that goes on where another one was.
#[derive(Debug)]
pub struct Restored {
    /// It.
    pub store: Store,
    /// Its rows that nobody has looked for the process of, the oldest first.
    pub pending: Vec<Row>,
}

impl Store {
    /// Writes all of it, at most [`MAX_SNAPSHOT`] bytes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        let mut writer = Writer { out, hasher: Hasher::new(), bytes: 0, shared: Numbers::default() };
        writer.write(HEAD)?;
        self.save_newest(&mut writer)?;
        // From here on the rows up to this one, and what was counted by then.
        let (end, mut walk) = {
            let inner = self.read();
            let end = End {
                sequence: inner.sequence,
                rows: inner.history.len() as u64,
                forgotten: inner.history.forgotten(),
                evicted: inner.newest.evicted(),
                counters: self.statistics.iter().map(|(_, value)| value).collect(),
                kernel_lost: *self.kernel_lost(),
            };
            (end, inner.history.walk(Path::All, inner.sequence.saturating_add(1)))
        };
        let mut more = true;
        while more {
            let mut rows = Vec::with_capacity(CHUNK);
            more = self.read().history.step(&mut walk, CHUNK, |row| {
                rows.push(row.clone());
                true
            });
            for row in &rows {
                let item = writer.row(row)?.map(Item::Row);
                more &= writer.put(item, RESERVED)?;
            }
        }
        writer.put(Some(Item::End(end)), 0)?;
        let checksum = writer.hasher.finalize();
        writer.out.write_all(&checksum.to_le_bytes())
    }

    /// Writes the newest, and once more what has moved to their front while that was done.
    fn save_newest(&self, writer: &mut Writer<'_, impl Write>) -> io::Result<()> {
        let first = self.sequence();
        for lowest in [0, first] {
            let mut before = Some(u64::MAX);
            while let Some(cursor) = before.filter(|before| *before > lowest) {
                let mut pids = Vec::new();
                before = {
                    let inner = self.read();
                    inner.newest.step_pids(cursor, CHUNK, |pid, groups| {
                        let groups: Vec<Copied> = groups.iter().map(|group| Copied::of(group, &inner)).collect();
                        pids.push((pid, groups));
                    })
                };
                for (pid, groups) in pids {
                    let mut written = Some(Vec::new());
                    for group in groups {
                        let group = writer.group(group)?;
                        written = written.zip(group).map(|(mut written, group)| {
                            written.push(group);
                            written
                        });
                    }
                    writer.put(written.map(|groups| Item::Pid { pid, groups }), RESERVED)?;
                }
            }
        }
        Ok(())
    }

    /// Reads one back, for so many rows and so many of the newest, on this machine. `now` is a time of the same clock.
    ///
    /// # Errors
    /// Where it is not a whole one of this version.
    pub fn restore(
        bytes: &[u8],
        history: usize,
        max_events: usize,
        node: &[u8],
        now: Duration,
    ) -> Result<Restored, Unusable> {
        let items = bytes.strip_prefix(HEAD).ok_or(Unusable::AnotherVersion)?;
        let (items, checksum) = items.split_last_chunk().ok_or(Damaged("it has no end"))?;
        let content = bytes.get(..HEAD.len() + items.len()).unwrap_or_default();
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(Damaged("its checksum is another"));
        }
        let store = Self::new(history, max_events, node);
        let mut reader = Reader { store: &store, max_rows: history, room: MAX_READ, ..Reader::of(&store) };
        let mut rest = items;
        let end = loop {
            let (item, behind) = next(rest)?;
            rest = behind;
            if let Some(end) = reader.take(item)? {
                break end;
            }
        };
        if !rest.is_empty() {
            return Err(Damaged("something stands behind its end"));
        }
        let pending = reader.finish(end, now)?;
        Ok(Restored { store, pending })
    }
}

/// The next item, and what stands behind it.
fn next(bytes: &[u8]) -> Result<(Item, &[u8]), Unusable> {
    let (length, rest) = bytes.split_first_chunk().ok_or(Damaged("it has no last item"))?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let whole = rest.split_at_checked(length).filter(|_| length <= MAX_ITEM);
    let (item, behind) = whole.ok_or(Damaged("an item's length makes no sense"))?;
    match postcard::take_from_bytes(item) {
        Ok((item, [])) => Ok((item, behind)),
        _ => Err(Damaged("an item makes no sense")),
    }
}

/// A process among the newest, as it was while the lock was held.
struct Copied {
    whose: Whose,
    uid: Option<u32>,
    /// Whether the history has the row, too.
    entries: Vec<(Entry, bool)>,
    sockets: Vec<Made>,
}

impl Copied {
    fn of(group: &Group, inner: &Inner) -> Self {
        let entries = group.entries.iter().map(|entry| (entry.clone(), inner.history.has(entry.row.sequence)));
        Self { whose: group.whose.clone(), uid: group.uid, entries: entries.collect(), sockets: group.sockets.clone() }
    }
}

/// What was written already and is shared, by its place in memory. It is held, so that nothing else comes to that place.
#[derive(Default)]
struct Numbers {
    origins: HashMap<usize, (Number, Arc<Origin>)>,
    processes: HashMap<usize, (Number, Arc<Process>)>,
    parents: HashMap<usize, (Number, Parents)>,
    cgroups: HashMap<usize, (Number, Arc<Cgroup>)>,
}

struct Writer<'a, W> {
    out: &'a mut W,
    hasher: Hasher,
    bytes: usize,
    shared: Numbers,
}

/// Writes down what is shared where it was not yet; `None` where there is no room.
macro_rules! number {
    ($writer:ident.$table:ident, $address:expr, $thing:expr, $item:expr) => {{
        let address = $address;
        match $writer.shared.$table.get(&address) {
            Some((number, _)) => Some(*number),
            None => {
                let item = $item;
                let number = Number::try_from($writer.shared.$table.len()).unwrap_or(Number::MAX);
                $writer.put(item, RESERVED)?.then(|| {
                    $writer.shared.$table.insert(address, (number, $thing.clone()));
                    number
                })
            }
        }
    }};
}

impl<W: Write> Writer<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len();
        Ok(())
    }

    /// Whether there was something to write, and room for it.
    fn put(&mut self, item: Option<Item>, reserved: usize) -> io::Result<bool> {
        let Some(item) = item else { return Ok(false) };
        let mut bytes = postcard::to_extend(&item, vec![0; size_of::<u32>()]).map_err(io::Error::other)?;
        let length = bytes.len() - size_of::<u32>();
        if length > MAX_ITEM || self.bytes + bytes.len() + reserved > MAX_SNAPSHOT {
            return Ok(false);
        }
        if let (Some(place), Ok(length)) = (bytes.first_chunk_mut(), u32::try_from(length)) {
            *place = length.to_le_bytes();
        }
        self.write(&bytes)?;
        Ok(true)
    }

    fn row(&mut self, row: &Row) -> io::Result<Option<WrittenRow>> {
        let origin = &row.origin;
        let address = Arc::as_ptr(origin).addr();
        let number = number!(self.origins, address, origin, Some(Item::Origin(origin.who_buf().clone())));
        let whose = self.whose(&row.whose)?;
        Ok(number.zip(whose).map(|(origin, whose)| WrittenRow {
            sequence: row.sequence,
            id: row.id,
            seen_us: row.seen_us,
            source: row.source,
            event_type: row.event_type,
            arch: row.arch,
            syscall: row.syscall,
            success: row.success,
            exit: row.exit,
            fd: row.fd,
            socket: row.socket,
            family: row.family,
            address: row.address.clone(),
            origin,
            whose,
            extra: row.extra.clone(),
        }))
    }

    fn whose(&mut self, whose: &Whose) -> io::Result<Option<WrittenWhose>> {
        Ok(match whose {
            Whose::Pending => Some(WrittenWhose::Pending),
            Whose::Nothing => Some(WrittenWhose::Nothing),
            Whose::Process(process) => self.process(process)?.map(WrittenWhose::Process),
            Whose::Gone { at_ms, parents } => {
                self.parents(parents)?.map(|parents| WrittenWhose::Gone { at_ms: *at_ms, parents })
            }
        })
    }

    fn process(&mut self, process: &Arc<Process>) -> io::Result<Option<Number>> {
        Ok(number!(self.processes, Arc::as_ptr(process).addr(), process, {
            let cgroup = match &process.cgroup {
                None => Some(None),
                Some(cgroup) => self.cgroup(cgroup)?.map(Some),
            };
            let parents = self.parents(&process.parents)?;
            let process = WrittenProcess::from(&**process);
            cgroup.zip(parents).map(|(cgroup, parents)| Item::Process { process, cgroup, parents })
        }))
    }

    fn cgroup(&mut self, cgroup: &Arc<Cgroup>) -> io::Result<Option<Number>> {
        Ok(number!(self.cgroups, Arc::as_ptr(cgroup).addr(), cgroup, Some(Item::Cgroup(cgroup.path.clone()))))
    }

    /// `Some(None)` for none.
    fn parents(&mut self, parents: &Parents) -> io::Result<Option<Option<Number>>> {
        if parents.is_empty() {
            return Ok(Some(None));
        }
        let address = Arc::as_ptr(parents).cast::<()>().addr();
        Ok(number!(self.parents, address, parents, Some(Item::Parents(parents.to_vec()))).map(Some))
    }

    fn group(&mut self, group: Copied) -> io::Result<Option<WrittenGroup>> {
        let Copied { whose, uid, entries, sockets } = group;
        let Some(whose) = self.whose(&whose)? else { return Ok(None) };
        let mut written = Vec::with_capacity(entries.len());
        for (Entry { row, count, seen }, is_of_history) in entries {
            let row = match is_of_history {
                true => WhichRow::OfHistory(row.sequence),
                false => match self.row(&row)? {
                    Some(row) => WhichRow::Own(Box::new(row)),
                    None => return Ok(None),
                },
            };
            written.push(WrittenEntry { row, count, seen });
        }
        Ok(Some(WrittenGroup { whose, uid, entries: written, sockets }))
    }
}

/// What was read so far. Rows are made with what they share.
struct Reader<'a> {
    store: &'a Store,
    max_rows: usize,
    /// What may still be read, in bytes of memory.
    room: usize,
    revived: Revived,
    origins: Vec<WhoBuf>,
    cgroups: Vec<Arc<Cgroup>>,
    parents: Vec<Parents>,
    processes: Vec<Arc<Process>>,
    pids: HashMap<u32, Vec<WrittenGroup>>,
    /// The newest first.
    rows: Vec<Row>,
    last_sequence: Option<u64>,
}

impl<'a> Reader<'a> {
    fn of(store: &'a Store) -> Self {
        Self {
            store,
            max_rows: 0,
            room: 0,
            revived: Revived::default(),
            origins: Vec::new(),
            cgroups: Vec::new(),
            parents: Vec::new(),
            processes: Vec::new(),
            pids: HashMap::new(),
            rows: Vec::new(),
            last_sequence: None,
        }
    }

    /// Takes so much memory.
    fn takes(&mut self, bytes: usize) -> Result<(), Unusable> {
        self.room = self.room.checked_sub(bytes).ok_or(Damaged("it has more than a store may hold"))?;
        Ok(())
    }

    /// Returns the last item.
    fn take(&mut self, item: Item) -> Result<Option<End>, Unusable> {
        match item {
            Item::Origin(who) => {
                self.takes(who.size())?;
                self.origins.push(who);
            }
            Item::Cgroup(path) => {
                let cgroup = Cgroup::from_path(&path);
                self.takes(cgroup.size())?;
                self.cgroups.push(Arc::new(cgroup));
            }
            Item::Parents(parents) => {
                let parents = Parents::from(parents);
                self.takes(crate::process::size_of_parents(&parents))?;
                self.parents.push(parents);
            }
            Item::Process { process, cgroup, parents } => {
                let cgroup = cgroup.map(|number| find(&self.cgroups, number)).transpose()?;
                let parents = self.parents_of(parents)?;
                let shared = cgroup.as_ref().map_or(0, |cgroup| cgroup.size());
                let shared = shared + crate::process::size_of_parents(&parents);
                let process = self.revived.process(process, cgroup, parents);
                self.takes(process.size().saturating_sub(shared))?;
                self.processes.push(Arc::new(process));
            }
            Item::Pid { pid, groups } => {
                let of_group = |group: &WrittenGroup| {
                    let sockets = group.sockets.len() * size_of::<Made>();
                    size_of::<WrittenGroup>() + group.entries.len() * size_of::<WrittenRow>() + sockets
                };
                self.takes(groups.iter().map(of_group).sum())?;
                self.pids.insert(pid, groups);
            }
            Item::Row(row) => {
                if self.last_sequence.is_some_and(|last| row.sequence >= last) {
                    return Err(Damaged("its rows are not in order"));
                }
                self.last_sequence = Some(row.sequence);
                // There is room for fewer than there were.
                if self.rows.len() < self.max_rows {
                    let row = self.row(row)?;
                    self.takes(row.size())?;
                    self.rows.push(row);
                }
            }
            Item::End(end) => return Ok(Some(end)),
        }
        Ok(None)
    }

    /// A row that is about to enter the history.
    fn row(&self, row: WrittenRow) -> Result<Row, Unusable> {
        let whose = self.whose(row.whose)?;
        let who = self.origins.get(index(row.origin)).ok_or(MISSING)?.as_who();
        let origin = {
            let mut inner = self.store.write();
            inner.shared.intern(who, |other| super::is_named(&self.store.node, other))
        };
        Ok(Row {
            sequence: row.sequence,
            id: row.id,
            seen_us: row.seen_us,
            source: row.source,
            event_type: row.event_type,
            arch: row.arch,
            syscall: row.syscall,
            success: row.success,
            exit: row.exit,
            fd: row.fd,
            socket: row.socket,
            family: row.family,
            address: row.address,
            origin,
            whose,
            extra: row.extra,
        })
    }

    fn whose(&self, whose: WrittenWhose) -> Result<Whose, Unusable> {
        Ok(match whose {
            WrittenWhose::Pending => Whose::Pending,
            WrittenWhose::Nothing => Whose::Nothing,
            WrittenWhose::Process(number) => Whose::Process(find(&self.processes, number)?),
            WrittenWhose::Gone { at_ms, parents } => Whose::Gone { at_ms, parents: self.parents_of(parents)? },
        })
    }

    fn parents_of(&self, number: Option<Number>) -> Result<Parents, Unusable> {
        number.map_or_else(|| Ok(Parents::default()), |number| find(&self.parents, number))
    }

    /// Fills the store. Returns the rows that nobody has looked for the process of.
    fn finish(mut self, end: End, now: Duration) -> Result<Vec<Row>, Unusable> {
        self.rows.reverse();
        if self.rows.last().is_some_and(|row| row.sequence > end.sequence) {
            return Err(Damaged("it has a row that came later"));
        }
        if !self.store.statistics.restore(&end.counters) {
            return Err(Damaged("its counters are not those of this version"));
        }
        let mut sequences = BTreeSet::new();
        let mut entries = Vec::new();
        let mut pids = Vec::new();
        for (pid, groups) in std::mem::take(&mut self.pids) {
            let mut of_pid = Vec::new();
            for group in groups {
                of_pid.extend(self.group(pid, group, &mut sequences, now)?);
            }
            if !of_pid.is_empty() {
                pids.push((pid, of_pid));
            }
        }
        *self.store.kernel_lost() = end.kernel_lost;
        let mut inner = self.store.write();
        let Inner { sequence, shared, history, newest, .. } = &mut *inner;
        *sequence = end.sequence;
        for (pid, groups) in pids {
            newest.restore(pid, groups, &mut entries);
        }
        newest.add_evicted(end.evicted);
        newest.restored(entries);
        let restored = self.rows.len() as u64;
        history.add_forgotten(end.forgotten.saturating_add(end.rows.saturating_sub(restored)));
        let mut pending = Vec::new();
        for row in self.rows {
            if matches!(row.whose, Whose::Pending) {
                pending.push(row.clone());
            }
            history.push(row, shared);
        }
        Ok(pending)
    }

    fn of_history(&self, sequence: u64) -> Option<&Row> {
        let at = self.rows.binary_search_by_key(&sequence, |row| row.sequence).ok()?;
        self.rows.get(at)
    }

    /// A process among the newest; `None` where nothing of it is left.
    fn group(
        &self,
        pid: u32,
        group: WrittenGroup,
        sequences: &mut BTreeSet<u64>,
        now: Duration,
    ) -> Result<Option<Group>, Unusable> {
        let mut entries: Vec<Entry> = Vec::new();
        for WrittenEntry { row, count, seen } in group.entries {
            let row = match row {
                WhichRow::OfHistory(sequence) => match self.of_history(sequence) {
                    Some(row) => row.clone(),
                    // It went while all this was written.
                    None => continue,
                },
                WhichRow::Own(row) => {
                    let own = self.row(*row)?;
                    // It is not of the history, and is not counted as one of its rows.
                    self.store.write().shared.release(&own);
                    // It was, and went from there while all this was written.
                    self.of_history(own.sequence).cloned().unwrap_or(own)
                }
            };
            let is_new = entries.iter().all(|other| other.row.event_type != row.event_type);
            if row.origin.pid != Some(pid) || !is_new || !sequences.insert(row.sequence) {
                return Err(Damaged("an entry is not its process's"));
            }
            entries.push(Entry { row, count, seen: seen.min(now) });
        }
        if group.sockets.len() > MAX_SOCKETS {
            return Err(Damaged("a process has too many sockets"));
        }
        let whose = self.whose(group.whose)?;
        Ok((!entries.is_empty()).then_some(Group { whose, uid: group.uid, entries, sockets: group.sockets }))
    }
}

/// Something that is shared is not there.
const MISSING: Unusable = Damaged("something that rows share is missing");

fn index(number: Number) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn find<T: ?Sized>(table: &[Arc<T>], number: Number) -> Result<Arc<T>, Unusable> {
    table.get(index(number)).cloned().ok_or(MISSING)
}
