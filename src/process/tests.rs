//! The visitor and real processes.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use audit_records::Args;
use rustix::event::epoll;

use super::known::{MAX_PARENTS, Process};
use super::registry::{Answer, Registry};
use super::visits::{MAX_WAITING, Request, Visit, Visitor, program_id};
use crate::proc;
use crate::testing::may;

/// Nobody waits that long for what comes at once; it only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the arguments of what hangs are waited for: longer than a busy machine needs for what does not.
const HASTE: Duration = Duration::from_secs(1);

const NOBODY: u32 = 65_534;

/// A visitor, and what it delivers.
struct Visits {
    visitor: Visitor<usize>,
    answers: Receiver<Vec<(usize, Visit)>>,
}

impl Visits {
    /// It waits for arguments for as long as a busy machine may need.
    fn new() -> Self {
        Self::with_patience(PATIENCE)
    }

    fn with_patience(max_wait: Duration) -> Self {
        let (deliver, answers) = channel();
        let visitor = Visitor::with_patience(max_wait, move |visits| deliver.send(visits).unwrap()).unwrap();
        Self { visitor, answers }
    }

    /// The answers with their places among the requests, in the order in which they came.
    fn in_order(&self, requests: &[Request]) -> Vec<(usize, Visit)> {
        let items = requests.iter().copied().enumerate().map(|(place, request)| (request, place));
        assert!(self.visitor.push(items.collect()).is_empty());
        let mut answers = Vec::new();
        while answers.len() < requests.len() {
            answers.extend(self.answers.recv_timeout(PATIENCE).unwrap());
        }
        answers
    }

    fn ask(&self, requests: &[Request]) -> Vec<Visit> {
        let mut answers = self.in_order(requests);
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, visit)| visit).collect()
    }

    fn ask_one(&self, request: Request) -> Visit {
        self.ask(&[request]).pop().unwrap()
    }

    fn found(&self, request: Request) -> Arc<Process> {
        match self.ask_one(request) {
            Visit::Found(process) => process,
            other => panic!("{other:?}"),
        }
    }
}

/// A child that ends with its test.
struct Running(Child);

impl Running {
    fn new(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // A child begins to run before its new memory has its arguments.
        wait_until("exec", || fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().len() > 1);
        Self(child)
    }

