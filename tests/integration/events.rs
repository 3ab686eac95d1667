//! Records become events, and events entries: the parts without the bus.

use std::sync::Arc;
use std::time::Duration;

use opensnitch_audit::dbus::{Limits, Outgoing, Seen, Signals};
use opensnitch_audit::event::{Assembler, Event, MAX_AGE, MAX_OPEN_EVENTS};
use opensnitch_audit::process::{Cache, MAX_CACHE_BYTES, MAX_IDLE};
use serde_json::{Value, json};

use crate::support::Records;
use crate::support::corpus::decode;

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The one event that these records are; each is `NAME FIELDS`.
fn event(records: &[&str]) -> Value {
    let line = |record: &&str| {
        let (name, fields) = record.split_once(' ').unwrap_or((record, ""));
        format!("type={name} msg=audit(1.000:1): {fields}\n")
    };
    let text: String = records.iter().chain(&["EOE"]).map(line).collect();
    let (mut events, anomalies) = decode(text.as_bytes(), "opensnitch");
    assert_eq!((events.len(), anomalies.as_str()), (1, ""), "{text}");
    events.remove(0)
}

#[test]
fn the_records_own_architecture_says_what_was_called() {
    const LITTLE: &str = "SOCKADDR saddr=020000507F0000020000000000000000";
    const BIG: &str = "SOCKADDR saddr=000200507F0000020000000000000000";
    let connects = [
        ("c000003e", 42, "x86_64", LITTLE),
        ("40000003", 362, "i386", LITTLE),
        ("40000028", 283, "arm", LITTLE),
        ("c00000b7", 203, "aarch64", LITTLE),
        ("c00000f3", 203, "riscv64", LITTLE),
        ("80000016", 362, "s390x", BIG),
    ];
    for (arch, number, name, saddr) in connects {
        let call = format!("SYSCALL arch={arch} syscall={number} success=yes exit=0 a0=3 pid=7 key=\"opensnitch\"");
        let event = event(&[&call, saddr]);
        let found = ["Arch", "EventType", "NetFamily", "DstHost", "DstPort"].map(|key| event[key].clone());
        assert_eq!(found, [json!(name), json!("connect"), json!("inet"), json!("127.0.0.2"), json!(80)], "{name}");
    }
    let others: &[(&[&str], Value)] = &[
        (
            &["SYSCALL arch=40000003 syscall=102 a0=1 key=\"opensnitch\"", "SOCKETCALL nargs=3 a0=a a1=1 a2=0"],
            json!({"EventType": "socket", "NetFamily": "inet6", "Syscall": 102, "SyscallName": "socketcall", "Arch": "i386"}),
        ),
        (
            &["SYSCALL arch=80000016 syscall=102 a0=3 key=\"opensnitch\"", "SOCKETCALL nargs=3 a0=3", BIG],
            json!({
                "EventType": "connect", "NetFamily": "inet", "DstHost": "127.0.0.2", "DstPort": 80, "Syscall": 102,
                "SyscallName": "socketcall", "Arch": "s390x",
            }),
        ),
        (
            &["SYSCALL arch=40000003 syscall=102 a0=5 key=\"opensnitch\""],
            json!({"Syscall": 102, "SyscallName": "socketcall", "Arch": "i386"}),
        ),
        (
            &["SYSCALL arch=c000003e syscall=44 key=\"opensnitch\"", LITTLE],
            json!({
                "NetFamily": "inet", "DstHost": "127.0.0.2", "DstPort": 80, "Syscall": 44, "SyscallName": "sendto",
                "Arch": "x86_64",
            }),
        ),
        (&["SYSCALL arch=c0000099 syscall=42 a0=2 key=\"opensnitch\""], json!({"Syscall": 42, "Arch": "c0000099"})),
        (
            &["SYSCALL arch=c000003e syscall=53 a0=1 key=\"opensnitch\""],
            json!({"EventType": "socketpair", "NetFamily": "local", "Syscall": 53, "SyscallName": "socketpair", "Arch": "x86_64"}),
        ),
        (
            &["SYSCALL arch=c000003e syscall=322 key=\"opensnitch\"", "EXECVE argc=1 a0=\"x\""],
            json!({
                "EventType": "execve", "Syscall": 322, "SyscallName": "execveat", "Arch": "x86_64", "Args": ["x"],
                "ProcCmdLine": "x",
            }),
        ),
    ];
    for (records, expected) in others {
        let mut found = event(records);
        for key in ["Timestamp", "Serial", "Keys"] {
            assert!(found.as_object_mut().unwrap().remove(key).is_some());
        }
        assert_eq!(found, *expected, "{records:?}");
    }
}

