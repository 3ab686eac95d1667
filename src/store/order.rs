//! Things in order of arrival, of which some are gone.

use std::collections::VecDeque;

/// Things by their sequence, the oldest first. What is gone from the middle leaves an **empty** place, until there are half as
/// many empty places as others; then they are swept out. So adding takes constant time on average, and so does removing the
/// oldest; removing another one is a binary search.
#[derive(Debug)]
pub(super) struct Order<T> {
    /// The first is never empty.
    places: VecDeque<(u64, Option<T>)>,
    live: usize,
}

/// Empty places that are not worth a sweep.
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
        if self.places.len() == self.places.capacity() {
            // Not to twice as many: what is added at one end and removed at the other passes through all the room there is.
            self.places.reserve_exact(self.places.len() / 4 + FEW);
        }
        self.places.push_back((sequence, Some(thing)));
        self.live += 1;
    }

    /// What has the sequence `last` is the newest now, and has that one.
    pub(super) fn replace(&mut self, last: u64, sequence: u64, thing: T) {
        self.push(sequence, thing);
        self.remove(last);
    }

    /// The thing of this sequence is gone.
    pub(super) fn remove(&mut self, sequence: u64) {
        let place = match self.places.front() {
            Some((first, _)) if *first == sequence => 0,
            _ => self.places.partition_point(|(other, _)| *other < sequence),
        };
        let Some((_, thing)) = self.places.get_mut(place).filter(|(found, _)| *found == sequence) else { return };
        if thing.take().is_none() {
            return;
        }
        self.live -= 1;
        while self.places.front().is_some_and(|(_, thing)| thing.is_none()) {
            self.places.pop_front();
        }
        if self.places.len() > self.live + self.live / 2 + FEW {
            self.places.retain(|(_, thing)| thing.is_some());
        }
    }

    /// The oldest.
    pub(super) fn oldest(&self) -> Option<(u64, T)> {
        let (sequence, thing) = *self.places.front()?;
        Some((sequence, thing?))
    }

    /// The places below `before`, the newest first; empty ones too, so that a step over them is a step.
    pub(super) fn below(&self, before: u64) -> impl Iterator<Item = (u64, Option<T>)> {
        let end = self.places.partition_point(|(sequence, _)| *sequence < before);
        self.places.range(..end).rev().copied()
    }
}
