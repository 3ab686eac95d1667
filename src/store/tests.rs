//! The store against a model that keeps everything in one list, and tables of what has to be right.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use audit_records::Assembler;
use proptest::prelude::*;

use super::*;
use crate::process::{Parents, Process};

const NODE: &[u8] = b"host";

/// A connect, or a socket, as auditd writes it.
#[derive(Clone, Debug)]
struct Call {
    pid: u32,
    uid: u32,
    auid: Option<u32>,
    exe: String,
    ms: u64,
    fd: u32,
    /// The last byte of 192.0.2.0/24 and the port; a socket call where it is absent.
    to: Option<(u8, u16)>,
    node: &'static str,
}

impl Call {
    fn connect(pid: u32, ms: u64, host: u8, port: u16) -> Self {
        Self { pid, uid: 1000, auid: None, exe: "/bin/x".to_owned(), ms, fd: 3, to: Some((host, port)), node: "" }
    }

    fn socket(pid: u32, ms: u64, fd: u32) -> Self {
        Self { to: None, fd, ..Self::connect(pid, ms, 0, 0) }
    }

    fn uid(self, uid: u32) -> Self {
        Self { uid, ..self }
    }

    fn records(&self, serial: u32) -> Vec<String> {
        let Self { pid, uid, auid, exe, ms, fd, to, node } = self;
        let head = |kind: &str| format!("{node}type={kind} msg=audit({}.{:03}:{serial}): ", ms / 1000, ms % 1000);
        let (syscall, exit, a0, a1, a2) = match to {
            Some(_) => (42, 0, *fd, 1, 16),
            None => (41, *fd, 2, 2, 0x11),
        };
        let auid = auid.unwrap_or(u32::MAX);
        let mut records = vec![format!(
            "{}arch=c000003e syscall={syscall} success=yes exit={exit} a0={a0:x} a1={a1:x} a2={a2:x} a3=0 items=0 ppid=1 \
             pid={pid} auid={auid} uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} \
             fsgid={uid} tty=(none) ses=1 comm=\"x\" exe=\"{exe}\" subj=unconfined key=\"opensnitch\"",
            head("SYSCALL")
        )];
        if let Some((host, port)) = to {
            records.push(format!("{}saddr=0200{port:04X}C00002{host:02X}0000000000000000", head("SOCKADDR")));
        }
        records.push(head("EOE"));
        records
    }
}

/// A store and a stream into it.
struct Bench {
    store: Store,
    assembler: Assembler,
    serial: u32,
    now: Duration,
}

/// Tells of one pid.
fn tell(store: &Store, pid: u32, since: u64, whose: Whose) {
    store.attach(&[Found { pid, since, whose }]);
}

impl Bench {
    fn new(history: usize, max_events: usize) -> Self {
        let store = Store::new(history, max_events, NODE);
        Self { store, assembler: Assembler::new("opensnitch", false), serial: 0, now: Duration::ZERO }
    }

    fn see(&mut self, call: &Call) -> Row {
        self.serial += 1;
        let mut seen = None;
        for record in call.records(self.serial) {
            let mut out =
                |event: Event<'_>| seen = Some(self.store.insert(&event, Source::Audisp, self.now, call.ms * 1000));
            self.assembler.push(record.as_bytes(), self.now, &mut out);
        }
        seen.expect("an event")
    }

    /// Whether an event with this node is looked for among those that the other source brought.
    fn takes_for_local(&self, node: &'static str) -> bool {
        let mut is_local = None;
        let mut assembler = Assembler::new("opensnitch", false);
        for record in (Call { node, ..Call::connect(7, 1000, 1, 53) }).records(1) {
            let mut out = |event: Event<'_>| is_local = Some(self.store.is_local(&event));
            assembler.push(record.as_bytes(), self.now, &mut out);
        }
        is_local.expect("an event")
    }

    /// Another process goes on.
    fn restart(&mut self, history: usize, max_events: usize) {
        self.store = Store::restore(&saved(&self.store), history, max_events, NODE, self.now).unwrap().store;
    }

    fn attach(&self, process: &Arc<Process>) {
        tell(&self.store, process.pid, u64::MAX, Whose::Process(process.clone()));
    }

    fn newest(&self, sight: Sight) -> Vec<Answer> {
        let mut all = Vec::new();
        self.store.newest(sight, self.now, |answer| {
            all.push(answer);
            true
        });
        all
    }

