//! A queue between a thread that never waits and a task that does.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::{Event, listener};

/// Bounded in items and in bytes. What does not fit is the sender's to count. Items move by the batch: one lock and one
/// wake for all of them.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    changed: Event,
    max_items: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T> Queue<T> {
    /// Holds at most `max_items` and `max_bytes`.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), bytes: 0 };
        Self { inner: Mutex::new(inner), changed: Event::new(), max_items, max_bytes }
    }

    /// Adds items, each with its size in bytes, as many as fit. Returns how many did not.
    pub fn push(&self, items: impl IntoIterator<Item = (T, usize)>) -> u64 {
        let items = items.into_iter();
        let mut inner = self.lock();
        let room = self.max_items.saturating_sub(inner.items.len());
        inner.items.reserve(items.size_hint().0.min(room));
        let mut left_out = 0;
        for (item, bytes) in items {
            if inner.items.len() < self.max_items && inner.bytes.saturating_add(bytes) <= self.max_bytes {
                inner.items.push_back(item);
                inner.bytes += bytes;
            } else {
                left_out += 1;
            }
        }
        drop(inner);
        self.changed.notify(1);
        left_out
    }

    /// All items, waiting for the first. Nothing is lost where it is dropped half way.
    pub async fn pop_all(&self) -> VecDeque<T> {
        loop {
            listener!(self.changed => changed);
            {
                let mut inner = self.lock();
                if !inner.items.is_empty() {
                    inner.bytes = 0;
                    return std::mem::take(&mut inner.items);
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
