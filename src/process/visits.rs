//! Finds out which process is behind an event, without making the reader of events wait.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::OwnedFd;
use rustix::io;
use rustix::process::{Resource, getrlimit};

use super::known::{Parents, Process};
use super::registry::{Answer, Key, MAX_BYTES, Registry};
use super::titles::{PATIENCE, Ticket, Titles};
use crate::proc::{self, Folder};

/// Events that wait for a visit: a second of the most that auditd carries.
pub const MAX_WAITING: usize = 16 * 1024;

/// Processes that are watched at the most, each by one file descriptor.
pub const MAX_WATCHED: usize = 4096;

/// File descriptors left to all others: connections, the bus, arguments that are being read.
const OTHER_DESCRIPTORS: u64 = 512;

/// How long a process's arguments are waited for.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// Events that are answered in one go, so that ends of processes and arguments are noticed in between.
const BATCH: usize = 256;

/// Ends of processes that are noticed in one go.
const MAX_ENDS: usize = 64;

/// The thread's heart beats at least that often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Stands for the eventfd. No pid is 0.
const WAKE: u64 = 0;

/// Which process is asked for: what a record says of it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its pid.
    pub pid: u32,
    /// Its parent.
    pub ppid: Option<u32>,
    /// Its real user. Nothing is attached to an event without one.
    pub uid: Option<u32>,
    /// When the event happened, in milliseconds since the epoch.
    pub event_ms: u64,
    /// The record has all arguments, so `/proc` need not be asked for them.
    pub title_is_whole: bool,
    /// The program of the record, by [`program_id`]. Where it changes, the process has started another one, and is visited
    /// again.
    pub program: Option<u64>,
    /// It has just started a program (execve), which may be the same one again.
    pub starts_program: bool,
    /// The record comes from another machine.
    pub other_machine: bool,
}

/// What a look at `/proc` came to.
#[derive(Clone, Debug)]
pub enum Visit {
    /// This process. It may have ended in the meantime. Where its arguments are asked for and cannot be read in time, they
    /// are unknown.
    Found(Arc<Process>),
    /// It has ended, or its pid is another's by now.
    Gone {
        /// All its events happened before, in milliseconds since the epoch.
        at_ms: u64,
        /// Its ancestors, where the parent that the record names lived at the event.
        parents: Parents,
    },
    /// The process with this pid runs as another user than the record says, or on another machine. What is known of it is
    /// not the event's, and its owner must not see it.
    Foreign,
    /// There is such a process, and it cannot be looked at now. Nothing is known, and the next event is another try.
    Hidden,
}

/// How many of each there were, since the start unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times `/proc` was asked about a process, ancestors included.
    pub visits: u64,
    /// Events whose process was found.
    pub found: u64,
    /// Events whose process had ended.
    pub gone: u64,
    /// Events whose process runs as another user.
    pub foreign: u64,
    /// Events whose process could not be looked at.
    pub hidden: u64,
    /// Events whose process is told without the arguments that were asked for: reading them took too long.
    pub given_up: u64,
    /// Events that found no place to wait.
    pub dropped: u64,
    /// Processes that are watched now.
    pub watched: u64,
    /// Threads that hang in a read now.
    pub stuck: u64,
}

/// One thread that finds out about processes, and a few more for what may hang. `T` is what waits for the answer.
///
/// A process is visited once in its life, and again when it starts another program. Events of one process are answered in
/// their order; none waits much longer than 100 ms for `/proc`.
#[derive(Debug)]
pub struct Visitor<T> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    wake: Arc<OwnedFd>,
    heartbeat: AtomicU64,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<(Request, T)>,
    /// Those that the thread has taken, and that wait for arguments.
    taken: usize,
    stop: bool,
}