    fn find(&self, query: &Query, sight: Sight) -> (Vec<u64>, u64) {
        let mut found = Vec::new();
        let next = self.store.find(query, sight, |answer| {
            found.push(answer.row.sequence);
            true
        });
        (found, next)
    }

    fn find_all(&self, mut query: Query) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let (found, next) = self.find(&query, Sight::All);
            all.extend(found);
            if next == 0 {
                return all;
            }
            query.before = next;
        }
    }
}

fn saved(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.save(&mut bytes).unwrap();
    bytes
}

/// A row of a connect by that process to that port.
pub(crate) fn connect(pid: u32, port: u16) -> Row {
    connect_of(1000, pid, port)
}

/// The same, where the process is of that user.
pub(crate) fn connect_of(uid: u32, pid: u32, port: u16) -> Row {
    Bench::new(1, 1).see(&Call::connect(pid, 1000, 1, port).uid(uid))
}

/// A process that started then, in milliseconds since the epoch, which here is since boot, too.
fn process(pid: u32, started_ms: u64) -> Arc<Process> {
    process_of(pid, 1000, started_ms)
}

fn process_of(pid: u32, uid: u32, started_ms: u64) -> Arc<Process> {
    Arc::new(Process::new(pid, uid, started_ms * 1000, started_ms))
}

fn is(row: &Row, process: &Arc<Process>) -> bool {
    row.process().is_some_and(|one| Arc::ptr_eq(one, process))
}

#[test]
fn a_connect_tells_type_and_protocol_of_the_socket_it_uses() {
    let mut bench = Bench::new(100, 100);
    bench.see(&Call::socket(7, 1000, 3));
    let row = bench.see(&Call::connect(7, 1001, 1, 53));
    assert_eq!((row.socket.unwrap().socket_type.name(), row.socket.unwrap().name()), (Some("dgram"), Some("udp")));
    // Another descriptor, another process.
    assert_eq!(bench.see(&Call { fd: 4, ..Call::connect(7, 1002, 1, 53) }).socket, None);
    assert_eq!(bench.see(&Call::connect(8, 1003, 1, 53)).socket, None);
}

#[test]
fn a_pid_that_comes_again_is_another_process() {
    let mut bench = Bench::new(100, 100);
    let first = process(7, 500);
    bench.see(&Call::socket(7, 1000, 3));
    bench.attach(&first);
    bench.see(&Call::connect(7, 1001, 1, 53));
    bench.see(&Call::connect(7, 1002, 1, 53));
    first.end(2000);
    // Late, but from its time.
    let late = bench.see(&Call::connect(7, 1999, 1, 53));
    assert!(is(&late, &first));
    // From after it: somebody else, whom nobody knows yet.
    let other = bench.see(&Call::connect(7, 3000, 2, 53));
    assert!(matches!(other.whose, Whose::Pending));
    assert_eq!(other.socket, None, "its own socket was never seen");
    let second = process(7, 2500);
    bench.attach(&second);

    let newest = bench.newest(Sight::All);
    let told: Vec<_> = newest.iter().map(|one| (one.row.sequence, one.count)).collect();
    assert_eq!(told, [(5, 1), (4, 3), (1, 1)]);
    assert!(is(&newest[0].row, &second) && is(&newest[1].row, &first) && is(&newest[2].row, &first));
    assert_eq!(bench.store.of_pid(7, Sight::All, bench.now).unwrap().row.sequence, 5);
    assert_eq!(bench.store.of_process(7, first.start_time_us, |_| true).unwrap().sequence, 4);
}

#[test]
fn what_proc_knows_is_told_only_of_the_same_users_events() {
    let mut bench = Bench::new(100, 100);
    bench.see(&Call::connect(7, 1000, 1, 53));
    bench.see(&Call::connect(7, 1001, 1, 53).uid(0));
    let process = process_of(7, 0, 500);
    bench.attach(&process);
    let newest = bench.newest(Sight::All);
    assert!(is(&newest[0].row, &process) && matches!(newest[1].row.whose, Whose::Pending));
    let row = |pid| bench.store.first(Path::Pid(pid), 10, |row| row.origin.uid == Some(1000)).unwrap();
    assert!(matches!(row(7).whose, Whose::Pending));
    let (mine, roots) = (Call::connect(7, 1002, 1, 53), Call::connect(7, 1003, 1, 53).uid(0));
    assert!(bench.see(&mine).process().is_none());
    assert!(is(&bench.see(&roots), &process));
}

