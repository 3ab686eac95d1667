//! Every event in order of arrival, bounded in rows and in bytes.
//!
//! Rows lie in one slab. Each stands in the order of all rows and in three **chains**: of its process, of its
//! destination, and of its **owner**, the user whose share of the history it counts to. A chain links rows by their
//! slots, so a row enters and leaves all of them in constant time. When the history is full, the oldest row of the owner
//! who holds the most goes.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::row::{Row, Whose};
use super::shared::Shared;
use super::shares::{Owner, Shares};

/// A place in the slab.
type Slot = u32;

/// The rows, and the ways through them.
#[derive(Debug)]
pub(super) struct History {
    slab: Vec<Option<Node>>,
    free: Vec<Slot>,
    order: BTreeMap<u64, Slot>,
    by_pid: Chains<u32>,
    by_host: Chains<IpAddr>,
    by_owner: Chains<Owner>,
    shares: Shares,
    bytes: usize,
    max_rows: usize,
    max_bytes: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Node {
    row: Row,
    of_pid: Link,
    of_host: Link,
    of_owner: Link,
}

/// The neighbours of a row in one chain.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: Option<Slot32>,
    newer: Option<Slot32>,
}

/// A slot plus one, so that an absent one takes no room.
type Slot32 = std::num::NonZeroU32;

#[derive(Clone, Copy, Debug)]
struct Chain {
    oldest: Slot,
    newest: Slot,
}

#[derive(Debug)]
struct Chains<K>(HashMap<K, Chain>);

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
    /// The row last passed, to go on from where it is still there.
    at: Option<Slot>,
}

impl Walk {
    pub(super) fn new(path: Path, before: u64) -> Self {
        Self { path, before, at: None }
    }
}

impl History {
    pub(super) fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self {
            slab: Vec::new(),
            free: Vec::new(),
            order: BTreeMap::new(),
            by_pid: Chains(HashMap::new()),
            by_host: Chains(HashMap::new()),
            by_owner: Chains(HashMap::new()),
            shares: Shares::default(),
            bytes: 0,
            max_rows,
            max_bytes,
            forgotten: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// In memory, with what the rows share.
    pub(super) fn bytes(&self, shared: &Shared) -> usize {
        self.bytes + shared.bytes()
    }

    pub(super) fn set_max_rows(&mut self, max_rows: usize, shared: &mut Shared) {
        self.max_rows = max_rows;
        self.evict(shared);
    }

    /// Adds the newest row, whose `who` was interned for it, and drops old ones until all fit.
    pub(super) fn push(&mut self, row: Row, shared: &mut Shared) {
        let sequence = row.sequence;
        let (pid, host, owner) = (row.origin.pid, row.host(), row.origin.owner);
        shared.retain_whose(&row.whose);
        self.bytes += row.size() + PER_ROW;
        let weight = weight(&row);
        let links = Link::default();
        let node = Node { row, of_pid: links, of_host: links, of_owner: links };
        let slot = self.place(node);
        self.order.insert(sequence, slot);
        if let Some(pid) = pid {
            self.by_pid.push(pid, slot, &mut self.slab, |node| &mut node.of_pid);
        }
        if let Some(host) = host {
            self.by_host.push(host, slot, &mut self.slab, |node| &mut node.of_host);
        }
        self.by_owner.push(owner, slot, &mut self.slab, |node| &mut node.of_owner);
        self.shares.change(owner, weight, 0);
        self.evict(shared);
    }

    /// Calls `see` for at most `steps` rows of the walk, the newest first, until it says stop; whether there may be more.
    pub(super) fn step(&self, walk: &mut Walk, steps: usize, mut see: impl FnMut(&Row) -> bool) -> bool {
        let mut next = self.resume(walk);
        for _ in 0..steps {
            let Some((slot, node)) = next.and_then(|slot| Some((slot, self.node(slot)?))) else { return false };
            walk.before = node.row.sequence;
            walk.at = Some(slot);
            if !see(&node.row) {
                return true;
            }
            next = self.older(walk.path, node);
        }
        next.is_some()
    }

    /// The newest row of the walk's path that it has not passed.
    fn resume(&self, walk: &Walk) -> Option<Slot> {
        if let Some(node) = walk.at.and_then(|slot| self.node(slot))
            && node.row.sequence == walk.before
        {
            return self.older(walk.path, node);
        }
        let mut slot = match walk.path {
            Path::All => return self.order.range(..walk.before).next_back().map(|(_, slot)| *slot),
            Path::Pid(pid) => self.by_pid.newest(&pid),
            Path::Host(host) => self.by_host.newest(&host),
        };
        // A cursor from an earlier call: mostly its row is still there.
        if let Some(node) = self.order.get(&walk.before).and_then(|slot| self.node(*slot))
            && node.is_on(walk.path)
        {
            return self.older(walk.path, node);
        }
        while let Some(node) = slot.and_then(|slot| self.node(slot)) {
            if node.row.sequence < walk.before {
                break;
            }
            slot = self.older(walk.path, node);
        }
        slot
    }

    fn older(&self, path: Path, node: &Node) -> Option<Slot> {
        let link = match path {
            Path::All => {
                return self.order.range(..node.row.sequence).next_back().map(|(_, slot)| *slot);
            }
            Path::Pid(_) => node.of_pid,
            Path::Host(_) => node.of_host,
        };
        link.older.map(|slot| slot.get() - 1)
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
            let Some(slot) = self.resume(walk) else { return false };
            let Some(node) = self.slab.get_mut(slot as usize).and_then(Option::as_mut) else { return false };
            let Some(whose) = tell(&node.row) else { return false };
            shared.retain_whose(&whose);
            shared.release_whose(&node.row.whose);
            node.row.whose = whose;
            walk.before = node.row.sequence;
            walk.at = Some(slot);
        }
        true
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
        // The history never holds as many as u32 counts: see `MAX_HISTORY`.
        u32::try_from(self.slab.len() - 1).unwrap_or(u32::MAX)
    }

