//! A restart loses nothing: the next process goes on where the last one was.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::process::Command;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Client, Daemon, FakeAuditd, PrivateBus, Process, Records, Systemd, User, available, eventually};

/// A service that systemd starts, and auditd connected to it. Dropped in this order.
struct Kept {
    daemon: Daemon,
    auditd: FakeAuditd,
    systemd: Systemd,
    bus: PrivateBus,
    config: String,
}

impl Kept {
    fn start() -> Option<Self> {
        if !available(&[]) {
            return None;
        }
        let bus = PrivateBus::start();
        let systemd = Systemd::start(bus.folder());
        let socket = bus.folder().join("audispd_events");
        let mut auditd = FakeAuditd::at(&socket);
        auditd.start();
        let config = format!("socket = '{}'\n", socket.display());
        let daemon = Daemon::start_by(&systemd, &bus, &config);
        auditd.accept();
        Some(Self { daemon, auditd, systemd, bus, config })
    }

    fn root(&self) -> Client {
        self.bus.client(User::Root)
    }

    fn end(&mut self, signal: Signal) {
        self.daemon.kill(signal);
        self.daemon.wait();
    }

    fn start_again(&mut self) {
        // What was said to systemd is said.
        self.systemd.kept();
        self.daemon = Daemon::start_by(&self.systemd, &self.bus, &self.config);
    }

    fn wait_until_kept(&self) {
        eventually("a snapshot that is kept", || {
            self.systemd.kept().iter().any(|name| name.starts_with("store")).then_some(())
        });
    }

    fn rows(&self) -> Vec<Value> {
        self.root().walk(&[], 100, || {})
    }

    /// The serials in the history, the oldest first. None is there twice.
    fn serials(&self) -> Vec<u64> {
        let mut serials: Vec<u64> = self.rows().iter().map(|row| row["Serial"].as_u64().unwrap()).collect();
        serials.sort_unstable();
        let all: BTreeSet<_> = serials.iter().collect();
        assert_eq!(all.len(), serials.len(), "an event is there twice: {serials:?}");
        serials
    }
}

/// Whether this user can open what a process holds under that number.
fn can_open(user: User, pid: u32, number: &str) -> bool {
    let ids = [format!("--reuid={}", user.uid()), format!("--regid={}", user.uid())];
    let mut command = Command::new("setpriv");
    command.args(ids).args(["--clear-groups", "head", "-c", "1"]).arg(format!("/proc/{pid}/fd/{number}"));
    command.output().unwrap().status.success()
}

const LOSSES: [&str; 6] =
    ["LinesMalformed", "LinesTorn", "EventsIncomplete", "EventsUnsaved", "EventsForgotten", "Reconnects"];

fn assert_nothing_lost(root: &Client) {
    for counter in LOSSES {
        assert_eq!(root.counter(counter), 0, "{counter}");
    }
}

#[test]
fn whoever_goes_on_has_the_same_and_misses_nothing() {
    let Some(mut kept) = Kept::start() else { return };
    let process = Process::start();
    let (first, second) = (Records::connect(1).pid(process.pid()), Records::connect(2).uid(User::Alice.uid()));
    let (third, fourth) = (Records::connect(3), Records::connect(4));
    let text = third.text();
    let (begun, rest) = text.split_at(text.len() / 2);
    kept.auditd.send(format!("{}{}{begun}", first.text(), second.text()));
    let root = kept.root();
    root.wait_for_counter("SignalsSent", 2);
    let (rows, newest, since) = (kept.rows(), root.events(), root.counter("Since"));
    assert_eq!(rows.len(), 2);
    kept.end(Signal::TERM);
    assert_eq!(kept.systemd.kept().iter().filter(|name| name.starts_with("store")).count(), 1);
    // Nobody is there to read it.
    kept.auditd.send(format!("{rest}{}", fourth.text()));
    kept.start_again();
    assert!(kept.auditd.try_accept().is_none(), "another connection");
    let root = kept.root();
    root.wait_for_counter("SignalsSent", 4);
    let all = kept.rows();
    assert_eq!(all[2..], rows);
    assert_eq!(kept.serials().len(), 4);
    let old = root.events().into_iter().filter(|event| newest.iter().any(|old| old["Serial"] == event["Serial"]));
    assert_eq!(old.collect::<Vec<_>>(), newest);
    assert_nothing_lost(&root);
    assert_eq!((root.counter("EventsMatched"), root.counter("Since")), (4, since));
    // And the one that ended meanwhile is told as ended.
    drop(process);
    kept.end(Signal::TERM);
    kept.start_again();
    assert_eq!(kept.root().event_of(first.pid).unwrap()["Running"], Value::Bool(false));
}

