//! Every event in order of arrival, bounded in rows and in bytes.
//!
//! Rows lie in one slab. A row knows the **slot** of the one before it of its process, and of its destination. These links
//! are never mended: where one leads to a slot that was emptied, or taken by a newer row, the walk goes on through the
//! order of all rows. So a row enters and leaves without touching another.
//!
//! When the history is full, the oldest row of the owner who holds the most goes.

use std::collections::VecDeque;
use std::hash::Hash;
use std::net::IpAddr;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::order::Order;
use super::row::{Row, Whose};
use super::shared::Shared;
use super::shares::Shares;

/// A place in the slab.
type Slot = u32;

/// No place: the slab never has as many.
const NOWHERE: Slot = Slot::MAX;

/// The rows, and the ways through them.
#[derive(Debug)]
pub(super) struct History {
    slab: Vec<Option<Node>>,
    free: Vec<Slot>,
    order: Order<Slot>,
    by_pid: HashMap<u32, Chain>,
    by_host: HashMap<IpAddr, Chain>,
    /// The rows of each owner, the oldest first.
    shares: Shares<VecDeque<Slot>>,
    bytes: usize,
    max_rows: usize,
    max_bytes: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Node {
    row: Row,
    /// The row before this one of the same process, and of the same destination; [`NOWHERE`] for the first.
    older_of_pid: Slot,
    older_of_host: Slot,
}

/// Which rows a walk passes, from the newest to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    All,
    Pid(u32),
    /// In its own form: not mapped.
    Host(IpAddr),
}

/// How far a walk has come. It holds nothing of the history: rows may come and go between two steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    path: Path,
    /// Only rows with a lower sequence are left.
    before: u64,
    at: At,
    /// So many rows are left at the most, which saves the search for more.
    left: u32,
}

/// Where the next row of a walk is looked for.
#[derive(Clone, Copy, Debug)]
enum At {
    /// At the newest row of the path.
    Newest,
    /// Behind this row of the path.
    Behind(Slot),
    /// In the order of all rows.
    Order,
}

/// One step of a walk.
enum Next<'a> {
    Row(Slot, &'a Node),
    /// A row that is not on the path, or one that is gone.
    Passed,
    End,
}

/// The rows of one process or destination.
#[derive(Clone, Copy, Debug)]
struct Chain {
    /// It may be gone.
    newest: Slot,
    rows: u32,
}

