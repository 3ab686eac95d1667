//! The desktop applet: the real service, real buses, and in place of a desktop's notification server one of the test's.

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use crate::support::{Applet, Daemon, Desktop, Notifications, Records, User, World, available, eventually};

mod screen;

const EVERY: &str = "coalesce_ms = 0\nsignals_per_second = 10000";

/// A service, and Alice's desktop with the applet.
struct Scene {
    server: Notifications,
    applet: Applet,
    desktop: Desktop,
    world: World,
}

/// An address that is not of this machine.
fn far(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)
}

/// Alice's program of this path connects to that address.
fn connect(program: &str, number: u16) -> Records {
    Records::connect6(far(number), 443, 0).uid(User::Alice.uid()).exe(program)
}

impl Scene {
    fn start() -> Option<Self> {
        Some(Self::on(World::start(EVERY)?))
    }

    fn on(world: World) -> Self {
        let desktop = Desktop::start(&world.bus);
        let server = Notifications::start(&desktop);
        let applet = Applet::start(&desktop, &world.bus, User::Alice);
        world.root().wait_for_counter("Subscriptions", 1);
        Self { server, applet, desktop, world }
    }

    fn send(&mut self, records: &Records) {
        self.world.auditd.send(records.text());
    }
}

/// In systemd-resolved's place: tells whoever asks first that this address was looked up by that name. It ends with what it was
/// asked, and the connection.
fn tell_name<const N: usize>(world: &World, name: &str, address: [u8; N]) -> JoinHandle<(String, UnixStream)> {
    let path = world.bus.folder().join("run/systemd/resolve/io.systemd.Resolve.Monitor");
    let monitor = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let result = serde_json::json!({ "continues": true, "parameters": {
        "state": "success",
        "question": [{ "class": 1, "type": 1, "name": name }],
        "answer": [{ "rr": { "key": { "class": 1, "type": 1, "name": name }, "address": address.to_vec() }, "raw": "" }],
    } });
    thread::spawn(move || {
        let (mut stream, _) = monitor.accept().unwrap();
        let mut call = [0; 4096];
        let length = stream.read(&mut call).unwrap();
        write!(stream, "{{\"parameters\":{{\"ready\":true}},\"continues\":true}}\0{result}\0").unwrap();
        (String::from_utf8_lossy(&call[..length]).into_owned(), stream)
    })
}

#[test]
fn a_first_connection_is_shown_and_later_ones_are_counted_in_its_place() {
    let Some(mut scene) = Scene::start() else { return };
    let first = connect("/usr/bin/client", 1);
    scene.send(&connect("/usr/bin/bobs", 1).uid(User::Bob.uid()));
    scene.send(&Records::connect(443).uid(User::Alice.uid()).exe("/usr/bin/local"));
    scene.send(&first);
    let shown = scene.server.wait_for("a notification", |_| true);
    assert_eq!(shown.title, "client connects to 2001:db8::1");
    // Its parent is whatever has pid 1 here.
    let body = "2001:db8::1, port 443\n/usr/bin/client\nUser alice, started by ";
    assert!(shown.body.starts_with(body), "{}", shown.body);
    assert_eq!(shown.buttons[..3], ["default", "details", "mute"]);
    assert_eq!((shown.replaces, shown.icon.as_str()), (0, "application-x-executable"));

    scene.send(&connect("/usr/bin/client", 2));
    scene.send(&first.again());
    let counted = scene.server.wait_for("a count", |shown| shown.title == "client: 3 connections");
    assert_eq!((counted.replaces, counted.id), (shown.id, shown.id));
    let all = "2001:db8::1, port 443\n2001:db8::2, port 443\n/usr/bin/client\n";
    assert!(counted.body.starts_with(all), "the newest destination comes first: {}", counted.body);
    let others = scene.server.shown().iter().any(|shown| shown.title.contains("bobs") || shown.title.contains("local"));
    assert!(!others, "{:?}", scene.server.shown());
}

#[test]
fn what_comes_within_five_seconds_is_one_popup() {
    let Some(mut scene) = Scene::start() else { return };
    for program in ["/bin/one", "/bin/two", "/bin/three", "/bin/three"] {
        scene.send(&connect(program, 7));
    }
    let summed = scene.server.wait_for("a sum", |shown| shown.title == "2 programs connect to the network");
    assert_eq!(summed.body, "two → 2001:db8::7\nthree → 2001:db8::7");
    let popups: Vec<_> = scene.server.shown().into_iter().filter(|shown| shown.replaces == 0).collect();
    assert_eq!(popups.len(), 2, "{popups:?}");
    scene.server.press(summed.id, "details");
    let details = scene.server.wait_for("details", |shown| shown.title == "Details");
    let lines = "two\n2001:db8::7, port 443\nthree\n2001:db8::7, port 443";
    assert_eq!(details.body, lines);
}

