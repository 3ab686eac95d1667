//! The kernel's own multicast, beside auditd and without it.

use std::fs;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use opensnitch_audit::source::{MULTICAST_PASSED_AS, Message, Multicast};
use rustix::net::sockopt;
use rustix::process::Signal;

use crate::diagnose::finding;
use crate::support::{Client, Daemon, FakeAuditd, Kernel, PrivateBus, Systemd, User, available, eventually};

/// Bytes that hold a few records, …
const SMALL_BUFFER: usize = 8 * 1024;
/// … and so many connects are more.
const LAST: u16 = 100;

#[test]
fn events_come_from_the_kernel_alone() {
    if !available(&["auditctl"]) {
        return;
    }
    let bus = PrivateBus::start();
    let Some(kernel) = Kernel::of(bus.folder()) else { return };
    let before = ["enabled", "backlog_limit", "backlog_wait_time "].map(|what| kernel.status(what));
    let daemon = Daemon::start(&bus, "source = 'netlink'\nkeep_raw = true");
    let root = bus.client(User::Root);
    root.wait_for_property("Source", "netlink");
    assert_eq!(root.property("Connected"), true);
    if before[0] == 0 && kernel.status("pid") == 0 {
        daemon.wait_for_log("is switched on");
        assert_eq!(kernel.status("enabled"), 1);
        assert_eq!(kernel.status("backlog_wait_time "), 0, "no program waits for the kernel's queue");
        assert!(finding(&root, "audit-switched-on").is_some());
    }
    assert!(finding(&root, "source-netlink").is_some());
    let mut connects = kernel.connects();
    connects.to(7);
    let event = root.wait_for_event_of(connects.pid());
    assert_eq!((&event["Source"], &event["DstPort"]), (&"netlink".into(), &7.into()));
    // As auditd writes it: `decode` reads it.
    let raw = event["RawEvent"].as_str().unwrap();
    assert!(raw.starts_with("type=SYSCALL msg=audit(") && raw.contains("\ntype=SOCKADDR msg=audit("), "{raw}");
    assert_eq!(root.counter("LinesRead"), 0);
    drop(daemon);
    assert_eq!(["enabled", "backlog_limit", "backlog_wait_time "].map(|what| kernel.status(what)), before);
}

#[test]
fn another_reader_takes_what_waits_and_nothing_twice() {
    if !available(&["auditctl"]) {
        return;
    }
    let bus = PrivateBus::start();
    let Some(kernel) = Kernel::of(bus.folder()) else { return };
    let daemon = Daemon::start(&bus, "source = 'netlink'");
    let root = bus.client(User::Root);
    root.wait_for_property("Source", "netlink");
    let mut connects = kernel.connects();
    let file = bus.folder().join("config.toml");
    let config = fs::read_to_string(&file).unwrap();
    for port in 1..=60 {
        if port % 10 == 0 {
            // Another socket of auditd's takes another reader, though this one looks at none.
            // In one step: on a busy machine the last one may only be read now.
            let new = file.with_extension("new");
            fs::write(&new, format!("{config}\nsocket = '/run/of-nobody-{port}'\n")).unwrap();
            fs::rename(&new, &file).unwrap();
            daemon.kill(Signal::HUP);
        }
        connects.to(port);
        thread::sleep(Duration::from_millis(20));
    }
    let ports = every_port(&root, 60);
    assert!(ports.iter().copied().eq(1..=60), "{ports:?}");
    assert_eq!(root.counter("EventsMatched"), 60);
    daemon.wait_for_log("the configuration was read again");
}

/// The ports of all connects, once there are so many and the last one is among them.
fn every_port(root: &Client, last: u16) -> Vec<u64> {
    eventually("every connect", || {
        let rows = root.walk(&[("EventType", "s", "connect")], 1000, || {});
        let mut ports: Vec<u64> = rows.iter().map(|row| row["DstPort"].as_u64().unwrap()).collect();
        ports.sort_unstable();
        (ports.last() == Some(&u64::from(last)) && ports.len() >= usize::from(last)).then_some(ports)
    })
}

/// The number of the record that has an address.
const SOCKADDR: u16 = 1306;

/// Stands between the kernel and the service as auditd does.
struct Relay {
    silent: Arc<AtomicBool>,
    tears: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: thread::JoinHandle<FakeAuditd>,
}

impl Relay {
    fn start(mut auditd: FakeAuditd) -> Self {
        let mut multicast = Multicast::open().unwrap();
        let [silent, tears, ended] = std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
        let [is_silent, is_to_tear, has_ended] = [&silent, &tears, &ended].map(Arc::clone);
        let thread = thread::spawn(move || {
            while !has_ended.load(Ordering::Relaxed) {
                match multicast.receive().unwrap() {
                    // Slower than the kernel, as auditd is, and with what came while it was silent.
                    Some(Message::Record(number, text)) => {
                        while is_silent.load(Ordering::Relaxed) && !has_ended.load(Ordering::Relaxed) {
                            thread::sleep(Duration::from_millis(10));
                        }
                        let text = String::from_utf8_lossy(text).replace('\n', " ");
                        let is_torn = number == SOCKADDR && is_to_tear.swap(false, Ordering::Relaxed);
                        let second = if is_torn { " type=UNKNOWN[1300] msg=audit(1.000:1): " } else { "" };
                        auditd.send(format!("type=UNKNOWN[{number}] msg={text}{second}\n"));
                    }
                    Some(_) => {}
                    None => thread::sleep(Duration::from_millis(20)),
                }
            }
            auditd
        });
        Self { silent, tears, ended, thread }
    }

