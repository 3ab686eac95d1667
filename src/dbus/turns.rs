//! Signals that wait, in turns: each user's in its own order, and one of each user after the other.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

use crate::store::{Answer, Owner};

/// Users whose losses are counted each by itself; what others lose is counted together.
const MAX_LOSERS: usize = 64;

/// A queue for each user. Whoever fills it delays the own signals, and where there are too many loses the own.
#[derive(Debug, Default)]
pub(super) struct Turns {
    by_owner: HashMap<Owner, VecDeque<Answer>>,
    /// Users with something in their queues; whose turn it is comes first.
    turns: VecDeque<Owner>,
    len: usize,
    losses: BTreeMap<Option<Owner>, u64>,
}

impl Turns {
    /// Adds one to the end of its user's queue.
    pub(super) fn push_back(&mut self, answer: Answer) {
        let owner = answer.row.owner();
        let queue = self.by_owner.entry(owner).or_default();
        if queue.is_empty() {
            self.turns.push_back(owner);
        }
        queue.push_back(answer);
        self.len += 1;
    }

    /// The first one of the user whose turn it is.
    pub(super) fn pop_front(&mut self) -> Option<Answer> {
        let owner = self.turns.pop_front()?;
        let answer = self.by_owner.get_mut(&owner).and_then(VecDeque::pop_front);
        self.removed(owner);
        if self.by_owner.contains_key(&owner) {
            self.turns.push_back(owner);
        }
        answer
    }

    /// The last one of the user who has most of them. It is lost.
    pub(super) fn lose_one(&mut self) -> Option<Answer> {
        let (owner, queue) = self.by_owner.iter_mut().max_by_key(|(_, queue)| queue.len())?;
        let (owner, answer) = (*owner, queue.pop_back());
        self.removed(owner);
        if !self.by_owner.contains_key(&owner) {
            self.turns.retain(|one| *one != owner);
        }
        self.count_loss(owner, answer.as_ref().map_or(0, |answer| answer.count));
        answer
    }

    /// Whether nobody has more of them than that user.
    pub(super) fn has_most(&self, owner: Owner) -> bool {
        let own = self.by_owner.get(&owner).map_or(0, VecDeque::len);
        self.by_owner.values().all(|queue| queue.len() <= own)
    }

    /// A user lost so many events.
    pub(super) fn count_loss(&mut self, owner: Owner, count: u64) {
        let is_known = self.losses.len() < MAX_LOSERS || self.losses.contains_key(&Some(owner));
        *self.losses.entry(is_known.then_some(owner)).or_default() += count;
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What each user lost since the last call; `None` stands for all that are too many to be told.
    pub(super) fn take_losses(&mut self) -> BTreeMap<Option<Owner>, u64> {
        std::mem::take(&mut self.losses)
    }

    fn removed(&mut self, owner: Owner) {
        self.len -= 1;
        if self.by_owner.get(&owner).is_some_and(VecDeque::is_empty) {
            self.by_owner.remove(&owner);
        }
    }
}