#[test]
fn a_connect_through_the_ring_is_told_by_its_last_record() {
    let op = |result: &str| {
        format!("URINGOP uring_op=16 {result} ppid=1 pid=7 uid=9 gid=9 euid=9 egid=9 key=\"opensnitch\"")
    };
    let call = "SYSCALL arch=c000003e syscall=426 success=yes exit=1 pid=7 uid=9 comm=\"x\" key=(null)";
    let saddr = "SOCKADDR saddr=020000507F000001";
    let tried_again = event(&[&op("success=no exit=-11"), &op("success=no exit=-115"), call, saddr]);
    let expected = [
        ("EventType", json!("connect")),
        ("Success", json!(false)),
        ("Exit", json!(-115)),
        ("Outcome", json!("in-progress")),
        ("Syscall", json!(426)),
        ("SyscallName", json!("io_uring_enter")),
        ("ProcName", json!("x")),
        ("DstPort", json!(80)),
        ("Keys", json!(["opensnitch"])),
    ];
    for (key, value) in expected {
        assert_eq!(tried_again[key], value, "{key}");
    }
    // From a polling thread of the kernel's there is no SYSCALL.
    let alone = event(&[&op("success=yes exit=0"), saddr]);
    assert_eq!(
        (&alone["EventType"], &alone["Pid"], &alone["UID"], &alone["Outcome"]),
        (&json!("connect"), &json!(7), &json!(9), &json!("success"))
    );
    for unknown in ["Syscall", "Arch", "ProcName", "ProcPath", "Args", "TTY"] {
        assert!(alone.get(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn how_it_ended_is_told_as_far_as_it_is_known() {
    let table = [
        ("success=yes exit=3", json!(["success", null, 3, true])),
        ("success=no exit=-115", json!(["in-progress", null, -115, false])),
        ("success=no exit=-111", json!(["failure", "ECONNREFUSED", -111, false])),
        ("success=no exit=-11", json!(["failure", "EAGAIN", -11, false])),
        ("success=no exit=-4095", json!(["failure", null, -4095, false])),
        ("success=no", json!(["failure", null, null, false])),
        ("exit=-13", json!([null, null, -13, null])),
        ("", json!([null, null, null, null])),
    ];
    for (fields, expected) in table {
        let event = event(&[&format!("SYSCALL arch=c000003e syscall=42 {fields} pid=1 key=\"opensnitch\"")]);
        assert_eq!(json!([event["Outcome"], event["Error"], event["Exit"], event["Success"]]), expected, "{fields}");
    }
}

/// Hands the lines to the assembler and returns what it finished.
fn push(assembler: &mut Assembler, text: &str, now: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    for line in text.lines() {
        assembler.push(line.as_bytes(), now, &mut |event| events.push(event));
    }
    events
}

fn expire(assembler: &mut Assembler, now: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    assembler.expire(now, &mut |event| events.push(event));
    events
}

#[test]
fn an_event_waits_for_its_end_and_no_longer() {
    let mut assembler = Assembler::new("opensnitch", false);
    let start = milliseconds(5000);
    let (first, second) = (Records::connect(1), Records::connect(2));
    assert_eq!(assembler.deadline(), None);
    assert!(push(&mut assembler, &first.unfinished(), start).is_empty());
    assert!(push(&mut assembler, &second.unfinished(), start + milliseconds(500)).is_empty());
    assert_eq!(assembler.deadline(), Some(start + MAX_AGE));
    assert!(expire(&mut assembler, start + MAX_AGE - milliseconds(1)).is_empty());
    let pids = |events: &[Event]| events.iter().map(|event| event.subject.pid.unwrap()).collect::<Vec<_>>();
    assert_eq!(pids(&expire(&mut assembler, start + MAX_AGE)), [first.pid]);
    // What comes now is late; the other one still gets its own.
    let counts = assembler.counts();
    assert!(push(&mut assembler, &first.unfinished(), start + MAX_AGE).is_empty());
    assert_eq!(assembler.counts().late, counts.late + 4);
    assert_eq!(pids(&push(&mut assembler, second.lines().last().unwrap(), start + MAX_AGE)), [second.pid]);
    assert_eq!(assembler.deadline(), None);
    assert_eq!((assembler.counts().matched, assembler.counts().incomplete), (2, 1));
}

#[test]
fn the_oldest_event_makes_room() {
    let mut assembler = Assembler::new("opensnitch", false);
    let all: Vec<Records> = (0..=MAX_OPEN_EVENTS).map(|_| Records::connect(1)).collect();
    for records in &all[..MAX_OPEN_EVENTS] {
        assert!(push(&mut assembler, &records.unfinished(), Duration::ZERO).is_empty());
    }
    let finished = push(&mut assembler, &all[MAX_OPEN_EVENTS].unfinished(), Duration::ZERO);
    assert_eq!(finished.iter().map(|event| event.subject.pid).collect::<Vec<_>>(), [Some(all[0].pid)]);
}

#[test]
fn machines_do_not_share_events() {
    let mut assembler = Assembler::new("opensnitch", false);
    let records = Records::connect(1);
    let from =
        |node: &str| -> Vec<String> { records.lines().iter().map(|line| format!("node={node} {line}")).collect() };
    let mixed: Vec<String> = from("a").into_iter().zip(from("b")).flat_map(|(a, b)| [a, b]).collect();
    let events = push(&mut assembler, &mixed.join("\n"), Duration::ZERO);
    assert_eq!(events.iter().map(|event| event.node.as_deref().unwrap()).collect::<Vec<_>>(), [b"a", b"b"]);
    assert!(events.iter().all(|event| event.address.is_some() && event.cwd.is_some()));
}

/// The event that these records are.
fn built(records: &Records) -> Arc<Event> {
    Arc::new(push(&mut Assembler::new("opensnitch", false), &records.text(), Duration::ZERO).remove(0))
}

fn pids(cache: &Cache, before: u64, now: Duration) -> Vec<u32> {
    cache.newest_first(before, now).map(|entry| entry.event.subject.pid.unwrap()).collect()
}

#[test]
fn the_cache_keeps_the_newest_of_each_process_and_type() {
    let mut cache = Cache::new(100);
    let (a, b) = (Records::connect(1), Records::connect(2));
    let socket = Records::socket().pid(a.pid);
    let now = Duration::ZERO;
    let sequences = [&a, &b, &socket, &a].map(|records| cache.insert(built(records), now, u64::from(records.serial)));
    assert!(sequences.is_sorted_by(|one, next| one < next));
    assert_eq!(cache.len(), 3);
    assert_eq!(pids(&cache, u64::MAX, now), [a.pid, a.pid, b.pid]);
    assert_eq!(pids(&cache, sequences[3], now), [a.pid, b.pid]);
    let newest = cache.newest_of(a.pid, now).unwrap();
    assert_eq!((newest.sequence, newest.count), (sequences[3], 2));
    assert_eq!(cache.newest_of(b.pid, now).unwrap().count, 1);
    assert!(cache.newest_of(1, now).is_none());
    cache.remove_process(a.pid, Some(1));
    assert_eq!(cache.len(), 3, "that is another process");
    cache.remove_process(a.pid, None);
    assert_eq!(pids(&cache, u64::MAX, now), [b.pid]);
}

#[test]
fn the_cache_forgets_what_had_no_activity() {
    let mut cache = Cache::new(100);
    let (old, active) = (Records::connect(1), Records::connect(2));
    cache.insert(built(&old), milliseconds(0), 0);
    cache.insert(built(&active), milliseconds(0), 0);
    cache.insert(built(&active), milliseconds(1000), 0);
    let just_before = MAX_IDLE - milliseconds(1);
    cache.expire(just_before);
    assert_eq!(pids(&cache, u64::MAX, just_before), [active.pid, old.pid]);
    // It is told no longer even before it is swept.
    assert_eq!(pids(&cache, u64::MAX, MAX_IDLE), [active.pid]);
    assert!(cache.newest_of(old.pid, MAX_IDLE).is_none());
    cache.expire(MAX_IDLE);
    assert_eq!((cache.len(), cache.evicted()), (1, 0));
}

#[test]
fn the_cache_is_bounded_in_entries_and_in_bytes() {
    let mut cache = Cache::new(10);
    let all: Vec<Records> = (0..25).map(Records::connect).collect();
    for records in &all {
        cache.insert(built(records), Duration::ZERO, 0);
    }
    assert_eq!((cache.len(), cache.evicted()), (10, 15));
    assert_eq!(pids(&cache, u64::MAX, Duration::ZERO)[9], all[15].pid);
    cache.set_max_events(3);
    assert_eq!((cache.len(), cache.evicted()), (3, 22));

    let mut cache = Cache::new(65_536);
    let argument = "x".repeat(100_000);
    let most = MAX_CACHE_BYTES / argument.len();
    for _ in 0..most + 20 {
        cache.insert(built(&Records::execve(&[&argument])), Duration::ZERO, 0);
    }
    assert!((most - 5..=most).contains(&cache.len()), "{}", cache.len());
    assert_eq!(cache.evicted() as usize, most + 20 - cache.len());
}

#[test]
fn losses_are_told_at_most_once_a_second() {
    let mut signals = Signals::new(Limits { per_second: 2, coalesce: Duration::ZERO });
    let (mut sent, mut told) = (0, Vec::new());
    let mut lost = 0;
    for step in 0..3000 {
        let now = milliseconds(step);
        if step < 2500 {
            let event = built(&Records::connect(1));
            signals.push(Seen { event, process: None, sequence: step, last_seen_us: 0 }, now);
        }
        while let Some(signal) = signals.next(now) {
            match signal {
                Outgoing::EventSeen(..) => sent += 1,
                Outgoing::EventsLost(count) => told.push((step, count)),
            }
        }
        lost += signals.take_counts().0;
        signals.set_lost(lost);
    }
    // Two at once and two a second.
    assert!((6..=8).contains(&sent), "{sent}");
    assert_eq!(sent + lost, 2500);
    assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1000), "{told:?}");
    assert!(told.len() >= 3);
    let rest = signals.deadline().and_then(|deadline| signals.next(deadline));
    let rest = if let Some(Outgoing::EventsLost(count)) = rest { count } else { 0 };
    assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>() + rest, lost);
}
