//! `opensnitch-auditctl`, as people and scripts meet it.

mod decode;
mod diagnose;
mod picture;

mod screens;
mod shells;
mod top;
mod watch;

use std::process::Command;

use serde_json::Value;

use crate::support::{AUDIT_GROUP, PrivateBus, Records, User, World};

/// What a run of it came to.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    /// Standard output.
    text: String,
    /// Standard error.
    said: String,
}

impl Run {
    /// An object a line.
    fn objects(&self) -> Vec<Value> {
        self.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), text: text(output.stdout), said: text(output.stderr) }
    }
}

/// The program, run by this user, where the test's own users are known.
fn command(bus: &PrivateBus, user: User, arguments: &[&str]) -> Command {
    let mut command = bus.namespace().command("setpriv");
    let uid = user.uid().to_string();
    command.args(["--reuid", &uid, "--regid", &uid]);
    match user {
        User::Member => command.arg(format!("--groups={AUDIT_GROUP}")),
        _ => command.arg("--clear-groups"),
    };
    command.arg(env!("CARGO_BIN_EXE_opensnitch-auditctl")).args(arguments);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", bus.address()).env("TZ", "UTC").env_remove("COLUMNS").env_remove("NO_COLOR");
    command
}

fn run(bus: &PrivateBus, user: User, arguments: &[&str]) -> Run {
    Run::of(&mut command(bus, user, arguments))
}

#[test]
fn it_tells_what_the_bus_tells() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let all: Vec<Records> = (1..=5).map(|port| Records::connect(port).uid(User::Alice.uid())).collect();
    let bobs = Records::socket().uid(User::Bob.uid());
    for records in all.iter().chain([&bobs]) {
        world.auditd.send(records.text());
    }
    root.wait_for_event_of(bobs.pid);
    for user in [User::Root, User::Alice, User::Bob, User::Member] {
        let list = run(&world.bus, user, &["--json", "list"]);
        assert_eq!((list.code, list.objects()), (Some(0), world.client(user).events()), "{user:?}");
    }
    let client = world.client(User::Alice);
    let (pid, port) = (all[2].pid.to_string(), "3");
    for arguments in [
        &["--json", "show", &pid][..],
        &["--json", "find", "--port", port],
        &["--json", "list", "--pid", &pid],
        &["--json", "find", "--pid", &pid, "--limit", "1"],
    ] {
        let objects = run(&world.bus, User::Alice, arguments).objects();
        assert_eq!(objects, [client.event_of(all[2].pid).unwrap()], "{arguments:?}");
    }
    let status = run(&world.bus, User::Root, &["--json", "status"]).objects();
    assert_eq!((&status[0]["Connected"], &status[0]["Statistics"]["EventsMatched"]), (&true.into(), &6.into()));
    assert_eq!(status[0]["Statistics"]["OldestEvent"], client.event_of(all[0].pid).unwrap()["Timestamp"]);
    let status = run(&world.bus, User::Root, &["--utc", "status"]).text;
    assert!(status.contains("Remembered: 6 events, back to 20"), "{status}");
}

