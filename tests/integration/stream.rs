//! Whatever auditd does: restart, tear, join, be silent.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Daemon, FakeAuditd, PrivateBus, Records, User, World, available, eventually};

#[test]
fn the_service_comes_back_as_often_as_auditd_does() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    for restarts in 0..4 {
        root.wait_for_property("Connected", true);
        assert_eq!(root.property("Source"), "audisp");
        assert_eq!(root.counter("Reconnects"), restarts);
        let connect = Records::connect(1);
        world.auditd.send(connect.text());
        root.wait_for_event_of(connect.pid);
        world.auditd.stop();
        root.wait_for_property("Connected", false);
        assert_eq!(root.property("Source"), "");
        assert!(root.event_of(connect.pid).is_ok(), "the cache forgets nothing");
        world.auditd.start();
        world.auditd.accept();
    }
}

#[test]
fn without_a_socket_the_service_runs_and_says_once_what_to_do() {
    if !available(&[]) {
        return;
    }
    let bus = PrivateBus::start();
    let socket = bus.folder().join("later/audispd_events");
    let daemon = Daemon::start(&bus, &format!("socket = '{}'", socket.display()));
    let root = bus.client(User::Root);
    daemon.wait_for_log("no connection to auditd");
    // Several more attempts fail meanwhile.
    sleep(Duration::from_secs(1));
    assert_eq!(root.property("Connected"), false);
    assert_eq!(root.property("Source"), "");
    assert_eq!(root.events().len(), 0);
    let log = daemon.log();
    assert_eq!(log.matches("no connection to auditd").count(), 1, "{log}");
    for word in [socket.to_str().unwrap(), "af_unix.conf", "active = yes"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    // The folder appears, then the socket in it.
    std::fs::create_dir(socket.parent().unwrap()).unwrap();
    let mut auditd = FakeAuditd::at(&socket);
    auditd.start();
    auditd.accept();
    root.wait_for_property("Connected", true);
    assert_eq!(root.counter("Reconnects"), 0);
}

#[test]
fn a_server_that_hangs_up_at_once_is_not_stormed() {
    // auditd 3.1.1 to 4.0.2 does so when it serves another client already.
    let Some(mut world) = World::start("") else { return };
    world.auditd.hang_up();
    let start = Instant::now();
    let mut connections = 0;
    while start.elapsed() < Duration::from_secs(2) {
        match world.auditd.try_accept() {
            Some(client) => {
                drop(client);
                connections += 1;
            }
            None => sleep(Duration::from_millis(5)),
        }
    }
    assert!((2..12).contains(&connections), "{connections} connections in two seconds");
    world.auditd.accept();
    let connect = Records::connect(1);
    world.auditd.send(connect.text());
    world.root().wait_for_event_of(connect.pid);
}

/// How an auditd writes one line.
type Write = fn(&str) -> Vec<u8>;

fn binary(line: &str, payload: usize) -> Vec<u8> {
    let words = [1, 16, 1300, line.len() as u32];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    bytes.extend_from_slice(line.as_bytes());
    bytes.resize(16 + line.len().max(payload), 0);
    bytes
}

#[test]
fn events_arrive_however_this_auditd_writes() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let table: [(&str, Write); 5] = [
        ("a newline behind each", |line| format!("{line}\n").into()),
        ("carriage return and newline", |line| format!("{line}\r\n").into()),
        ("node names", |line| format!("node=vm {line}\n").into()),
        ("binary, exact", |line| binary(line, 0)),
        ("binary, fixed", |line| binary(line, 8970)),
    ];
    for (name, write) in table {
        world.auditd.hang_up();
        world.auditd.accept();
        let all: Vec<Records> = (0..20).map(Records::connect).collect();
        for records in &all {
            for line in records.lines() {
                world.auditd.send(write(&line));
            }
        }
        for (records, port) in all.iter().zip(0..) {
            let event = root.wait_for_event_of(records.pid);
            assert_eq!((&event["DstPort"], &event["Args"][0]), (&port.into(), &"client".into()), "{name}");
        }
        assert_eq!((root.counter("LinesTorn"), root.counter("LinesMalformed")), (0, 0), "{name}");
    }
    assert_eq!(root.counter("EventsIncomplete"), 0);
}

#[test]
fn a_torn_line_is_counted_and_costs_nothing_but_itself() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let (before, torn, joined, after) =
        (Records::connect(1), Records::connect(2), Records::connect(3), Records::connect(4));
    let cut = &torn.lines()[0][..100];
    // A record that begins inside a line may be anybody's text: the whole line goes, with the first record of another.
    world.auditd.send(format!("{}{cut}{}{}", before.text(), joined.text(), after.text()));
    root.wait_for_event_of(before.pid);
    root.wait_for_event_of(after.pid);
    for pid in [torn.pid, joined.pid] {
        assert!(root.event_of(pid).is_err());
    }
    assert_eq!((root.counter("LinesTorn"), root.counter("LinesMalformed")), (1, 0));
    assert!(root.counter("LastLoss") > root.counter("Since"));
}

