//! What an event says, by its records: the parts without the bus.

use serde_json::{Value, json};

use crate::support::corpus::decode;

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
            json!({
                "EventType": "socket", "NetFamily": "inet6", "SocketType": "stream", "Protocol": "tcp", "Syscall": 102,
                "SyscallName": "socketcall", "Arch": "i386",
            }),
        ),
        (
            &["SYSCALL arch=80000016 syscall=102 a0=3 key=\"opensnitch\"", "SOCKETCALL nargs=3 a0=3", BIG],
            json!({
                "EventType": "connect", "Fd": 3, "NetFamily": "inet", "DstHost": "127.0.0.2", "DstPort": 80, "Syscall": 102,
                "SyscallName": "socketcall", "Arch": "s390x",
            }),
        ),
        (
            &["SYSCALL arch=40000003 syscall=102 a0=5 key=\"opensnitch\""],
            json!({"EventType": "accept", "Syscall": 102, "SyscallName": "socketcall", "Arch": "i386"}),
        ),
        (
            &["SYSCALL arch=c000003e syscall=44 key=\"opensnitch\"", LITTLE],
            json!({
                "EventType": "send", "NetFamily": "inet", "DstHost": "127.0.0.2", "DstPort": 80, "Syscall": 44, "SyscallName": "sendto",
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
