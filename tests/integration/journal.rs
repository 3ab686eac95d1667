//! Events as entries of the journal.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use crate::support::{Namespace, Records, World};

/// In journald's place: a socket. What the service finds as `/run` is a folder of the test's own.
fn with_run(folder: &Path, namespace: Namespace) -> Namespace {
    fs::create_dir_all(folder.join("run/systemd/journal")).unwrap();
    namespace.with(&folder.join("run"), "/run")
}

fn listen(folder: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(folder.join("run/systemd/journal/socket")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

/// The next entry, as text.
fn next(journald: &UnixDatagram) -> String {
    let mut buffer = vec![0; 256 * 1024];
    let length = journald.recv(&mut buffer).expect("an entry");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn start(config: &str) -> Option<(World, UnixDatagram)> {
    let mut journald = None;
    let world = World::start_where(config, |folder, namespace| {
        let namespace = with_run(folder, namespace);
        journald = Some(listen(folder));
        namespace
    })?;
    Some((world, journald?))
}

#[test]
fn each_event_is_an_entry_where_it_is_wanted() {
    let Some((mut world, journald)) = start("journal = true") else { return };
    let ports: Vec<u16> = (1..=300).collect();
    let all: Vec<Records> = ports.iter().map(|port| Records::connect(*port)).collect();
    // More than a socket takes that nobody reads: the service waits for journald, and nobody for the service.
    let text: String = all.iter().map(Records::text).collect();
    world.auditd.send(text);
    let root = world.root();
    root.wait_for_counter("EventsMatched", 300);
    for (port, records) in ports.iter().zip(&all) {
        let entry = next(&journald);
        let lines: Vec<&str> = entry.lines().collect();
        for field in [
            &format!("OSA_DST_PORT={port}"),
            &format!("OSA_PID={}", records.pid),
            "OSA_TYPE=connect",
            "OSA_EXE=/usr/bin/client",
            "OSA_DST=127.0.0.1",
            "OSA_KEY=opensnitch",
            "SYSLOG_IDENTIFIER=opensnitch-audit",
            &format!("MESSAGE=connect /usr/bin/client[{}] 127.0.0.1:{port} (success)", records.pid),
        ] {
            assert!(lines.contains(&field), "{field}: {entry}");
        }
    }
    root.wait_for_counter("JournalSent", 300);
    assert_eq!(root.counter("JournalLost"), 0);
}

#[test]
fn a_program_writes_no_field_with_its_name() {
    let Some((mut world, journald)) = start("journal = true") else { return };
    let mut records = Records::connect(1);
    records.comm = "X".to_owned();
    let hostile: String = b"x\nOSA_UID=7\n".iter().map(|byte| format!("{byte:02X}")).collect();
    world.auditd.send(records.text().replace("comm=\"X\"", &format!("comm={hostile}")));
    let entry = next(&journald);
    // It is there, with its length before it.
    assert!(entry.contains("OSA_COMM\n\u{c}\0\0\0\0\0\0\0x\nOSA_UID=7\n\n"), "{entry:?}");
    assert_eq!(entry.lines().filter(|line| line.starts_with("OSA_UID=")).count(), 2, "its own, and the name's");
}

#[test]
fn without_a_journald_events_are_counted_and_nothing_else_happens() {
    let Some(mut world) = World::start_where("journal = true", with_run) else { return };
    let root = world.root();
    for records in [Records::connect(1), Records::connect(2)] {
        world.auditd.send(records.text());
        root.wait_for_event_of(records.pid);
    }
    root.wait_for_counter("JournalLost", 2);
    assert_eq!(world.daemon.log().matches("do not reach the journal").count(), 1, "{}", world.daemon.log());
    // It is back.
    let journald = listen(world.bus.folder());
    world.auditd.send(Records::connect(3).text());
    assert!(next(&journald).contains("OSA_DST_PORT=3\n"));
    root.wait_for_counter("JournalSent", 1);
}

#[test]
fn unless_it_is_wanted_nothing_is_written() {
    let Some((mut world, journald)) = start("") else { return };
    let records = Records::connect(1);
    world.auditd.send(records.text());
    let root = world.root();
    root.wait_for_event_of(records.pid);
    root.wait_for_counter("SignalsSent", 1);
    assert_eq!((root.counter("JournalSent"), root.counter("JournalLost")), (0, 0));
    journald.set_nonblocking(true).unwrap();
    assert!(journald.recv(&mut [0; 16]).is_err());
}
