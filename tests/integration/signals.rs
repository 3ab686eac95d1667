//! Who hears what, and how often.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use crate::support::{Listener, Records, User, World, available, eventually};

/// A subscriber that has heard an event that fits its rule.
fn subscribe(world: &mut World, user: User, rule: &str, fitting: &Records) -> Listener {
    let rule = format!("type='signal',sender='org.opensnitch.Audit',{rule}");
    let listener = Listener::subscribe(&world.client(user), &rule);
    eventually("a subscription", || {
        world.auditd.send(fitting.again().text());
        sleep(Duration::from_millis(50));
        listener.has_heard("member=EventSeen").then_some(())
    });
    listener
}

/// Whether a rule fits an event of this type by this program.
type Fits = fn(&str, &str) -> bool;

#[test]
fn match_rules_choose_by_type_and_program() {
    if !available(&["dbus-monitor"]) {
        return;
    }
    let Some(mut world) = World::start("coalesce_ms = 0\nsignals_per_second = 10000") else { return };
    let all = [
        ("connect", Records::connect(1).exe("/usr/bin/curl")),
        ("connect", Records::connect(1).exe("/usr/bin/wget")),
        ("connect", Records::connect(1).exe("/usr/binary")),
        ("connect", Records::connect(1).exe("/opt/a b")),
        ("socket", Records::socket().exe("/usr/bin/curl")),
        ("socket", Records::socket().exe("/usr/sbin/sshd")),
        ("execve", Records::execve(&["x"]).exe("/usr/bin/curl")),
    ];
    let table: [(&str, Fits); 4] = [
        ("arg0='connect'", |event_type, _| event_type == "connect"),
        ("arg1='/usr/bin/curl'", |_, exe| exe == "/usr/bin/curl"),
        ("arg1path='/usr/bin/'", |_, exe| exe.starts_with("/usr/bin/")),
        ("arg0='socket',arg1='/usr/sbin/sshd'", |event_type, exe| event_type == "socket" && exe == "/usr/sbin/sshd"),
    ];
    for (rule, fits) in table {
        let (_, fitting) = all.iter().find(|(event_type, records)| fits(event_type, &records.exe)).unwrap();
        let listener = subscribe(&mut world, User::Member, rule, fitting);
        for (_, records) in &all {
            world.auditd.send(records.again().text());
        }
        let last = fitting.again();
        let last = last.clone().pid(last.pid + 1_000_000);
        world.auditd.send(last.text());
        listener.wait_for(&format!("uint32 {}", last.pid));
        let expected: BTreeSet<(String, String)> = all
            .iter()
            .filter(|(event_type, records)| fits(event_type, &records.exe))
            .map(|(event_type, records)| ((*event_type).to_owned(), records.exe.clone()))
            .collect();
        assert_eq!(listener.types_and_programs(), expected, "{rule}");
    }
}

#[test]
fn an_ordinary_user_hears_of_the_connection_and_of_no_event() {
    if !available(&["dbus-monitor"]) {
        return;
    }
    let Some(mut world) = World::start("coalesce_ms = 0\nsignals_per_second = 1") else { return };
    let rule = "type='signal',sender='org.opensnitch.Audit'";
    let [alice, member] = [User::Alice, User::Member].map(|user| Listener::subscribe(&world.client(user), rule));
    eventually("two subscriptions", || {
        world.auditd.restart();
        sleep(Duration::from_millis(50));
        [&alice, &member].iter().all(|one| one.has_heard("member=PropertiesChanged")).then_some(())
    });
    for _ in 0..5 {
        world.auditd.send(Records::connect(1).uid(User::Alice.uid()).text());
        world.auditd.send(Records::connect(1).uid(0).text());
    }
    for heard in ["member=EventSeen", "member=EventsLost"] {
        member.wait_for(heard);
    }
    // What one sender sends arrives in order: behind this nothing else is on its way.
    let before = alice.count("string \"Source\"");
    world.auditd.stop();
    eventually("the end of the connection", || (alice.count("string \"Source\"") > before).then_some(()));
    for secret in ["EventSeen", "EventsLost", "/usr/bin/client"] {
        assert!(!alice.has_heard(secret), "{secret}");
    }
}
