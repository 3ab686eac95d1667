//! What the reader writes and the bus reads.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event_listener::Event;

use crate::process::{Cache, Entry, is_running};
use crate::statistics::{Counter, Statistics};

/// Shared by the reader's thread, the visitor's and the bus.
///
/// The locks are std's: each is held for the time of one look-up or one insert, and never across an await.
#[derive(Debug)]
pub struct State {
    cache: Mutex<Cache>,
    /// Where events come from; empty while there is no connection.
    source: Mutex<&'static str>,
    /// Notified when the source changes.
    pub changed: Event,
    /// The counters.
    pub statistics: Statistics,
    started: Instant,
}

impl State {
    /// An empty cache for so many events, and no connection.
    #[must_use]
    pub fn new(max_events: usize) -> Self {
        Self {
            cache: Mutex::new(Cache::new(max_events)),
            source: Mutex::new(""),
            changed: Event::new(),
            statistics: Statistics::default(),
            started: Instant::now(),
        }
    }

    /// The time that the cache and the assembler count in: since the service began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The cache, for as short as can be.
    pub fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where events come from.
    #[must_use]
    pub fn source(&self) -> &'static str {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where events come from now.
    pub fn set_source(&self, source: &'static str) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
        self.changed.notify(usize::MAX);
    }

    /// A counter; those of the cache are asked of it.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        match counter {
            Counter::EventsCached => self.cache().len() as u64,
            Counter::EventsEvicted => self.cache().evicted(),
            other => self.statistics.get(other),
        }
    }

    /// Drops what is old and the events of processes that have ended. Reads `/proc`.
    pub fn sweep(&self) {
        self.cache().expire(self.now());
        let processes = self.cache().processes();
        for (pid, start_time) in processes {
            if !is_running(pid, start_time) {
                self.cache().remove_process(pid, start_time);
            }
        }
    }
}

/// Now, in microseconds since the epoch.
#[must_use]
pub fn realtime_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros().try_into().unwrap_or(u64::MAX)
}

/// Whether the process of an entry still runs, as far as that can be known. Reads `/proc`.
#[must_use]
pub(super) fn entry_is_running(entry: &Entry) -> Option<bool> {
    let pid = entry.event.subject.pid?;
    match entry.start_time() {
        Some(start_time) => Some(is_running(pid, Some(start_time))),
        // Some process has the pid: whether it is that one nobody knows.
        None => (!is_running(pid, None)).then_some(false),
    }
}