    fn sleep() -> Self {
        Self::new(Command::new("sleep").arg("1000"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The next line that it writes.
    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An event of this process, now, by this test's user, whose arguments are known.
fn request(pid: u32) -> Request {
    Request {
        pid,
        ppid: Some(std::process::id()),
        uid: Some(rustix::process::getuid().as_raw()),
        event_ms: proc::now_ms(),
        title_is_whole: true,
        program: None,
        starts_program: false,
        other_machine: false,
    }
}

fn with_title(pid: u32) -> Request {
    Request { title_is_whole: false, ..request(pid) }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn args(process: &Process) -> Option<Vec<String>> {
    let text = |arg: &[u8]| String::from_utf8_lossy(arg).into_owned();
    process.args.as_ref().map(|args: &Args| args.iter().map(text).collect())
}

fn of(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|&text| text.to_owned()).collect())
}

#[test]
fn a_living_process_is_told_with_all_that_proc_knows() {
    let visits = Visits::new();
    let sleep = Running::sleep();
    let process = visits.found(with_title(sleep.pid()));
    assert_eq!(process.pid, sleep.pid());
    assert_eq!(Some(process.start_time_us), proc::start_time_us(sleep.pid()));
    assert_eq!(args(&process), of(&["sleep", "1000"]));
    assert_eq!(process.exe.as_deref(), Some(&*exe_of(sleep.pid())));
    assert!(process.comm.is_some() && process.cgroup.is_some());
    if may("root", is_root()) {
        assert_eq!(process.own_mounts, Some(mounts_of("self") != mounts_of("1").or_else(|| mounts_of("2"))));
    }
    assert_eq!(process.parents[0].pid, std::process::id());
    assert_eq!(*process.parents[0].program, *exe_of(std::process::id()));
    assert!(process.lived_at(proc::now_ms()) && process.size() > size_of::<Process>());
}

fn exe_of(pid: u32) -> Vec<u8> {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap().into_os_string().into_encoded_bytes()
}

fn mounts_of(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

#[test]
fn arguments_are_read_only_where_they_are_asked_for() {
    let visits = Visits::new();
    let sleep = Running::sleep();
    assert_eq!(args(&visits.found(request(sleep.pid()))), None);
    assert_eq!(args(&visits.found(with_title(sleep.pid()))), of(&["sleep", "1000"]));
    assert_eq!(args(&visits.found(request(sleep.pid()))), of(&["sleep", "1000"]));
}

#[test]
fn long_arguments_are_cut_and_say_so() {
    let visits = Visits::new();
    let long = "x".repeat(100_000);
    let mut shell = Running::new(Command::new("sh").args(["-c", "echo; read line", &long]));
    shell.line();
    let process = visits.found(with_title(shell.pid()));
    let args = process.args.as_ref().unwrap();
    assert!(args.cut && !args.whole && args.size() <= audit_records::MAX_ARGS_BYTES);
}

#[test]
fn a_process_is_visited_once_until_it_starts_a_program() {
    let visits = Visits::new();
    // Old enough to stay in its cgroup.
    let pid = std::process::id();
    thread::sleep(Duration::from_micros(2_100_000_u64.saturating_sub(age_us(pid))));
    let program = program_id(b"/bin/one");
    let one = Request { program: Some(program), ..request(pid) };
    let first = visits.found(one);
    let before = visits.visitor.counts().visits;
    for visit in visits.ask(&vec![one; 1000]) {
        assert!(matches!(visit, Visit::Found(process) if Arc::ptr_eq(&process, &first)));
    }
    assert_eq!(visits.visitor.counts().visits, before);
    for again in [Request { starts_program: true, ..one }, Request { program: Some(program_id(b"/bin/other")), ..one }]
    {
        let before = visits.visitor.counts().visits;
        let process = visits.found(again);
        assert_eq!(visits.visitor.counts().visits, before + 1, "{again:?}");
        assert_eq!(process.start_time_us, first.start_time_us);
    }
}

#[test]
fn one_that_was_visited_young_is_visited_once_more() {
    let visits = Visits::new();
    let sleep = Running::sleep();
    let young = visits.found(with_title(sleep.pid()));
    let before = visits.visitor.counts().visits;
    thread::sleep(Duration::from_micros(2_100_000_u64.saturating_sub(age_us(sleep.pid()))));
    for _ in 0..3 {
        let old = visits.found(with_title(sleep.pid()));
        assert!(!Arc::ptr_eq(&young, &old) && args(&old) == of(&["sleep", "1000"]));
    }
    assert_eq!(visits.visitor.counts().visits, before + 1);
}

fn age_us(pid: u32) -> u64 {
    proc::uptime_us() - proc::start_time_us(pid).unwrap()
}

#[test]
fn a_program_that_was_started_is_read_anew() {
    let visits = Visits::new();
    let mut shell = Running::new(Command::new("sh").args(["-c", "echo; read line; exec sleep 1000"]));
    shell.line();
    let pid = shell.pid();
    let before = visits.found(with_title(pid));
    assert_eq!(args(&before).unwrap()[0], "sh");
    shell.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    wait_until("exec", || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "sleep\n");
    let after = visits.found(Request { starts_program: true, ..with_title(pid) });
    assert_eq!(args(&after), of(&["sleep", "1000"]));
    assert_eq!(after.comm.as_deref(), Some(&b"sleep"[..]));
    assert_eq!((after.pid, after.start_time_us), (before.pid, before.start_time_us));
    shell.end();
    wait_until("both know that it has ended", || before.ended_at_ms().is_some() && after.ended_at_ms().is_some());
}

#[test]
fn an_end_is_told_at_once_and_events_from_before_it_are_still_its_own() {
    let visits = Visits::new();
    let mut sleep = Running::sleep();
    let event = with_title(sleep.pid());
    let process = visits.found(event);
    assert!(process.is_watched() && process.is_running() == Some(true) && process.ended_at_ms().is_none());
    sleep.end();
    wait_until("the end", || process.ended_at_ms().is_some());
    assert!(!process.is_watched() && process.is_running() == Some(false));
    let again = visits.found(event);
    assert!(again.ended_at_ms().is_some() && args(&again) == of(&["sleep", "1000"]));
    // It had started another program before it ended, of which nothing is known.
    let other = visits.found(Request { starts_program: true, ..event });
    assert_eq!((other.start_time_us, &other.exe, &other.args), (process.start_time_us, &None, &None));
    // An event that comes later is of another process with its pid.
    let later = Request { event_ms: proc::now_ms() + 1, ..event };
    assert!(matches!(visits.ask_one(later), Visit::Gone { .. }));
}

#[test]
fn two_hundred_that_ended_at_once_are_gone_and_have_their_parents() {
    let visits = Visits::new();
    let mut children: Vec<_> = (0..200).map(|_| Command::new("true").stdin(Stdio::null()).spawn().unwrap()).collect();
    let requests: Vec<_> = children.iter().map(|child| with_title(child.id())).collect();
    for child in &mut children {
        child.wait().unwrap();
    }
    let ended = proc::now_ms();
    for visit in visits.ask(&requests) {
        let Visit::Gone { at_ms, parents } = visit else { panic!("{visit:?}") };
        assert!(at_ms >= ended && at_ms <= proc::now_ms());
        assert_eq!(parents[0].pid, std::process::id());
        assert_eq!(*parents[0].program, *exe_of(std::process::id()));
    }
    assert_eq!(visits.visitor.counts().gone, 200);
}

#[test]
fn a_zombie_has_ended() {
    let visits = Visits::new();
    let mut child = Command::new("true").spawn().unwrap();
    let stat = || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    wait_until("a zombie", || stat().contains(") Z "));
    assert!(matches!(visits.ask_one(with_title(child.id())), Visit::Gone { .. }));
    child.wait().unwrap();
}

#[test]
fn the_parent_of_a_process_that_is_gone_must_have_lived_at_the_event() {
    let visits = Visits::new();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let parent = Running::sleep();
    for (ppid, event_ms, expected) in [
        (Some(parent.pid()), proc::now_ms(), 1),
        (Some(parent.pid()), proc::now_ms() - 3_600_000, 0),
        (Some(child.id()), proc::now_ms(), 0),
        (Some(u32::MAX), proc::now_ms(), 0),
        (Some(0), proc::now_ms(), 0),
        (None, proc::now_ms(), 0),
    ] {
        let visit = visits.ask_one(Request { ppid, event_ms, ..request(child.id()) });
        let Visit::Gone { parents, .. } = visit else { panic!("{visit:?}") };
        assert_eq!(parents.iter().filter(|ancestor| ancestor.pid == parent.pid()).count(), expected, "{ppid:?}");
        assert_eq!(parents.is_empty(), expected == 0, "{ppid:?}");
    }
}

#[test]
fn who_was_gone_a_moment_ago_is_not_looked_for_again() {
    let visits = Visits::new();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let [parent, other] = [Running::sleep(), Running::sleep()];
    let event = Request { ppid: Some(parent.pid()), ..request(child.id()) };
    let ancestors = |request: Request| match visits.ask_one(request) {
        Visit::Gone { parents, .. } => parents,
        visit => panic!("{visit:?}"),
    };
    let parents = ancestors(event);
    let looks = visits.visitor.counts().visits;
    assert!(Arc::ptr_eq(&ancestors(event), &parents) && parents[0].pid == parent.pid());
    assert_eq!(visits.visitor.counts().visits, looks);
    // Another process had the pid then.
    assert_eq!(ancestors(Request { ppid: Some(other.pid()), ..event })[0].pid, other.pid());
}

#[test]
fn an_event_from_before_its_birth_is_not_its_own() {
    let visits = Visits::new();
    let sleep = Running::sleep();
    let process = visits.found(request(sleep.pid()));
    let event_ms = process.started_at_ms - 60_000;
    let visit = visits.ask_one(Request { event_ms, ..request(sleep.pid()) });
    let Visit::Gone { at_ms, .. } = visit else { panic!("{visit:?}") };
    assert!(event_ms < at_ms && !process.lived_at(at_ms - 1) && process.lived_at(at_ms));
    // Whatever the order.
    let visits = Visits::new();
    assert!(matches!(visits.ask_one(Request { event_ms, ..request(sleep.pid()) }), Visit::Gone { .. }));
    assert!(matches!(visits.ask_one(request(sleep.pid())), Visit::Found(_)));
}

#[test]
fn nothing_is_attached_to_an_event_of_another_user_or_machine() {
    let visits = Visits::new();
    let mut sleep = Running::sleep();
    let own = with_title(sleep.pid());
    let foreign = [
        Request { uid: own.uid.map(|uid| uid + 1), ..own },
        Request { uid: None, ..own },
        Request { other_machine: true, ..own },
    ];
    // Before it is known, and then.
    for _ in 0..2 {
        for request in foreign {
            assert!(matches!(visits.ask_one(request), Visit::Foreign), "{request:?}");
        }
        visits.found(own);
    }
    sleep.end();
    for request in foreign {
        assert!(!matches!(visits.ask_one(request), Visit::Found(_)), "{request:?}");
    }
}

#[test]
fn only_the_real_uid_counts() {
    if !may("root", is_root()) {
        return;
    }
    let visits = Visits::new();
    // Effective and saved uid are 0, the real one is not.
    let mut command = Command::new("setpriv");
    let mut sleep = Running::new(command.args(["--ruid", "65534", "--inh-caps=-all", "sh", "-c", "echo; read line"]));
    sleep.line();
    let root = with_title(sleep.pid());
    assert!(matches!(visits.ask_one(root), Visit::Foreign));
    assert!(matches!(visits.ask_one(Request { uid: Some(NOBODY), ..root }), Visit::Found(_)));
}

/// Shells in shells: each starts the next one; the innermost tells its pid.
fn nested(depth: u32) -> (Running, u32) {
    let script = r#"if [ "$1" -gt 0 ]; then sh -c "$0" "$0" $(($1 - 1)); else echo $$; read line; fi; :"#;
    let mut shell = Running::new(Command::new("sh").args(["-c", script, script, &depth.to_string()]));
    let innermost = shell.line().parse().unwrap();
    (shell, innermost)
}

/// The parents by `/proc` alone.
fn climb(pid: u32) -> Vec<u32> {
    let parent = |pid: &u32| proc::Folder::open(*pid).unwrap().stat().map(|stat| stat.ppid).filter(|&ppid| ppid != 0);
    std::iter::successors(parent(&pid), parent).collect()
}

#[test]
fn ancestors_are_told_nearest_first() {
    let visits = Visits::new();
    let (shell, innermost) = nested(3);
    let process = visits.found(Request { ppid: None, ..request(innermost) });
    let pids: Vec<u32> = process.parents.iter().map(|ancestor| ancestor.pid).collect();
    let expected = climb(innermost);
    assert_eq!(pids, expected[..expected.len().min(MAX_PARENTS)]);
    assert_eq!(pids[2], shell.pid());
    assert_eq!(pids[3], std::process::id());
    for ancestor in &process.parents[..3] {
        assert_eq!(*ancestor.program, *exe_of(shell.pid()));
    }
    // Those of one parent share their ancestors.
    let (one, other) = (Running::sleep(), Running::sleep());
    let (one, other) = (visits.found(request(one.pid())), visits.found(request(other.pid())));
    assert!(Arc::ptr_eq(&one.parents, &other.parents));
}

#[test]
fn at_most_sixteen_ancestors_are_told() {
    let visits = Visits::new();
    let (_shell, innermost) = nested(40);
    let expected = climb(innermost);
    assert!(expected.len() > 2 * MAX_PARENTS);
    // The innermost first, then the others, of which some are known by now.
    let pids: Vec<u32> = std::iter::once(innermost).chain(expected.iter().copied()).take(30).collect();
    for (place, pid) in pids.into_iter().enumerate() {
        let process = visits.found(Request { ppid: None, ..request(pid) });
        let told: Vec<u32> = process.parents.iter().map(|ancestor| ancestor.pid).collect();
        let expected = &expected[place..];
        assert_eq!(told, expected[..expected.len().min(MAX_PARENTS)], "{place}");
    }
}

#[test]
fn a_parent_that_has_ended_is_still_told_where_it_was_seen() {
    let visits = Visits::new();
    // The child outlives its parent, and ends with its standard input: with this test.
    let script = "exec 3<&0; cat <&3 >/dev/null 2>&1 & echo $!; wait";
    let mut shell = Running::new(Command::new("sh").args(["-c", script]));
    let _input = shell.0.stdin.take();
    let child: u32 = shell.line().parse().unwrap();
    let event = Request { ppid: Some(shell.pid()), ..request(child) };
    let parent = visits.found(request(shell.pid()));
    shell.end();
    wait_until("the end", || parent.ended_at_ms().is_some());
    let process = visits.found(event);
    assert_eq!(process.parents[0].pid, shell.pid(), "and not who adopted it");
    assert_eq!(process.parents[1].pid, std::process::id());
}

#[test]
fn a_pid_that_comes_again_is_another_process() {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    if !may("root and a kernel with checkpoints", is_root() && fs::metadata(LAST).is_ok()) {
        return;
    }
    let visits = Visits::new();
    // Others start processes too, so the pid may be taken.
    for _ in 0..200 {
        let mut first = Running::sleep();
        let event = with_title(first.pid());
        let before = visits.found(event);
        // A start time is exact to a tick; within one, nobody reaches the same pid again in earnest.
        thread::sleep(Duration::from_millis(20));
        first.end();
        if fs::write(LAST, (first.pid() - 1).to_string()).is_err() {
            may("to choose a pid", false);
            return;
        }
        let mut second = Running::new(Command::new("sh").args(["-c", "echo; read line"]));
        if second.pid() != first.pid() {
            continue;
        }
        second.line();
        wait_until("the end", || before.ended_at_ms().is_some());
        thread::sleep(Duration::from_millis(2));
        let after = visits.found(with_title(second.pid()));
        assert_ne!(after.start_time_us, before.start_time_us);
        assert_eq!(args(&after).unwrap()[0], "sh");
        assert!(
            before.ended_at_ms().is_some() && before.is_running() == Some(false) && after.is_running() == Some(true)
        );
        // Nor is it an event's of the first one's time, except for what two clocks may differ.
        let early = Request { event_ms: after.started_at_ms - 200, ..event };
        assert!(matches!(visits.ask_one(early), Visit::Gone { .. }));
        return;
    }
    may("a pid that nobody else takes", false);
}

#[test]
fn another_mount_namespace_is_told() {
    if !may("root", is_root()) {
        return;
    }
    let visits = Visits::new();
    let mut shell = Running::new(Command::new("unshare").args(["-m", "sh", "-c", "echo; read line"]));
    shell.line();
    assert_eq!(visits.found(request(shell.pid())).own_mounts, Some(true));
}

fn registry(max_watched: usize, max_bytes: usize) -> Registry {
    Registry::new(Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap()), max_watched, max_bytes)
}

#[test]
fn the_longest_unused_is_watched_no_more() {
    // The ancestors are watched too. All but the parent are used only once, so they go first.
    let ancestors = climb(std::process::id()).len() + 1;
    let mut registry = registry(ancestors + 2, usize::MAX);
    let mut children: Vec<_> = (0..ancestors + 5).map(|_| Running::sleep()).collect();
    let mut find = |child: &Running| match registry.answer(&request(child.pid()), true) {
        Answer::Visit(Visit::Found(process)) => process,
        other => panic!("{other:?}"),
    };
    let mut found = Vec::new();
    for child in &children {
        found.push(find(child));
        find(&children[0]);
    }
    let [first, second, .., last] = &*found else { panic!() };
    assert_eq!([first, second, last].map(|process| process.is_watched()), [true, false, true]);
    assert!(second.is_running() == Some(true) && second.ended_at_ms().is_none());
    children[1].end();
    assert!(second.is_running() == Some(false) && second.ended_at_ms().is_some());
    drop(registry);
    assert!(!first.is_watched() && first.is_running() == Some(true));
}

#[test]
fn an_end_that_is_told_twice_is_one_end() {
    let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
    let mut registry = Registry::new(epoll.clone(), usize::MAX, usize::MAX);
    let mut sleep = Running::sleep();
    let event = request(sleep.pid());
    registry.answer(&event, true);
    sleep.end();
    let mut events = Vec::with_capacity(1);
    epoll::wait(&*epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
    for _ in 0..2000 {
        registry.ended(events[0].data);
    }
    let answer = registry.answer(&event, true);
    assert!(matches!(&answer, Answer::Visit(Visit::Found(process)) if process.ended_at_ms().is_some()), "{answer:?}");
}

#[test]
fn what_is_remembered_is_bounded_in_bytes() {
    let children: Vec<_> = (0..30).map(|_| Running::sleep()).collect();
    let mut all = registry(usize::MAX, usize::MAX);
    let mut few = registry(usize::MAX, 10_000);
    for child in &children {
        for registry in [&mut all, &mut few] {
            let answer = registry.answer(&request(child.pid()), true);
            assert!(matches!(answer, Answer::Visit(Visit::Found(_))), "{answer:?}");
        }
        assert!(few.bytes() <= 10_000);
    }
    assert!(all.bytes() > 20_000 && all.watched() > children.len() && few.watched() < children.len());
}

#[test]
fn what_finds_no_place_is_counted() {
    let (entered, has_entered) = channel();
    let (leave, may_leave): (Sender<()>, Receiver<()>) = channel();
    let visitor = Visitor::start(move |visits: Vec<((), Visit)>| {
        entered.send(visits.len()).unwrap();
        // An end of the channel lets it go on.
        let _ = may_leave.recv();
    })
    .unwrap();
    let one = request(std::process::id());
    assert!(visitor.push(vec![(one, ())]).is_empty());
    assert_eq!(has_entered.recv_timeout(PATIENCE).unwrap(), 1);
    assert_eq!(visitor.push(vec![(one, ()); MAX_WAITING + 5]).len(), 5);
    assert_eq!(visitor.push(vec![(one, ())]).len(), 1);
    assert_eq!(visitor.counts().dropped, 6);
    drop(leave);
    let mut delivered = 0;
    while delivered < MAX_WAITING {
        delivered += has_entered.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(delivered, MAX_WAITING);
}

#[test]
fn its_heart_beats_and_it_stops() {
    let visits = Visits::new();
    let process = visits.found(request(std::process::id()));
    let beat = visits.visitor.heartbeat();
    wait_until("a beat with nothing to do", || visits.visitor.heartbeat() > beat);
    drop(visits);
    assert!(!process.is_watched() && process.is_running() == Some(true));
}

/// Only one test at a time has processes that hang: all visitors of one user share nothing, but the machine's threads.
static HANGS: Mutex<()> = Mutex::new(());

/// A process whose arguments cannot be read; see `tests/hang.c`.
struct Hanging {
    file_system: Running,
    /// With its arguments.
    request: Request,
}

struct Hang {
    _folder: tempfile::TempDir,
    program: PathBuf,
}

impl Hang {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hang");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/process/tests/hang.c");
        let compiled = Command::new("cc").args(["-o".as_ref(), program.as_os_str(), source.as_ref()]).status();
        let works = is_root() && compiled.is_ok_and(|status| status.success()) && fs::metadata("/dev/fuse").is_ok();
        may("root, cc and FUSE", works).then_some(Self { _folder: folder, program })
    }

    fn start(&self, uid: u32) -> Hanging {
        let mut file_system = Running::new(Command::new(&self.program).arg(uid.to_string()));
        let pid = file_system.line().parse().unwrap();
        Hanging { file_system, request: Request { uid: Some(uid), ..with_title(pid) } }
    }
}

#[test]
fn a_process_that_hangs_delays_itself_alone_and_not_for_ever() {
    let _turn = HANGS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(hang) = Hang::new() else { return };
    let visits = Visits::with_patience(HASTE);
    let mut hanging = hang.start(NOBODY);
    let stuck = hanging.request;
    let sleep = Running::sleep();
    let known = Request { title_is_whole: true, ..stuck };
    let answers =
        visits.in_order(&[stuck, known, with_title(sleep.pid()), stuck, Request { starts_program: true, ..stuck }]);
    let order: Vec<usize> = answers.iter().map(|(place, _)| *place).collect();
    assert_eq!(order, [2, 0, 1, 3, 4], "the other one first, its own in their order");
    let answers: HashMap<usize, Visit> = answers.into_iter().collect();
    for (place, visit) in &answers {
        let Visit::Found(process) = visit else { panic!("{visit:?}") };
        let expected = if *place == 2 { of(&["sleep", "1000"]) } else { None };
        assert_eq!(args(process), expected, "{place}");
        assert!(process.exe.is_some() && !process.parents.is_empty());
    }
    let counts = visits.visitor.counts();
    assert_eq!((counts.given_up, counts.stuck), (1, 1));
    // It is not tried again.
    assert_eq!(args(&visits.found(stuck)), None);
    assert_eq!(visits.visitor.counts().stuck, 1);
    hanging.file_system.end();
    wait_until("the read comes back", || visits.visitor.counts().stuck == 0);
}

#[test]
fn processes_that_hang_do_not_take_all_threads() {
    let _turn = HANGS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(hang) = Hang::new() else { return };
    let visits = Visits::with_patience(HASTE);
    let is_read = || {
        let sleep = Running::sleep();
        args(&visits.found(with_title(sleep.pid()))) == of(&["sleep", "1000"])
    };
    // Two of a user: no third of that user, but everybody else.
    let mut children = Vec::new();
    for (user, stuck) in [(1, 1), (1, 2), (1, 2), (2, 3), (2, 4), (3, 5), (3, 6), (4, 7)] {
        let hanging = hang.start(60_000 + user);
        assert_eq!(args(&visits.found(hanging.request)), None);
        assert_eq!(visits.visitor.counts().stuck, stuck, "user {user}");
        wait_until("arguments of another", is_read);
        children.push(hanging);
    }
    // Nor do many at once help.
    let burst: Vec<_> = (0..6).map(|_| hang.start(60_001)).collect();
    let requests: Vec<_> = burst.iter().map(|hanging| hanging.request).collect();
    assert!(visits.ask(&requests).iter().all(|visit| matches!(visit, Visit::Found(process) if process.args.is_none())));
    assert_eq!(visits.visitor.counts().stuck, 7);
    // With the eighth nobody's are read any more, until one comes back.
    let hanging = hang.start(60_004);
    assert_eq!(args(&visits.found(hanging.request)), None);
    assert_eq!(visits.visitor.counts().stuck, 8);
    assert!(!is_read());
    drop(hanging);
    wait_until("the read comes back", || visits.visitor.counts().stuck == 7);
    wait_until("arguments of another", is_read);
}

#[test]
fn one_user_who_has_many_hang_at_once_gets_two_threads() {
    let _turn = HANGS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(hang) = Hang::new() else { return };
    let visits = Visits::with_patience(HASTE);
    let burst: Vec<_> = (0..12).map(|_| hang.start(NOBODY)).collect();
    let requests: Vec<_> = burst.iter().map(|hanging| hanging.request).collect();
    assert_eq!(visits.ask(&requests).len(), 12);
    let counts = visits.visitor.counts();
    assert_eq!((counts.stuck, counts.given_up, counts.found), (2, 12, 12));
}
