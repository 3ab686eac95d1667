//! Who holds how much.

use std::collections::{BTreeSet, HashMap};

use audit_records::Who;

/// Whose share something counts to: the user who logged in, or for services the user they run as. A user can take on many
/// uids (in a user namespace), but never another login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Owner(Option<u32>);

impl Owner {
    pub(super) fn of(who: Who<'_>) -> Self {
        Self(who.auid().or_else(|| who.uid()))
    }
}

/// The bytes that each owner holds. Whoever holds the most gives way when room is needed, so nobody pushes out somebody
/// who holds less.
#[derive(Debug, Default)]
pub(super) struct Shares {
    by_owner: HashMap<Owner, usize>,
    /// The heaviest last.
    by_weight: BTreeSet<(usize, Owner)>,
}

impl Shares {
    pub(super) fn add(&mut self, owner: Owner, bytes: usize) {
        let weight = self.by_owner.entry(owner).or_default();
        self.by_weight.remove(&(*weight, owner));
        *weight += bytes;
        self.by_weight.insert((*weight, owner));
    }

    pub(super) fn subtract(&mut self, owner: Owner, bytes: usize) {
        let Some(weight) = self.by_owner.get_mut(&owner) else { return };
        self.by_weight.remove(&(*weight, owner));
        *weight = weight.saturating_sub(bytes);
        if *weight == 0 {
            self.by_owner.remove(&owner);
        } else {
            self.by_weight.insert((*weight, owner));
        }
    }

    pub(super) fn heaviest(&self) -> Option<Owner> {
        self.by_weight.last().map(|(_, owner)| *owner)
    }
}