#[test]
fn wherever_the_stream_is_cut_it_goes_on() {
    let Some(mut kept) = Kept::start() else { return };
    let events: Vec<Records> = (1..=12).map(Records::connect).collect();
    let stream: String = events.iter().map(Records::text).collect();
    let pieces = 7;
    let size = stream.len() / pieces + 1;
    for piece in stream.as_bytes().chunks(size) {
        kept.auditd.send(piece);
        kept.end(Signal::TERM);
        kept.start_again();
    }
    kept.root().wait_for_counter("EventsMatched", 12);
    assert_eq!(kept.serials().len(), 12);
    assert_nothing_lost(&kept.root());
}

#[test]
fn what_a_killed_process_had_in_its_own_memory_is_counted_and_nothing_else_is_missing() {
    let Some(mut kept) = Kept::start() else { return };
    kept.auditd.send(Records::connect(1).text());
    kept.root().wait_for_counter("EventsMatched", 1);
    kept.wait_until_kept();
    let mut sent = 1;
    for _ in 0..4 {
        (0..20).for_each(|_| kept.auditd.send(Records::connect(2).text()));
        sent += 20;
        kept.root().wait_for_counter("EventsMatched", sent);
        kept.end(Signal::KILL);
        (0..3).for_each(|_| kept.auditd.send(Records::connect(3).text()));
        sent += 3;
        kept.start_again();
        kept.root().wait_for_counter("EventsMatched", sent);
    }
    let root = kept.root();
    assert!(kept.auditd.try_accept().is_none(), "another connection");
    assert_eq!(kept.serials().len() as u64 + root.counter("EventsUnsaved"), sent);
    assert!(root.counter("EventsUnsaved") > 0, "it was killed too late for this test");
    assert!(root.counter("LastLoss") > 0);
    eventually("all are signalled or counted", || {
        let told = ["SignalsSent", "SignalsCoalesced", "SignalsLost"].map(|counter| root.counter(counter));
        (told.iter().sum::<u64>() == sent).then_some(())
    });
}

#[test]
fn what_a_killed_process_had_missed_is_counted_though_it_might_still_have_come() {
    let Some(mut kept) = Kept::start() else { return };
    let [first, _never_sent, second, third] = [(); 4].map(|()| Records::connect(1));
    kept.auditd.send(first.text());
    kept.auditd.send(second.text());
    kept.root().wait_for_counter("EventsMatched", 2);
    assert_eq!(kept.root().counter("SerialGaps"), 0);
    // When it reads this one, it has written down how far it was before.
    kept.auditd.send(third.text());
    kept.root().wait_for_counter("EventsMatched", 3);
    kept.end(Signal::KILL);
    kept.start_again();
    let root = kept.root();
    // Other tests take serials, too.
    assert!(root.counter("SerialGaps") > 0);
    assert!(root.counter("LastLoss") > 0);
}