    /// The next address is in a line that cannot be read.
    fn tear(&self) {
        self.tears.store(true, Ordering::Relaxed);
    }

    fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    fn end(self) -> FakeAuditd {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn auditd_and_the_kernel_take_turns_without_a_double_and_without_a_gap() {
    if !available(&["auditctl"]) {
        return;
    }
    let bus = PrivateBus::start();
    let Some(kernel) = Kernel::of(bus.folder()) else { return };
    let socket = bus.folder().join("audispd_events");
    let mut auditd = FakeAuditd::at(&socket);
    auditd.start();
    let daemon = Daemon::start(&bus, &format!("source = 'auto'\nsocket = '{}'", socket.display()));
    let root = bus.client(User::Root);
    auditd.accept();
    let mut connects = kernel.connects();
    let mut port: u16 = 0;
    // Connects all the time, until events come from there.
    let mut until = |source: &str| {
        let limit = Instant::now() + Duration::from_secs(60);
        while root.property("Source") != source {
            assert!(Instant::now() < limit, "Source never became {source}");
            for _ in 0..5 {
                port += 1;
                connects.to(port);
            }
        }
        port
    };
    // Connected, and silent: held by another client, as far as can be told.
    until("netlink");
    let relay = Relay::start(auditd);
    until("audisp");
    relay.be_silent(true);
    until("netlink");
    relay.be_silent(false);
    until("audisp");
    let mut auditd = relay.end();
    // In the middle of a line.
    auditd.send("type=UNKNOWN[1300] msg=audit(");
    auditd.stop();
    until("netlink");
    auditd.start();
    auditd.accept();
    let relay = Relay::start(auditd);
    until("audisp");
    // Anybody's text can make a line look torn: what was in it comes from the kernel.
    relay.tear();
    let last = until("netlink");
    let log = daemon.log();
    for why in ["brings nothing while the kernel does", "there is no connection to auditd", "does not bring all"] {
        assert!(log.contains(why), "{why}: {log}");
    }
    let ports = every_port(&root, last);
    assert!(ports.iter().copied().eq(1..=u64::from(last)), "{ports:?}");
    for counter in ["SerialGaps", "EventsIncomplete", "LinesTorn", "MulticastOverruns", "LastLoss"] {
        assert_eq!(root.counter(counter), 0, "{counter}");
    }
    let events = root.counter("EventsMatched");
    assert_eq!(events, u64::from(last));
    relay.end();
}

#[test]
fn what_the_kernel_threw_away_is_counted_and_said() {
    if !available(&["auditctl"]) {
        return;
    }
    let bus = PrivateBus::start();
    let Some(kernel) = Kernel::of(bus.folder()) else { return };
    // As systemd's own, but for its buffer: a flood fills it while nobody reads.
    let multicast = Multicast::open().unwrap();
    sockopt::set_socket_recv_buffer_size(&multicast, SMALL_BUFFER).unwrap();
    let systemd = Systemd::start(bus.folder());
    systemd.hold(MULTICAST_PASSED_AS, multicast.as_fd().try_clone_to_owned().unwrap());
    let daemon = Daemon::start_by(&systemd, &bus, "source = 'netlink'");
    let root = bus.client(User::Root);
    root.wait_for_property("Source", "netlink");
    assert_eq!((root.counter("MulticastOverruns"), root.counter("LastLoss")), (0, 0));
    daemon.wait_for_log("has a small buffer");
    let mut connects = kernel.connects();
    let mut witness = Multicast::open().unwrap();
    daemon.kill(Signal::STOP);
    (1..=LAST).for_each(|port| connects.to(port));
    let last = format!("saddr=0200{LAST:04X}");
    eventually("the last connect", || {
        while let Some(message) = witness.receive().unwrap() {
            if let Message::Record(SOCKADDR, text) = message
                && String::from_utf8_lossy(text).contains(&last)
            {
                return Some(());
            }
        }
        None
    });
    daemon.kill(Signal::CONT);
    eventually("an overrun", || (root.counter("MulticastOverruns") > 0 && root.counter("LastLoss") > 0).then_some(()));
    eventually("the next event", || {
        connects.to(LAST + 1);
        (root.event_of(connects.pid()).ok()?["DstPort"] == LAST + 1).then_some(())
    });
}

#[test]
fn where_the_kernel_refuses_its_group_the_service_says_so() {
    if !available(&[]) {
        return;
    }
    let mut bus = PrivateBus::start();
    bus.set_namespace(|_, namespace| namespace.only_tracing());
    let daemon = Daemon::start(&bus, "source = 'netlink'");
    daemon.wait_for_log("the kernel's multicast cannot be had");
    let root = bus.client(User::Root);
    assert_eq!((root.property("Source"), root.property("Connected")), ("".into(), false.into()));
    assert!(finding(&root, "multicast-missing").is_some());
}
