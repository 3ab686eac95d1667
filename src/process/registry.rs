//! The processes that were visited, remembered until they end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{self, Errno};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::cgroup::Cgroups;
use super::known::{
    Ancestor, DELETED, Life, MAX_PARENTS, MAX_PROGRAM_BYTES, Parents, Process, Seen, first_event_ms, size_of_parents,
};
use super::titles::{self, MAX_TITLE_BYTES};
use super::visits::{Request, Visit, program_id};
use crate::proc::{self, Folder, Stat};
use audit_records::{Args, Bytes};

/// Processes that are remembered after their end: events from their last moments may still be on their way.
const MAX_ENDED: usize = 1024;

/// What all that is remembered may hold, in bytes: a program's path and a cgroup's may have 4 kB each, 2 kB are usual.
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// An ancestor's program is read again where it was read before that: a shell that was seen may have become something else,
/// and nobody told us.
const PROGRAM_GOOD_FOR: Duration = Duration::from_secs(1);

/// Looks that found no process are remembered: a short-lived process has several events on their way, and in a storm they wait
/// for seconds in auditd's queue. Who was gone at a look was gone at every event before it, unless somebody sets the clock back:
/// so not for ever.
const MAX_GONE: usize = 1024;
const GONE_GOOD_FOR: Duration = Duration::from_secs(10);

/// A process that was visited at this age, in microseconds, is visited once more when it is older: a desktop moves what it
/// starts into the application's cgroup only afterwards.
const SETTLED_AFTER_US: u64 = 2_000_000;

/// What is remembered of processes.
#[derive(Debug)]
pub(super) struct Registry {
    epoll: Arc<OwnedFd>,
    max_watched: usize,
    max_bytes: usize,
    known: HashMap<u32, Known>,
    /// Those that are watched, by their last use.
    uses: BTreeMap<u64, u32>,
    last_use: u64,
    /// Those that have ended, in that order.
    ended: VecDeque<Key>,
    bytes: usize,
    last_serial: u32,
    cgroups: Cgroups,
    /// The mount namespace of the machine.
    machine_mounts: Option<Bytes>,
    /// Those that cannot be watched: they are forgotten as soon as they are told.
    unwatched: Vec<u32>,
    /// Looks that found no process with the pid: by when it had ended, in milliseconds since the epoch, and when that was.
    gone: HashMap<u32, (u64, Duration)>,
    looks: u64,
}

/// One process, visited or only seen as an ancestor.
#[derive(Debug)]
struct Known {
    /// Tells it from others that had its pid.
    serial: u32,
    /// Until its end.
    pidfd: Option<OwnedFd>,
    life: Arc<Life>,
    start_time_us: u64,
    started_at_ms: u64,
    /// When its end was noticed.
    ended_at_ms: Option<u64>,
    /// Its parent when it was first seen.
    ppid: u32,
    program: Bytes,
    /// When that was.
    program_read: Option<Duration>,
    /// Its ancestors, once somebody asked.
    parents: Option<Parents>,
    /// Itself and its ancestors: the ancestors of its children.
    line: Option<Parents>,
    visited: Option<Visited>,
    last_use: u64,
    size: usize,
}

#[derive(Debug)]
struct Visited {
    process: Arc<Process>,
    /// Its real user.
    uid: u32,
    /// The program of the record that led here.
    program: Option<u64>,
    title: Title,
    /// It was old enough to stay in its cgroup.
    settled: bool,
}

/// What is known of a process's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Title {
    NotRead,
    Read,
    /// Reading took too long. It is not tried again.
    GivenUp,
}

/// One process among those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) pid: u32,
    serial: u32,
}

/// What an ancestor must fit.
#[derive(Clone, Copy, Debug)]
struct Fits {
    /// It started no later than that, in microseconds since boot.
    started_by_us: u64,
    /// It lived then, in milliseconds since the epoch; else it lives now.
    lived_at_ms: Option<u64>,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    Visit(Visit),
    /// The arguments must be read first, below this folder of a process of this user.
    Title {
        key: Key,
        folder: Folder,
        uid: u32,
    },
}

impl Known {
    fn fits(&self, fits: Fits) -> bool {
        let lived = match fits.lived_at_ms {
            Some(at) => self.lived_at(at),
            None => self.ended_at_ms.is_none(),
        };
        lived && self.start_time_us <= fits.started_by_us
    }