#[test]
fn an_id_that_a_program_wrote_takes_no_event_away() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let [by_name, by_message, by_argument] = [1, 2, 3].map(Records::connect);
    // What was handed on under an id is not handed on twice: so nobody may say that something was.
    let record = |records: &Records| format!("type=SYSCALL msg=audit({}): key=\"opensnitch\"", records.id());
    let message = format!("audit({}): {}", by_message.id(), by_message.lines()[0].split_once("): ").unwrap().1);
    let texts = [
        format!("type=NETFILTER_CFG msg=audit(1.000:1): table={}:2 family=2 entries=1\n", record(&by_name)),
        format!("type=USER_CMD msg=audit(1.000:2): pid=9 uid=1000 auid=1000 ses=1 msg='op={message} res=success'\n"),
        Records::execve(&["x", &record(&by_argument)]).title(&record(&by_argument)).text(),
    ];
    world.auditd.send(texts.concat());
    for (records, port) in [by_name, by_message, by_argument].iter().zip(1..) {
        world.auditd.send(records.text());
        assert_eq!(root.wait_for_event_of(records.pid)["DstPort"], port);
    }
    assert_eq!((root.counter("LinesTorn"), root.counter("EventsMatched")), (1, 4));
}

#[test]
fn a_stream_without_newlines_is_not_read() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let records: Vec<Records> = (0..20).map(Records::connect).collect();
    let text: String = records.iter().flat_map(Records::lines).collect();
    world.auditd.send(text);
    // It cannot be told from one that somebody forged.
    eventually("a finding", || {
        let findings = root.call("Diagnose", &[]).ok()?.to_string();
        findings.contains("newline").then_some(())
    });
    assert_eq!(root.counter("EventsMatched"), 0);
    // Another auditd is another stream.
    world.auditd.hang_up();
    world.auditd.accept();
    let next = Records::connect(1);
    world.auditd.send(next.text());
    root.wait_for_event_of(next.pid);
}

#[test]
fn an_event_without_an_end_is_told_after_a_while() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let connect = Records::connect(7);
    world.auditd.send(connect.unfinished());
    let event = root.wait_for_event_of(connect.pid);
    assert_eq!(event["DstPort"], 7);
    assert_eq!(root.counter("EventsIncomplete"), 1);
    // Its end, when it comes at last, is no event of its own.
    world.auditd.send(format!("{}\n", connect.lines().last().unwrap()));
    let next = Records::connect(1);
    world.auditd.send(next.text());
    root.wait_for_event_of(next.pid);
    assert_eq!(root.counter("EventsMatched"), 2);
    assert_eq!(root.event_of(connect.pid).unwrap()["Count"], 1);
}

#[test]
fn a_record_torn_by_the_end_of_the_stream_says_nothing() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let (whole, torn) = (Records::connect(1), Records::connect(2));
    // The last record of the one event lacks its half; of the other even the first is not whole.
    let lines = whole.lines();
    world.auditd.send(format!("{}\n{}", lines[0], &lines[1][..50]));
    world.auditd.hang_up();
    world.auditd.accept();
    let line = &torn.lines()[0];
    world.auditd.send(format!("type=NOISE msg=audit(1.000:1): \n{}", &line[..line.len() - 10]));
    world.auditd.hang_up();
    world.auditd.accept();
    let event = root.wait_for_event_of(whole.pid);
    assert_eq!(event["EventType"], "connect");
    assert!(event.get("DstHost").is_none() && event.get("NetFamily").is_none(), "{event}");
    assert_eq!((root.counter("LinesTorn"), root.counter("EventsIncomplete")), (2, 1));
    let next = Records::connect(3);
    world.auditd.send(next.text());
    root.wait_for_event_of(next.pid);
    assert!(root.event_of(torn.pid).is_err());
}

#[test]
fn only_our_key_makes_an_event() {
    let Some(mut world) = World::start("key = 'ours'") else { return };
    let with_key = |key: &str| Records::connect(1).key(key);
    let foreign = [with_key("opensnitch"), with_key("our"), with_key("ours2"), with_key("(null)")];
    let mut named = with_key("other");
    named.comm = "x".to_owned();
    let several = with_key("other").text().replace("key=\"other\"", "key=6F74686572016F757273");
    let fake = named.text().replace("comm=\"x\"", "comm=6B65793D226F75727322");
    let ours = with_key("ours");
    let text: String = foreign.iter().map(Records::text).collect();
    world.auditd.send(format!("{text}{fake}{several}{}", ours.text()));
    let root = world.root();
    root.wait_for_event_of(ours.pid);
    assert_eq!((root.counter("EventsMatched"), root.counter("EventsAssembled")), (2, 7));
    assert_eq!(root.events()[1]["Keys"], serde_json::json!(["other", "ours"]));
}
