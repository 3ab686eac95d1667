//! What was, and how it is found again.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{CallError, Client, INVALID, Key, NOT_FOUND, Process, Records, User, World, eventually};

fn sequences(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["Sequence"].as_u64().unwrap()).collect()
}

/// The ports of what is found, the newest first.
#[track_caller]
fn ports(client: &Client, query: &[Key<'_>]) -> Vec<u64> {
    let rows = client.find(query).unwrap().0;
    rows.iter().map(|row| row["DstPort"].as_u64().unwrap()).collect()
}

#[test]
fn every_connection_of_a_process_is_found() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let one = Records::connect(1);
    let all: Vec<Records> = (1..=200).map(|port| Records::connect(port).pid(one.pid)).collect();
    world.auditd.send(all.iter().map(Records::text).collect::<String>());
    root.wait_for_counter("EventsMatched", 200);
    let pid = one.pid.to_string();
    for (port, records) in (1..=200_u16).zip(&all) {
        let rows = root.find(&[("DstPort", "q", &port.to_string())]).unwrap().0;
        let told = rows.iter().map(|row| json!([row["Pid"], row["DstPort"], row["Serial"], row["Count"]]));
        assert_eq!(told.collect::<Vec<_>>(), [json!([one.pid, port, records.serial, 1])]);
    }
    let newest_first: Vec<u64> = (1..=200).rev().collect();
    assert_eq!(ports(&root, &[("Pid", "u", &pid), ("Limit", "u", "1000")]), newest_first);
    // Among the newest they are one.
    let newest = root.events();
    assert_eq!((newest.len(), &newest[0]["DstPort"], &newest[0]["Count"]), (1, &json!(200), &json!(200)));
}

#[test]
fn an_ended_process_is_found_after_ten_thousand_events_of_others() {
    let Some(mut world) = World::start("max_events = 100") else { return };
    let root = world.root();
    let ended = Records::connect(443).uid(User::Alice.uid());
    world.auditd.send(ended.text());
    // Others of the same user, so that no share protects it.
    for _ in 0..100 {
        let others: String = (0..100).map(|_| Records::connect(80).uid(User::Alice.uid()).text()).collect();
        world.auditd.send(others);
    }
    root.wait_for_counter("EventsMatched", 10_001);
    assert_eq!((root.counter("EventsCached"), root.counter("EventsRemembered")), (100, 10_001));
    for user in [User::Root, User::Member, User::Alice] {
        let client = world.client(user);
        let event = client.event_of(ended.pid).unwrap();
        assert_eq!((&event["DstPort"], &event["Running"]), (&json!(443), &json!(false)), "{user:?}");
        assert_eq!(ports(&client, &[("DstPort", "q", "443")]), [443], "{user:?}");
    }
    assert_eq!(world.client(User::Bob).event_of(ended.pid).unwrap_err().name, NOT_FOUND);
}

