//! Events as they are seen, and what happens to the service meanwhile.

use std::thread::sleep;
use std::time::Duration;

use crate::support::{Daemon, Listener, Records, User, World, eventually};

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
fn it_says_when_the_service_stops_and_is_back() {
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    let watch = Listener::watch(&world.root(), &[]);
    eventually("an event on standard output", || {
        world.auditd.send(Records::connect(443).text());
        sleep(Duration::from_millis(50));
        watch.has_heard("127.0.0.1:443").then_some(())
    });
    world.auditd.restart();
    watch.wait_for("no events arrive from auditd");
    watch.wait_for("events arrive from auditd again");
    world.daemon.kill(rustix::process::Signal::TERM);
    world.daemon.wait();
    watch.wait_for("the service stopped");
    let socket = world.bus.folder().join("audispd_events");
    world.daemon = Daemon::start(&world.bus, &format!("socket = '{}'\ncoalesce_ms = 0", socket.display()));
    world.auditd.accept();
    watch.wait_for("the service is back");
    eventually("an event of the new service", || {
        world.auditd.send(Records::connect(444).text());
        sleep(Duration::from_millis(50));
        watch.has_heard("127.0.0.1:444").then_some(())
    });
}

#[test]
fn a_signal_of_somebody_else_is_not_shown() {
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    let watch = Listener::watch(&world.root(), &[]);
    eventually("an event on standard output", || {
        world.auditd.send(Records::connect(443).text());
        sleep(Duration::from_millis(50));
        watch.has_heard("127.0.0.1:443").then_some(())
    });
    // Straight to each connection that there is: no match rule has a say in that.
    let attacker = world.client(User::Bob);
    let bus = "org.freedesktop.DBus";
    let names = attacker.run(&["call", bus, "/org/freedesktop/DBus", bus, "ListNames"]).unwrap();
    let names = names["data"][0].as_array().unwrap();
    for name in names.iter().filter_map(|name| name.as_str()).filter(|name| name.starts_with(':')) {
        let to = format!("--destination={name}");
        let signal = ["emit", &to, "/org/opensnitch/Audit", "org.opensnitch.Audit"];
        let _ = attacker.run(&[&signal[..], &["EventsLost", "t", "666"]].concat());
        let event = ["EventSeen", "ssa{sv}", "connect", "/forged", "1", "ProcPath", "s", "/forged"];
        let _ = attacker.run(&[&signal[..], &event].concat());
    }
    // Messages come in order: what was forged would stand before this.
    eventually("the next event", || {
        world.auditd.send(Records::connect(444).text());
        sleep(Duration::from_millis(50));
        watch.has_heard("127.0.0.1:444").then_some(())
    });
    assert!(!watch.has_heard("/forged") && !watch.has_heard("666"), "{:?}", watch.lines());
}
