//! Events as they are seen, and what happens to the service meanwhile.

use std::thread::sleep;
use std::time::Duration;

use crate::support::{Daemon, Listener, Records, User, World, eventually};

/// Sends connects to this port until one is shown: whether `watch` listens already cannot be told from outside.
fn shows_a_connect(world: &mut World, watch: &Listener, port: u16) {
    eventually("a connect on standard output", || {
        world.auditd.send(Records::connect(port).text());
        sleep(Duration::from_millis(50));
        watch.has_heard(&format!("127.0.0.1:{port}")).then_some(())
    });
}

#[test]
fn it_shows_what_matches_as_it_is_seen() {
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    for user in [User::Root, User::Member] {
        let watch = Listener::watch(&world.client(user), &["--json", "--exe", "/usr/bin/*", "--port", "443"]);
        eventually("an event on standard output", || {
            world.auditd.send(Records::connect(80).text());
            world.auditd.send(Records::connect(443).exe("/opt/client").text());
            world.auditd.send(Records::connect(443).text());
            sleep(Duration::from_millis(50));
            watch.has_heard("\"DstPort\":443").then_some(())
        });
        assert!(!watch.has_heard("\"DstPort\":80") && !watch.has_heard("/opt/client"));
    }
}

#[test]
fn an_ordinary_user_sees_own_events() {
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    let watch = Listener::watch(&world.client(User::Alice), &["--port", "443"]);
    watch.wait_for("rows of other users are hidden");
    for (uid, port) in [(User::Bob.uid(), 443), (0, 443), (User::Alice.uid(), 80), (User::Alice.uid(), 443)] {
        world.auditd.send(Records::connect(port).uid(uid).exe(&format!("/opt/{uid}-{port}")).text());
    }
    watch.wait_for(&format!("/opt/{}-443", User::Alice.uid()));
    assert_eq!(watch.count("/opt/"), 1, "{:?}", watch.lines());

    world.daemon.kill(rustix::process::Signal::TERM);
    world.daemon.wait();
    let socket = world.bus.folder().join("audispd_events");
    world.daemon = Daemon::start(&world.bus, &format!("socket = '{}'\ncoalesce_ms = 0", socket.display()));
    world.auditd.accept();
    watch.wait_for("the service is back");
    eventually("an event after it was back", || {
        world.auditd.send(Records::connect(443).uid(User::Alice.uid()).exe("/opt/again").text());
        sleep(Duration::from_millis(50));
        watch.has_heard("/opt/again").then_some(())
    });
}

#[test]
fn it_says_when_the_service_stops_and_is_back() {
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    let watch = Listener::watch(&world.root(), &[]);
    shows_a_connect(&mut world, &watch, 443);
    world.auditd.restart();
    watch.wait_for("no events arrive");
    watch.wait_for("events arrive again");
    world.daemon.kill(rustix::process::Signal::TERM);
    world.daemon.wait();
    watch.wait_for("the service stopped");
    let socket = world.bus.folder().join("audispd_events");
    world.daemon = Daemon::start(&world.bus, &format!("socket = '{}'\ncoalesce_ms = 0", socket.display()));
    world.auditd.accept();
    watch.wait_for("the service is back");
    shows_a_connect(&mut world, &watch, 444);
}

#[test]
fn a_signal_of_somebody_else_is_not_shown() {
    // Longer than any part of a time: that one may be anything.
    const LOST: &str = "6666666";
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    let watch = Listener::watch(&world.root(), &[]);
    shows_a_connect(&mut world, &watch, 443);
    // Straight to each connection that there is: no match rule has a say in that.
    let attacker = world.client(User::Bob);
    let bus = "org.freedesktop.DBus";
    let names = attacker.run(&["call", bus, "/org/freedesktop/DBus", bus, "ListNames"]).unwrap();
    let names = names["data"][0].as_array().unwrap();
    for name in names.iter().filter_map(|name| name.as_str()).filter(|name| name.starts_with(':')) {
        let to = format!("--destination={name}");
        let signal = ["emit", &to, "/org/opensnitch/Audit", "org.opensnitch.Audit"];
        let _ = attacker.run(&[&signal[..], &["EventsLost", "t", LOST]].concat());
        let event = ["EventSeen", "ssa{sv}", "connect", "/forged", "1", "ProcPath", "s", "/forged"];
        let _ = attacker.run(&[&signal[..], &event].concat());
    }
    // Messages come in order: what was forged would stand before this.
    shows_a_connect(&mut world, &watch, 444);
    assert!(!watch.has_heard("/forged") && !watch.has_heard(LOST), "{:?}", watch.lines());
}
