//! What one connection alone hears of.

use std::collections::HashMap;

use opensnitch_audit_client::{Query, Seen, error};
use zbus::Variant;

use crate::support::{Polkit, PrivateBus, Records, Subscriber, User, World, available, eventually};

/// At most so many of one user, and of all but root.
const OF_USER: usize = 7;

const EVERY: &str = "coalesce_ms = 0\nsignals_per_second = 10000";

/// A query for Alice's own events: nobody has to be asked whether she may see them.
fn own() -> HashMap<&'static str, Variant<'static>> {
    HashMap::from([("UID", User::Alice.uid().into())])
}

/// A user subscribes, and hears of an own event.
#[track_caller]
fn hears(world: &mut World, user: User) {
    let mut subscriber = Subscriber::following(&world.bus, user);
    let records = Records::connect(1).uid(user.uid());
    world.auditd.send(records.text());
    assert_eq!(subscriber.event().pid, Some(records.pid));
}

/// Those of Alice's connections that are gone have no places any more.
#[track_caller]
fn makes_room(world: &World) {
    eventually("room again", || Subscriber::connect(&world.bus, User::Alice).follow(&Query::new()).ok());
}

#[test]
fn each_hears_of_what_it_may_see() {
    let Some(mut world) = World::start(EVERY) else { return };
    let users = [User::Root, User::Alice, User::Bob, User::Member];
    let mut subscribers = users.map(|user| Subscriber::following(&world.bus, user));
    let table = [
        (0, [true, false, false, true]),
        (User::Alice.uid(), [true, true, false, true]),
        (User::Bob.uid(), [true, false, true, true]),
    ];
    let rounds = [table, table].concat();
    let sent: Vec<Records> = rounds.iter().map(|(uid, _)| Records::connect(443).uid(*uid)).collect();
    for records in &sent {
        world.auditd.send(records.text());
    }
    for (nth, subscriber) in subscribers.iter_mut().enumerate() {
        for ((_, sees), records) in rounds.iter().zip(&sent) {
            if sees[nth] {
                assert_eq!(subscriber.event().pid, Some(records.pid), "{:?}", users[nth]);
            }
        }
    }
}

#[test]
fn a_query_chooses_until_another_takes_its_place_or_it_ends() {
    let Some(mut world) = World::start(EVERY) else { return };
    let mut alice = Subscriber::connect(&world.bus, User::Alice);
    let mut send = |port: u16| {
        let records = Records::connect(port).uid(User::Alice.uid());
        world.auditd.send(records.text());
        records.pid
    };
    alice.follow(&Query::new().dst_port(443u16).event_type("connect")).unwrap();
    let [_, expected, _] = [80, 443, 80].map(&mut send);
    assert_eq!(alice.event().pid, Some(expected));

    alice.follow(&Query::new().dst_port(80u16)).unwrap();
    let [_, expected] = [443, 80].map(&mut send);
    assert_eq!(alice.event().pid, Some(expected));

    for _ in 0..2 {
        alice.call("Unsubscribe", &()).unwrap();
    }
    let unheard = send(80);
    world.root().wait_for_event_of(unheard);
    alice.follow(&Query::new()).unwrap();
    let expected = Records::connect(1).uid(User::Alice.uid());
    world.auditd.send(expected.text());
    assert_eq!(alice.event().pid, Some(expected.pid));

    for (key, value) in [("Limit", Variant::from(1_u32)), ("Cursor", 1_u64.into()), ("Colour", "red".into())] {
        let refused = alice.call("Subscribe", &HashMap::from([(key, value)])).unwrap_err();
        assert!(error::is(&refused, error::INVALID_ARGS) && refused.to_string().contains(key), "{refused}");
    }
    world.daemon.kill(rustix::process::Signal::TERM);
    assert_eq!(alice.next(), None, "it ends with the service");
}

#[test]
fn it_ends_with_the_connection() {
    let Some(world) = World::start(EVERY) else { return };
    let root = world.root();
    let all: Vec<Subscriber> = (0..3).map(|_| Subscriber::following(&world.bus, User::Alice)).collect();
    root.wait_for_counter("Subscriptions", 3);
    drop(all);
    root.wait_for_counter("Subscriptions", 0);
}

