//! `top`, on a terminal.

use rustix::process::Signal;

use super::command;
use crate::support::{Daemon, Records, Terminal, User, World, available, golden};

fn start(columns: u16, lines: u16, world: &World, user: User, arguments: &[&str]) -> Terminal {
    let mut command = command(&world.bus, user, &[&["top"], arguments].concat());
    command.env("COLORTERM", "");
    Terminal::run(columns, lines, &command)
}

/// What some programs did, before anybody looked.
fn history(world: &mut World) {
    let alice = User::Alice.uid();
    let (curl, mail) = ("/usr/bin/curl", "/opt/mail client/bin/mail");
    let mut sent = [
        Records::connect(443).uid(alice).exe(curl),
        Records::connect(443).uid(alice).exe(curl),
        Records::connect(80).uid(alice).exe(curl),
        Records::connect(9).uid(alice).exe(curl),
        Records::connect6("2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap(), 993, 0).uid(alice).exe(mail),
        Records::connect(22).exe("/usr/bin/ssh"),
        // No connection.
        Records::socket().uid(alice).exe(curl),
    ];
    let count = sent.len() as u64;
    for (at, records) in (0..count).zip(&mut sent) {
        // One a second, until now.
        records.time -= (count - at) * 1000;
        world.auditd.send(records.text());
    }
    world.root().wait_for_event_of(sent.last().unwrap().pid);
}

#[test]
fn it_begins_with_what_was_and_fits() {
    if !available(&["tmux"]) {
        return;
    }
    let Some(mut world) = World::start("") else { return };
    history(&mut world);
    for (columns, lines) in [(80, 24), (132, 30)] {
        for (user, name) in [(User::Root, "root"), (User::Alice, "alice")] {
            let top = start(columns, lines, &world, user, &[]);
            let line = if user == User::Root { "every event was seen" } else { "Rows of other users" };
            let screen = top.wait_until(line, |screen| screen.contains(line) && screen.contains("q quit"));
            golden::compare(&format!("top-{name}-{columns}.txt"), &golden::without_times(&screen));
            top.press(&["q"]);
            assert_eq!(top.wait_for_end(), "0");
            assert!(!top.screen().contains("PROGRAM"), "the terminal is as it was before");
        }
    }
}

#[test]
fn it_follows_and_its_keys_do_what_they_say() {
    if !available(&["tmux"]) {
        return;
    }
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    history(&mut world);
    let top = start(80, 24, &world, User::Alice, &[]);
    let before = top.wait_for("/usr/bin/curl");
    assert!(before.contains("5 events since"), "{before}");
    let hostile = "/opt/\u{202e}x".to_owned();
    for _ in 0..3 {
        world.auditd.send(Records::connect(25).uid(User::Alice.uid()).exe("/usr/sbin/mta").text());
    }
    world.auditd.send(Records::connect(1).uid(User::Alice.uid()).exe(&hostile).text());
    let screen = top.wait_for("9 events since");
    // What is busiest now stands first, and its destinations below.
    assert!(screen.contains("/usr/sbin/mta (alice): 1 destination") && !screen.contains('\u{202e}'), "{screen}");
    assert!(screen.contains("127.0.0.1:25") && screen.contains("u{202e}x"), "{screen}");

    top.press(&["s"]);
    let screen = top.wait_for("EVENTS▾");
    let place = |screen: &str, piece: &str| screen.find(piece).unwrap_or_else(|| panic!("no {piece:?}: {screen}"));
    assert!(place(&screen, "/usr/bin/curl") < place(&screen, "/usr/sbin/mta"), "{screen}");
    top.press(&["r"]);
    let screen = top.wait_for("EVENTS▴");
    assert!(place(&screen, "/usr/sbin/mta") < place(&screen, "/usr/bin/curl"), "{screen}");
    top.press(&["End"]);
    let screen = top.wait_for("/usr/bin/curl (alice): 3 destinations");
    assert!(screen.contains("127.0.0.1:443") && screen.contains("127.0.0.1:80"), "{screen}");
    top.press(&["/"]);
    top.write("MTA");
    let screen = top.wait_for("1 program with \"MTA\"");
    assert!(!screen.contains("curl"), "{screen}");
    top.press(&["Escape"]);
    top.wait_for("curl");
    top.press(&["C-c"]);
    assert_eq!(top.wait_for_end(), "0");
}

#[test]
fn it_says_that_the_service_or_the_bus_went_and_follows_when_they_are_back() {
    if !available(&["tmux"]) {
        return;
    }
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    history(&mut world);
    let top = start(132, 24, &world, User::Alice, &[]);
    top.wait_for("5 events since");
    world.daemon.kill(Signal::TERM);
    world.daemon.wait();
    top.wait_until("that it stopped", |screen| {
        screen.contains("The service stopped") || screen.contains("the service is not running")
    });
    let config = format!("socket = '{}'", world.bus.folder().join("audispd_events").display());
    world.daemon = Daemon::start(&world.bus, &config);
    world.auditd.accept();
    top.wait_until("that it is back", |screen| !screen.contains("service"));
    world.auditd.send(Records::connect(7).uid(User::Alice.uid()).exe("/opt/again").text());
    top.wait_for("/opt/again");
    top.wait_for("6 events since");

    world.bus.kill();
    top.wait_for("the system bus cannot be reached");
    // The service ends with its bus. systemd starts both again.
    world.daemon.wait();
    world.bus.restart();
    top.wait_for("the service is not running");
    world.daemon = Daemon::start(&world.bus, &config);
    world.auditd.accept();
    top.wait_until("that both are back", |screen| !screen.contains("service") && !screen.contains("the system bus"));
    world.auditd.send(Records::connect(8).uid(User::Alice.uid()).exe("/opt/later").text());
    top.wait_for("/opt/later");
    top.wait_for("7 events since");
    top.press(&["q"]);
    assert_eq!(top.wait_for_end(), "0");
}

#[test]
fn what_cannot_begin_is_a_sentence_and_a_code() {
    if !available(&["tmux"]) {
        return;
    }
    let Some(world) = World::start("") else { return };
    let run = super::run(&world.bus, User::Alice, &["top"]);
    assert!(run.code == Some(2) && run.said.contains("top is for a terminal"), "{run:?}");
    drop(world.daemon);
    let command = command(&world.bus, User::Alice, &["top"]);
    let top = Terminal::run(80, 24, &command);
    top.wait_for("the service is not running");
    assert_eq!(top.wait_for_end(), "5");
}