#[test]
fn buttons_show_details_and_mute_until_that_is_undone() {
    let Some(mut scene) = Scene::start() else { return };
    scene.send(&connect("/opt/client", 1));
    let shown = scene.server.wait_for("a notification", |_| true);
    scene.server.press(shown.id, "details");
    let details = scene.server.wait_for("details", |shown| shown.title == "client: details");
    for line in ["Program: /opt/client", "Command: client", "Folder: /", "User: alice", "Connections: 1"] {
        assert!(details.body.lines().any(|one| one == line), "{line} is not in {}", details.body);
    }
    assert!(details.body.ends_with("Destinations:\n2001:db8::1, port 443"), "{}", details.body);

    scene.server.press(details.id, "mute");
    let muted = scene.desktop.path("config/opensnitch-audit/muted.toml");
    eventually("a muted program", || fs::read_to_string(&muted).ok().filter(|text| text.contains("/opt/client")));
    let output = Applet::run(&scene.desktop, &scene.world.bus, &["muted"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/opt/client (program)\n");
    scene.send(&connect("/opt/client", 2));
    scene.send(&connect("/opt/other", 3));
    scene.server.wait_for("another program", |shown| shown.title == "other connects to 2001:db8::3");

    let output = Applet::run(&scene.desktop, &scene.world.bus, &["muted", "undo", "/opt/client"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Not muted any more: /opt/client\n");
    let output = Applet::run(&scene.desktop, &scene.world.bus, &["muted"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Nothing is muted.\n");
    // The applet looks at the file once a second at the most.
    eventually("the program again", || {
        scene.world.auditd.send(connect("/opt/client", 4).text());
        sleep(Duration::from_millis(200));
        scene
            .server
            .shown()
            .iter()
            .any(|shown| shown.title.starts_with("client") && shown.id > details.id)
            .then_some(())
    });
    assert!(!scene.server.shown().iter().any(|shown| shown.body.contains("2001:db8::2,")), "it was muted");
}

#[test]
fn a_name_with_markup_and_control_characters_stays_text() {
    let Some(mut scene) = Scene::start() else { return };
    let name = "/tmp/<img src='http://192.0.2.1/x'>&\n\u{202e}gpj\u{1b}[31m";
    let hex: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
    let records = connect("/usr/bin/client", 1);
    scene.world.auditd.send(records.text().replace("exe=\"/usr/bin/client\"", &format!("exe={hex}")));
    let shown = scene.server.wait_for("a notification", |_| true);
    // The name of a file is what comes behind the last slash.
    let name = "x'>&\\u{a}\\u{202e}gpj\\u{1b}[31m";
    assert_eq!(shown.title, format!("{name} connects to 2001:db8::1"));
    let path = "/tmp/&lt;img src='http://192.0.2.1/x'&gt;&amp;\\u{a}\\u{202e}gpj\\u{1b}[31m";
    assert_eq!(shown.body.lines().nth(1), Some(path));
}

#[test]
fn it_survives_the_restart_of_everything_around_it() {
    let Some(mut scene) = Scene::start() else { return };
    scene.send(&connect("/bin/before", 1));
    scene.server.wait_for("a notification", |shown| shown.title.starts_with("before "));
    // It counts as told once the server has answered.
    let told = scene.desktop.path("run/opensnitch-audit-notify/told.toml");
    eventually("what was told, in a file", || {
        fs::read_to_string(&told).is_ok_and(|told| told.contains("/bin/before")).then_some(())
    });

    // Both buses, the service and the notification server, which can do less now.
    scene.desktop.restart_bus();
    scene.world.bus.restart();
    scene.world.daemon.wait();
    scene.server = Notifications::start_with(&scene.desktop, &["body"]);
    let socket = scene.world.bus.folder().join("audispd_events");
    scene.world.daemon = Daemon::start(&scene.world.bus, &format!("socket = '{}'\n{EVERY}", socket.display()));
    scene.world.auditd.accept();
    scene.world.root().wait_for_counter("Subscriptions", 1);
    scene.send(&connect("/bin/before", 1));
    scene.send(&connect("/bin/behind", 2));
    let shown = scene.server.wait_for("a notification", |_| true);
    assert_eq!(shown.title, "behind connects to 2001:db8::2", "what was told is not told again");
    assert!(shown.buttons.is_empty() && shown.body.contains("Command: client"), "{shown:?}");
}

#[test]
fn one_that_is_started_again_tells_nothing_twice() {
    let Some(mut scene) = Scene::start() else { return };
    scene.send(&connect("/bin/before", 1));
    scene.server.wait_for("a notification", |shown| shown.title.starts_with("before "));
    eventually("that it is written down", || {
        fs::read(scene.desktop.path("run/opensnitch-audit-notify/told.toml")).ok()
    });
    let mut second = Applet::start(&scene.desktop, &scene.world.bus, User::Alice);
    assert!(second.wait().success(), "{}", second.said());
    assert!(second.said().contains("another one runs"), "{}", second.said());

    scene.applet = {
        drop(scene.applet);
        scene.world.root().wait_for_counter("Subscriptions", 0);
        Applet::start(&scene.desktop, &scene.world.bus, User::Alice)
    };
    scene.world.root().wait_for_counter("Subscriptions", 1);
    scene.world.auditd.send(connect("/bin/before", 1).text());
    scene.world.auditd.send(connect("/bin/behind", 2).text());
    scene.server.wait_for("another program", |shown| shown.title == "behind connects to 2001:db8::2");
    assert_eq!(scene.server.shown().len(), 2, "{:?}", scene.server.shown());
}

#[test]
fn a_notification_server_that_hangs_keeps_no_event_waiting() {
    let Some(mut scene) = Scene::start() else { return };
    scene.server.hang(true);
    let root = scene.world.root();
    // More than what the service, the bus and the applet keep for somebody who does not read: 512, a few dozen, and 256.
    let enough = 900;
    let mut sent = 0;
    eventually("events that are read meanwhile", || {
        let burst: String = (0..30).map(|number| connect(&format!("/bin/p{sent}-{number}"), 1).text()).collect();
        scene.world.auditd.send(burst);
        sent += 30;
        root.wait_for_counter("EventsMatched", sent);
        (sent - root.counter("SubscriptionsLost") > enough).then_some(())
    });
    scene.server.hang(false);
    // What the applet could not keep either is told.
    let lost = scene.server.wait_for("losses", |shown| shown.title == "Not every connection was told");
    assert!(lost.body.contains("connections were too many at once"), "{lost:?}");
}

#[test]
fn a_service_that_does_not_come_back_is_told_once() {
    let Some(mut scene) = Scene::start() else { return };
    scene.world.daemon.kill(rustix::process::Signal::TERM);
    scene.world.daemon.wait();
    let gone = scene.server.wait_for("that it is gone", |shown| shown.title == "Connections are not watched");
    let socket = scene.world.bus.folder().join("audispd_events");
    scene.world.daemon = Daemon::start(&scene.world.bus, &format!("socket = '{}'\n{EVERY}", socket.display()));
    scene.world.auditd.accept();
    let back = scene.server.wait_for("that it is back", |shown| shown.title == "Connections are watched again");
    assert_eq!((back.replaces, scene.server.shown().len()), (gone.id, 2));
}

#[test]
fn a_destination_has_the_name_that_the_resolver_tells() {
    let world = World::start_where(EVERY, |folder, namespace| {
        let monitor = folder.join("run/systemd/resolve");
        fs::create_dir_all(&monitor).unwrap();
        namespace.with(&folder.join("run"), "/run")
    });
    let Some(world) = world else { return };
    let tells = tell_name(&world, "example.org", far(1).octets());
    let mut scene = Scene::on(world);
    let (call, _stream) = tells.join().unwrap();
    assert!(call.contains("\"io.systemd.Resolve.Monitor.SubscribeQueryResults\"") && call.ends_with('\0'), "{call}");
    // The answer comes on its own way: another event may be faster.
    let mut number = 0;
    eventually("the name", || {
        number += 1;
        scene.send(&connect("/bin/client", 1));
        sleep(Duration::from_millis(100));
        let named = "example.org: 2001:db8::1, port 443";
        let is_named =
            |shown: &crate::support::Shown| shown.body.contains(named) || shown.title.ends_with("to example.org");
        scene.server.shown().iter().any(is_named).then_some(())
    });
}

#[test]
fn systemd_starts_its_unit_and_not_the_entry_for_other_desktops() {
    let generator = "/usr/lib/systemd/user-generators/systemd-xdg-autostart-generator";
    if !available(&[generator]) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entry = fs::read_to_string(root.join("packaging/opensnitch-audit-notify.desktop")).unwrap();
    let unit = fs::read_to_string(root.join("systemd/opensnitch-audit-notify.service")).unwrap();
    assert!(entry.contains("\nExec=opensnitch-audit-notify\n"));
    assert!(unit.contains("\nExecStart=/usr/bin/opensnitch-audit-notify\n"));
    // What it makes units of, it makes one of this; so it is the mark that keeps it from that.
    let without = entry.replace("X-systemd-skip=true\n", "").replace("X-GNOME-HiddenUnderSystemd=true\n", "");
    for (entry, units) in [(entry, 0), (without, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let [configuration, early, normal, late] =
            ["xdg", "early", "normal", "late"].map(|name| folder.path().join(name));
        for folder in [&configuration.join("autostart"), &early, &normal, &late] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(configuration.join("autostart/opensnitch-audit-notify.desktop"), entry).unwrap();
        let program = Applet::program();
        let status = Command::new(generator)
            .args([&normal, &early, &late])
            .env("XDG_CONFIG_DIRS", &configuration)
            .env("XDG_CONFIG_HOME", folder.path().join("nothing"))
            .env("XDG_CURRENT_DESKTOP", "KDE")
            // It looks for the program.
            .env("PATH", program.parent().unwrap())
            .status()
            .unwrap();
        assert!(status.success());
        let made = fs::read_dir(&late).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
        assert_eq!(made, units);
    }
}
