//! From a socket to the processes that hold it.
//!
//! The kernel does not tell; the links in `/proc/PID/fd` do. So the search begins where it will mostly end: with the
//! **candidates**, the processes that the caller saw using the connection, or making a socket. A socket is shared by
//! forking, so the **relatives** of a holder are looked at next: its parent and children, its siblings where no
//! candidate held it, and those of each relative that turns out to be a holder. All other processes are looked at only
//! where none of these holds it.
//!
//! Not found are: a holder that got the socket over a unix socket while a candidate still holds it; a holder none of
//! whose relatives holds it; a thread with descriptors of its own.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::process::{Process, everybody};
use super::{Error, Socket};
use crate::proc::Stat;

/// How long a search may take. 10,000 processes with ten descriptors each take half of it.
pub const SEARCH_TIME: Duration = Duration::from_millis(500);

/// Candidates that are looked at; the caller puts the likeliest first.
const CANDIDATES_MAX: usize = 64;

/// Relatives that are looked at: a server forks hundreds.
const RELATIVES_MAX: usize = 256;

/// Siblings that are looked at; each costs some microseconds.
const SIBLINGS_MAX: usize = 64;

/// Threads of one process whose children are looked for. Mostly the first thread forks.
const THREADS_MAX: usize = 16;

/// All processes that are looked at, if time allows; their pids take half a megabyte.
const PROCESSES_MAX: usize = 131_072;

/// Descriptors of one process: the usual limit for servers is 65,536 (`LimitNOFILE`). A million take a second.
const DESCRIPTORS_MAX: usize = 1 << 16;

/// Descriptors of a relative. A child has what it inherited under the same number, where it is looked for first, and
/// the table of a browser is not worth its 300 µs.
const RELATIVES_DESCRIPTORS_MAX: usize = 64;

/// A process that may hold the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its pid.
    pub pid: u32,
    /// When it started, in microseconds since boot, where that is known; another process with this pid is none.
    pub start_time_us: Option<u64>,
    /// The descriptor under which it had the socket, where that is known.
    pub fd: Option<i32>,
}

/// A process that holds the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its pid.
    pub pid: u32,
    /// When it started, in microseconds since boot, as exact as the kernel's clock tick.
    pub start_time_us: u64,
}

/// All processes that were found to hold one of the sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holders {
    /// The first candidate that holds one, or else whoever was found first.
    pub first: Holder,
    /// The others, in the order in which they were found.
    pub others: Vec<Holder>,
}

/// The processes that hold one of these sockets; `None` where no process does.
///
/// With one candidate that is right this takes some 60 µs; all of `/proc` takes some 20 µs for each process.
///
/// # Errors
/// [`Error::GaveUp`] where [`SEARCH_TIME`] was over before a holder was found.
pub fn holders(sockets: &[Socket], candidates: &[Candidate]) -> Result<Option<Holders>, Error> {
    if sockets.is_empty() {
        return Ok(None);
    }
    let mut search = Search::new(sockets, Instant::now() + SEARCH_TIME);
    let candidates = candidates.get(..CANDIDATES_MAX).unwrap_or(candidates);
    for candidate in candidates {
        search.candidate(candidate);
    }
    // A candidate mostly is right, and answers at once: then the search for who shares it stays short.
    let is_quick = !search.found.is_empty();
    if search.found.is_empty() {
        search.families_of(candidates);
    }
    if search.found.is_empty() {
        search.everybody();
    }
    search.relatives(!is_quick);
    let is_over = search.is_over();
    let mut found = search.found.into_iter().map(|(holder, _)| holder);
    match found.next() {
        Some(first) => Ok(Some(Holders { first, others: found.collect() })),
        None if is_over => Err(Error::GaveUp { looked_at: search.looked_at }),
        None => Ok(None),
    }
}

/// The children of this parent, unless it has so many that they are no family: init's, a session manager's.
fn siblings(parent: u32) -> Vec<u32> {
    let children = Process::open(parent).and_then(|process| {
        let stat = process.stat()?;
        Some(process.children(stat.threads, THREADS_MAX))
    });
    children.filter(|children| children.len() <= SIBLINGS_MAX).unwrap_or_default()
}

struct Search<'a> {
    sockets: &'a [Socket],
    deadline: Instant,
    /// Pids that were looked at.
    seen: HashSet<u32>,
    looked_at: u32,
    found: Vec<(Holder, Found)>,
}

/// How a holder was found, and where to look next.
struct Found {
    process: Process,
    stat: Stat,
    descriptor: i32,
}

/// Where the descriptor may be.
#[derive(Clone, Copy)]
struct Hint {
    descriptor: Option<i32>,
    /// So many others are looked at.
    others: usize,
}

