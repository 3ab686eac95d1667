//! Reads the arguments of processes, and which file their program is, on threads of their own, because that can hang.
//!
//! `/proc/PID/cmdline` is read from the memory of the process. Where that memory is on a file system that does not answer,
//! or is handed out by the process itself (userfaultfd(2)), the read does not come back before the process ends. So each is
//! asked for and waited for in different calls, and whoever asks decides when it has waited enough.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::proc::{Folder, ProgramFile};
use audit_records::MAX_ARGS_BYTES;
use rustix::fd::OwnedFd;

/// Bytes of arguments that are read: what is kept of them, and one more to know that there are more.
pub(super) const MAX_TITLE_BYTES: usize = MAX_ARGS_BYTES + 1;

/// Threads that wait for work. Reading one takes some microseconds, so even one would do.
const WORKERS: usize = 2;

/// Threads whose read is overdue. Each holds a stack and two file descriptors until its process ends.
const MAX_STUCK: usize = 8;

/// Reads of one user's processes at the same time, so that one user does not take all threads.
const MAX_OF_A_USER: usize = 2;

/// Reads that are asked for and not begun: as many as one batch of events can ask for. Each holds a file descriptor.
const MAX_ASKED: usize = 256;

/// How long a read that was asked for may wait until one more thread is started.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);

/// One read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Title {
    /// The arguments, a NUL behind each.
    pub(super) args: Vec<u8>,
    /// Which file the program is.
    pub(super) file: Option<ProgramFile>,
}

/// The threads and what they were asked.
#[derive(Debug)]
pub(super) struct Titles {
    shared: Arc<Shared>,
    last: u64,
    /// Whose reads are under way, by their real users.
    users: HashMap<Ticket, u32>,
    /// Those that nobody waits for any more.
    stuck: HashSet<Ticket>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// An eventfd that is written when something is done.
    wake: Arc<OwnedFd>,
}

#[derive(Debug)]
struct Asked {
    ticket: Ticket,
    folder: Folder,
    uid: u32,
    at: Instant,
}

#[derive(Debug, Default)]
struct State {
    asked: VecDeque<Asked>,
    /// Reads that were begun, by user.
    begun: HashMap<u32, usize>,
    done: Vec<(Ticket, Option<Title>)>,
    workers: usize,
    idle: usize,
    closed: bool,
}

impl Titles {
    /// `wake` is an eventfd; it is written whenever there is something to [`Self::take`].
    pub(super) fn new(wake: Arc<OwnedFd>) -> Self {
        let shared = Shared { state: Mutex::default(), work: Condvar::new(), wake };
        Self { shared: Arc::new(shared), last: 0, users: HashMap::new(), stuck: HashSet::new() }
    }

    /// Asks for the arguments of a process of this user. `None` where they are not read, since too many reads are stuck.
    pub(super) fn ask(&mut self, folder: Folder, uid: u32, now: Instant) -> Option<Ticket> {
        let of_user = self.stuck.iter().filter(|ticket| self.users.get(ticket) == Some(&uid)).count();
        if self.stuck.len() >= MAX_STUCK || of_user >= MAX_OF_A_USER {
            return None;
        }
        let mut state = self.shared.lock();
        if state.asked.len() >= MAX_ASKED {
            return None;
        }
        if state.idle <= state.asked.len() && state.workers < WORKERS {
            self.shared.start_worker(&mut state);
        }
        if state.workers == 0 {
            return None;
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        state.asked.push_back(Asked { ticket, folder, uid, at: now });
        self.users.insert(ticket, uid);
        self.shared.work.notify_one();
        Some(ticket)
    }

    /// What was read since the last time; `None` for a process that has ended or is another user's by now.
    pub(super) fn take(&mut self) -> Vec<(Ticket, Option<Title>)> {
        let mut done = std::mem::take(&mut self.shared.lock().done);
        done.retain(|(ticket, _)| {
            self.users.remove(ticket);
            !self.stuck.remove(ticket)
        });
        done
    }

    /// Nobody waits for this one any more.
    pub(super) fn give_up(&mut self, ticket: Ticket) {
        let mut state = self.shared.lock();
        let asked = state.asked.len();
        state.asked.retain(|asked| asked.ticket != ticket);
        if state.asked.len() < asked {
            self.users.remove(&ticket);
        } else if self.users.contains_key(&ticket) {
            self.stuck.insert(ticket);
        }
    }

    /// Starts one more thread where a read has waited too long for one. Called every [`PATIENCE`] while something is asked.
    pub(super) fn look_after(&self, now: Instant) {
        let mut state = self.shared.lock();
        let next = state.next().and_then(|place| state.asked.get(place));
        let waits = next.is_some_and(|asked| now.saturating_duration_since(asked.at) >= PATIENCE);
        if waits && state.idle == 0 && state.workers < WORKERS + MAX_STUCK {
            self.shared.start_worker(&mut state);
        }
    }

    /// Reads that are overdue.
    pub(super) fn stuck(&self) -> usize {
        self.stuck.len()
    }
}

impl Drop for Titles {
    /// The threads end as soon as they can; nobody waits for them.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.asked.clear();
        self.shared.work.notify_all();
    }
}

