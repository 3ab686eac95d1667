//! Properties, and calls that go wrong.

use serde_json::{Value, json};

use crate::support::{CallError, Client, Listener, Records, User, World, eventually};

const SERVICE: &str = "org.opensnitch.Audit";
const OBJECT: &str = "/org/opensnitch/Audit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The error of a call of any method on any interface of any object.
#[track_caller]
fn refused(client: &Client, call: &[&str]) -> CallError {
    client.run(&[&["call", SERVICE], call].concat()).unwrap_err()
}

#[test]
fn no_property_can_be_set() {
    let Some(world) = World::start("") else { return };
    let table = [
        ("Version", "s", "1"),
        ("Source", "s", "audisp"),
        ("Socket", "s", "/run/other"),
        ("Connected", "b", "false"),
        ("RulesLoaded", "b", "true"),
        // The type makes no difference.
        ("Statistics", "u", "0"),
    ];
    for user in [User::Root, User::Alice] {
        let client = world.client(user);
        for (property, signature, value) in table {
            let before = client.property(property);
            let CallError { name, message } =
                refused(&client, &[OBJECT, PROPERTIES, "Set", "ssv", SERVICE, property, signature, value]);
            assert_eq!(name, "org.freedesktop.DBus.Error.PropertyReadOnly", "{property}: {message}");
            assert!(message.contains(property), "{message}");
            if property != "Statistics" {
                assert_eq!(client.property(property), before);
            }
        }
        let long = "x".repeat(10_000);
        for property in ["Versions", "", &long] {
            for call in [&["Get", "ss", SERVICE, property][..], &["Set", "ssv", SERVICE, property, "s", "1"]] {
                let CallError { name, message } = refused(&client, &[&[OBJECT, PROPERTIES], call].concat());
                assert_eq!(name, "org.freedesktop.DBus.Error.UnknownProperty", "{message}");
                assert!(message.contains("RulesLoaded") && message.len() < 400, "{message}");
            }
        }
    }
}

#[test]
fn what_others_do_cannot_be_told_from_counters() {
    let Some(mut world) = World::start("") else { return };
    world.auditd.send(Records::connect(1).text());
    world.root().wait_for_counter("EventsMatched", 1);
    for (user, sees_all) in [(User::Root, true), (User::Member, true), (User::Alice, false)] {
        let client = world.client(user);
        let all = client.run(&["call", SERVICE, OBJECT, PROPERTIES, "GetAll", "s", SERVICE]).unwrap();
        for counters in [&client.property("Statistics"), &all["data"][0]["Statistics"]["data"]] {
            assert_eq!(counters["Reconnects"], 0, "{user:?}: {counters}");
            assert_eq!(counters.as_object().unwrap().len() > 1, sees_all, "{user:?}: {counters}");
        }
    }
}

#[test]
fn the_source_its_socket_and_that_it_can_be_read_change_in_one_signal() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    root.wait_for_property("Connected", true);
    let socket = world.bus.folder().join("audispd_events").display().to_string();
    assert_eq!(root.property("Socket"), socket);
    let monitor = Listener::monitor(&root);
    // What a monitor hears: the interface, what changed with its type, what else changed.
    let told = || -> Vec<Value> { monitor.signals("PropertiesChanged") };
    let change = |source: &str, connected: bool| {
        json!([
            SERVICE,
            {
                "Source": {"type": "s", "data": source},
                "Socket": {"type": "s", "data": if connected { &*socket } else { "" }},
                "Connected": {"type": "b", "data": connected},
            },
            []
        ])
    };
    let mut expected = Vec::new();
    for _ in 0..3 {
        world.auditd.stop();
        expected.push(change("", false));
        eventually("an end", || (told().len() >= expected.len()).then_some(()));
        world.auditd.start();
        world.auditd.accept();
        expected.push(change("audisp", true));
        eventually("a beginning", || (told().len() >= expected.len()).then_some(()));
    }
    assert_eq!(told(), expected);
}

#[test]
fn what_does_not_exist_is_the_services_to_refuse() {
    let Some(world) = World::start("") else { return };
    let table: [(&[&str], &str, &str); 7] = [
        (&[OBJECT, "org.opensnitch.Audits", "GetEvents"], "UnknownInterface", "org.opensnitch.Audits"),
        (&[OBJECT, "org.example.Foreign", "Method", "s", "x"], "UnknownInterface", "org.example.Foreign"),
        (&[OBJECT, SERVICE, "GetEvent"], "UnknownMethod", "GetEvent"),
        (&[OBJECT, SERVICE, "getEvents"], "UnknownMethod", "getEvents"),
        (&["/org/opensnitch/Audit/x", SERVICE, "GetEvents"], "UnknownObject", "/org/opensnitch/Audit/x"),
        (&["/org/opensnitch", SERVICE, "GetEvents"], "UnknownInterface", SERVICE),
        (&[OBJECT, PROPERTIES, "GetAll", "s", "org.example.Foreign"], "UnknownInterface", "org.example.Foreign"),
    ];
    for user in [User::Root, User::Member, User::Alice] {
        for (call, error, named) in table {
            let CallError { name, message } = refused(&world.client(user), call);
            assert_eq!(name, format!("org.freedesktop.DBus.Error.{error}"), "{call:?}: {message}");
            assert!(message.contains(named), "{message}");
        }
    }
}