#[test]
fn a_failure_is_a_sentence_and_a_code() {
    let Some(mut world) = World::start("") else { return };
    let bobs = Records::connect(1).uid(User::Bob.uid());
    world.auditd.send(bobs.text());
    world.root().wait_for_event_of(bobs.pid);
    let pid = bobs.pid.to_string();
    let table: [(&[&str], i32, &str); 11] = [
        (&["list"], 3, "no event that you may see is known"),
        (&["list", "--exe", "curl"], 3, "no event that you may see matches"),
        (&["find", "--port", "9"], 3, "no event that you may see matches"),
        (&["show", &pid], 4, "no such event of your own is known"),
        (&["owner", "tcp", "127.0.0.1:1", "127.0.0.1:2"], 4, "no such event of your own is known"),
        (&["owner", "tcp", "127.0.0.1:1"], 2, "a connection has two addresses with ports"),
        (&["find", "--family", "ipv4"], 2, "it is one of unspec, local, inet"),
        (&["find", "--columns", "colour"], 2, "possible values: time, type, pid"),
        (&["rules", "add"], 4, "the audit rules stay as they are"),
        (&["rules", "list", "--config", "/no/such/file"], 1, "/no/such/file"),
        (&["decode", "/no/such/file"], 1, "/no/such/file"),
    ];
    for (arguments, code, message) in table {
        let run = run(&world.bus, User::Alice, arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {run:?}");
        assert!(run.text.is_empty() && run.said.contains(message), "{arguments:?}: {run:?}");
    }
    drop(world.daemon);
    for arguments in [&["list"][..], &["show", "1"], &["watch"], &["status"]] {
        let run = run(&world.bus, User::Root, arguments);
        assert!(run.code == Some(5) && run.said.contains("the service is not running"), "{arguments:?}: {run:?}");
        assert!(run.text.is_empty(), "{run:?}");
    }
    world.bus.kill();
    let run = run(&world.bus, User::Root, &["list"]);
    assert!(run.code == Some(6) && run.said.contains("the system bus cannot be reached"), "{run:?}");
}

#[test]
fn every_command_takes_the_same_filters() {
    let Some(mut world) = World::start("") else { return };
    let web = Records::connect(443).uid(User::Alice.uid()).exe("/usr/bin/curl").at(1_795_344_000_000);
    let name = Records::connect(53).exe("/usr/sbin/unbound").at(1_795_345_000_000);
    let socket = Records::socket().exe("/usr/bin/curl").at(1_795_346_000_000);
    let all = [&web, &name, &socket];
    for records in all {
        world.auditd.send(records.text());
    }
    world.root().wait_for_event_of(socket.pid);
    let table: [(&[&str], &[&Records]); 12] = [
        (&[], &all),
        (&["--exe", "curl"], &[&web, &socket]),
        (&["--exe", "/usr/bin/*", "--type", "connect"], &[&web]),
        (&["--user", "alice"], &[&web]),
        (&["--user", "0", "--type", "connect,socket"], &[&name, &socket]),
        (&["--host", "127.0.0.0/8", "--port", "53"], &[&name]),
        (&["--host", "[::ffff:127.0.0.1]"], &[&web, &name]),
        (&["--host", "localhost"], &[&web, &name]),
        (&["--since", "2026-11-22 10:56"], &[&name, &socket]),
        (&["--until", "2026-11-22T10:40:00Z"], &[&web]),
        (&["--family", "inet", "--outcome", "success"], &all),
        (&["--parent", "1"], &all),
    ];
    for (filters, expected) in table {
        let mut expected: Vec<u32> = expected.iter().map(|records| records.pid).collect();
        for before in ["list", "find"] {
            let run = run(&world.bus, User::Root, &[&["--json", before, "--sort", "pid"], filters].concat());
            let pids: Vec<u32> = run.objects().iter().map(|event| event["Pid"].as_u64().unwrap() as u32).collect();
            expected.sort_unstable();
            assert_eq!(pids, expected, "{before} {filters:?}: {}", run.said);
            assert_eq!(run.said.contains("localhost is "), filters.contains(&"localhost"), "{}", run.said);
        }
        for records in all {
            let pid = records.pid.to_string();
            let run = run(&world.bus, User::Root, &[&["--json", "show", &pid], filters].concat());
            assert_eq!(run.objects().len(), usize::from(expected.contains(&records.pid)), "{pid} {filters:?}: {run:?}");
        }
    }
    let sorted = |arguments: &[&str]| {
        let run = run(&world.bus, User::Root, arguments);
        run.text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let columns = ["--no-legend", "--columns", "program", "find"];
    let programs = ["/usr/bin/curl", "/usr/bin/curl", "/usr/sbin/unbound"];
    assert_eq!(sorted(&[&columns[..], &["--sort", "program"]].concat()), programs);
    assert_eq!(sorted(&[&columns[..], &["--reverse"]].concat())[..2], ["/usr/bin/curl", "/usr/sbin/unbound"]);
}

#[test]
fn rows_that_are_hidden_are_said_to_be() {
    let Some(mut world) = World::start("") else { return };
    let own = Records::connect(1).uid(User::Alice.uid());
    let others = [Records::connect(2), Records::connect(3)];
    for records in others.iter().chain([&own]) {
        world.auditd.send(records.text());
    }
    world.root().wait_for_event_of(own.pid);
    let table: [(User, &[&str], &str); 6] = [
        (User::Alice, &["list"], "opensnitch-auditctl: rows of other users are hidden: 'pkexec "),
        (User::Alice, &["find"], "opensnitch-auditctl: rows of other users are hidden: 'pkexec "),
        (User::Alice, &["find", "--port", "1"], "opensnitch-auditctl: rows of other users are hidden: 'pkexec "),
        (User::Alice, &["list", "--no-legend"], ""),
        (User::Member, &["list"], ""),
        (User::Root, &["find"], ""),
    ];
    for (user, arguments, said) in table {
        let run = run(&world.bus, user, arguments);
        assert_eq!(run.code, Some(0));
        assert!(run.said.contains(said) && run.said.is_empty() == said.is_empty(), "{user:?} {arguments:?}: {run:?}");
    }
}