#[test]
fn a_thousand_are_refused() {
    let Some(mut world) = World::start(EVERY) else { return };
    let greedy: Vec<Subscriber> = (0..12).map(|_| Subscriber::connect(&world.bus, User::Alice)).collect();
    let mut refused = 0;
    for round in 0..84 {
        for (nth, subscriber) in greedy.iter().enumerate() {
            match subscriber.call("Subscribe", &own()) {
                Ok(()) => assert!(nth < OF_USER, "{round}"),
                Err(error) => {
                    assert!(error::is(&error, error::LIMITS_EXCEEDED) && nth >= OF_USER, "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(refused, 84 * (12 - OF_USER));
    assert_eq!(world.root().counter("Subscriptions"), OF_USER as u64);
    // Others are not kept out, and whoever leaves makes room.
    for user in [User::Bob, User::Root] {
        hears(&mut world, user);
    }
    drop(greedy);
    makes_room(&world);
}

#[test]
fn who_does_not_read_is_sent_no_more_and_told_how_much_it_missed() {
    let Some(mut world) = World::start(EVERY) else { return };
    let root = world.root();
    let mut sleeps = Subscriber::following(&world.bus, User::Alice);
    let mut reads = Subscriber::following(&world.bus, User::Bob);
    let all = 3000;
    for _ in 0..all / 100 {
        let burst: String = (0..100).map(|_| Records::connect(1).uid(User::Alice.uid()).text()).collect();
        world.auditd.send(burst);
    }
    let last = Records::connect(1).uid(User::Bob.uid());
    world.auditd.send(last.text());
    assert_eq!(reads.event().pid, Some(last.pid));
    // What is sent before an answer, and what waits, are a few hundred.
    eventually("losses", || (root.counter("SubscriptionsLost") > all - 700).then_some(()));
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < all {
        match sleeps.next().unwrap() {
            Seen::Event(event) => seen += event.count.unwrap(),
            Seen::Lost(count) => lost += count,
        }
    }
    assert_eq!((seen + lost, lost), (all, root.counter("SubscriptionsLost")));
    // It hears of what comes now.
    let next = Records::connect(1).uid(User::Alice.uid());
    world.auditd.send(next.text());
    assert_eq!(sleeps.event().pid, Some(next.pid));
}

#[test]
fn whoever_owes_an_answer_keeps_its_place() {
    let Some(mut world) = World::start(EVERY) else { return };
    // They come back under the same name, and never answer.
    let deaf: Vec<Subscriber> = (0..OF_USER).map(|_| Subscriber::connect(&world.bus, User::Alice)).collect();
    // Without `follow`, nobody answers the service.
    for subscriber in &deaf {
        subscriber.call("Subscribe", &own()).unwrap();
    }
    let root = world.root();
    eventually("losses of all of them", || {
        let burst: String = (0..200).map(|_| Records::connect(1).uid(User::Alice.uid()).text()).collect();
        world.auditd.send(burst);
        (root.counter("SubscriptionsLost") > 10_000).then_some(())
    });
    let refused = deaf[0].call("Subscribe", &own()).unwrap_err();
    assert!(error::is(&refused, error::LIMITS_EXCEEDED), "{refused}");
    // Everybody else is served.
    hears(&mut world, User::Bob);
    drop(deaf);
    makes_room(&world);
}

#[test]
fn polkit_widens_what_is_seen_and_refuses_no_own_event() {
    if !available(&["polkitd"]) {
        return;
    }
    let bus = PrivateBus::with_polkit();
    let _polkit = Polkit::start(
        &bus,
        r#"polkit.addRule(function(action, subject) {
            if (action.id == "org.opensnitch.audit.read-all-events" && subject.user == "bob") return polkit.Result.YES;
        });"#,
    );
    let mut world = World::on(bus, EVERY);
    let mut subscribers = [User::Alice, User::Bob].map(|user| Subscriber::following(&world.bus, user));
    let sent = [0, User::Alice.uid(), User::Bob.uid()].map(|uid| Records::connect(443).uid(uid));
    for records in &sent {
        world.auditd.send(records.text());
    }
    let [alice, bob] = &mut subscribers;
    assert_eq!(alice.event().pid, Some(sent[1].pid));
    for records in &sent {
        assert_eq!(bob.event().pid, Some(records.pid));
    }
}
