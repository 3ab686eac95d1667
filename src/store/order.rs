//! Things in order of arrival, of which some are gone.

use std::collections::VecDeque;

/// Things by their sequence, the oldest first. What is gone from the middle stays as a **stale** place, until there are as
/// many stale places as others; then they are swept out. So adding and removing take constant time, on average.
#[derive(Debug)]
pub(super) struct Order<T> {
    places: VecDeque<(u64, T)>,
    live: usize,
}

/// Stale places that are not worth a sweep.
const FEW: usize = 64;

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { places: VecDeque::new(), live: 0 }
    }
}

impl<T: Copy> Order<T> {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Adds the newest.
    pub(super) fn push(&mut self, sequence: u64, thing: T) {
        self.places.push_back((sequence, thing));
        self.live += 1;
    }

    /// One is gone: `is_live` says which are not.
    pub(super) fn lose_one(&mut self, is_live: impl Fn(u64, T) -> bool) {
        self.live -= 1;
        while self.places.front().is_some_and(|(sequence, thing)| !is_live(*sequence, *thing)) {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.live + FEW {
            self.places.retain(|(sequence, thing)| is_live(*sequence, *thing));
        }
    }

    /// The oldest that is not gone.
    pub(super) fn oldest(&self, is_live: impl Fn(u64, T) -> bool) -> Option<(u64, T)> {
        self.places.iter().copied().find(|(sequence, thing)| is_live(*sequence, *thing))
    }

    /// All below `before`, the newest first, stale ones too.
    pub(super) fn below(&self, before: u64) -> impl Iterator<Item = (u64, T)> {
        let end = self.places.partition_point(|(sequence, _)| *sequence < before);
        self.places.range(..end).rev().copied()
    }
}