#[test]
fn rows_that_arrive_while_a_process_is_told_keep_no_older_one_open() {
    for _ in 0..100 {
        let Bench { store, mut assembler, now, .. } = Bench::new(1000, 100);
        let process = process(7, 500);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for serial in 1..=200 {
                    for record in Call::connect(7, 1000, 1, 53).records(serial) {
                        assembler.push(record.as_bytes(), now, &mut |event| {
                            drop(store.insert(&event, Source::Audisp, now, 0))
                        });
                    }
                }
            });
            while store.read().history.len() < 20 {
                std::thread::yield_now();
            }
            tell(&store, 7, u64::MAX, Whose::Process(process.clone()));
        });
        let open = store.first(Path::Pid(7), usize::MAX, |row| matches!(row.whose, Whose::Pending));
        assert!(open.is_none(), "{open:?}");
    }
}

#[test]
fn what_was_taken_for_one_process_is_parted_when_somebody_looks() {
    let mut bench = Bench::new(100, 100);
    bench.see(&Call::connect(7, 1000, 1, 53));
    bench.see(&Call::socket(7, 9000, 3));
    let process = process(7, 8000);
    bench.attach(&process);
    let newest = bench.newest(Sight::All);
    assert!(is(&newest[0].row, &process));
    assert!(matches!(newest[1].row.whose, Whose::Nothing));
    let (rows, _) = bench.find(&Query { pid: Some(7), ..Query::default() }, Sight::All);
    assert_eq!(rows, [2, 1]);
}

