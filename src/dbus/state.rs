//! What the reader writes and the bus reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event_listener::Event as Notifier;

use super::{Limits, Seen};
use crate::process::{Cache, Entry, is_running};
use crate::queue::Queue;
use crate::rules::{Keeper, RuleSet, Status};
use crate::statistics::{Counter, Statistics};

/// How long the kernel's status is good for: a client that asks all the time costs the kernel nothing.
const STATUS_GOOD_FOR: Duration = Duration::from_secs(1);

/// The one source of events: auditd's dispatcher.
const AUDISP: &str = "audisp";

/// Signals that wait to be sent: a second of the most that auditd carries.
const MAX_QUEUED: usize = 16 * 1024;

/// What they may hold together, in bytes.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;

/// Shared by the reader's thread, the visitor's and the bus.
///
/// The locks are std's: each is held for the time of one look-up or one insert, and never across an await.
#[derive(Debug)]
pub struct State {
    cache: Mutex<Cache>,
    limits: Mutex<Limits>,
    /// Where events come from; empty while there is no connection.
    source: Mutex<&'static str>,
    /// Notified when the source changes, or the rules.
    pub changed: Notifier,
    /// Notified when the stream says that somebody changed a rule of ours.
    pub rules_touched: Notifier,
    /// Our rules.
    pub keeper: Keeper,
    /// Events on their way to a signal.
    pub seen: Queue<Seen>,
    /// The counters.
    pub statistics: Statistics,
    /// Goes up as long as the reader lives.
    pub heartbeat: AtomicU64,
    connections: AtomicU64,
    kernel_status: Mutex<Option<(Instant, Option<Status>)>>,
    started: Instant,
}

impl State {
    /// An empty cache for so many events, and no connection.
    #[must_use]
    pub fn new(max_events: usize, limits: Limits, rules: Option<RuleSet>) -> Self {
        Self {
            cache: Mutex::new(Cache::new(max_events)),
            limits: Mutex::new(limits),
            source: Mutex::new(""),
            changed: Notifier::new(),
            rules_touched: Notifier::new(),
            keeper: Keeper::new(rules),
            seen: Queue::new(MAX_QUEUED, MAX_QUEUED_BYTES),
            statistics: Statistics::default(),
            heartbeat: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            kernel_status: Mutex::new(None),
            started: Instant::now(),
        }
    }

    /// There is a connection to auditd.
    pub fn connected(&self) {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        self.statistics.set(Counter::Reconnects, before);
        self.set_source(AUDISP);
    }

    /// How often signals are sent.
    #[must_use]
    pub fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signals are sent that often from now on.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
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

    /// The kernel's audit status, asked for at most once a second. Blocks.
    #[must_use]
    pub fn kernel_status(&self) -> Option<Status> {
        let mut last = self.kernel_status.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, status)) = &*last
            && at.elapsed() < STATUS_GOOD_FOR
        {
            return *status;
        }
        let status = self.keeper.status().ok();
        *last = Some((Instant::now(), status));
        status
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