    /// Whether an event of that time can be its own, in milliseconds since the epoch.
    fn lived_at(&self, event_ms: u64) -> bool {
        event_ms >= first_event_ms(self.started_at_ms) && self.ended_at_ms.is_none_or(|ended| event_ms <= ended)
    }

    /// Itself, and those it comes from.
    fn line_on(&self, pid: u32, parents: &Parents) -> Parents {
        let own = Ancestor { pid, program: self.program.clone() };
        std::iter::once(own).chain(parents.iter().cloned()).take(MAX_PARENTS).collect()
    }

    fn measure(&self) -> usize {
        let parents = |parents: &Option<Parents>| parents.as_ref().map_or(0, size_of_parents);
        size_of::<Self>()
            + self.program.len()
            + parents(&self.line)
            + self.visited.as_ref().map_or_else(|| parents(&self.parents), |visited| visited.process.size())
    }
}

impl Registry {
    pub(super) fn new(epoll: Arc<OwnedFd>, max_watched: usize, max_bytes: usize) -> Self {
        Self {
            epoll,
            max_watched,
            max_bytes,
            known: HashMap::new(),
            uses: BTreeMap::new(),
            last_use: 0,
            ended: VecDeque::new(),
            bytes: 0,
            last_serial: 0,
            cgroups: Cgroups::default(),
            machine_mounts: machine_mounts(),
            unwatched: Vec::new(),
            gone: HashMap::new(),
            looks: 0,
        }
    }

    /// What is known of the process that is asked for; it is visited where that is needed. Without `may_wait` its arguments
    /// are left out rather than read.
    pub(super) fn answer(&mut self, request: &Request, may_wait: bool) -> Answer {
        let answer = self.find(request, may_wait);
        self.trim();
        answer
    }

    /// Its arguments were read, or it has ended.
    pub(super) fn title_read(&mut self, key: Key, title: Option<titles::Title>) {
        let file = title.as_ref().and_then(|title| title.file);
        let args = title.and_then(|title| args(title.args));
        self.change_visited(key, |visited| {
            visited.title = Title::Read;
            visited.process = Arc::new(Process { args, file, ..Process::clone(&visited.process) });
        });
        self.trim();
    }

    /// Reading its arguments takes too long.
    pub(super) fn title_given_up(&mut self, key: Key) {
        self.change_visited(key, |visited| visited.title = Title::GivenUp);
    }

    /// A pidfd told that its process has ended; `data` is what epoll says.
    pub(super) fn ended(&mut self, data: EventData) {
        let key = Key::of(data);
        let known = self.known.get_mut(&key.pid).filter(|known| known.serial == key.serial);
        let Some((known, pidfd)) = known.and_then(|known| known.pidfd.take().map(|pidfd| (known, pidfd))) else {
            return;
        };
        unwatch(&self.epoll, &pidfd);
        let now = proc::now_ms();
        known.ended_at_ms = Some(now);
        known.life.end(now);
        self.uses.remove(&known.last_use);
        self.ended.push_back(key);
        if self.ended.len() > MAX_ENDED {
            self.forget_first_ended();
        }
    }

    /// Processes that are watched.
    pub(super) fn watched(&self) -> usize {
        self.uses.len()
    }