#[test]
fn processes_that_were_gone_are_told_apart_by_when_somebody_looked() {
    let mut bench = Bench::new(100, 100);
    let gone = |at_ms| Whose::Gone { at_ms, parents: Parents::default() };
    bench.see(&Call::connect(7, 1000, 1, 53));
    tell(&bench.store, 7, u64::MAX, gone(1010));
    assert!(matches!(bench.see(&Call::socket(7, 1005, 3)).whose, Whose::Gone { at_ms: 1010, .. }));
    assert!(matches!(bench.see(&Call::connect(7, 5000, 1, 53)).whose, Whose::Pending));
    tell(&bench.store, 7, u64::MAX, gone(5010));
    assert_eq!(bench.newest(Sight::All).iter().map(|one| one.count).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(bench.store.users_of("192.0.2.1".parse().unwrap(), |_| true).len(), 2);
    assert!(bench.store.sole_user_of("192.0.2.1".parse().unwrap(), |_| true).is_none());
    assert_eq!(bench.store.sole_user_of("192.0.2.1".parse().unwrap(), |row| row.sequence > 2).unwrap().sequence, 3);
}

#[test]
fn another_program_of_the_same_process_takes_nothing_back() {
    let mut bench = Bench::new(100, 100);
    let before = process(7, 500);
    bench.see(&Call::socket(7, 1000, 3));
    bench.attach(&before);
    let since = bench.see(&Call::connect(7, 1001, 1, 53)).sequence;
    let after = process(7, 500);
    tell(&bench.store, 7, since, Whose::Process(after.clone()));
    let newest = bench.newest(Sight::All);
    assert!(is(&newest[0].row, &after));
    assert!(is(&newest[1].row, &before));
    let again = bench.see(&Call::connect(7, 1002, 1, 53));
    assert!(is(&again, &after));
    assert_eq!(again.socket.unwrap().name(), Some("udp"), "sockets outlive the program");
}

#[test]
fn an_ended_process_changes_nothing_and_idle_entries_go_on_time() {
    let mut bench = Bench::new(100, 100);
    let process = process(7, 500);
    bench.see(&Call::socket(7, 1000, 3));
    bench.attach(&process);
    process.end(1001);
    bench.now = MAX_IDLE - Duration::from_millis(1);
    assert_eq!(bench.newest(Sight::All).len(), 1);
    bench.now = MAX_IDLE;
    assert!(bench.newest(Sight::All).is_empty());
    bench.store.expire(bench.now);
    assert_eq!(bench.store.read().newest.len(), 0);
    // The history still has it.
    assert_eq!(bench.store.of_pid(7, Sight::All, bench.now).unwrap().row.sequence, 1);
}

#[test]
fn rows_of_another_machine_belong_to_nobody_here() {
    let mut bench = Bench::new(100, 100);
    for (node, own) in [("", true), ("node=host ", true), ("node=host.example ", true), ("node=hosts ", false)] {
        let row = bench.see(&Call { node, ..Call::connect(7, 1000, 1, 53) });
        assert_eq!(row.origin.uid.is_some(), own, "{node}");
        assert_eq!(Sight::Own(1000).allows(&row), own, "{node}");
        assert!(Sight::All.allows(&row));
        assert_eq!(bench.takes_for_local(node), own, "{node}");
    }
    // Nobody visits its process, and ours is not taken for it.
    let process = process(7, 500);
    bench.attach(&process);
    let of_process = |row: &Row| row.process().is_some();
    let rows: Vec<_> = bench.newest(Sight::All).into_iter().map(|one| of_process(&one.row)).collect();
    assert_eq!(rows.iter().filter(|is| **is).count(), 1, "{rows:?}");
}

#[test]
fn a_connect_of_another_machine_tells_its_socket_too() {
    let mut bench = Bench::new(100, 100);
    let there = |call: Call| Call { node: "node=vm ", ..call };
    bench.see(&there(Call::socket(7, 1000, 3)));
    let row = bench.see(&there(Call::connect(7, 1001, 1, 53)));
    assert_eq!(row.socket.and_then(|socket| socket.name()), Some("udp"));
    assert_eq!(bench.see(&Call::connect(7, 1002, 1, 53)).socket, None, "another process");
}

#[test]
fn nobody_pushes_out_a_user_who_holds_less() {
    let mut bench = Bench::new(100, 50);
    for pid in 0..10 {
        bench.see(&Call::connect(100 + pid, 1000, 1, 80).uid(1));
    }
    for pid in 0..1000 {
        // Many uids, but one login: as in a user namespace of one's own.
        bench.see(&Call { auid: Some(2), ..Call::connect(1000 + pid, 1000, 1, 80).uid(100_000 + pid) });
    }
    let of = |uid| bench.find_all(Query { uid: Some(uid), ..Query::default() }).len();
    assert_eq!(of(1), 10);
    assert_eq!(bench.newest(Sight::Own(1)).len(), 10);
    assert_eq!(bench.newest(Sight::All).len(), 50);
    let counters: BTreeMap<_, _> = bench.store.counters().into_iter().collect();
    assert_eq!((counters["EventsRemembered"], counters["EventsForgotten"]), (100, 910));
    assert_eq!((counters["EventsCached"], counters["EventsEvicted"]), (50, 960));
}

#[test]
fn shares_are_the_same_in_a_history_made_small() {
    let mut bench = Bench::new(1_000_000, 1_000_000);
    for pid in 0..5 {
        bench.see(&Call::connect(100 + pid, 1000, 1, 80).uid(1));
    }
    bench.store.set_limits(50, 50);
    for pid in 0..500 {
        bench.see(&Call::connect(1000 + pid, 1000, 1, 80).uid(2));
    }
    assert_eq!(bench.find_all(Query { uid: Some(1), ..Query::default() }).len(), 5);
    assert_eq!(bench.newest(Sight::Own(1)).len(), 5);
}

#[test]
fn bytes_are_bounded_whatever_the_rows_hold() {
    let mut bench = Bench::new(65_536, 65_536);
    let long = "y".repeat(4000);
    for pid in 0..20_000u32 {
        let mut exe = String::new();
        let _ = write!(exe, "/{pid}{long}");
        bench.see(&Call { exe, ..Call::connect(pid + 1, 1000, 1, 80) });
    }
    let inner = bench.store.read();
    assert!(inner.history.bytes(&inner.shared) <= MAX_HISTORY_BYTES);
    assert!(inner.history.len() > 5_000, "{}", inner.history.len());
    assert_eq!(inner.history.len() as u64 + inner.history.forgotten(), 20_000);
    assert!(inner.newest.len() > 5_000 && inner.newest.len() as u64 + inner.newest.evicted() == 20_000);
}

#[test]
fn one_process_with_all_events_and_many_with_one_each() {
    let mut bench = Bench::new(65_536, 4096);
    for port in 0..70_000u32 {
        bench.see(&Call::connect(7, 1000, 1, u16::try_from(port % 50_000).unwrap()));
    }
    assert_eq!(bench.newest(Sight::All)[0].count, 70_000);
    let first = Query { pid: Some(7), port: Some(20_001), ..Query::default() };
    assert_eq!(bench.find_all(first), [20_002]);
    let process = process(7, 500);
    bench.attach(&process);
    let told = bench.find_all(Query { limit: 1000, ..Query::default() }).len();
    assert_eq!(told, 65_536);

    for pid in 0..100_000u32 {
        bench.see(&Call::connect(100 + pid, 1000, 2, 80));
    }
    assert_eq!(bench.newest(Sight::All).len(), 4096);
    assert_eq!(bench.store.of_pid(100 + 99_999, Sight::All, bench.now).unwrap().count, 1);
    let users = bench.store.users_of("192.0.2.2".parse().unwrap(), |_| true);
    assert_eq!(users.len(), MAX_CANDIDATES);
    assert_eq!(bench.find_all(Query { pid: Some(7), limit: 1000, ..Query::default() }).len(), 0);
}

#[test]
fn a_walk_goes_on_where_rows_went_in_between() {
    let mut bench = Bench::new(50, 50);
    for port in 0..50 {
        bench.see(&Call::connect(7, 1000, 1, port));
    }
    let mut query = Query { pid: Some(7), limit: 10, ..Query::default() };
    let (first, next) = bench.find(&query, Sight::All);
    assert_eq!(first, (41..=50).rev().collect::<Vec<_>>());
    // Row 41, where the walk stopped, goes, and its slot is another's.
    for port in 0..45 {
        bench.see(&Call::connect(7, 1000, 1, port));
    }
    query.before = next;
    assert_eq!(bench.find(&query, Sight::All).0, Vec::<u64>::new());
    query.before = 48;
    assert_eq!(bench.find(&query, Sight::All).0, [47, 46]);
}

/// What may happen to a store.
#[derive(Clone, Debug)]
enum Step {
    Connect {
        pid: u32,
        uid: u32,
        host: u8,
        port: u16,
    },
    Socket {
        pid: u32,
        fd: u32,
    },
    /// Somebody looks: it runs, with this start time in steps.
    Look {
        pid: u32,
        age: u64,
    },
    LookGone {
        pid: u32,
    },
    End {
        pid: u32,
    },
    Wait {
        seconds: u64,
    },
    /// Another process goes on with the store.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (pid, uid) = (1..5u32, 1..4u32);
    prop_oneof![
        8 => (pid.clone(), uid, 0..4u8, 80..84u16).prop_map(|(pid, uid, host, port)| Step::Connect { pid, uid, host, port }),
        3 => (pid.clone(), 3..6u32).prop_map(|(pid, fd)| Step::Socket { pid, fd }),
        3 => (pid.clone(), 0..4u64).prop_map(|(pid, age)| Step::Look { pid, age }),
        1 => pid.clone().prop_map(|pid| Step::LookGone { pid }),
        2 => pid.prop_map(|pid| Step::End { pid }),
        1 => (1..400u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ]
}

/// Everything in one list.
#[derive(Default)]
struct Model {
    rows: Vec<(u64, Call)>,
    forgotten: u64,
}

impl Model {
    /// As many as fit, by the rule of shares: each owner holds rows of the same size here, so the one with the most.
    fn push(&mut self, sequence: u64, call: Call, max: usize) {
        self.rows.push((sequence, call));
        while self.rows.len() > max {
            let mut rows_of: BTreeMap<u32, usize> = BTreeMap::new();
            for (_, call) in &self.rows {
                *rows_of.entry(call.uid).or_default() += 1;
            }
            let most = *rows_of.values().max().unwrap();
            let owner = *rows_of.iter().rfind(|(_, rows)| **rows == most).unwrap().0;
            let oldest = self.rows.iter().position(|(_, call)| call.uid == owner).unwrap();
            self.rows.remove(oldest);
            self.forgotten += 1;
        }
    }

    fn find(&self, wanted: impl Fn(&Call) -> bool) -> Vec<u64> {
        self.rows.iter().rev().filter(|(_, call)| wanted(call)).map(|(sequence, _)| *sequence).collect()
    }
}

proptest! {
    #[test]
    fn the_history_is_the_models(steps in prop::collection::vec(step(), 1..200), max in 1..40usize) {
        let mut bench = Bench::new(max, 20);
        let mut model = Model::default();
        let mut ms = 1_000_000u64;
        let mut running: BTreeMap<u32, Arc<Process>> = BTreeMap::new();
        for step in steps {
            ms += 1000;
            match step {
                Step::Connect { pid, uid, host, port } => {
                    let call = Call::connect(pid, ms, host, port).uid(uid);
                    let row = bench.see(&call);
                    // Never another's than the process that ran then.
                    if let Some(process) = row.process() {
                        prop_assert_eq!((process.pid, process.uid), (pid, uid));
                        prop_assert!(process.lived_at(ms) && process.ended_at_ms().is_none_or(|end| ms <= end));
                    }
                    model.push(row.sequence, call, max);
                }
                Step::Socket { pid, fd } => {
                    let call = Call::socket(pid, ms, fd).uid(1);
                    let row = bench.see(&call);
                    model.push(row.sequence, call, max);
                }
                Step::Look { pid, age } => {
                    let process = running.entry(pid).or_insert_with(|| process_of(pid, 1, ms - age * 700)).clone();
                    bench.attach(&process);
                }
                Step::LookGone { pid } => {
                    if !running.contains_key(&pid) {
                        tell(&bench.store, pid, u64::MAX, Whose::Gone { at_ms: ms, parents: Parents::default() });
                    }
                }
                Step::End { pid } => {
                    if let Some(process) = running.remove(&pid) {
                        process.end(ms);
                    }
                }
                Step::Wait { seconds } => {
                    bench.now += Duration::from_secs(seconds);
                    ms += seconds * 1000;
                    bench.store.expire(bench.now);
                }
                Step::Restart => {
                    let seen = |bench: &Bench| {
                        let newest = bench.newest(Sight::All).into_iter();
                        newest.map(|one| (one.row.sequence, one.count)).collect::<Vec<_>>()
                    };
                    let (newest, counters) = (seen(&bench), bench.store.counters());
                    bench.restart(max, 20);
                    prop_assert_eq!(seen(&bench), newest);
                    prop_assert_eq!(bench.store.counters(), counters);
                    // Written once more it is the same to the last byte.
                    let bytes = saved(&bench.store);
                    bench.restart(max, 20);
                    prop_assert_eq!(saved(&bench.store), bytes);
                }
            }
            // The store weighs rows by their bytes, which differ between sockets and connects by nothing here.
            let counters: BTreeMap<_, _> = bench.store.counters().into_iter().collect();
            prop_assert_eq!(counters["EventsRemembered"], model.rows.len() as u64);
            prop_assert_eq!(counters["EventsForgotten"], model.forgotten);
            // Each row of the history holds an origin that is found again, also one that only the newest had still.
            prop_assert_eq!(bench.store.read().shared.rows() as usize, model.rows.len());
        }
        for limit in [1, 3, 1000] {
            let all = bench.find_all(Query { limit, ..Query::default() });
            prop_assert_eq!(&all, &model.find(|_| true));
            for pid in 1..5 {
                let found = bench.find_all(Query { limit, pid: Some(pid), ..Query::default() });
                prop_assert_eq!(found, model.find(|call| call.pid == pid));
            }
            for host in 0..4u8 {
                let prefix = Prefix::parse(&format!("192.0.2.{host}"));
                let found = bench.find_all(Query { limit, host: prefix, ..Query::default() });
                prop_assert_eq!(found, model.find(|call| call.to.is_some_and(|(to, _)| to == host)));
                let prefix = Prefix::parse(&format!("192.0.2.{host}/31"));
                let found = bench.find_all(Query { limit, host: prefix, port: Some(81), ..Query::default() });
                prop_assert_eq!(found, model.find(|call| {
                    call.to.is_some_and(|(to, port)| to & !1 == host & !1 && port == 81)
                }));
            }
        }
        // Each process and type once, the newest first, and what is whose agrees with the history.
        let newest = bench.newest(Sight::All);
        for (at, one) in newest.iter().enumerate() {
            for other in &newest[at + 1..] {
                prop_assert!(one.row.sequence > other.row.sequence);
                if let (Some(process), Some(other_process)) = (one.row.process(), other.row.process()) {
                    let of = |process: &Process| (process.pid, process.start_time_us);
                    let same = of(process) == of(other_process) && one.row.event_type == other.row.event_type;
                    prop_assert!(!same, "{:?}\n{:?}", one, other);
                }
            }
        }
        for uid in 1..4 {
            let own = bench.newest(Sight::Own(uid));
            prop_assert!(own.iter().all(|one| one.row.origin.uid == Some(uid)));
        }
    }
}

/// A store with something of all that can be written down.
fn varied() -> Bench {
    let mut bench = Bench::new(6, 8);
    let cgroup = Arc::new(crate::process::Cgroup::from_path(b"/user.slice/app-x-y.scope"));
    let parents = Parents::from([crate::process::Ancestor { pid: 1, program: (*b"/sbin/init").into() }]);
    let ended = |pid| {
        let mut process = Process::new(pid, 1000, 1, 500);
        process.cgroup = Some(cgroup.clone());
        process.parents = parents.clone();
        process.exe = Some((*b"/bin/x").into());
        process.own_mounts = Some(pid == 11);
        process.end(5000);
        Arc::new(process)
    };
    for pid in 7..13 {
        bench.see(&Call::socket(pid, 1000, 3));
        bench.see(&Call::connect(pid, 1001, 1, 53));
    }
    bench.attach(&ended(8));
    bench.attach(&ended(11));
    tell(&bench.store, 12, u64::MAX, Whose::Gone { at_ms: 2000, parents: parents.clone() });
    bench.see(&Call { node: "node=vm ", ..Call::connect(9, 1002, 2, 80) });
    let execve = "type=SYSCALL msg=audit(1.000:999): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=1 a2=1 a3=0 items=2 \
                  ppid=1 pid=10 auid=1000 uid=1000 exe=\"/bin/y\" key=\"opensnitch\"";
    let rest = ["EXECVE", "PATH"]
        .into_iter()
        .zip(["argc=2 a0=\"y\" a1=\"z\"", "item=0 inode=7 dev=fe:00 mode=0100755 ouid=0"]);
    let rest = rest.map(|(kind, text)| format!("type={kind} msg=audit(1.000:999): {text}"));
    let mut assembler = Assembler::new("opensnitch", true);
    let now = bench.now;
    for line in std::iter::once(execve.to_owned()).chain(rest) {
        assembler.push(line.as_bytes(), now, &mut |_| {});
    }
    assembler.finish_all(&mut |event| drop(bench.store.insert(&event, Source::Audisp, now, 7)));
    bench
}

/// All that can be asked of a store.
fn ask_all(store: &Store, now: Duration) -> (Vec<u64>, Vec<u64>) {
    let (mut found, mut newest) = (Vec::new(), Vec::new());
    store.find(&Query { limit: 1000, ..Query::default() }, Sight::All, |answer| {
        found.push(answer.row.sequence);
        true
    });
    store.newest(Sight::All, now, |answer| {
        newest.push(answer.row.sequence);
        true
    });
    (found, newest)
}

#[test]
fn another_process_goes_on_with_every_row_as_it_was() {
    let mut bench = varied();
    let asked = ask_all(&bench.store, bench.now);
    assert_eq!((asked.0.len(), asked.1.len()), (6, 8), "rows that only the newest has");
    let rows = |bench: &Bench| {
        let mut rows = Vec::new();
        bench.store.find(&Query { limit: 1000, ..Query::default() }, Sight::All, |answer| {
            let row = answer.row;
            let whose = (row.process().map(|process| (process.pid, process.cgroup.clone())), row.parents().cloned());
            let what = (row.event_type, row.fd, row.socket, row.address.clone(), row.source, row.is_recalled());
            let extra = row.extra.as_deref().map(|extra| (extra.file.clone(), extra.args.clone(), extra.raw.clone()));
            let program = row.program().is_some();
            let subject = row.subject().into_owned();
            rows.push((row.id, row.seen_us, subject, what, whose, extra, program, row.origin.is_local));
            true
        });
        rows
    };
    let before = rows(&bench);
    assert!(before.iter().any(|(.., extra, _, _)| extra.is_some()) && before.iter().any(|(.., local)| !local));
    let last = bench.store.sequence();
    bench.restart(6, 8);
    assert_eq!(rows(&bench), before);
    assert_eq!(ask_all(&bench.store, bench.now), asked);
    // It goes on with the next number, and knows the sockets that were made before.
    let row = bench.see(&Call::connect(12, 1500, 1, 53));
    assert_eq!((row.sequence, row.socket.and_then(|socket| socket.name())), (last + 1, Some("udp")));
    // Smaller bounds hold, and what they leave out is counted.
    let forgotten =
        |bench: &Bench| bench.store.counters().into_iter().find(|one| one.0 == "EventsForgotten").unwrap().1;
    let before = forgotten(&bench);
    bench.restart(2, 1);
    let (found, newest) = ask_all(&bench.store, bench.now);
    assert_eq!((found, newest), (vec![last + 1, last], vec![last + 1]));
    assert_eq!(forgotten(&bench), before + 4);
}

#[test]
fn a_snapshot_of_which_any_byte_is_changed_or_missing_is_not_read() {
    let bytes = saved(&varied().store);
    let restore = |bytes: &[u8]| Store::restore(bytes, 6, 8, NODE, Duration::ZERO).err();
    assert_eq!(restore(&bytes), None);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(restore(&changed).is_some(), "bit {bit} of byte {at}");
        }
        assert!(restore(&bytes[..at]).is_some(), "{at} bytes");
    }
    assert_eq!(restore(b"opensnitch-audit store 0\n"), Some(Unusable::AnotherVersion));
    assert!(restore(&[&*bytes, b"x"].concat()).is_some());
}

