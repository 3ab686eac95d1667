//! What is known of one process.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use crate::proc::{self, ProgramFile};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Which file that is; read with the arguments.
    pub(super) file: Option<ProgramFile>,
    /// Whether it sees another file system than the machine: its mount namespace is not that of pid 1, or its root is not `/`.
    /// Its paths then are its own.
    pub own_mounts: Option<bool>,
    /// When it was seen to run this program.
    pub(super) seen: Arc<Seen>,
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
            file: None,
            own_mounts: None,
            seen: Arc::default(),
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

    /// Whether an event of that time, in milliseconds since the epoch, is of the program that is told here: it ran before and
    /// after it, and nothing tells of another one in between.
    #[must_use]
    pub fn ran_program_at(&self, event_ms: u64) -> bool {
        self.seen.from_ms <= event_ms && event_ms <= self.seen.to_ms.load(Ordering::Acquire)
    }

    /// Whether the program that is told here is this one of a record. The paths of a process that sees another file system
    /// are its own, and not compared.
    #[must_use]
    pub fn runs(&self, exe: &[u8]) -> bool {
        self.own_mounts == Some(true)
            || self.exe.as_deref().is_some_and(|own| own == exe || own.strip_suffix(DELETED) == Some(exe))
    }

    /// Whether the program that is told here is another file than this one, as far as that is known. Of a script it is: the
    /// program is the interpreter's file.
    #[must_use]
    pub fn is_another_file(&self, device: (u32, u32), inode: u64) -> bool {
        self.file.is_some_and(|file| file != ProgramFile { device, inode })
    }

    /// When its end was noticed, in milliseconds since the epoch: all it did was done by then.
    #[must_use]
    pub fn ended_at_ms(&self) -> Option<u64> {
        Some(self.life.get()).filter(|state| *state > Life::WATCHED)
    }

    /// Whether it runs: told by its pidfd while it is watched, else looked up in `/proc`, which takes some microseconds and
    /// cannot hang; none where it cannot be looked up.
    #[must_use]
    pub fn is_running(&self) -> Option<bool> {
        match self.life.get() {
            Life::WATCHED => Some(true),
            Life::UNWATCHED => {
                let runs = proc::runs(self.pid, self.start_time_us);
                if runs == Some(false) {
                    self.life.end(proc::now_ms());
                }
                runs
            }
            _ => Some(false),
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
        Self { args: None, exe: None, comm: None, file: None, ..self.clone() }
    }
}

/// A process as it is written down: without what it shares with others.
#[derive(Debug, Serialize, Deserialize)]
pub struct WrittenProcess {
    pid: u32,
    uid: u32,
    start_time_us: u64,
    started_at_ms: u64,
    args: Option<Args>,
    exe: Option<Bytes>,
    comm: Option<Bytes>,
    file: Option<((u32, u32), u64)>,
    own_mounts: Option<bool>,
    seen_from_ms: u64,
    seen_to_ms: u64,
    ended_at_ms: Option<u64>,
}

impl From<&Process> for WrittenProcess {
    fn from(process: &Process) -> Self {
        Self {
            pid: process.pid,
            uid: process.uid,
            start_time_us: process.start_time_us,
            started_at_ms: process.started_at_ms,
            args: process.args.clone(),
            exe: process.exe.clone(),
            comm: process.comm.clone(),
            file: process.file.map(|file| (file.device, file.inode)),
            own_mounts: process.own_mounts,
            seen_from_ms: process.seen.from_ms,
            seen_to_ms: process.seen.to_ms.load(Ordering::Acquire),
            ended_at_ms: process.ended_at_ms(),
        }
    }
}

/// The processes that were written down, looked at again: those that have ended since are told so.
#[derive(Debug, Default)]
pub struct Revived(HashMap<(u32, u64), Arc<Life>>);

impl Revived {
    /// This process, which nobody watches any more. What is known of it at different times has one end.
    pub fn process(&mut self, written: WrittenProcess, cgroup: Option<Arc<Cgroup>>, parents: Parents) -> Process {
        let WrittenProcess { pid, uid, start_time_us, started_at_ms, .. } = written;
        let life = self.0.entry((pid, start_time_us)).or_insert_with(|| {
            let life = Life::default();
            let ended = || (proc::runs(pid, start_time_us) == Some(false)).then(proc::now_ms);
            if let Some(at_ms) = written.ended_at_ms.or_else(ended) {
                life.end(at_ms);
            }
            Arc::new(life)
        });
        Process {
            pid,
            uid,
            start_time_us,
            started_at_ms,
            cgroup,
            args: written.args,
            exe: written.exe,
            comm: written.comm,
            file: written.file.map(|(device, inode)| ProgramFile { device, inode }),
            own_mounts: written.own_mounts,
            seen: Arc::new(Seen { from_ms: written.seen_from_ms, to_ms: AtomicU64::new(written.seen_to_ms) }),
            parents,
            life: life.clone(),
        }
    }
}

/// What the kernel writes behind the path of a file that was deleted, perhaps since the record.
pub(super) const DELETED: &[u8] = b" (deleted)";

/// The time for which a process was seen to run one program, in milliseconds since the epoch.
#[derive(Debug)]
pub(super) struct Seen {
    /// 0 where nothing is known of another one before.
    from_ms: u64,
    /// When it was last seen.
    to_ms: AtomicU64,
}

impl Seen {
    /// From then on.
    pub(super) fn since(from_ms: u64) -> Arc<Self> {
        Arc::new(Self { from_ms, to_ms: AtomicU64::new(0) })
    }

    /// It was seen once more.
    pub(super) fn until(&self, to_ms: u64) {
        self.to_ms.fetch_max(to_ms, Ordering::AcqRel);
    }
}

impl Default for Seen {
    /// Always.
    fn default() -> Self {
        Self { from_ms: 0, to_ms: AtomicU64::new(u64::MAX) }
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
    use std::process::{Command, Stdio};

    use super::*;
    use crate::testing::may;

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
        assert_eq!(Process::new(pid, 0, start, 0).is_running(), Some(true));
        for other in [Process::new(pid, 0, start + 1, 0), Process::new(u32::MAX, 0, start, 0)] {
            assert!(other.ended_at_ms().is_none());
            assert_eq!(other.is_running(), Some(false));
            assert!(other.ended_at_ms().is_some());
        }
    }

    /// The test's own program runs this test once more, where there is no `/proc`.
    #[test]
    fn where_it_cannot_be_looked_up_nobody_is_told_as_ended() {
        const INSIDE: &str = "OPENSNITCH_AUDIT_TEST_WITHOUT_PROC";
        let process = Process::new(std::process::id(), 0, 1, 0);
        if std::env::var_os(INSIDE).is_some() {
            assert_eq!((process.is_running(), process.ended_at_ms()), (None, None));
            // Of that one the kernel says so itself.
            assert_eq!(Process::new(u32::MAX, 0, 1, 0).is_running(), Some(false));
            return;
        }
        if !may("root", rustix::process::geteuid().is_root()) {
            return;
        }
        let own = std::env::current_exe().unwrap();
        let test = std::thread::current().name().unwrap().to_owned();
        let script = "mount -t tmpfs none /proc && exec \"$0\" --exact \"$1\"";
        let mut inside = Command::new("unshare");
        inside.args(["-m", "sh", "-c", script]).arg(own).arg(test).env(INSIDE, "1").stdout(Stdio::piped());
        let output = inside.output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    }
}