    /// What all that is remembered holds.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Times that `/proc` was asked about a process.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    fn find(&mut self, request: &Request, may_wait: bool) -> Answer {
        // Without a user of the record, nobody can tell whether this is the record's process.
        let Some(uid) = request.uid.filter(|_| !request.other_machine) else { return Answer::Visit(Visit::Foreign) };
        let pid = request.pid;
        if let Some(ended) = self.known.get(&pid).and_then(|known| known.ended_at_ms) {
            if request.event_ms <= ended {
                return Answer::Visit(self.find_ended(request, uid));
            }
            self.forget(pid);
        }
        if let Some(at_ms) = self.was_gone(request) {
            return Answer::Visit(self.gone(request, at_ms));
        }
        if self.needs_look(request, uid)
            && let Err(at_ms) = self.look(request)
        {
            // That it has ended is not made up.
            if proc::may_run(pid) {
                return Answer::Visit(Visit::Hidden);
            }
            if self.gone.len() == MAX_GONE {
                self.gone.clear();
            }
            self.gone.insert(pid, (at_ms, proc::ticks()));
            return Answer::Visit(self.gone(request, at_ms));
        }
        let Some(known) = self.known.get(&pid) else { return Answer::Visit(self.gone(request, proc::now_ms())) };
        let Some(visited) = &known.visited else { return Answer::Visit(self.gone(request, proc::now_ms())) };
        if !known.lived_at(request.event_ms) {
            let at_ms = first_event_ms(known.started_at_ms);
            return Answer::Visit(self.gone(request, at_ms));
        }
        if visited.uid != uid {
            return Answer::Visit(Visit::Foreign);
        }
        let process = visited.process.clone();
        if may_wait && !request.title_is_whole && visited.title == Title::NotRead {
            // The folder is this process's, since this process has not ended after it was opened.
            let pidfd = known.pidfd.as_ref();
            let folder = Folder::open(pid).ok().filter(|_| pidfd.is_some_and(|pidfd| !has_ended(pidfd)));
            if let Some(folder) = folder {
                return Answer::Title { key: Key { pid, serial: known.serial }, folder, uid };
            }
        }
        self.used(pid);
        Answer::Visit(Visit::Found(process))
    }

    /// Of a process that has ended since it was visited.
    fn find_ended(&mut self, request: &Request, uid: u32) -> Visit {
        let Some(known) = self.known.get_mut(&request.pid) else { return self.gone(request, proc::now_ms()) };
        if !known.lived_at(request.event_ms) {
            let at_ms = first_event_ms(known.started_at_ms);
            return self.gone(request, at_ms);
        }
        match &mut known.visited {
            Some(visited) if visited.uid != uid => Visit::Foreign,
            Some(visited) => {
                if runs_another(visited, request) {
                    visited.process = Arc::new(visited.process.without_program());
                    visited.program = request.program;
                }
                Visit::Found(visited.process.clone())
            }
            None => {
                let at_ms = known.ended_at_ms.unwrap_or_else(proc::now_ms);
                self.gone(request, at_ms)
            }
        }
    }

    /// Whether a look a moment ago found that whoever had this pid at the event had ended by then.
    fn was_gone(&self, request: &Request) -> Option<u64> {
        let (at_ms, looked) = self.gone.get(&request.pid)?;
        (request.event_ms <= *at_ms && !is_old(*looked, GONE_GOOD_FOR)).then_some(*at_ms)
    }

    fn needs_look(&self, request: &Request, uid: u32) -> bool {
        let Some(known) = self.known.get(&request.pid) else { return true };
        let Some(visited) = &known.visited else { return true };
        let is_settled = || proc::uptime_us().saturating_sub(known.start_time_us) >= SETTLED_AFTER_US;
        runs_another(visited, request)
            || visited.uid != uid
            // The machine's clock may have been set since.
            || !known.lived_at(request.event_ms)
            || (!visited.settled && is_settled())
            // An operation of a ring names no program.
            || (request.program.is_none() && !still_runs(known, visited, request.pid))
    }

    /// Visits the process with this pid. An error is the time, in milliseconds since the epoch, by which it had ended.
    fn look(&mut self, request: &Request) -> Result<(), u64> {
        let pid = request.pid;
        let (folder, stat) = self.watch(pid)?;
        let uid = folder.uid();
        let before_ms = proc::now_ms();
        let exe = folder.exe();
        let after_ms = proc::now_ms();
        let comm = folder.comm();
        let has_own_root = folder.root().is_some_and(|root| *root != *b"/");
        let own_mounts = folder.mounts().zip(self.machine_mounts.as_ref());
        let own_mounts = own_mounts.map(|(own, machine)| own != *machine || has_own_root);
        let cgroup = folder.cgroups().and_then(|lines| self.cgroups.get(&lines));
        let parents = match self.known.get(&pid).and_then(|known| known.parents.clone()) {
            Some(parents) => parents,
            None => self.parents(stat, request),
        };
        let (Some(known), Some(uid)) = (self.known.get_mut(&pid), uid) else {
            self.forget(pid);
            return Err(proc::now_ms());
        };
        if known.pidfd.as_ref().is_some_and(has_ended) {
            // What was read may be a zombie's.
            self.forget(pid);
            return Err(proc::now_ms());
        }
        known.started_at_ms = proc::since_epoch_ms(stat.start_time_us);
        known.parents = Some(parents.clone());
        set_program(known, pid, program(exe.clone(), || comm.clone()));
        let mut visited = Visited {
            process: Arc::new(Process::new(pid, uid, 0, 0)),
            uid,
            program: request.program,
            title: Title::NotRead,
            settled: proc::uptime_us().saturating_sub(stat.start_time_us) >= SETTLED_AFTER_US,
        };
        let (mut args, mut file) = (None, None);
        // Whether another program is known of before this one.
        let mut has_changed = own_mounts != Some(true) && is_another(request, exe.as_deref());
        let mut seen = None;
        if let Some(before) = &known.visited {
            let same = !runs_another(before, request) && before.process.exe == exe;
            if same {
                args.clone_from(&before.process.args);
                file = before.process.file;
                visited.program = visited.program.or(before.program);
            }
            if before.process.exe == exe {
                seen = Some(before.process.seen.clone());
            } else {
                has_changed = true;
            }
            if same || before.title == Title::GivenUp {
                visited.title = before.title;
            }
        }
        let seen = seen.unwrap_or_else(|| Seen::since(if has_changed { after_ms + 1 } else { 0 }));
        seen.until(before_ms);
        visited.process = Arc::new(Process {
            cgroup,
            args,
            file,
            exe,
            comm,
            own_mounts,
            parents,
            seen,
            life: known.life.clone(),
            ..Process::new(pid, uid, stat.start_time_us, known.started_at_ms)
        });
        known.visited = Some(visited);
        self.measure(pid);
        Ok(())
    }

    /// Has the process with this pid among the known ones, and opens its folder.
    fn watch(&mut self, pid: u32) -> Result<(Folder, Stat), u64> {
        self.looks += 1;
        if let Some(known) = self.known.get(&pid) {
            let folder = Folder::open(pid).ok();
            let stat = folder.as_ref().and_then(Folder::stat);
            if !known.pidfd.as_ref().is_some_and(has_ended)
                && let Some(found) = folder.zip(stat)
            {
                return Ok(found);
            }
            // It ended a moment ago.
            self.forget(pid);
        }
        let ended = |_| proc::now_ms();
        let pidfd = self.pidfd(pid).map_err(ended)?;
        let folder = Folder::open(pid).map_err(ended)?;
        let stat = folder.stat().ok_or_else(proc::now_ms)?;
        // The folder is that of the pidfd's process, since this one has not ended after the folder was opened.
        if stat.has_ended() || pidfd.as_ref().is_some_and(has_ended) {
            return Err(proc::now_ms());
        }
        self.last_serial = self.last_serial.wrapping_add(1);
        let key = Key { pid, serial: self.last_serial };
        let pidfd = pidfd.filter(|pidfd| epoll::add(&*self.epoll, pidfd, key.to_data(), EventFlags::IN).is_ok());
        let life = Life::default();
        if pidfd.is_some() {
            life.set(Life::WATCHED);
        } else {
            self.unwatched.push(pid);
        }
        let known = Known {
            serial: key.serial,
            pidfd,
            life: Arc::new(life),
            start_time_us: stat.start_time_us,
            started_at_ms: proc::since_epoch_ms(stat.start_time_us),
            ended_at_ms: None,
            ppid: stat.ppid,
            program: Bytes::default(),
            program_read: None,
            parents: None,
            line: None,
            visited: None,
            last_use: 0,
            size: 0,
        };
        self.known.insert(pid, known);
        self.measure(pid);
        self.used(pid);
        Ok((folder, stat))
    }

    /// Its pidfd; `None` where there cannot be one, although there may be such a process.
    fn pidfd(&mut self, pid: u32) -> io::Result<Option<OwnedFd>> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let open = || pidfd_open(pid, PidfdFlags::empty());
        match open() {
            Ok(pidfd) => Ok(Some(pidfd)),
            // No such process, or a thread's id and no process's.
            Err(error @ (Errno::SRCH | Errno::INVAL | Errno::NOENT)) => Err(error),
            Err(Errno::MFILE | Errno::NFILE) => {
                // Others need descriptors too.
                self.max_watched = (self.uses.len() / 2).max(1);
                self.forget_unused();
                Ok(open().ok())
            }
            Err(_) => Ok(None),
        }
    }

    /// The ancestors of a process that is so.
    fn parents(&mut self, Stat { start_time_us, ppid, .. }: Stat, request: &Request) -> Parents {
        // The record's parent started it. Where that has ended, another process has adopted it by now.
        if let Some(recorded) = request.ppid.filter(|recorded| *recorded != ppid) {
            let fits = Fits { started_by_us: start_time_us, lived_at_ms: Some(request.event_ms) };
            if self.known.get(&recorded).is_some_and(|known| known.fits(fits)) {
                return self.line(recorded, fits);
            }
        }
        self.line(ppid, Fits { started_by_us: start_time_us, lived_at_ms: None })
    }

    /// The process with this pid and its ancestors, where it fits.
    fn line(&mut self, pid: u32, fits: Fits) -> Parents {
        let (mut next, mut fits) = (pid, fits);
        let mut climbed = Vec::new();
        let mut line = Parents::default();
        // Whether all there is was found: else what is found is good for this one, and not for its ancestors.
        let mut complete = true;
        while next != 0 && self.have(next, fits) {
            let Some(known) = self.known.get(&next) else { break };
            if let Some(known) = &known.line {
                line = known.clone();
                break;
            }
            climbed.push(next);
            if let Some(parents) = &known.parents {
                line = parents.clone();
                break;
            }
            if climbed.len() > MAX_PARENTS {
                complete = false;
                break;
            }
            fits = Fits { started_by_us: known.start_time_us, lived_at_ms: None };
            next = known.ppid;
        }
        for pid in climbed.into_iter().rev() {
            let Some(known) = self.known.get_mut(&pid) else { return Parents::default() };
            let with_own = known.line_on(pid, &line);
            if complete || line.len() >= MAX_PARENTS {
                known.parents = Some(line);
                known.line = Some(with_own.clone());
            }
            line = with_own;
            self.measure(pid);
        }
        line
    }

    /// Has a process that fits among the known ones.
    fn have(&mut self, pid: u32, fits: Fits) -> bool {
        match self.known.get(&pid) {
            Some(known) if known.fits(fits) => {
                let is_stale = known.program_read.is_none_or(|read| is_old(read, PROGRAM_GOOD_FOR));
                if is_stale && known.ended_at_ms.is_none() {
                    self.read_program(pid, None);
                }
                self.used(pid);
                true
            }
            Some(known) if known.ended_at_ms.is_none() => false,
            // Unknown, or its pid may be another's by now.
            _ => {
                self.forget(pid);
                let Ok((folder, _)) = self.watch(pid) else { return false };
                self.read_program(pid, Some(folder));
                self.known.get(&pid).is_some_and(|known| known.fits(fits))
            }
        }
    }

    fn read_program(&mut self, pid: u32, folder: Option<Folder>) {
        let Some(known) = self.known.get_mut(&pid) else { return };
        let Some(folder) = folder.or_else(|| Folder::open(pid).ok()) else { return };
        let program = program(folder.exe(), || folder.comm());
        if !known.pidfd.as_ref().is_some_and(has_ended) {
            set_program(known, pid, program);
            self.measure(pid);
        }
    }

    fn gone(&mut self, request: &Request, at_ms: u64) -> Visit {
        let fits = Fits { started_by_us: u64::MAX, lived_at_ms: Some(request.event_ms) };
        let parents = request.ppid.map_or_else(Parents::default, |ppid| self.line(ppid, fits));
        Visit::Gone { at_ms, parents }
    }

    fn change_visited(&mut self, key: Key, change: impl FnOnce(&mut Visited)) {
        let known = self.known.get_mut(&key.pid).filter(|known| known.serial == key.serial);
        if let Some(visited) = known.and_then(|known| known.visited.as_mut()) {
            change(visited);
            self.measure(key.pid);
        }
    }

    fn measure(&mut self, pid: u32) {
        let Some(known) = self.known.get_mut(&pid) else { return };
        let size = known.measure();
        self.bytes = self.bytes - known.size + size;
        known.size = size;
    }

    fn used(&mut self, pid: u32) {
        let Some(known) = self.known.get_mut(&pid).filter(|known| known.ended_at_ms.is_none()) else { return };
        // One parent has many children, one after the other.
        if self.uses.last_key_value() == Some((&known.last_use, &pid)) {
            return;
        }
        self.uses.remove(&known.last_use);
        self.last_use += 1;
        known.last_use = self.last_use;
        self.uses.insert(self.last_use, pid);
    }

    /// Forgets what is too much: first those that have ended, then the longest unused.
    fn trim(&mut self) {
        while let Some(pid) = self.unwatched.pop() {
            self.forget(pid);
        }
        while self.bytes > self.max_bytes && !self.ended.is_empty() {
            self.forget_first_ended();
        }
        self.forget_unused();
    }

    fn forget_unused(&mut self) {
        while self.uses.len() > self.max_watched || self.bytes > self.max_bytes {
            let Some((_, &pid)) = self.uses.first_key_value() else { break };
            self.forget(pid);
        }
    }

    fn forget_first_ended(&mut self) {
        if let Some(key) = self.ended.pop_front()
            && self.known.get(&key.pid).is_some_and(|known| known.serial == key.serial)
        {
            self.forget(key.pid);
        }
    }

    fn forget(&mut self, pid: u32) {
        let Some(known) = self.known.remove(&pid) else { return };
        self.bytes -= known.size;
        self.uses.remove(&known.last_use);
        let mut has_ended_now = false;
        if let Some(pidfd) = &known.pidfd {
            unwatch(&self.epoll, pidfd);
            has_ended_now = has_ended(pidfd);
        }
        if known.ended_at_ms.is_none() {
            if has_ended_now {
                known.life.end(proc::now_ms());
            } else {
                known.life.set(Life::UNWATCHED);
            }
        }
    }
}

