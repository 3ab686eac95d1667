//! A history that begins before the service did: with auditd's log.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{NOT_FOUND, Process, Records, User, World};

/// As auditd writes to disk: without EOE.
fn written(records: &[&Records]) -> String {
    records.iter().map(|records| records.unfinished()).collect()
}

/// A service that starts while this log, and this one before its rotation, lie there.
fn start(log: &str, rotated: &str) -> Option<World> {
    World::start_where("", |folder, namespace| {
        fs::write(folder.join("log/audit/audit.log"), log).unwrap();
        fs::write(folder.join("log/audit/audit.log.1"), rotated).unwrap();
        namespace
    })
}

fn ports(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["DstPort"].as_u64().unwrap()).collect()
}

#[test]
fn the_history_begins_with_the_last_hour_of_auditds_log() {
    let now = Records::connect(1);
    let minutes_ago = |port, minutes: u64| Records::connect(port).at(now.time - minutes * 60_000);
    let (ancient, old, young) = (minutes_ago(10, 90), minutes_ago(20, 50), minutes_ago(30, 10).uid(User::Alice.uid()));
    let foreign = minutes_ago(40, 5).key("another");
    // One that runs, and ran when it was written: the log does not say that it is the same.
    let process = Process::start();
    let of_process = Records::connect(50).pid(process.pid());
    let rotated = written(&[&ancient, &old]);
    let log = format!("{}garbage \u{1}\n{}type=SYSC", written(&[&young, &foreign]), written(&[&of_process]));
    let Some(mut world) = start(&log, &rotated) else { return };
    let root = world.root();
    world.auditd.send(now.text());
    root.wait_for_counter("EventsMatched", 1);
    let rows = root.find(&[]).unwrap().0;
    assert_eq!(ports(&rows), [1, 50, 30, 20]);
    let sources: Vec<&Value> = rows.iter().map(|row| &row["Source"]).collect();
    assert_eq!(sources, ["audisp", "log", "log", "log"]);
    assert_eq!(root.counter("EventsRecalled"), 3);
    // No news: no signal, and not among the newest.
    assert_eq!((root.events().len(), root.counter("SignalsSent")), (1, 1));
    for row in &rows[1..] {
        for key in ["StartTime", "Running", "Parents", "CGroup"] {
            assert!(row.get(key).is_none(), "{key}: {row}");
        }
    }
    assert_eq!(root.event_of(young.pid).unwrap()["LastSeen"], young.time * 1000);
    // Whose it is decides who may see it, as ever.
    assert_eq!(ports(&world.client(User::Alice).find(&[]).unwrap().0), [30]);
    assert_eq!(world.client(User::Bob).event_of(young.pid).unwrap_err().name, NOT_FOUND);
    // Nor is it told when somebody looks at the process: its next event is.
    let live = Records::connect(2).pid(process.pid());
    world.auditd.send(live.text());
    let event = root.wait_for_event_of(process.pid());
    assert_eq!((&event["DstPort"], &event["StartTime"]), (&json!(2), &json!(process.start_time())));
    assert!(root.find(&[("DstPort", "q", "50")]).unwrap().0[0].get("StartTime").is_none());
}

#[test]
fn what_auditd_passes_on_once_more_is_one_event() {
    let (first, second) = (Records::connect(1), Records::connect(2));
    let Some(mut world) = start(&written(&[&first]), "") else { return };
    world.auditd.send(format!("{}{}", first.text(), second.text()));
    let root = world.root();
    root.wait_for_event_of(second.pid);
    assert_eq!(ports(&root.find(&[]).unwrap().0), [2, 1]);
    assert_eq!((root.counter("EventsMatched"), root.counter("SignalsSent")), (1, 1));
}

#[test]
fn a_log_that_cannot_be_read_is_named_and_stops_nothing() {
    type Spoil = fn(&Path);
    let table: [(&str, Spoil); 4] = [
        ("belongs to user 65534", |log| chown(log, Some(65_534), None).unwrap()),
        ("there is no", |log| fs::remove_file(log).unwrap()),
        ("is no file", |log| {
            fs::remove_file(log).unwrap();
            fs::create_dir(log).unwrap();
        }),
        ("cannot be read", |log| {
            fs::remove_file(log).unwrap();
            std::os::unix::fs::symlink("audit.log", log).unwrap();
        }),
    ];
    for (said, spoil) in table {
        let world = World::start_where("", |folder, namespace| {
            let log = folder.join("log/audit/audit.log");
            fs::write(&log, written(&[&Records::connect(1)])).unwrap();
            spoil(&log);
            namespace
        });
        let Some(mut world) = world else { return };
        world.daemon.wait_for_log(said);
        world.daemon.wait_for_log("/var/log/audit/audit.log");
        let next = Records::connect(2);
        world.auditd.send(next.text());
        world.root().wait_for_event_of(next.pid);
        assert_eq!(world.root().counter("EventsRecalled"), 0, "{said}");
    }
}
