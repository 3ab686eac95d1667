//! A queue between a thread that never waits and one that does.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::{Event, Listener, listener};

/// Bounded in items and in bytes. What does not fit is the sender's to count.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    changed: Event,
    max_items: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    closed: bool,
}

impl<T> Queue<T> {
    /// Holds so many items, of so many bytes together.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), bytes: 0, closed: false };
        Self { inner: Mutex::new(inner), changed: Event::new(), max_items, max_bytes }
    }

    /// Adds an item of so many bytes, or gives it back where it does not fit.
    ///
    /// # Errors
    /// The item, where the queue is full or closed.
    pub fn push(&self, item: T, bytes: usize) -> Result<(), T> {
        let mut inner = self.lock();
        let fits = inner.items.len() < self.max_items && inner.bytes.saturating_add(bytes) <= self.max_bytes;
        if inner.closed || !fits {
            return Err(item);
        }
        inner.items.push_back((bytes, item));
        inner.bytes += bytes;
        drop(inner);
        self.changed.notify(1);
        Ok(())
    }

    /// The next item, waiting for it; `None` once the queue is closed.
    pub fn pop_blocking(&self) -> Option<T> {
        loop {
            listener!(self.changed => changed);
            if let Some(next) = self.try_pop() {
                return next;
            }
            changed.wait();
        }
    }

    /// As [`pop_blocking`](Self::pop_blocking), for a task. Nothing is lost where it is dropped half way.
    pub async fn pop(&self) -> Option<T> {
        loop {
            listener!(self.changed => changed);
            if let Some(next) = self.try_pop() {
                return next;
            }
            changed.await;
        }
    }

    /// Whoever waits gets `None`; what is in the queue is dropped.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.items.clear();
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    /// `None` where there is nothing yet, `Some(None)` where there will be nothing any more.
    fn try_pop(&self) -> Option<Option<T>> {
        let mut inner = self.lock();
        match inner.items.pop_front() {
            Some((bytes, item)) => {
                inner.bytes -= bytes;
                Some(Some(item))
            }
            None => inner.closed.then_some(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