impl Drop for Registry {
    /// Nobody watches them any more.
    fn drop(&mut self) {
        for pid in self.uses.values().copied().collect::<Vec<_>>() {
            self.forget(pid);
        }
    }
}

/// Whether what was found then, by [`proc::ticks`], is not good any more.
fn is_old(found: Duration, good_for: Duration) -> bool {
    proc::ticks().saturating_sub(found) >= good_for
}

/// Whether the program's path is another than the record's.
fn is_another(request: &Request, exe: Option<&[u8]>) -> bool {
    let names = |program, exe: &[u8]| {
        let deleted = exe.strip_suffix(DELETED);
        program_id(exe) == program || deleted.is_some_and(|exe| program_id(exe) == program)
    };
    request.program.zip(exe).is_some_and(|(program, exe)| !names(program, exe))
}

/// Whether the process runs the program that it ran at the last look; that it does is remembered.
fn still_runs(known: &Known, visited: &Visited, pid: u32) -> bool {
    let now_ms = proc::now_ms();
    let Ok(folder) = Folder::open(pid) else { return false };
    let is_same = visited.process.exe.is_some() && folder.exe() == visited.process.exe;
    if !is_same || known.pidfd.as_ref().is_none_or(has_ended) {
        return false;
    }
    visited.process.seen.until(now_ms);
    true
}

