//! Each command's screen, as text that is kept (`tests/screens/`): at 80 and 132 columns, with and without colours.
//!
//! Only what no run has in common is made alike: times, the pid of the service, and where the test's folder is.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use super::{Run, command};
use crate::support::{Namespace, Records, User, World, corpus, eventually, golden};

/// 2025-03-14 09:00:00 UTC, in milliseconds since the epoch. It is not today, so tables show dates.
const BEGINNING: u64 = 1_741_942_800_000;

const WIDTHS: [u16; 2] = [80, 132];

/// auditd's plugin as it should be, and a kernel that tells nothing of itself: nothing of the machine is on the screens.
fn alike(folder: &Path, namespace: Namespace) -> Namespace {
    let plugins = folder.join("plugins.d");
    fs::create_dir(&plugins).unwrap();
    let plugin =
        "active = yes\ndirection = out\npath = builtin_af_unix\ntype = builtin\nargs = 0640 /run/audispd_events\n";
    fs::write(plugins.join("af_unix.conf"), plugin).unwrap();
    namespace.powerless().with(&plugins, "/etc/audit/plugins.d")
}

/// What happened, one a second: programs of several users, and one that is called what it should not be.
fn events() -> Vec<String> {
    let (alice, bob) = (User::Alice.uid(), User::Bob.uid());
    let agent = "/usr/lib/x86_64-linux-gnu/evolution-data-server/evolution-addressbook-factory";
    let web = Records::connect6("2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap(), 443, 0);
    let records = [
        Records::execve(&["curl", "--silent", "https://example.org/a file"]).uid(alice).exe("/usr/bin/curl"),
        Records::socket().uid(alice).exe("/usr/bin/curl"),
        web.uid(alice).exe("/usr/bin/curl"),
        Records::connect(53).exe("/usr/sbin/unbound"),
        Records::connect(636).uid(bob).exe(agent),
        Records::connect(637).uid(bob).exe(agent),
        Records::connect(22).uid(bob).exe("/HOSTILE"),
    ];
    let of = [1, 1, 1, 2, 3, 3, 4];
    let times = (BEGINNING..).step_by(1000);
    let texts = records.into_iter().zip(of).zip(times).map(|((mut records, process), time)| {
        records.pid = 5_000_100 + process;
        records.at(time).text()
    });
    let hostile: String = "/tmp/x → 1.1.1.1:443\n\u{1b}[31m".bytes().map(|byte| format!("{byte:02X}")).collect();
    let refused = |text: String| match text.contains("/evolution") {
        true => text.replace("success=yes exit=0", "success=no exit=-111"),
        false => text,
    };
    texts.map(refused).map(|text| text.replace("\"/HOSTILE\"", &hostile)).collect()
}

fn world() -> Option<World> {
    let mut world = World::start_where("coalesce_ms = 0", alike)?;
    for event in events() {
        world.auditd.send(event);
    }
    world.root().wait_for_event_of(5_000_104);
    Some(world)
}

/// Keeps what a command shows at each width, with and without colours, and what it says beside it.
fn keep(world: &World, name: &str, user: User, arguments: &[&str]) {
    for width in WIDTHS {
        for (colour, suffix) in [("never", ""), ("always", "-colour")] {
            let mut command = command(&world.bus, user, &[&["--color", colour], arguments].concat());
            let run = Run::of(command.env("COLUMNS", width.to_string()).stdin(Stdio::null()));
            let folder = world.bus.folder().display().to_string();
            let shown = shown(&run.text, &run.said).replace(&folder, "/run");
            golden::compare(&format!("{name}-{width}{suffix}.txt"), &shown);
        }
    }
}

fn shown(text: &str, said: &str) -> String {
    let all = if said.is_empty() { text.to_owned() } else { format!("{text}--- on standard error ---\n{said}") };
    let all = golden::without_numbers_after(&golden::without_times(&all), &["pid ", "pid!="]);
    // How long it has been running.
    let line = |line: &str| match (line.split_once(", for "), line.rsplit_once(", pid ")) {
        (Some((before, _)), Some((_, behind))) => format!("{before}, for N s, pid {behind}\n"),
        _ => format!("{line}\n"),
    };
    all.lines().map(line).collect()
}

#[test]
fn every_command_has_its_screen() {
    let Some(world) = world() else { return };
    keep(&world, "list", User::Root, &["list"]);
    keep(&world, "list-alice", User::Alice, &["list"]);
    keep(&world, "find", User::Root, &["find", "--type", "connect"]);
    keep(&world, "find-columns", User::Root, &["find", "--columns", "time,user,protocol,family,program,destination"]);
    keep(&world, "find-none", User::Root, &["find", "--port", "9"]);
    keep(&world, "show", User::Root, &["show", "5000101"]);
    keep(&world, "show-hostile", User::Root, &["show", "5000104"]);
    keep(&world, "owner", User::Root, &["owner", "tcp", "127.0.0.1:40000", "127.0.0.1:53"]);
    keep(&world, "status", User::Root, &["status"]);
    keep(&world, "status-alice", User::Alice, &["status"]);
    keep(&world, "diagnose", User::Alice, &["diagnose"]);
    let log = corpus::log("RAW-names.log");
    keep(&world, "decode", User::Root, &["decode", log.to_str().unwrap()]);
}

/// The rules of other machines have other names.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_rules_have_their_screen() {
    let Some(world) = world() else { return };
    keep(&world, "rules", User::Root, &["rules", "list"]);
}

#[test]
fn watch_has_its_screen() {
    for width in WIDTHS {
        for (colour, suffix) in [("never", ""), ("always", "-colour")] {
            let Some(mut world) = World::start_where("coalesce_ms = 0", alike) else { return };
            let path = world.bus.folder().join("shown");
            let out = fs::File::create(&path).unwrap();
            let mut command = command(&world.bus, User::Root, &["--color", colour, "watch"]);
            let mut watch = command.env("COLUMNS", width.to_string()).stdout(out).spawn().unwrap();
            let has = |piece: &str| fs::read_to_string(&path).unwrap().contains(piece);
            // Whether it listens already cannot be told from outside.
            eventually("an event on the screen", || {
                world.auditd.send(Records::connect(1).exe("/marker").text());
                sleep(Duration::from_millis(50));
                has("/marker").then_some(())
            });
            // A header, and a row each. Users have their turns: where several events wait, they come in any order.
            let rows = || fs::read_to_string(&path).unwrap().lines().filter(|line| !line.contains("/marker")).count();
            for (at, event) in events().into_iter().enumerate() {
                world.auditd.send(event);
                eventually("the next event on the screen", || (rows() == at + 2).then_some(()));
            }
            watch.kill().unwrap();
            watch.wait().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let rows: String =
                text.lines().filter(|line| !line.contains("/marker")).map(|line| format!("{line}\n")).collect();
            golden::compare(&format!("watch-{width}{suffix}.txt"), &shown(&rows, ""));
        }
    }
}
