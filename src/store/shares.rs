//! Who holds how much.

use std::collections::BTreeSet;
use std::fmt;

use audit_records::Who;
use hashbrown::HashMap;

/// Whose share something counts to: the user who logged in, or for services the user they run as. A user can take on many
/// uids (in a user namespace), but never another login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(Option<u32>);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(uid) => write!(f, "user {uid}"),
            None => f.write_str("an unknown user"),
        }
    }
}

impl Owner {
    pub(super) fn of(who: Who<'_>) -> Self {
        Self(who.auid().or_else(|| who.uid()))
    }
}

/// What each owner holds, and the bytes that it takes. Whoever holds the most gives way when room is needed, so nobody
/// pushes out somebody who holds less.
///
/// Of what many rows hold together a thousandth is no difference: weights are compared in steps, and most changes stay
/// within one.
#[derive(Debug)]
pub(super) struct Shares<T> {
    by_owner: HashMap<Owner, Share<T>>,
    /// By their steps, the heaviest last.
    by_weight: BTreeSet<(usize, Owner)>,
    /// A step in bytes, as a power of two.
    step: u32,
}

/// What one owner holds. It weighs something as long as it holds anything.
#[derive(Debug, Default)]
struct Share<T> {
    weight: usize,
    held: T,
}

/// What a row weighs at the least, in bytes.
const ROW: usize = 512;

/// The step for so many rows, as a power of two.
fn step(rows: usize) -> u32 {
    (rows / 1024 * ROW).checked_ilog2().unwrap_or(0)
}

impl<T: Default> Shares<T> {
    /// Of so many rows.
    pub(super) fn of(rows: usize) -> Self {
        Self { by_owner: HashMap::new(), by_weight: BTreeSet::new(), step: step(rows) }
    }

    /// From now on of so many rows.
    pub(super) fn resize(&mut self, rows: usize) {
        self.step = step(rows);
        self.by_weight = self.by_owner.iter().map(|(owner, share)| (share.weight >> self.step, *owner)).collect();
    }

    /// An owner holds so many bytes more, and so many less: `change` says what.
    pub(super) fn change(&mut self, owner: Owner, more: usize, less: usize, change: impl FnOnce(&mut T)) {
        let share = self.by_owner.entry(owner).or_default();
        change(&mut share.held);
        let before = share.weight;
        let after = (before + more).saturating_sub(less);
        share.weight = after;
        if after == 0 {
            self.by_owner.remove(&owner);
        }
        let [was, is] = [before, after].map(|weight| (weight >> self.step, owner));
        if before > 0 && (after == 0 || was != is) {
            self.by_weight.remove(&was);
        }
        if after > 0 && (before == 0 || was != is) {
            self.by_weight.insert(is);
        }
    }

    /// What the owner holds who holds the most.
    pub(super) fn heaviest(&self) -> Option<&T> {
        let (_, owner) = self.by_weight.last()?;
        Some(&self.by_owner.get(owner)?.held)
    }
}