impl<T: Send + 'static> Visitor<T> {
    /// Starts the thread. `deliver` gets what waited with its answer; it must not wait for anything.
    ///
    /// # Errors
    ///
    /// Where the system has no thread or no file descriptor left.
    pub fn start(deliver: impl FnMut(Vec<(T, Visit)>) + Send + 'static) -> std::io::Result<Self> {
        Self::with_patience(MAX_WAIT, deliver)
    }

    /// Waits that long for arguments.
    pub(super) fn with_patience(
        max_wait: Duration,
        deliver: impl FnMut(Vec<(T, Visit)>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        epoll::add(&*epoll, &*wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { items: VecDeque::new(), taken: 0, stop: false }),
            wake: wake.clone(),
            heartbeat: AtomicU64::new(0),
            counts: Mutex::default(),
        });
        let thread = Thread {
            shared: shared.clone(),
            deliver,
            max_wait,
            registry: Registry::new(epoll.clone(), max_watched(), MAX_BYTES),
            epoll,
            titles: Titles::new(wake),
            waiting: HashMap::new(),
            tickets: HashMap::new(),
            answers: Vec::new(),
            counts: Counts::default(),
        };
        let thread = thread::Builder::new().name("visitor".to_owned()).spawn(move || thread.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has these visited, in this order. Gives back those that found no place.
    pub fn push(&self, mut items: Vec<(Request, T)>) -> Vec<(Request, T)> {
        let (refused, was_empty, is_empty);
        {
            let mut queue = self.shared.queue();
            was_empty = queue.items.is_empty();
            let room = MAX_WAITING.saturating_sub(queue.items.len() + queue.taken);
            refused = items.split_off(room.min(items.len()));
            // Mostly nothing waits, and nothing has to be moved.
            match was_empty {
                true => queue.items = items.into(),
                false => queue.items.extend(items),
            }
            is_empty = queue.items.is_empty();
        }
        if was_empty && !is_empty {
            wake(&self.shared.wake);
        }
        if !refused.is_empty() {
            let mut counts = self.shared.counts();
            counts.dropped += u64::try_from(refused.len()).unwrap_or(u64::MAX);
        }
        refused
    }

    /// Grows at least once a second as long as the thread is alive and well.
    #[must_use]
    pub fn heartbeat(&self) -> u64 {
        self.shared.heartbeat.load(Ordering::Relaxed)
    }

    /// What has been done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.shared.counts()
    }
}

impl<T> Drop for Visitor<T> {
    /// Stops the thread. What still waits is not delivered.
    fn drop(&mut self) {
        self.shared.queue().stop = true;
        wake(&self.shared.wake);
        if let Some(thread) = self.thread.take() {
            // Where it panicked, the process has been aborted.
            drop(thread.join());
        }
    }
}

impl<T> Shared<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look at the process with this pid now, whoever runs it; none where there is none. Its arguments are not read: nothing
/// here can hang.
#[must_use]
pub fn look(pid: u32) -> Option<Arc<Process>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
    let request = Request {
        pid,
        ppid: None,
        uid: Some(Folder::open(pid).ok()?.uid()?),
        event_ms: proc::now_ms(),
        title_is_whole: true,
        program: None,
        starts_program: false,
        other_machine: false,
    };
    match Registry::new(Arc::new(epoll), 1, MAX_BYTES).answer(&request, false) {
        Answer::Visit(Visit::Found(process)) => Some(process),
        _ => None,
    }
}

/// A number that stands for a program's path. Whoever chooses the path cannot choose the number.
#[must_use]
pub fn program_id(exe: &[u8]) -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(exe)
}

struct Thread<T, F> {
    shared: Arc<Shared<T>>,
    deliver: F,
    max_wait: Duration,
    epoll: Arc<OwnedFd>,
    registry: Registry,
    titles: Titles,
    /// By pid: events that wait for arguments, and those of the same process behind them.
    waiting: HashMap<u32, Waiting<T>>,
    /// Whose arguments they are for.
    tickets: HashMap<Ticket, Key>,
    answers: Vec<(T, Visit)>,
    counts: Counts,
}

struct Waiting<T> {
    ticket: Ticket,
    items: VecDeque<Item<T>>,
}

struct Item<T> {
    request: Request,
    what: T,
    /// Until when arguments are waited for, its own or those of another event before it.
    until: Option<Instant>,
}