impl State {
    /// The place of the read that may begin next.
    fn next(&self) -> Option<usize> {
        let begun = |uid| self.begun.get(&uid).copied().unwrap_or_default();
        self.asked.iter().position(|asked| begun(asked.uid) < MAX_OF_A_USER)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_worker(self: &Arc<Self>, state: &mut State) {
        let shared = self.clone();
        let started: io::Result<_> =
            thread::Builder::new().name("title".to_owned()).stack_size(64 * 1024).spawn(move || shared.work());
        // Where the machine has no more threads, the reads that are asked for are given up in time.
        if started.is_ok() {
            state.workers += 1;
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let next = state.next();
            let Some(Asked { ticket, folder, uid, .. }) = next.and_then(|place| state.asked.remove(place)) else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                continue;
            };
            *state.begun.entry(uid).or_default() += 1;
            drop(state);
            // It may have become another user's while it was waited for, and then these are that user's arguments.
            let title = folder.title(MAX_TITLE_BYTES).map(|args| Title { args, file: folder.program_file() });
            let title = title.filter(|_| folder.uid() == Some(uid));
            drop(folder);
            state = self.lock();
            if let Entry::Occupied(mut begun) = state.begun.entry(uid) {
                *begun.get_mut() -= 1;
                if *begun.get() == 0 {
                    begun.remove();
                }
            }
            state.done.push((ticket, title));
            super::visits::wake(&self.wake);
            if state.idle >= WORKERS {
                state.workers -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn as_many_as_a_batch_are_asked_for_and_all_are_read() {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let mut titles = Titles::new(wake.clone());
        let uid = rustix::process::getuid().as_raw();
        let folder = || Folder::open(std::process::id()).unwrap();
        let mut asked: HashSet<_> =
            (0..MAX_ASKED).map(|_| titles.ask(folder(), uid, Instant::now()).unwrap()).collect();
        while !asked.is_empty() {
            // Waits for the next.
            rustix::io::read(&*wake, &mut [0; 8]).unwrap();
            for (ticket, title) in titles.take() {
                assert!(asked.remove(&ticket) && title.is_some());
            }
        }
        assert!(titles.users.is_empty() && titles.shared.lock().begun.is_empty() && titles.stuck() == 0);
        assert!(titles.shared.lock().workers <= WORKERS);
    }

    #[test]
    fn what_is_another_users_by_now_is_not_told() {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let mut titles = Titles::new(wake.clone());
        let folder = Folder::open(std::process::id()).unwrap();
        let other = rustix::process::getuid().as_raw() + 1;
        let ticket = titles.ask(folder, other, Instant::now()).unwrap();
        rustix::io::read(&*wake, &mut [0; 8]).unwrap();
        assert_eq!(titles.take(), [(ticket, None)]);
    }
}
