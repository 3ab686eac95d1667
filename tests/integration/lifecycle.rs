//! How the service starts, refuses to start, and stops.

use std::fs;

use rustix::process::Signal;

use crate::support::{Daemon, PrivateBus, Records, User, World, available, eventually};

#[test]
fn a_bad_configuration_stops_the_start_and_is_named() {
    if !available(&[]) {
        return;
    }
    let bus = PrivateBus::start();
    let table = [
        ("manage_rules = false\nsokket = 'auto'", "line 2", "sokket"),
        ("manage_rules = 'no'", "line 1", "manage_rules"),
        ("\n\nmax_events = 0", "line 3", "max_events"),
        ("socket = 'relative/path'", "line 1", "socket"),
        ("key = ''", "line 1", "key"),
        ("coalesce_ms = -1", "line 1", "coalesce_ms"),
        ("signals_per_second = 1\nsignals_per_second = 2", "line 2", "signals_per_second"),
        ("this is no TOML", "line 1", "this"),
    ];
    for (text, line, key) in table {
        let file = bus.folder().join("bad.toml");
        fs::write(&file, text).unwrap();
        let mut daemon = Daemon::spawn_with(&bus, &file);
        assert_eq!(daemon.wait().code(), Some(78), "{text}");
        for word in [file.to_str().unwrap(), line, key] {
            daemon.wait_for_log(word);
        }
    }
    let missing = bus.folder().join("missing.toml");
    let mut daemon = Daemon::spawn_with(&bus, &missing);
    assert_eq!(daemon.wait().code(), Some(78));
    daemon.wait_for_log(missing.to_str().unwrap());
}

#[test]
fn a_signal_stops_it_cleanly_whatever_it_is_doing() {
    for signal in [Signal::TERM, Signal::INT] {
        for busy in ["connected", "no auditd", "a flood"] {
            let Some(mut world) = World::start("") else { return };
            match busy {
                "no auditd" => {
                    world.auditd.stop();
                    world.root().wait_for_property("Connected", false);
                }
                "a flood" => (0..2000).for_each(|_| world.auditd.send(Records::connect(1).text())),
                _ => {}
            }
            world.daemon.kill(signal);
            let status = world.daemon.wait();
            assert_eq!(status.code(), Some(0), "{signal:?}, {busy}: {status}");
            assert_eq!(world.root().owner_pid("org.opensnitch.Audit"), None);
            world.daemon.wait_for_log("stopped");
        }
    }
}

#[test]
fn a_name_that_has_an_owner_is_left_to_it() {
    let Some(mut world) = World::start("") else { return };
    let mut second = Daemon::spawn(&world.bus, "");
    assert_eq!(second.wait().code(), Some(1));
    second.wait_for_log("org.opensnitch.Audit");
    second.wait_for_log("owner");
    assert_eq!(world.root().owner_pid("org.opensnitch.Audit"), Some(world.daemon.pid()));
    let connect = Records::connect(1);
    world.auditd.send(connect.text());
    world.root().wait_for_event_of(connect.pid);
}

#[test]
fn only_root_may_own_the_name() {
    let Some(world) = World::start("") else { return };
    let call =
        ["call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "RequestName", "su", "org.opensnitch.Audit", "0"];
    for user in [User::Alice, User::Member] {
        let output = world.client(user).busctl(&call).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("org.freedesktop.DBus.Error.AccessDenied"));
    }
}

#[test]
fn without_a_bus_it_ends_and_says_so() {
    let Some(mut world) = World::start("") else { return };
    world.bus.kill();
    let status = world.daemon.wait();
    assert_eq!(status.code(), Some(1));
    world.daemon.wait_for_log("bus");
    // And does not start without one.
    let mut next = Daemon::spawn(&world.bus, "");
    assert_eq!(next.wait().code(), Some(1));
    next.wait_for_log("bus");
    eventually("a connection less", || world.auditd.is_alone().then_some(()));
}