impl History {
    pub(super) fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self {
            slab: Vec::new(),
            free: Vec::new(),
            order: Order::default(),
            by_pid: HashMap::new(),
            by_host: HashMap::new(),
            shares: Shares::of(max_rows),
            bytes: 0,
            max_rows,
            max_bytes,
            forgotten: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The row that came first.
    pub(super) fn oldest(&self) -> Option<&Row> {
        let (_, slot) = self.order.oldest()?;
        Some(&self.slab.get(slot as usize)?.as_ref()?.row)
    }

    /// Whether the row of this sequence is there.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.order.below(sequence.saturating_add(1)).next().is_some_and(|(at, slot)| at == sequence && slot.is_some())
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// So many went before.
    pub(super) fn add_forgotten(&mut self, more: u64) {
        self.forgotten = self.forgotten.saturating_add(more);
    }

    /// In memory, with what the rows share.
    pub(super) fn bytes(&self, shared: &Shared) -> usize {
        self.bytes + shared.bytes()
    }

    pub(super) fn set_max_rows(&mut self, max_rows: usize, shared: &mut Shared) {
        self.max_rows = max_rows;
        self.shares.resize(max_rows);
        self.evict(shared);
    }

    /// Adds the newest row, whose origin was interned for it, and drops old ones until all fit.
    pub(super) fn push(&mut self, row: Row, shared: &mut Shared) {
        let (sequence, pid, host, owner) = (row.sequence, row.origin.pid, row.host(), row.origin.owner);
        shared.retain_whose(&row.whose);
        let size = row.size() + PER_ROW;
        // For its owner it weighs as if it shared nothing.
        let weight = size + row.origin.size();
        self.bytes += size;
        let slot = self.place(Node { row, older_of_pid: NOWHERE, older_of_host: NOWHERE });
        let older_of_pid = pid.map_or(NOWHERE, |pid| append(&mut self.by_pid, pid, slot));
        let older_of_host = host.map_or(NOWHERE, |host| append(&mut self.by_host, host, slot));
        if let Some(node) = self.slab.get_mut(slot as usize).and_then(Option::as_mut) {
            (node.older_of_pid, node.older_of_host) = (older_of_pid, older_of_host);
        }
        self.order.push(sequence, slot);
        self.shares.change(owner, weight, 0, |rows| rows.push_back(slot));
        self.evict(shared);
    }

    /// A walk along this path, over the rows below `before`.
    pub(super) fn walk(&self, path: Path, before: u64) -> Walk {
        let chain = match path {
            Path::All => None,
            Path::Pid(pid) => Some(self.by_pid.get(&pid)),
            Path::Host(host) => Some(self.by_host.get(&host)),
        };
        let left = chain.map_or(u32::MAX, |chain| chain.map_or(0, |chain| chain.rows));
        let at = if before == u64::MAX {
            At::Newest
        } else {
            // A cursor: mostly its row is still there.
            let at_cursor = self.order.below(before + 1).next().filter(|(sequence, _)| *sequence == before);
            let is_on_path = |slot: &Slot| self.node(*slot).is_some_and(|node| node.is_on(path));
            at_cursor.and_then(|(_, slot)| slot).filter(is_on_path).map_or(At::Order, At::Behind)
        };
        Walk { path, before, at, left }
    }

    /// Calls `see` for at most `steps` rows of the walk, the newest first, until it says stop; whether there may be more.
    pub(super) fn step(&self, walk: &mut Walk, steps: usize, mut see: impl FnMut(&Row) -> bool) -> bool {
        if walk.path == Path::All {
            return self.step_all(walk, steps, see);
        }
        for _ in 0..steps {
            match self.next(walk) {
                Next::Row(_, node) => {
                    if !see(&node.row) {
                        return true;
                    }
                }
                Next::Passed => {}
                Next::End => return false,
            }
        }
        true
    }

    /// [`step`](Self::step) of a walk over all rows: the place to go on is looked for once, not for each row.
    fn step_all(&self, walk: &mut Walk, steps: usize, mut see: impl FnMut(&Row) -> bool) -> bool {
        let mut passed = 0;
        for (sequence, slot) in self.order.below(walk.before).take(steps) {
            walk.before = sequence;
            passed += 1;
            if let Some(node) = slot.and_then(|slot| self.node(slot))
                && !see(&node.row)
            {
                return true;
            }
        }
        passed == steps
    }

    /// Tells at most `steps` rows of the walk whose process they are: `tell` changes that, and says whether to go on.
    /// Whether there may be more.
    pub(super) fn tell(
        &mut self,
        walk: &mut Walk,
        steps: usize,
        shared: &mut Shared,
        mut tell: impl FnMut(&Row) -> Option<Whose>,
    ) -> bool {
        for _ in 0..steps {
            match self.next(walk) {
                Next::Row(slot, node) => {
                    let Some(whose) = tell(&node.row) else { return false };
                    let Some(node) = self.slab.get_mut(slot as usize).and_then(Option::as_mut) else { return false };
                    shared.retain_whose(&whose);
                    shared.release_whose(&node.row.whose);
                    node.row.whose = whose;
                }
                Next::Passed => {}
                Next::End => return false,
            }
        }
        true
    }

    /// Takes the walk one step on.
    fn next(&self, walk: &mut Walk) -> Next<'_> {
        if walk.left == 0 {
            return Next::End;
        }
        let newest = |chain: Option<&Chain>| chain.map_or(NOWHERE, |chain| chain.newest);
        let link = match (walk.path, walk.at) {
            (Path::Pid(pid), At::Newest) => Some(newest(self.by_pid.get(&pid))),
            (Path::Host(host), At::Newest) => Some(newest(self.by_host.get(&host))),
            (path, At::Behind(slot)) => match (path, self.node(slot)) {
                (Path::Pid(_), Some(node)) if node.row.sequence == walk.before => Some(node.older_of_pid),
                (Path::Host(_), Some(node)) if node.row.sequence == walk.before => Some(node.older_of_host),
                _ => None,
            },
            (Path::All, At::Newest) | (_, At::Order) => None,
        };
        let linked = match link {
            Some(NOWHERE) => return Next::End,
            // A link to what is gone leads to nothing, or to a row that came later.
            Some(slot) => self
                .node(slot)
                .filter(|node| node.is_on(walk.path) && node.row.sequence < walk.before)
                .map(|node| (slot, node)),
            None => None,
        };
        let found = match linked {
            Some(linked) => Some(linked),
            None => {
                let Some((sequence, slot)) = self.order.below(walk.before).next() else { return Next::End };
                (walk.before, walk.at) = (sequence, At::Order);
                slot.and_then(|slot| Some((slot, self.node(slot)?)))
            }
        };
        // An empty place.
        let Some((slot, node)) = found else { return Next::Passed };
        walk.before = node.row.sequence;
        if !node.is_on(walk.path) {
            walk.at = At::Order;
            return Next::Passed;
        }
        walk.at = At::Behind(slot);
        walk.left -= u32::from(walk.left < u32::MAX);
        Next::Row(slot, node)
    }

