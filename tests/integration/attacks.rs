//! What an ordinary user can do to the service over the bus, on both kinds of it.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::Signal;
use zbus::Variant;
use zbus::message::Message;

use crate::support::{Kind, Listener, Raw, Records, User, World, eventually, memory, raw_call};

const SERVICE: &str = "org.opensnitch.Audit";
const OBJECT: &str = "/org/opensnitch/Audit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// What the service may take at the most under any of these, resident, in bytes.
const MAX_PEAK: u64 = 64 * 1024 * 1024;

/// How often something is tried again before it is clear that it never happens.
const MAX_ROUNDS: usize = 2000;

/// Root is answered, and an event comes through.
#[track_caller]
fn serves(world: &mut World) {
    let connect = Records::connect(443);
    world.auditd.send(connect.text());
    assert_eq!(world.root().wait_for_event_of(connect.pid)["DstPort"], 443);
}

fn peak(world: &World) -> u64 {
    memory(world.daemon.pid(), "VmHWM")
}

#[test]
fn what_is_too_long_is_never_in_memory() {
    for kind in Kind::all() {
        let mut world = World::start_on(kind, "");
        serves(&mut world);
        let long = "x".repeat(20_000_000);
        let owner = world.root().owner_name();
        let signal = Message::signal("/x", "org.example.Signal", "Signal").destination(&*owner);
        let messages = [
            raw_call(OBJECT, SERVICE, "FindEvents", 0, &HashMap::from([("ProcPath", Variant::from(&*long))])),
            raw_call(OBJECT, "org.freedesktop.DBus.Peer", "Ping", 0, &long),
            raw_call(OBJECT, PROPERTIES, "GetAll", 0, &long),
            raw_call(&format!("/{long}"), SERVICE, "GetEvents", 0, &()),
            signal.build(&long).unwrap(),
        ];
        for _ in 0..4 {
            let mut alice = Raw::connect(&world.bus, User::Alice);
            for message in &messages {
                alice.send(message);
            }
        }
        serves(&mut world);
        // dbus-broker cuts off who sends such messages.
        if kind == Kind::Daemon {
            eventually("four paths that are too long", || (world.root().counter("CallsRefused") >= 4).then_some(()));
        }
        let peak = peak(&world);
        assert!(peak < MAX_PEAK, "{kind:?}: {peak} bytes");
    }
}

#[test]
fn no_descriptor_of_a_caller_is_ever_taken() {
    for kind in Kind::all() {
        let mut world = World::start_on(kind, "");
        serves(&mut world);
        let before = world.daemon.descriptors();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connect = async || {
            let stream = User::Alice.connect(&world.bus);
            zbus::connection::Builder::unix_stream(stream).user_id(User::Alice.uid()).build().await.unwrap()
        };
        runtime.block_on(async {
            let alice = connect().await;
            let file = fs::File::open("/dev/null").unwrap();
            let file = || zbus::OwnedFd::from(OwnedFd::from(file.try_clone().unwrap()));
            let mut most = 0;
            for round in 0..5000 {
                let method = if round % 2 == 0 { "GetEventByPid" } else { "NoSuchMethod" };
                let call = Message::method_call(OBJECT, method).destination(SERVICE).interface(SERVICE);
                let files: Vec<zbus::OwnedFd> = (0..16).map(|_| file()).collect();
                alice.send(&call.build(&files).unwrap()).await.unwrap();
                most = most.max(world.daemon.descriptors());
            }
            // One that is read as far as its descriptor. Each call still gets its own answer. On a connection of its own: that
            // of the flood has read late, so that the bus may let it call no more.
            let alice = connect().await;
            for (query, expected) in
                [(Some(("Pid", Variant::Fd(zbus::Fd::from(OwnedFd::from(file()))))), "escriptor"), (None, "")]
            {
                let query: HashMap<_, _> = query.into_iter().collect();
                let mut rounds = 0..MAX_ROUNDS;
                let answer = loop {
                    rounds.next().expect("another answer");
                    let answer =
                        alice.call_method(Some(SERVICE), OBJECT, Some(SERVICE), "FindEvents", &(&query,)).await;
                    let answer = answer.err().map(|error| error.to_string()).unwrap_or_default();
                    // The flood is still being answered.
                    if !answer.contains("LimitsExceeded") {
                        break answer;
                    }
                };
                assert!(answer.contains(expected), "{kind:?}: {answer}");
                assert_eq!(answer.is_empty(), expected.is_empty(), "{kind:?}: {answer}");
            }
            assert!(most <= before + 1, "{kind:?}: {most} and {before}");
        });
        serves(&mut world);
        eventually("as few descriptors as before", || (world.daemon.descriptors() <= before).then_some(()));
    }
}