    fn evict(&mut self, shared: &mut Shared) {
        while self.len() > self.max_rows || self.bytes(shared) > self.max_bytes {
            let Some(slot) = self.shares.heaviest().and_then(|owner| self.by_owner.oldest(&owner)) else { return };
            self.remove(slot, shared);
            self.forgotten += 1;
        }
    }

    fn remove(&mut self, slot: Slot, shared: &mut Shared) {
        let Some(node) = self.slab.get_mut(slot as usize).and_then(Option::take) else { return };
        self.free.push(slot);
        self.order.remove(&node.row.sequence);
        if let Some(pid) = node.row.origin.pid {
            self.by_pid.unlink(pid, node.of_pid, &mut self.slab, |node| &mut node.of_pid);
        }
        if let Some(host) = node.row.host() {
            self.by_host.unlink(host, node.of_host, &mut self.slab, |node| &mut node.of_host);
        }
        let owner = node.row.origin.owner;
        self.by_owner.unlink(owner, node.of_owner, &mut self.slab, |node| &mut node.of_owner);
        self.shares.change(owner, 0, weight(&node.row));
        self.bytes -= node.row.size() + PER_ROW;
        shared.release(&node.row);
    }
}

/// What a row counts for among those of its owner, in bytes: with what it may share, as if it did not.
fn weight(row: &Row) -> usize {
    row.size() + PER_ROW + row.origin.size()
}

/// What a row takes beside itself, in bytes: its links, and its places in the order and in the maps of chains.
const PER_ROW: usize = size_of::<Node>() - size_of::<Row>() + 112;

impl Node {
    fn is_on(&self, path: Path) -> bool {
        match path {
            Path::All => true,
            Path::Pid(pid) => self.row.origin.pid == Some(pid),
            Path::Host(host) => self.row.host() == Some(host),
        }
    }
}

fn link(slot: Slot) -> Option<Slot32> {
    Slot32::new(slot.wrapping_add(1))
}

impl<K: Eq + Hash + Copy> Chains<K> {
    fn newest(&self, key: &K) -> Option<Slot> {
        self.0.get(key).map(|chain| chain.newest)
    }

    fn oldest(&self, key: &K) -> Option<Slot> {
        self.0.get(key).map(|chain| chain.oldest)
    }

    /// Puts the newest row at the end of its chain.
    fn push(&mut self, key: K, slot: Slot, slab: &mut [Option<Node>], of: fn(&mut Node) -> &mut Link) {
        match self.0.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Chain { oldest: slot, newest: slot });
            }
            Entry::Occupied(mut chain) => {
                let chain = chain.get_mut();
                at(slab, chain.newest, of, |before| before.newer = link(slot));
                at(slab, slot, of, |own| own.older = link(chain.newest));
                chain.newest = slot;
            }
        }
    }

    /// Takes a row out of its chain.
    fn unlink(&mut self, key: K, own: Link, slab: &mut [Option<Node>], of: fn(&mut Node) -> &mut Link) {
        let Entry::Occupied(mut chain) = self.0.entry(key) else { return };
        let (older, newer) = (own.older.map(|slot| slot.get() - 1), own.newer.map(|slot| slot.get() - 1));
        match (older, newer) {
            (None, None) => {
                chain.remove();
                return;
            }
            (Some(older), None) => chain.get_mut().newest = older,
            (None, Some(newer)) => chain.get_mut().oldest = newer,
            (Some(_), Some(_)) => {}
        }
        if let Some(older) = older {
            at(slab, older, of, |before| before.newer = own.newer);
        }
        if let Some(newer) = newer {
            at(slab, newer, of, |after| after.older = own.older);
        }
    }
}

fn at(slab: &mut [Option<Node>], slot: Slot, of: fn(&mut Node) -> &mut Link, change: impl FnOnce(&mut Link)) {
    if let Some(node) = slab.get_mut(slot as usize).and_then(Option::as_mut) {
        change(of(node));
    }
}
