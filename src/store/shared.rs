//! What rows have in common, held once and counted.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use audit_records::{Who, WhoBuf};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::row::{Row, Whose};
use super::shares::Owner;
use crate::process::{program_id, size_of_parents};

/// Who did it, as the records say; and what is asked of it for every row, decoded once.
#[derive(Debug)]
pub struct Origin {
    who: WhoBuf,
    hash: u64,
    /// The rows of the history that hold it. Changed only under the store's lock.
    rows: AtomicU32,
    /// The process: of a thread its thread group.
    pub pid: Option<u32>,
    /// Its program, where the records name it, by [`program_id`].
    pub program: Option<u64>,
    /// The user who may see it: the real uid, if it is a user of this machine.
    pub uid: Option<u32>,
    /// Not another machine's.
    pub is_local: bool,
    pub(super) owner: Owner,
}

impl Origin {
    /// All that the records say.
    #[must_use]
    pub fn who(&self) -> Who<'_> {
        self.who.as_who()
    }

    /// The same, as it is held.
    pub(super) const fn who_buf(&self) -> &WhoBuf {
        &self.who
    }

    /// For one more row of the history; none where the history holds it no longer.
    pub(super) fn held_again(self: &Arc<Self>) -> Option<Arc<Self>> {
        if self.rows.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.rows.fetch_add(1, Ordering::Relaxed);
        Some(self.clone())
    }

    /// What it holds in memory, in bytes.
    #[must_use]
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.who.size()
    }
}

/// The [`Origin`]s and processes that rows hold, each once, and how many rows hold it.
///
/// The history's bound in bytes includes them, so they are counted by the rows of the history alone: an entry among the
/// newest holds at most one row more.
#[derive(Debug, Default)]
pub(super) struct Shared {
    origins: HashTable<Arc<Origin>>,
    /// And ancestors of processes that were gone. By their address: the visitor makes one for each.
    processes: HashMap<usize, u32>,
    hasher: DefaultHashBuilder,
    bytes: usize,
}

/// What a shared thing takes beside itself, in bytes: its counts, and its place in a table.
const PER_SHARED: usize = 64;

impl Shared {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The one copy of what these fields say, for a row that is about to enter the history. `is_local` tells a node of this
    /// machine.
    pub(super) fn intern(&mut self, who: Who<'_>, is_local: impl Fn(&[u8]) -> bool) -> Arc<Origin> {
        let hash = self.hasher.hash_one(who);
        if let Some(origin) = self.origins.find(hash, |origin| origin.who() == who) {
            origin.rows.fetch_add(1, Ordering::Relaxed);
            return origin.clone();
        }
        let is_local = who.node().is_none_or(is_local);
        let origin = Arc::new(Origin {
            who: WhoBuf::new(who),
            hash,
            rows: AtomicU32::new(1),
            pid: who.pid(),
            program: who.exe().map(|exe| program_id(&exe)),
            uid: who.uid().filter(|_| is_local),
            is_local,
            owner: Owner::of(who),
        });
        self.bytes += origin.size() + PER_SHARED;
        self.origins.insert_unique(hash, origin.clone(), |origin| origin.hash);
        origin
    }

    /// How many rows hold an origin of these.
    #[cfg(test)]
    pub(super) fn rows(&self) -> u32 {
        self.origins.iter().map(|origin| origin.rows.load(Ordering::Relaxed)).sum()
    }

    /// A row of the history is gone.
    pub(super) fn release(&mut self, row: &Row) {
        let origin = &row.origin;
        if origin.rows.fetch_sub(1, Ordering::Relaxed) == 1
            && let Ok(last) = self.origins.find_entry(origin.hash, |other| Arc::ptr_eq(other, origin))
        {
            last.remove();
            self.bytes -= origin.size() + PER_SHARED;
        }
        self.release_whose(&row.whose);
    }

    pub(super) fn retain_whose(&mut self, whose: &Whose) {
        let Some(address) = address(whose) else { return };
        let rows = self.processes.entry(address).or_default();
        *rows += 1;
        if *rows == 1 {
            self.bytes += size(whose) + PER_SHARED;
        }
    }

    pub(super) fn release_whose(&mut self, whose: &Whose) {
        let Some(address) = address(whose) else { return };
        let Some(rows) = self.processes.get_mut(&address) else { return };
        *rows -= 1;
        if *rows == 0 {
            self.processes.remove(&address);
            self.bytes -= size(whose) + PER_SHARED;
        }
    }
}

/// Where a process, or the ancestors of one that was gone, lie in memory.
fn address(whose: &Whose) -> Option<usize> {
    match whose {
        Whose::Process(process) => Some(Arc::as_ptr(process).addr()),
        Whose::Gone { parents, .. } if !parents.is_empty() => Some(Arc::as_ptr(parents).cast::<()>().addr()),
        Whose::Gone { .. } | Whose::Pending | Whose::Nothing => None,
    }
}

/// What they take there, in bytes.
fn size(whose: &Whose) -> usize {
    match whose {
        Whose::Process(process) => process.size(),
        Whose::Gone { parents, .. } => size_of_parents(parents),
        Whose::Pending | Whose::Nothing => 0,
    }
}