#[test]
fn what_happened_is_found_by_every_key_of_the_history() {
    const APP: &str =
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-org.example.Reader-77.scope\n";
    let process = Process::start();
    let place = format!("/proc/{}/cgroup", process.pid());
    let Some(mut world) = World::start_where("", |folder, namespace| {
        let cgroup = folder.join("cgroup");
        fs::write(&cgroup, APP).unwrap();
        namespace.with(&cgroup, &place)
    }) else {
        return;
    };
    let root = world.root();
    let to = |address: &str, port: u16| Records::connect6(address.parse::<Ipv6Addr>().unwrap(), port, 0);
    // Each has a port of its own, and is told by it.
    let login = Records::connect(2).exe("/usr/bin/login");
    let refused = Records::connect(3).exe("/usr/bin/deep/refused");
    let begun = Records::connect(4).exe("/usr/binary");
    let changed = |records: &Records, old: &str, new: &str| {
        assert!(records.text().contains(old));
        records.text().replace(old, new)
    };
    // The socket call tells the connect's protocol: of the same process and descriptor.
    let udp = Records::connect(5);
    let made = Records::socket().pid(udp.pid);
    let texts = [
        Records::connect(1).pid(process.pid()).text(),
        changed(&login, "auid=4294967295", "auid=60001"),
        changed(&refused, "success=yes exit=0", "success=no exit=-111"),
        changed(&begun, "success=yes exit=0", "success=no exit=-115"),
        changed(&made, "exit=0 a0=2 a1=0 a2=10", "exit=2 a0=2 a1=2 a2=11"),
        udp.text(),
        to("2001:db8::1", 6).text(),
        to("2001:db8:1::1", 7).text(),
        to("::ffff:127.0.0.1", 8).text(),
        to("::ffff:192.0.2.200", 9).text(),
        Records::connect(10).at(udp.time + 3_600_000).text(),
    ];
    world.auditd.send(texts.concat());
    eventually("an application", || {
        (!root.find(&[("App", "s", "org.example.Reader")]).unwrap().0.is_empty()).then_some(())
    });
    root.wait_for_counter("EventsRemembered", 11);
    let microseconds = |milliseconds: u64| (milliseconds * 1000).to_string();
    let (hour, day) = (microseconds(udp.time + 3_600_000), microseconds(udp.time + 86_400_000));
    let before = microseconds(udp.time + 3_599_999);
    let table: [(&[Key<'_>], &[u64]); 30] = [
        (&[("App", "s", "org.example.Reader")], &[1]),
        (&[("App", "s", "org.example")], &[]),
        (&[("AuditUid", "u", "60001")], &[2]),
        (&[("AuditUid", "u", "4294967295")], &[]),
        (&[("Outcome", "s", "failure")], &[3]),
        (&[("Outcome", "s", "in-progress")], &[4]),
        (&[("Outcome", "s", "success"), ("ProcPath", "s", "/usr/bin/login")], &[2]),
        (&[("Protocol", "s", "udp"), ("EventType", "s", "connect")], &[5]),
        (&[("Protocol", "s", "tcp")], &[]),
        (&[("ProcPath", "s", "/usr/bin/*"), ("Outcome", "s", "failure")], &[3]),
        (&[("ProcPath", "s", "/usr/bin/deep/*")], &[3]),
        (&[("ProcPath", "s", "/usr/bin/log*")], &[]),
        (&[("ProcPath", "s", "/usr/*"), ("Outcome", "s", "in-progress")], &[4]),
        (&[("ProcPath", "s", "/usr/bin/*"), ("Outcome", "s", "in-progress")], &[]),
        (&[("DstHost", "s", "2001:db8::/32")], &[7, 6]),
        (&[("DstHost", "s", "2001:db8::/48")], &[6]),
        (&[("DstHost", "s", "2001:db8::1")], &[6]),
        (&[("DstHost", "s", "192.0.2.0/24")], &[9]),
        (&[("DstHost", "s", "192.0.2.0/25")], &[]),
        (&[("DstHost", "s", "::ffff:192.0.2.0/120")], &[9]),
        (&[("DstHost", "s", "192.0.2.200")], &[9]),
        (&[("DstHost", "s", "127.0.0.1")], &[10, 8, 5, 4, 3, 2, 1]),
        (&[("DstHost", "s", "::ffff:127.0.0.1")], &[10, 8, 5, 4, 3, 2, 1]),
        (&[("DstHost", "s", "127.0.0.0/8"), ("Limit", "u", "2")], &[10, 8]),
        (
            &[("DstHost", "s", "::/0"), ("Since", "t", "0"), ("Until", "t", &before), ("NetFamily", "s", "inet6")],
            &[9, 8, 7, 6],
        ),
        (&[("Since", "t", &hour)], &[10]),
        (&[("Since", "t", &hour), ("Until", "t", &hour)], &[10]),
        (&[("Since", "t", &day)], &[]),
        (&[("Since", "t", &day), ("Until", "t", "0")], &[]),
        (&[("Until", "t", &before), ("EventType", "s", "connect"), ("UID", "u", "0"), ("Limit", "u", "1")], &[9]),
    ];
    for (query, expected) in table {
        assert_eq!(ports(&root, query), expected, "{query:?}");
    }
    let of_types = |types: &[&str]| {
        let count = types.len().to_string();
        let arguments = [&["a{sv}", "1", "EventType", "as", &count][..], types].concat();
        root.call("FindEvents", &arguments).unwrap()[0].as_array().unwrap().len()
    };
    assert_eq!(of_types(&["socket"]), 1);
    assert_eq!(of_types(&["connect"]), 10);
    assert_eq!(of_types(&["socket", "connect", "socket"]), 11);
    assert_eq!(of_types(&["bind", "execve", "send", "accept", "socketpair"]), 0);
}

#[test]
fn a_value_that_makes_no_sense_is_named() {
    let Some(world) = World::start("") else { return };
    let long = "y".repeat(10_000);
    let table: [(Key<'_>, &str); 12] = [
        (("DstHost", "s", "192.0.2.0/33"), "192.0.2.0/33"),
        (("DstHost", "s", "::ffff:192.0.2.0/129"), "/129"),
        (("DstHost", "s", "192.0.2.0/-1"), "/-1"),
        (("DstHost", "s", "192.0.2"), "192.0.2"),
        (("DstHost", "s", "fe80::1%eth0"), "%eth0"),
        (("DstHost", "s", &long), "yyy"),
        (("EventType", "s", "Connect"), "Connect"),
        (("EventType", "s", &long), "socketpair"),
        (("NetFamily", "s", &long), "inet6"),
        (("Outcome", "s", &long), "in-progress"),
        (("Limit", "u", "4294967295"), "1000"),
        ((&long, "s", "x"), "there are Pid"),
    ];
    for (key, named) in table {
        let CallError { name, message } = world.client(User::Alice).find(&[key]).unwrap_err();
        assert_eq!(name, INVALID, "{message}");
        assert!(message.contains(named), "{named}: {message}");
        assert!(message.matches('y').count() <= 110 && message.len() < 500, "{named}: {message}");
    }
    let types = ["a{sv}", "1", "EventType", "as", "2", "connect", "x\u{1b}[2J"];
    let CallError { name, message } = world.root().call("FindEvents", &types).unwrap_err();
    assert!(name == INVALID && message.contains("EventType") && !message.contains('\u{1b}'), "{message:?}");
}

#[test]
fn a_walk_gives_every_row_once_while_others_arrive() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let all: Vec<Records> = (0..1000).map(|_| Records::connect(80)).collect();
    world.auditd.send(all.iter().map(Records::text).collect::<String>());
    root.wait_for_counter("EventsRemembered", 1000);
    let expected: Vec<u64> = (1..=1000).rev().collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let World { auditd, .. } = &mut world;
        let stop = &is_over;
        scope.spawn(move || {
            // Fewer than the history holds beside the others.
            for _ in 0..60_000 {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                auditd.send(Records::connect(80).text());
                sleep(Duration::from_millis(2));
            }
        });
        let host = [("DstHost", "s", "127.0.0.1")];
        let prefix = [("DstHost", "s", "127.0.0.0/8")];
        for (limit, query) in [(100, &[][..]), (99, &host), (270, &prefix)] {
            let before = root.counter("EventsRemembered");
            let found = sequences(&root.walk(query, limit, || ()));
            let old: Vec<u64> = found.iter().copied().filter(|sequence| *sequence <= 1000).collect();
            assert_eq!(old, expected, "{limit}");
            assert!(found.is_sorted_by(|newer, older| newer > older), "{limit}");
            assert!(root.counter("EventsRemembered") > before, "others arrived");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_walk_through_what_is_being_forgotten_gives_no_row_twice() {
    let Some(mut world) = World::start("history = 500") else { return };
    let root = world.root();
    let one = Records::connect(80);
    let burst = |count: usize| (0..count).map(|_| one.again().text()).collect::<String>();
    world.auditd.send(burst(600));
    root.wait_for_counter("EventsMatched", 600);
    let pid = one.pid.to_string();
    let mut matched = 600;
    for query in [&[][..], &[("Pid", "u", &*pid)], &[("DstHost", "s", "127.0.0.1")]] {
        let newest = matched;
        let found = sequences(&root.walk(query, 50, || {
            world.auditd.send(burst(90));
            matched += 90;
            root.wait_for_counter("EventsMatched", matched);
        }));
        // A page of 50, then 90 go: after three more pages, 320 are forgotten and 200 were seen.
        assert_eq!(found, (newest - 199..=newest).rev().collect::<Vec<_>>(), "{query:?}");
    }
}

#[test]
fn a_small_history_forgets_the_oldest_and_counts_them() {
    let Some(mut world) = World::start("history = 10\nmax_events = 5") else { return };
    let root = world.root();
    let all: Vec<Records> = (1..=25).map(Records::connect).collect();
    world.auditd.send(all.iter().map(Records::text).collect::<String>());
    root.wait_for_counter("EventsMatched", 25);
    let counters =
        ["EventsRemembered", "EventsForgotten", "EventsCached", "EventsEvicted"].map(|name| root.counter(name));
    assert_eq!(counters, [10, 15, 5, 20]);
    assert_eq!(ports(&root, &[]), (16..=25).rev().collect::<Vec<_>>());
    for (records, port) in all.iter().zip(1..) {
        match root.event_of(records.pid) {
            Ok(event) => assert!(port > 15 && event["DstPort"] == port, "{port}"),
            Err(error) => assert!(port <= 15 && error.name == NOT_FOUND, "{port}"),
        }
    }
    assert_eq!(root.find(&[("DstPort", "q", "15")]).unwrap(), (Vec::new(), 0));
}

#[test]
fn a_flood_of_one_user_pushes_out_nobody_elses_rows() {
    let Some(mut world) = World::start("history = 1000\nmax_events = 300") else { return };
    let root = world.root();
    let of = |user: User, port: u16| Records::connect(port).uid(user.uid());
    let own: Vec<u64> = (1..=100).rev().collect();
    for user in [User::Alice, User::Member] {
        world.auditd.send((1..=100).map(|port| of(user, port).text()).collect::<String>());
    }
    for _ in 0..30 {
        world.auditd.send((0..100).map(|_| of(User::Bob, 666).text()).collect::<String>());
    }
    root.wait_for_counter("EventsMatched", 3200);
    assert_eq!((root.counter("EventsRemembered"), root.counter("EventsForgotten")), (1000, 2200));
    for user in [User::Alice, User::Member] {
        let query: [Key<'_>; 2] = [("UID", "u", &user.uid().to_string()), ("Limit", "u", "1000")];
        assert_eq!(ports(&root, &query), own, "{user:?}");
    }
    // Among the newest too: the flood gives way to itself.
    let newest = root.events();
    let pids: BTreeSet<u64> = newest.iter().map(|row| row["Pid"].as_u64().unwrap()).collect();
    let bobs = newest.iter().filter(|row| row["UID"] == User::Bob.uid()).count();
    assert_eq!((newest.len(), pids.len(), bobs), (300, 300, 100));
}