impl<'a> Search<'a> {
    fn new(sockets: &'a [Socket], deadline: Instant) -> Self {
        Self { sockets, deadline, seen: HashSet::new(), looked_at: 0, found: Vec::new() }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn candidate(&mut self, candidate: &Candidate) {
        // Once there is a holder, the others are only asked whether they share it.
        let others = if self.found.is_empty() { DESCRIPTORS_MAX } else { RELATIVES_DESCRIPTORS_MAX };
        self.look(candidate.pid, candidate.start_time_us, Hint { descriptor: candidate.fd, others });
    }

    /// The parents and children of candidates that hold nothing themselves: a server that forks, and closes its own.
    fn families_of(&mut self, candidates: &[Candidate]) {
        let mut left = RELATIVES_MAX;
        for candidate in candidates {
            let Some(process) = Process::open(candidate.pid) else { continue };
            let Some(stat) = process.stat() else { continue };
            if candidate.start_time_us.is_some_and(|start| start != stat.start_time_us) {
                continue;
            }
            let hint = Hint { descriptor: candidate.fd, others: DESCRIPTORS_MAX };
            for pid in process.children(stat.threads, THREADS_MAX).into_iter().rev().chain([stat.ppid]) {
                if left == 0 || self.is_over() {
                    return;
                }
                left -= usize::from(self.look(pid, None, hint));
            }
        }
    }

    /// The newest first, and those of the user that made the socket before all others.
    fn everybody(&mut self) {
        // A candidate's pid may be another process's by now, which may be the holder.
        self.seen.clear();
        let mut pids = everybody(PROCESSES_MAX);
        pids.sort_unstable_by(|one, other| other.cmp(one));
        let hint = Hint { descriptor: None, others: DESCRIPTORS_MAX };
        let mut strangers = Vec::new();
        for pid in pids {
            if self.is_over() || !self.found.is_empty() {
                return;
            }
            let owner = Process::open(pid).and_then(|process| process.owner());
            if self.sockets.iter().any(|socket| Some(socket.uid) == owner) {
                self.look(pid, None, hint);
            } else {
                strangers.push(pid);
            }
        }
        for pid in strangers {
            if self.is_over() || !self.found.is_empty() {
                return;
            }
            self.look(pid, None, hint);
        }
    }

    /// Of each holder, those found here included.
    fn relatives(&mut self, with_siblings: bool) {
        let mut left = RELATIVES_MAX;
        let mut next = 0;
        while let Some((_, found)) = self.found.get(next) {
            next += 1;
            let hint = Hint { descriptor: Some(found.descriptor), others: RELATIVES_DESCRIPTORS_MAX };
            // What was inherited by two has the same number in both.
            let of_sibling = Hint { others: 0, ..hint };
            let parent = found.stat.ppid;
            let children = found.process.children(found.stat.threads, THREADS_MAX);
            let relatives = [parent].into_iter().chain(children).map(|pid| (pid, hint));
            let siblings = if with_siblings { siblings(parent) } else { Vec::new() };
            let siblings = siblings.into_iter().map(|pid| (pid, of_sibling));
            for (pid, hint) in relatives.chain(siblings).collect::<Vec<_>>() {
                if left == 0 || self.is_over() {
                    return;
                }
                left -= usize::from(self.look(pid, None, hint));
            }
        }
    }

    /// Looks at one process, if that was not done before; returns whether it was looked at now.
    fn look(&mut self, pid: u32, start_time_us: Option<u64>, hint: Hint) -> bool {
        if pid == 0 || self.is_over() || !self.seen.insert(pid) {
            return false;
        }
        self.looked_at = self.looked_at.saturating_add(1);
        if let Some(found) = self.holder(pid, start_time_us, hint) {
            self.found.push(found);
        }
        true
    }

    fn holder(&self, pid: u32, start_time_us: Option<u64>, hint: Hint) -> Option<(Holder, Found)> {
        let process = Process::open(pid)?;
        let hinted = hint.descriptor.filter(|descriptor| process.has_at(*descriptor, self.sockets));
        let descriptor = match hinted {
            Some(descriptor) => descriptor,
            // The kernel prepares each name before it gives one out: better not to begin.
            None if hint.others < DESCRIPTORS_MAX && process.descriptors() > hint.others as u64 => return None,
            None => process.descriptor(self.sockets, hint.others)?,
        };
        let stat = process.stat()?;
        if start_time_us.is_some_and(|start| start != stat.start_time_us) {
            return None;
        }
        let holder = Holder { pid: process.pid(), start_time_us: stat.start_time_us };
        Some((holder, Found { process, stat, descriptor }))
    }
}