#[test]
fn one_that_is_killed_while_it_reads_makes_nothing_up() {
    let Some(mut kept) = Kept::start() else { return };
    let mut sent = 0;
    for round in 0..6 {
        for _ in 0..200 {
            let records = Records::connect(2);
            kept.auditd.send(records.text());
            sent += 1;
        }
        // Half a line is on its way when it ends.
        let (records, cut) = (Records::connect(3), 100 + 50 * round);
        kept.auditd.send(&records.text()[..cut]);
        kept.end(Signal::KILL);
        kept.start_again();
        // Not before: a socket that is full takes nothing while nobody reads.
        kept.auditd.send(&records.text()[cut..]);
        let last = Records::connect(4);
        kept.auditd.send(last.text());
        kept.root().wait_for_event_of(last.pid);
        sent += 2;
    }
    let root = kept.root();
    assert!(kept.auditd.try_accept().is_none(), "another connection");
    assert!(kept.serials().len() as u64 + root.counter("EventsUnsaved") <= sent);
    for row in kept.rows() {
        assert!(matches!(row["DstPort"].as_u64(), Some(2..=4)), "{row}");
    }
}

/// A file in memory with these bytes.
fn memory(bytes: &[u8], is_sealed: bool) -> OwnedFd {
    let mut file = File::from(memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap());
    file.write_all(bytes).unwrap();
    if is_sealed {
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW).unwrap();
    }
    file.into()
}

fn content(memory: &OwnedFd) -> Vec<u8> {
    let file = File::from(memory.try_clone().unwrap());
    let mut bytes = vec![0; file.metadata().unwrap().len().try_into().unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Makes something else of what is kept.
type Other = fn(&OwnedFd) -> OwnedFd;

#[test]
fn what_is_kept_and_damaged_is_thrown_away_and_said() {
    let Some(mut kept) = Kept::start() else { return };
    let cases: [(&str, Other); 5] = [
        ("it is damaged", |fd| {
            let mut bytes = content(fd);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            memory(&bytes, true)
        }),
        ("it is damaged", |fd| memory(&content(fd)[..100], true)),
        ("another version", |_| memory(b"opensnitch-audit store 0\nof old", true)),
        ("somebody may still change it", |fd| memory(&content(fd), false)),
        ("cannot be used", |_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()),
    ];
    for (port, (said, other)) in (1..).zip(cases) {
        let connect = Records::connect(port);
        kept.auditd.send(connect.text());
        kept.root().wait_for_event_of(connect.pid);
        kept.end(Signal::TERM);
        kept.systemd.kept();
        kept.systemd.replace("store", other);
        kept.start_again();
        kept.daemon.wait_for_log(said);
        assert_eq!(kept.rows(), [] as [Value; 0], "{said}");
    }
    // How far it was is damaged: it connects anew.
    kept.end(Signal::TERM);
    kept.systemd.kept();
    kept.systemd.replace("place", |_| memory(b"\x02\x01garbage", false));
    kept.start_again();
    kept.auditd.accept();
    let connect = Records::connect(99);
    kept.auditd.send(connect.text());
    kept.root().wait_for_event_of(connect.pid);
}

#[test]
fn a_connection_that_ended_meanwhile_is_read_to_its_end() {
    let Some(mut kept) = Kept::start() else { return };
    kept.end(Signal::TERM);
    let last = Records::connect(7);
    kept.auditd.send(last.text());
    kept.auditd.restart_quietly();
    kept.start_again();
    kept.root().wait_for_event_of(last.pid);
    kept.auditd.accept();
    let next = Records::connect(8);
    kept.auditd.send(next.text());
    kept.root().wait_for_event_of(next.pid);
    assert_eq!(kept.root().counter("Reconnects"), 1);
}

#[test]
fn nobody_else_opens_what_is_kept() {
    let Some(mut kept) = Kept::start() else { return };
    kept.auditd.send(Records::connect(1).text());
    kept.wait_until_kept();
    let mut memories = BTreeSet::new();
    // The service, and who stands in systemd's place.
    for pid in [kept.daemon.pid(), std::process::id()] {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap) {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            let number = entry.file_name().into_string().unwrap();
            // Another test's may be gone by now.
            if target.starts_with("/memfd:opensnitch-audit") && can_open(User::Root, pid, &number) {
                assert!(!can_open(User::Alice, pid, &number), "{target} of {pid}");
                memories.insert(target);
            }
        }
    }
    assert_eq!(memories.len(), 2, "{memories:?}");
}