    fn node(&self, slot: Slot) -> Option<&Node> {
        self.slab.get(slot as usize)?.as_ref()
    }

    fn place(&mut self, node: Node) -> Slot {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slab.get_mut(slot as usize)
        {
            *place = Some(node);
            return slot;
        }
        self.slab.push(Some(node));
        // The configuration allows no history of as many rows as u32 counts.
        u32::try_from(self.slab.len() - 1).unwrap_or(NOWHERE)
    }

    fn evict(&mut self, shared: &mut Shared) {
        while self.len() > self.max_rows || self.bytes(shared) > self.max_bytes {
            let Some(slot) = self.shares.heaviest().and_then(|rows| rows.front().copied()) else { return };
            self.forget(slot, shared);
        }
    }

    /// Drops the oldest row of its owner.
    fn forget(&mut self, slot: Slot, shared: &mut Shared) {
        let Some(place) = self.slab.get_mut(slot as usize) else { return };
        // Not moved out: it has not been touched for long, and most of it is not needed.
        let Some(Node { row, .. }) = place else { return };
        self.forgotten += 1;
        self.free.push(slot);
        self.order.remove(row.sequence);
        if let Some(pid) = row.origin.pid {
            shorten(&mut self.by_pid, pid);
        }
        if let Some(host) = row.host() {
            shorten(&mut self.by_host, host);
        }
        let size = row.size() + PER_ROW;
        self.bytes -= size;
        self.shares.change(row.origin.owner, 0, size + row.origin.size(), |rows| {
            rows.pop_front();
        });
        shared.release(row);
        *place = None;
    }
}

/// What a row takes beside itself, in bytes: its links, and its places in the orders and in the maps of chains.
const PER_ROW: usize = size_of::<Node>() - size_of::<Row>() + 96;

impl Node {
    fn is_on(&self, path: Path) -> bool {
        match path {
            Path::All => true,
            Path::Pid(pid) => self.row.origin.pid == Some(pid),
            Path::Host(host) => self.row.host() == Some(host),
        }
    }
}

/// A row is the newest of its chain now. Returns the one before it.
fn append<K: Eq + Hash>(chains: &mut HashMap<K, Chain>, key: K, slot: Slot) -> Slot {
    match chains.entry(key) {
        Entry::Vacant(vacant) => {
            vacant.insert(Chain { newest: slot, rows: 1 });
            NOWHERE
        }
        Entry::Occupied(mut chain) => {
            let chain = chain.get_mut();
            chain.rows += 1;
            std::mem::replace(&mut chain.newest, slot)
        }
    }
}

/// A chain has lost a row.
fn shorten<K: Eq + Hash>(chains: &mut HashMap<K, Chain>, key: K) {
    if let Entry::Occupied(mut chain) = chains.entry(key) {
        chain.get_mut().rows -= 1;
        if chain.get().rows == 0 {
            chain.remove();
        }
    }
}