impl<T: Send + 'static, F: FnMut(Vec<(T, Visit)>)> Thread<T, F> {
    fn run(mut self) {
        let mut more = false;
        loop {
            self.sleep(if more { Duration::ZERO } else { self.time_to_sleep() });
            self.shared.heartbeat.fetch_add(1, Ordering::Relaxed);
            self.take_titles();
            self.give_up_overdue();
            let (batch, rest, stop) = self.next_batch();
            if stop {
                return;
            }
            more = rest;
            self.answers.reserve(batch.len());
            for (request, what) in batch {
                self.handle(Item { request, what, until: None });
            }
            self.tell();
        }
    }

    /// Until there is something to do. Notices ends of processes.
    fn sleep(&mut self, time: Duration) {
        let mut events = Vec::with_capacity(MAX_ENDS);
        let time = Timespec::try_from(time).ok();
        // Interrupted, or nothing happened.
        if epoll::wait(&*self.epoll, spare_capacity(&mut events), time.as_ref()).is_err() {
            return;
        }
        for event in events {
            if event.data.u64() == WAKE {
                // Its count says nothing; what there is to do is looked up.
                let _ = io::read(&*self.shared.wake, &mut [0; 8]);
            } else {
                self.registry.ended(event.data);
            }
        }
    }

    fn time_to_sleep(&self) -> Duration {
        if self.waiting.is_empty() { HEARTBEAT } else { PATIENCE }
    }

    /// The next events, whether there are more, and whether it is time to stop.
    fn next_batch(&mut self) -> (VecDeque<(Request, T)>, bool, bool) {
        let waiting = self.waiting.values().map(|waiting| waiting.items.len()).sum();
        let mut queue = self.shared.queue();
        queue.taken = waiting;
        let batch = match queue.items.len() {
            // With its room: a flood's is given back so.
            ..=BATCH => std::mem::take(&mut queue.items),
            _ => queue.items.drain(..BATCH).collect(),
        };
        (batch, !queue.items.is_empty(), queue.stop)
    }

    fn handle(&mut self, mut item: Item<T>) {
        match self.waiting.get_mut(&item.request.pid) {
            Some(waiting) => {
                // Its time runs from now on: one that starts program after program makes no other wait for each.
                item.until = Some(Instant::now() + self.max_wait);
                waiting.items.push_back(item);
            }
            None => {
                if let Some((ticket, item)) = self.answer(item) {
                    self.wait(ticket, VecDeque::from([item]));
                }
            }
        }
    }

    /// Answers, or asks for arguments and returns what waits for them.
    fn answer(&mut self, mut item: Item<T>) -> Option<(Ticket, Item<T>)> {
        let mut answer = self.registry.answer(&item.request, true);
        if let Answer::Title { key, folder, uid } = answer {
            let now = Instant::now();
            // The new program has been looked at by now.
            item.request.starts_program = false;
            if now < *item.until.get_or_insert(now + self.max_wait)
                && let Some(ticket) = self.titles.ask(folder, uid, now)
            {
                self.tickets.insert(ticket, key);
                return Some((ticket, item));
            }
            self.counts.given_up += 1;
            answer = self.registry.answer(&item.request, false);
        }
        if let Answer::Visit(visit) = answer {
            self.answers.push((item.what, visit));
        }
        None
    }

    fn wait(&mut self, ticket: Ticket, items: VecDeque<Item<T>>) {
        if let Some(first) = items.front() {
            self.waiting.insert(first.request.pid, Waiting { ticket, items });
        }
    }

    fn take_titles(&mut self) {
        for (ticket, title) in self.titles.take() {
            let Some(key) = self.tickets.remove(&ticket) else { continue };
            self.registry.title_read(key, title);
            self.go_on(key.pid);
        }
    }

    fn give_up_overdue(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let now = Instant::now();
        self.titles.look_after(now);
        let is_overdue = |waiting: &Waiting<T>| {
            waiting.items.front().and_then(|first| first.until).is_some_and(|until| until <= now)
        };
        let overdue: Vec<_> =
            self.waiting.values().filter(|waiting| is_overdue(waiting)).map(|waiting| waiting.ticket).collect();
        for ticket in overdue {
            self.titles.give_up(ticket);
            if let Some(key) = self.tickets.remove(&ticket) {
                self.registry.title_given_up(key);
                self.counts.given_up += 1;
                self.go_on(key.pid);
            }
        }
    }

    /// Answers those that waited for this process's arguments, in their order.
    fn go_on(&mut self, pid: u32) {
        let Some(Waiting { mut items, .. }) = self.waiting.remove(&pid) else { return };
        while let Some(item) = items.pop_front() {
            if let Some((ticket, item)) = self.answer(item) {
                items.push_front(item);
                self.wait(ticket, items);
                return;
            }
        }
    }

    fn tell(&mut self) {
        for (_, visit) in &self.answers {
            match visit {
                Visit::Found(_) => self.counts.found += 1,
                Visit::Gone { .. } => self.counts.gone += 1,
                Visit::Foreign => self.counts.foreign += 1,
                Visit::Hidden => self.counts.hidden += 1,
            }
        }
        self.counts.visits = self.registry.looks();
        self.counts.watched = u64::try_from(self.registry.watched()).unwrap_or(u64::MAX);
        self.counts.stuck = u64::try_from(self.titles.stuck()).unwrap_or(u64::MAX);
        {
            let mut counts = self.shared.counts();
            *counts = Counts { dropped: counts.dropped, ..self.counts };
        }
        if !self.answers.is_empty() {
            (self.deliver)(std::mem::take(&mut self.answers));
        }
    }
}

/// Writes an eventfd.
pub(super) fn wake(eventfd: &OwnedFd) {
    // It fails only where it is at its maximum, and then it wakes too.
    let _ = io::write(eventfd, &1_u64.to_ne_bytes());
}

/// As many processes as the limit of file descriptors (`LimitNOFILE=`) leaves room for.
fn max_watched() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(usize::MAX).clamp(1, MAX_WATCHED)
}