#[test]
fn a_flood_of_calls_grows_neither_memory_nor_threads() {
    for kind in Kind::all() {
        let mut world = World::start_on(kind, "");
        serves(&mut world);
        let calls: [(&str, &str, u8); 6] = [
            ("org.freedesktop.DBus.Peer", "Ping", 0),
            ("org.freedesktop.DBus.Introspectable", "Introspect", 0),
            (SERVICE, "NoSuchMethod", 0),
            (PROPERTIES, "GetAll", 0),
            (SERVICE, "GetEvents", 1),
            (SERVICE, "Diagnose", 1),
        ];
        let padding = "x".repeat(50_000);
        let mut crowd: Vec<Raw> = (0..16).map(|_| Raw::connect(&world.bus, User::Alice)).collect();
        for round in 0..4 {
            for raw in &mut crowd {
                for (interface, method, flags) in calls {
                    for _ in 0..5 {
                        raw.send(&raw_call(OBJECT, interface, method, flags, &padding));
                        raw.send(&raw_call(OBJECT, interface, method, flags, &()));
                    }
                }
            }
            if round == 2 {
                serves(&mut world);
            }
        }
        serves(&mut world);
        let (peak, threads) = (peak(&world), world.daemon.threads());
        assert!(peak < MAX_PEAK && threads < 80, "{kind:?}: {peak} bytes, {threads} threads");
    }
}

#[test]
fn a_call_that_wants_no_answer_is_done_and_gets_none() {
    for kind in Kind::all() {
        let world = World::start_on(kind, "");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let alice = User::Alice.connect(&world.bus);
        runtime.block_on(async {
            use futures_util::StreamExt;
            let alice = zbus::connection::Builder::unix_stream(alice).user_id(User::Alice.uid()).build().await.unwrap();
            let mut heard = zbus::MessageStream::from(&alice);
            // More than there are places: each gives its own back.
            for _ in 0..10 {
                for _ in 0..15 {
                    alice.send(&raw_call(OBJECT, SERVICE, "GetEventByPid", 1, &1_u32)).await.unwrap();
                }
                // Asked until there is a place again, and nothing else is answered.
                loop {
                    let last = raw_call(OBJECT, PROPERTIES, "Get", 0, &(SERVICE, "Version"));
                    let serial = last.primary_header().serial_num();
                    alice.send(&last).await.unwrap();
                    let answer = loop {
                        let message = heard.next().await.unwrap().unwrap();
                        if message.header().reply_serial().is_some() {
                            break message;
                        }
                    };
                    assert_eq!(answer.header().reply_serial(), Some(serial), "{answer:?}");
                    if answer.message_type() == zbus::message::Type::MethodReturn {
                        break;
                    }
                }
            }
        });
    }
}

#[test]
fn lists_do_not_pile_up_behind_a_bus_that_hangs() {
    let Some(mut world) = World::start("keep_raw = true") else { return };
    for _ in 0..1200 {
        world.auditd.send(long_event(0).text());
    }
    world.root().wait_for_counter("EventsCached", 1200);
    let mut crowd: Vec<Raw> = (0..4).map(|_| Raw::connect(&world.bus, User::Root)).collect();
    let list = || raw_call(OBJECT, SERVICE, "GetEvents", 0, &());
    for raw in &mut crowd {
        raw.read_on();
        // From now on the bus need not be asked whose connection it is.
        assert!(raw.send(&list()));
    }
    serves(&mut world);
    let before = world.daemon.resident();
    world.daemon.kill(Signal::STOP);
    crowd.iter_mut().for_each(|raw| (0..24).for_each(|_| assert!(raw.send(&list()))));
    // A bus that answers somebody who came later has passed on what came before.
    world.root().owner_name();
    world.bus.hang();
    world.daemon.kill(Signal::CONT);
    eventually("lists that wait for the bus", || (world.daemon.resident() > before + (8 << 20)).then_some(()));
    // Until all of them that are made are there.
    world.daemon.wait_for_rest();
    let peak = peak(&world);
    world.bus.go_on();
    serves(&mut world);
    assert!(peak < MAX_PEAK, "{peak} bytes");
}

