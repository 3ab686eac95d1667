//! Events arrive and are answered for.

use serde_json::Value;

use crate::support::{Client, Listener, Records, User, World, eventually};

#[test]
fn an_event_arrives_and_is_told() {
    let Some(mut world) = World::start("") else { return };
    let connect = Records::connect(443);
    world.auditd.send(connect.text());
    let event = world.root().wait_for_event_of(connect.pid);
    assert_eq!(event["EventType"], "connect");
    assert_eq!(event["DstHost"], "127.0.0.1");
    assert_eq!(event["DstPort"], 443);
    assert_eq!(event["ProcPath"], "/usr/bin/client");
}

/// What `opensnitch-auditctl --json` prints for this user, an object a line, and whether it went well.
fn auditctl(client: &Client, arguments: &[&str]) -> (Vec<Value>, bool, String) {
    let mut command = client.command(env!("CARGO_BIN_EXE_opensnitch-auditctl"));
    let output = command.arg("--json").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (objects, output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn auditctl_tells_what_the_bus_tells() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let all: Vec<Records> = (1..=5).map(|port| Records::connect(port).uid(User::Alice.uid())).collect();
    let bobs = Records::socket().uid(User::Bob.uid());
    for records in all.iter().chain([&bobs]) {
        world.auditd.send(records.text());
    }
    root.wait_for_event_of(bobs.pid);
    for user in [User::Root, User::Alice, User::Bob, User::Member] {
        let client = world.client(user);
        let (rows, fine, _) = auditctl(&client, &["list"]);
        assert!(fine);
        assert_eq!(rows, client.events(), "{user:?}");
    }
    let client = world.client(User::Alice);
    let (pid, port) = (all[2].pid.to_string(), "3");
    for arguments in [&["show", &pid][..], &["find", "--port", port], &["find", "--pid", &pid, "--limit", "1"]] {
        assert_eq!(auditctl(&client, arguments).0, [client.event_of(all[2].pid).unwrap()], "{arguments:?}");
    }
    let (_, fine, message) = auditctl(&client, &["show", &bobs.pid.to_string()]);
    assert!(!fine && message.starts_with("opensnitch-auditctl: "), "{message}");
    let (status, _, _) = auditctl(&client, &["status"]);
    assert_eq!((&status[0]["Connected"], &status[0]["Statistics"]["EventsMatched"]), (&true.into(), &6.into()));
    drop(world.daemon);
    let (_, fine, message) = auditctl(&client, &["list"]);
    assert!(!fine && message.contains("not running"), "{message}");
}

#[test]
fn auditctl_watches() {
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    for user in [User::Root, User::Member] {
        let watch = Listener::watch(&world.client(user));
        eventually("an event on standard output", || {
            world.auditd.send(Records::connect(443).text());
            std::thread::sleep(std::time::Duration::from_millis(50));
            watch.has_heard("\"DstPort\":443").then_some(())
        });
    }
    let (_, fine, message) = auditctl(&world.client(User::Alice), &["watch"]);
    assert!(!fine && message.contains("not in the group opensnitch-audit"), "{message}");
}