#[test]
fn what_is_written_has_the_form_of_its_version() {
    let bytes = saved(&varied().store);
    assert!(bytes.starts_with(snapshot::HEAD));
    // Without its own checksum: any bytes with theirs behind them have the same one.
    let (written, _) = bytes.split_last_chunk::<4>().unwrap();
    let form = (bytes.len(), crc32fast::hash(written));
    assert_eq!(
        form,
        (1990, 4_104_562_146),
        "an item or a counter is another one: raise the number in HEAD, and write this down anew"
    );
}

#[test]
fn a_snapshot_that_lies_with_the_right_checksum_makes_a_store_or_none() {
    let bytes = saved(&varied().store);
    let content = bytes.len() - 4;
    let mut outcomes = [0, 0];
    for at in 0..content {
        for value in [0, 0xff, bytes[at] ^ 1] {
            let mut changed = bytes[..content].to_vec();
            changed[at] = value;
            let checksum = crc32fast::hash(&changed);
            changed.extend_from_slice(&checksum.to_le_bytes());
            match Store::restore(&changed, 6, 8, NODE, Duration::ZERO) {
                Ok(restored) => {
                    let (found, newest) = ask_all(&restored.store, Duration::ZERO);
                    assert!(found.len() <= 6 && newest.len() <= 8);
                    saved(&restored.store);
                    restored.store.expire(Duration::from_secs(100_000));
                    outcomes[0] += 1;
                }
                Err(_) => outcomes[1] += 1,
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}

#[test]
fn what_was_not_saved_is_counted() {
    let mut bench = varied();
    bench.see(&Call::connect(20, 1001, 1, 80));
    let (bytes, saved) = (saved(&bench.store), bench.store.sequence());
    let goes_on = |reached, under_way| {
        let Restored { store, pending } = Store::restore(&bytes, 6, 8, NODE, Duration::ZERO).unwrap();
        assert_eq!(pending.last().map(|row| row.sequence), Some(saved));
        let unsaved = store.goes_on(reached, under_way, pending.len());
        let counters: BTreeMap<_, _> = store.counters().into_iter().collect();
        assert_eq!(counters["EventsUnsaved"], unsaved);
        // Every event is signalled, or counted as not, or will be.
        assert_eq!(counters["EventsMatched"], counters["SignalsLost"] + pending.len() as u64);
        (unsaved, counters["EventsMatched"], store.sequence())
    };
    assert_eq!(goes_on(saved, 0), (0, saved, saved));
    assert_eq!(goes_on(saved + 5, 2), (7, saved + 5, saved + 5));
    // A place that is older than the snapshot.
    assert_eq!(goes_on(saved - 5, 0), (0, saved, saved));
    assert_eq!(goes_on(u64::MAX, u64::MAX).0, u64::MAX);
}
