//! What the reader writes and the bus reads.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event_listener::Event as Notifier;

use super::{Limits, Seen};
use crate::diagnose::Link;
use crate::process::{Cache, Entry, is_running};
use crate::queue::Queue;
use crate::rules::{Keeper, RuleSet, Status};
use crate::statistics::{Counter, Statistics};

/// How long the kernel's status is good for: a client that asks all the time costs the kernel nothing.
const STATUS_GOOD_FOR: Duration = Duration::from_secs(1);

/// Over how long a time the kernel's losses are looked at.
const LOST_SPAN: Duration = Duration::from_secs(10 * 60);

/// The one source of events: auditd's dispatcher.
const AUDISP: &str = "audisp";

/// Signals that wait to be sent: a second of the most that auditd carries.
const MAX_QUEUED: usize = 16 * 1024;

/// What they may hold together, in bytes.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;

/// What the bus side needs of the configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How often signals are sent.
    pub limits: Limits,
    /// The key of our rules.
    pub key: String,
    /// Whether the service loads its rules by itself.
    pub manages_rules: bool,
    /// Whether the rules ask for messages that name a destination.
    pub watches_sends: bool,
    /// Where auditd's socket is looked for.
    pub sockets: Vec<PathBuf>,
}

/// The connection to auditd, and what became of attempts at one.
#[derive(Debug, Default)]
struct Connecting {
    /// Since when, and how many lines had been read before.
    connected: Option<(Instant, u64)>,
    /// How many connections there were.
    connections: u64,
    refused: Vec<(PathBuf, ErrorKind)>,
    /// Connections in a row that ended before a line came.
    dismissed: u32,
}

/// Shared by the reader's thread, the visitor's and the bus.
///
/// The locks are std's: each is held for the time of one look-up or one insert, and never across an await.
#[derive(Debug)]
pub struct State {
    cache: Mutex<Cache>,
    setup: Mutex<Setup>,
    link: Mutex<Connecting>,
    /// The kernel's count of lost records some time ago.
    lost_before: Mutex<Option<(u32, Instant)>>,
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
    kernel_status: Mutex<Option<(Instant, Option<Status>)>>,
    started: Instant,
}

impl State {
    /// An empty cache for so many events, and no connection.
    #[must_use]
    pub fn new(max_events: usize, setup: Setup, rules: Option<RuleSet>) -> Self {
        Self {
            cache: Mutex::new(Cache::new(max_events)),
            setup: Mutex::new(setup),
            link: Mutex::new(Connecting::default()),
            lost_before: Mutex::new(None),
            changed: Notifier::new(),
            rules_touched: Notifier::new(),
            keeper: Keeper::new(rules),
            seen: Queue::new(MAX_QUEUED, MAX_QUEUED_BYTES),
            statistics: Statistics::default(),
            heartbeat: AtomicU64::new(0),
            kernel_status: Mutex::new(None),
            started: Instant::now(),
        }
    }

    /// There is a connection to auditd.
    pub fn connected(&self) {
        let mut link = self.connecting();
        self.statistics.set(Counter::Reconnects, link.connections);
        link.connections += 1;
        link.connected = Some((Instant::now(), self.statistics.get(Counter::LinesRead)));
        link.refused.clear();
        drop(link);
        // Debian's auditd flushes all rules when it starts.
        self.rules_touched.notify(usize::MAX);
        self.changed.notify(usize::MAX);
    }

    /// There is no connection to auditd any more.
    pub fn disconnected(&self) {
        let mut link = self.connecting();
        if let Some((_, before)) = link.connected.take() {
            let came = self.statistics.get(Counter::LinesRead) > before;
            link.dismissed = if came { 0 } else { link.dismissed.saturating_add(1) };
        }
        drop(link);
        self.changed.notify(usize::MAX);
    }

    /// The sockets could not be reached, for these reasons.
    pub fn refused(&self, refused: Vec<(PathBuf, ErrorKind)>) {
        self.connecting().refused = refused;
    }

    /// The connection, as [`diagnose`](crate::diagnose) wants to know it.
    #[must_use]
    pub fn link(&self) -> Link {
        let lines = self.statistics.get(Counter::LinesRead);
        let sockets = self.setup().sockets;
        let link = self.connecting();
        Link {
            sockets,
            connected: link.connected.map(|(since, before)| (since.elapsed(), lines.saturating_sub(before))),
            refused: link.refused.clone(),
            dismissed: link.dismissed,
            without_newlines: false,
            assembled: self.statistics.get(Counter::EventsAssembled),
            late: self.statistics.get(Counter::RecordsLate),
        }
    }

    /// What the configuration says.
    #[must_use]
    pub fn setup(&self) -> Setup {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often signals are sent.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).limits
    }

    /// The configuration says something else from now on.
    pub fn set_setup(&self, setup: Setup) {
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = setup;
    }

    fn connecting(&self) -> MutexGuard<'_, Connecting> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Where events come from; empty while there is no connection.
    #[must_use]
    pub fn source(&self) -> &'static str {
        if self.connecting().connected.is_some() { AUDISP } else { "" }
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

    /// Remembers what the kernel has lost by now, to tell later whether it loses more.
    pub fn remember_lost(&self) {
        let lost = self.kernel_status().map(|status| (status.lost, Instant::now()));
        let mut before = self.lost_before.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_none_or(|(_, at)| at.elapsed() >= LOST_SPAN) {
            *before = lost;
        }
    }

    /// What the kernel had lost some time ago, and how long ago that was.
    #[must_use]
    pub fn lost_before(&self) -> Option<(u32, Duration)> {
        let before = self.lost_before.lock().unwrap_or_else(PoisonError::into_inner);
        before.map(|(lost, at)| (lost, at.elapsed()))
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