/// What a title holds. One that is longer than what is read of it is longer than what is kept of it too.
fn args(title: Vec<u8>) -> Option<Args> {
    let whole = title.len() < MAX_TITLE_BYTES;
    Args::from_title(title, whole)
}

/// Whether what was read is of another program than the record's.
fn runs_another(visited: &Visited, request: &Request) -> bool {
    request.starts_program || request.program.is_some_and(|program| visited.program != Some(program))
}

fn set_program(known: &mut Known, pid: u32, program: Bytes) {
    known.program_read = Some(proc::ticks());
    if known.program != program {
        known.program = program;
        known.line = known.parents.as_ref().map(|parents| known.line_on(pid, parents));
    }
}

/// As an ancestor's is told.
fn program(exe: Option<Bytes>, comm: impl FnOnce() -> Option<Bytes>) -> Bytes {
    exe.filter(|exe| exe.len() <= MAX_PROGRAM_BYTES).or_else(comm).unwrap_or_default()
}

/// The mount namespace of pid 1; where that may not be seen, of the kernel's threads, which have the same. Our own may be
/// another one: systemd makes it for a unit with `ProtectSystem=`.
fn machine_mounts() -> Option<Bytes> {
    let has_no_parent = |folder: &Folder| folder.stat().is_some_and(|stat| stat.ppid == 0);
    [1, 2].into_iter().find_map(|pid| Folder::open(pid).ok().filter(has_no_parent)?.mounts())
}

/// Closing it would do, were it not for a child of ours that has a copy between its fork and its exec.
fn unwatch(epoll: &OwnedFd, pidfd: &OwnedFd) {
    // It fails only where it is not watched.
    let _ = epoll::delete(epoll, pidfd);
}

/// A pidfd can be read once its process has ended: pidfd_open(2).
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

impl Key {
    fn to_data(self) -> EventData {
        EventData::new_u64(u64::from(self.serial) << 32 | u64::from(self.pid))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    fn of(data: EventData) -> Self {
        Self { pid: data.u64() as u32, serial: (data.u64() >> 32) as u32 }
    }
}
