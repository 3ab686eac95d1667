//! What is known of one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cgroup::Cgroup;
use crate::proc;
use audit_records::{Args, Bytes};

/// Ancestors told of one process. Shells in shells and build tools seldom go deeper.
pub const MAX_PARENTS: usize = 16;

/// Bytes of an ancestor's program. Where the path of its file is longer, its name stands in its place: 16 whole paths would
/// be 64 kB a process.
pub const MAX_PROGRAM_BYTES: usize = 256;

/// Audit's clock may be one timer tick behind, a start time is cut to a clock tick, and both are told by different clocks.
const CLOCK_TOLERANCE_MS: u64 = 100;

/// The ancestors of a process, the nearest first, at most [`MAX_PARENTS`]. Processes with the same parent share them.
pub type Parents = Arc<[Ancestor]>;

/// One of the processes that a process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its pid.
    pub pid: u32,
    /// The file of its program, or its name where it has none (kernel threads) or the path is longer than
    /// [`MAX_PROGRAM_BYTES`].
    pub program: Bytes,
}

/// What `/proc` knows of one process. Its pid and its start time name it for good; what else is told was so at the visit.
/// Absent means unknown.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// Its real user.
    pub uid: u32,
    /// When it started, in microseconds since boot, as exact as the kernel's clock tick (`starttime`, proc_pid_stat(5)).
    pub start_time_us: u64,
    /// When that was, in milliseconds since the epoch, by the clock at the visit.
    pub started_at_ms: u64,
    /// Its cgroup. Processes of one cgroup share it.
    pub cgroup: Option<Arc<Cgroup>>,
    /// Its arguments, the first 4 kB; read only where the record's were cut or missing.
    pub args: Option<Args>,
    /// The file of its program, as the kernel shows it to us.
    pub exe: Option<Bytes>,
    /// Its name.
    pub comm: Option<Bytes>,
    /// Whether it sees another file system than the machine: its mount namespace is not that of pid 1. Its paths then are its
    /// own.
    pub own_mounts: Option<bool>,
    /// Where it comes from.
    pub parents: Parents,
    /// Shared by all that is known of this process at different times.
    pub(super) life: Arc<Life>,
}

impl Process {
    /// A process of which nothing else is known, and which is not watched.
    #[must_use]
    pub fn new(pid: u32, uid: u32, start_time_us: u64, started_at_ms: u64) -> Self {
        Self {
            pid,
            uid,
            start_time_us,
            started_at_ms,
            cgroup: None,
            args: None,
            exe: None,
            comm: None,
            own_mounts: None,
            parents: Parents::default(),
            life: Arc::default(),
        }
    }

    /// Whether an event of this pid at that time, in milliseconds since the epoch, can be this process's: the pid may have
    /// been another's then.
    #[must_use]
    pub fn lived_at(&self, event_ms: u64) -> bool {
        event_ms >= self.first_event_ms()
    }

    /// The earliest time of an event that can be this process's, in milliseconds since the epoch.
    pub(super) fn first_event_ms(&self) -> u64 {
        first_event_ms(self.started_at_ms)
    }

    /// Whether its end would be noticed at once. Those that nobody asked for in a long time are not watched any more.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.life.get() == Life::WATCHED
    }

    /// When its end was noticed, in milliseconds since the epoch: all it did was done by then.
    #[must_use]
    pub fn ended_at_ms(&self) -> Option<u64> {
        Some(self.life.get()).filter(|state| *state > Life::WATCHED)
    }

    /// Whether it runs: told by its pidfd while it is watched, else looked up in `/proc`, which takes some microseconds and
    /// cannot hang.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match self.life.get() {
            Life::WATCHED => true,
            Life::UNWATCHED => {
                let runs = proc::start_time_us(self.pid) == Some(self.start_time_us);
                if !runs {
                    self.life.end(proc::now_ms());
                }
                runs
            }
            _ => false,
        }
    }

    /// What it holds in memory, in bytes, but for the allocator's own. What it shares with others (cgroup, ancestors) is
    /// counted here too, so sums of this are upper bounds.
    #[must_use]
    pub fn size(&self) -> usize {
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        size_of::<Self>()
            + self.cgroup.as_ref().map_or(0, |cgroup| cgroup.size())
            + self.args.as_ref().map_or(0, Args::size)
            + bytes(&self.exe)
            + bytes(&self.comm)
            + size_of_parents(&self.parents)
    }

    /// The same process once it runs another program, of which nothing was read.
    pub(super) fn without_program(&self) -> Self {
        Self { args: None, exe: None, comm: None, ..self.clone() }
    }
}

/// The earliest time of an event of a process that started then; both in milliseconds since the epoch.
pub(super) fn first_event_ms(started_at_ms: u64) -> u64 {
    started_at_ms.saturating_sub(CLOCK_TOLERANCE_MS)
}

/// What they hold in memory, in bytes.
#[must_use]
pub fn size_of_parents(parents: &Parents) -> usize {
    parents.iter().map(|parent| size_of::<Ancestor>() + parent.program.len()).sum()
}

/// Whether a process runs, as far as its pidfd told: one of two states, or when its end was noticed.
#[derive(Debug, Default)]
pub(super) struct Life(AtomicU64);

impl Life {
    pub(super) const UNWATCHED: u64 = 0;
    pub(super) const WATCHED: u64 = 1;

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, state: u64) {
        self.0.store(state, Ordering::Release);
    }

    /// It has ended by then, in milliseconds since the epoch.
    pub(super) fn end(&self, at_ms: u64) {
        self.set(at_ms.max(Self::WATCHED + 1));
    }
}

#[cfg(test)]
impl Process {
    /// Its end was noticed then, in milliseconds since the epoch.
    pub(crate) fn end(&self, at_ms: u64) {
        self.life.end(at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_from_before_its_time_are_not_its_own() {
        let process = Process::new(7, 0, 0, 10_000);
        for (event_ms, expected) in [(0, false), (9_899, false), (9_900, true), (10_000, true), (u64::MAX, true)] {
            assert_eq!(process.lived_at(event_ms), expected, "{event_ms}");
        }
    }

    #[test]
    fn an_unwatched_process_is_looked_up_by_pid_and_start_time() {
        let pid = std::process::id();
        let start = proc::start_time_us(pid).unwrap();
        assert!(Process::new(pid, 0, start, 0).is_running());
        let other = Process::new(pid, 0, start + 1, 0);
        assert!(other.ended_at_ms().is_none() && !other.is_running() && other.ended_at_ms().is_some());
    }
}
