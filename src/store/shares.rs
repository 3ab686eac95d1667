//! Who holds how much.

use std::collections::BTreeSet;

use audit_records::Who;
use hashbrown::HashMap;

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
    /// An owner holds so many bytes more, and so many less.
    pub(super) fn change(&mut self, owner: Owner, more: usize, less: usize) {
        if more == less {
            return;
        }
        let weight = self.by_owner.entry(owner).or_default();
        if *weight > 0 {
            self.by_weight.remove(&(*weight, owner));
        }
        *weight = (*weight + more).saturating_sub(less);
        if *weight > 0 {
            self.by_weight.insert((*weight, owner));
        } else {
            self.by_owner.remove(&owner);
        }
    }

    pub(super) fn heaviest(&self) -> Option<Owner> {
        self.by_weight.last().map(|(_, owner)| *owner)
    }
}