/// Bytes of the service that a dbus-daemon holds because nobody has read them.
fn unread(world: &World) -> u64 {
    let bus = ["call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats"];
    let answer = world.root().run(&[&bus[..], &["GetConnectionStats", "s", SERVICE]].concat()).unwrap();
    answer["data"][0]["IncomingBytes"]["data"].as_u64().unwrap()
}

/// An event that takes 6 kB.
fn long_event(uid: u32) -> Records {
    Records::connect(1).uid(uid).and(&format!("PATH item=1 name=\"{}\"", "x".repeat(6000)))
}

#[test]
fn who_does_not_read_replies_gets_no_more_and_stalls_nobody() {
    for kind in Kind::all() {
        let mut world = World::start_on(kind, "keep_raw = true");
        for _ in 0..1200 {
            world.auditd.send(long_event(User::Alice.uid()).text());
        }
        world.root().wait_for_counter("EventsCached", 1200);
        // dbus-broker has a row for each connection, and tells all of them at once.
        let _others: Vec<Raw> = (0..200).map(|_| Raw::connect(&world.bus, User::Bob)).collect();
        let mut crowd: Vec<Raw> = (0..4).map(|_| Raw::connect(&world.bus, User::Alice)).collect();
        // Root is answered all the time.
        let mut rounds = 0..MAX_ROUNDS;
        while world.root().counter("CallsRefused") < 200 {
            rounds.next().expect("refusals");
            for raw in &mut crowd {
                let lists = raw_call(OBJECT, SERVICE, "GetEvents", 0, &());
                (0..10).for_each(|_| assert!(raw.send(&lists), "{kind:?}"));
            }
        }
        serves(&mut world);
        assert!(world.client(User::Bob).call("GetEvents", &[]).is_ok(), "{kind:?}");
        let refused = world.client(User::Alice).call("GetEvents", &[]).unwrap_err();
        assert!(refused.name.ends_with("LimitsExceeded") && refused.message.contains("read them"), "{refused:?}");
        if kind == Kind::Daemon {
            let unread = unread(&world);
            assert!((8 << 20..32 << 20).contains(&unread), "{unread} bytes");
        }
        // Whoever reads gets answers again.
        crowd.iter().for_each(Raw::read_on);
        eventually("an answer for alice", || world.client(User::Alice).call("GetEvents", &[]).ok());
    }
}

#[test]
fn a_listener_that_never_reads_is_named_and_stalls_nobody() {
    for kind in Kind::all() {
        let config = "coalesce_ms = 0\nsignals_per_second = 10000\nkeep_raw = true";
        let mut world = World::start_on(kind, config);
        let mut stuck = Raw::connect(&world.bus, User::Member);
        stuck.subscribe();
        let finding = |world: &World| {
            let findings = world.root().call("Diagnose", &[]).unwrap().to_string();
            findings.contains("listener-never-reads").then_some(findings)
        };
        if kind == Kind::Broker {
            // It cuts off who does not read, in the end: nothing is held back.
            (0..4000).for_each(|_| world.auditd.send(long_event(0).text()));
            serves(&mut world);
            assert_eq!((finding(&world), world.root().counter("SignalsLost")), (None, 0));
            continue;
        }
        let mut rounds = 0..MAX_ROUNDS;
        let named = loop {
            rounds.next().expect("a finding");
            (0..500).for_each(|_| world.auditd.send(long_event(0).text()));
            serves(&mut world);
            if let Some(finding) = finding(&world) {
                break finding;
            }
        };
        let pid = std::process::id();
        assert!(named.contains(&format!("process {pid} of user {}", User::Member.uid())), "{named}");
        (0..4000).for_each(|_| world.auditd.send(long_event(0).text()));
        serves(&mut world);
        let unread = unread(&world);
        assert!((8 << 20..24 << 20).contains(&unread), "{unread} bytes");
        assert!(world.root().counter("SignalsLost") > 1000);
        drop(stuck);
        eventually("no finding", || finding(&world).is_none().then_some(()));
        let reads = Listener::subscribe(&world.client(User::Member), "type='signal',interface='org.opensnitch.Audit'");
        eventually("a signal again", || {
            world.auditd.send(Records::connect(443).text());
            reads.has_heard("member=EventSeen").then_some(())
        });
    }
}
