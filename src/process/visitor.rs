//! Visits each process at most once a second.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Process;
use super::procfs::visit;
use crate::event::Event;

/// How long a visit is good for, as long as that very process runs.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Visits remembered: each holds one file descriptor, and a service has 1,024 unless told otherwise.
const MAX_REMEMBERED: usize = 256;

/// Remembers the last visits. A pidfd tells whether a process seen a moment ago still is the one behind its pid.
#[derive(Debug, Default)]
pub struct Visitor {
    remembered: HashMap<u32, Visit>,
    /// In the order of their time.
    times: VecDeque<(Instant, u32)>,
}

#[derive(Debug)]
struct Visit {
    at: Instant,
    pidfd: OwnedFd,
    process: Arc<Process>,
}

impl Visitor {
    /// What `/proc` knows of the process behind an event; `None` where it has ended, or the pid is another's by now.
    pub fn visit(&mut self, event: &Event) -> Option<Arc<Process>> {
        let process = self.visit_pid(event.subject.pid?)?;
        process.lived_at(event.id.milliseconds).then_some(process)
    }

    fn visit_pid(&mut self, pid: u32) -> Option<Arc<Process>> {
        self.forget_old();
        if let Some(known) = self.remembered.get(&pid)
            && !has_ended(&known.pidfd)
        {
            return Some(known.process.clone());
        }
        let pidfd = pidfd_open(Pid::from_raw(pid.try_into().ok()?)?, PidfdFlags::empty()).ok()?;
        let process = Arc::new(visit(pid)?);
        if has_ended(&pidfd) {
            // It ended while it was visited: what was read may be of another process with its pid.
            return None;
        }
        let at = Instant::now();
        self.times.push_back((at, pid));
        self.remembered.insert(pid, Visit { at, pidfd, process: process.clone() });
        Some(process)
    }

    fn forget_old(&mut self) {
        while let Some(&(at, pid)) = self.times.front() {
            if at.elapsed() < GOOD_FOR && self.times.len() < MAX_REMEMBERED {
                break;
            }
            self.times.pop_front();
            if self.remembered.get(&pid).is_some_and(|visit| visit.at == at) {
                self.remembered.remove(&pid);
            }
        }
    }
}

/// A pidfd can be read once its process has ended: pidfd_open(2).
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}
