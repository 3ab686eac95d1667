//! What is known of the process behind an event.
//!
//! A process is a pid and a start time, never a pid alone: pids come again. The start time, the systemd unit and what no
//! record tells come from `/proc`, by a visit that happens after the event was cached and never in the reader's way.

mod accounts;
mod cache;
mod cgroup;
pub mod known;
mod proc;
mod procfs;
mod registry;
#[cfg(test)]
mod tests;
mod titles;
mod visitor;
pub mod visits;

use crate::event::{Args, Bytes};

pub use accounts::{Accounts, group_id, user_name};
pub use cache::{Cache, Entry, MAX_CACHE_BYTES, MAX_IDLE};
pub use cgroup::Cgroup;
pub use procfs::is_running;
pub use visitor::Visitor;

/// What `/proc` knows of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// When it started, in microseconds since boot, as exact as the kernel's clock tick (`starttime`, proc_pid_stat(5)).
    pub start_time: u64,
    /// When that was, in milliseconds since the epoch.
    started_at: u64,
    /// Its cgroup's path.
    pub cgroup: Option<Bytes>,
    /// The systemd unit that the cgroup's path names, the innermost one.
    pub unit: Option<Bytes>,
    /// Its arguments at the time of the visit.
    pub args: Option<Args>,
    /// Its program's file at the time of the visit.
    pub exe: Option<Bytes>,
    /// Its name at the time of the visit.
    pub comm: Option<Bytes>,
}

impl Process {
    /// Whether an event of this pid at that time, in milliseconds since the epoch, can be this process's: the pid may have
    /// been another's then.
    #[must_use]
    pub fn lived_at(&self, milliseconds: u64) -> bool {
        milliseconds.saturating_add(CLOCK_TOLERANCE_MS) >= self.started_at
    }

    /// What it holds in memory, in bytes, but for the allocator's own.
    fn size(&self) -> usize {
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        size_of::<Self>()
            + [&self.cgroup, &self.unit, &self.exe, &self.comm].into_iter().map(bytes).sum::<usize>()
            + self.args.as_ref().map_or(0, Args::size)
    }
}

/// Audit's clock may be one timer tick behind, a start time is cut to a clock tick, and both are told by different clocks.
const CLOCK_TOLERANCE_MS: u64 = 100;
