//! The applet on a screen: a real notification daemon, and a program that really connects.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{EVERY, tell_name};
use crate::support::{Applet, Desktop, Network, Process, Records, User, World, available, eventually};

/// With this variable the picture in README is taken anew.
const UPDATE: &str = "UPDATE_PICTURES";
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pictures/applet.png");
const DUNSTRC: &str = include_str!("dunstrc");

/// A screen in memory, with a notification daemon.
struct Screen {
    server: Child,
    dunst: Child,
    display: String,
}

impl Screen {
    fn start(world: &World, desktop: &Desktop) -> Self {
        let mut server = User::Root
            .command("Xvfb")
            // It finds a free number by itself, and says which.
            .args(["-displayfd", "1", "-screen", "0", "640x480x24", "-ac", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        let display = format!(":{}", number.trim());
        let configuration = desktop.path("dunstrc");
        fs::write(&configuration, DUNSTRC).unwrap();
        let dunst = desktop
            .command(&world.bus, User::Alice, "dunst")
            .arg("-conf")
            .arg(&configuration)
            .env("DISPLAY", &display)
            // Icons of the machine.
            .env("XDG_DATA_DIRS", "/usr/share")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { server, dunst, display }
    }

    /// What a person sees, without the empty rest of the screen.
    fn take(&self, picture: &Path) {
        let mut convert = Command::new("convert");
        convert.args(["x:root", "-trim", "+repage", "-bordercolor", "#e8e6e3", "-border", "12", "-strip"]);
        // What nothing covers is black.
        convert.args(["-fill", "#e8e6e3", "-opaque", "black"]);
        let status = convert.arg(picture).env("DISPLAY", &self.display).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        for child in [&mut self.dunst, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks dunst.
fn dunstctl(world: &World, desktop: &Desktop, arguments: &[&str]) -> String {
    let output = desktop.command(&world.bus, User::Alice, "dunstctl").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until so many notifications are on the screen.
#[track_caller]
fn wait_for(world: &World, desktop: &Desktop, count: u32) {
    let is_there = || dunstctl(world, desktop, &["count", "displayed"]) == count.to_string();
    eventually(&format!("{count} notifications"), || is_there().then_some(()));
}

#[test]
fn a_real_notification_daemon_shows_a_real_connection() {
    if !available(&["Xvfb", "dunst", "convert", "curl", "ip", "nsenter", "script"]) {
        return;
    }
    let world = World::start_where(EVERY, |folder, namespace| {
        fs::create_dir_all(folder.join("run/systemd/resolve")).unwrap();
        fs::write(folder.join("hosts"), "192.0.2.1 example.org\n").unwrap();
        namespace.with(&folder.join("hosts"), "/etc/hosts").with(&folder.join("run"), "/run")
    });
    let Some(mut world) = world else { return };
    let desktop = Desktop::start(&world.bus);
    let screen = Screen::start(&world, &desktop);
    wait_for(&world, &desktop, 0);
    let _monitor = tell_name(&world, "example.org", [192, 0, 2, 1]);
    let _applet = Applet::start(&desktop, &world.bus, User::Alice);
    world.root().wait_for_counter("Subscriptions", 1);

    // Nobody answers there, so it connects for as long as it is looked at.
    let network = Network::new();
    network.run(&["ip", "route", "add", "192.0.2.0/24", "dev", "lo"]);
    let mut shell = world.bus.namespace().clone().on_network(&network).command("setpriv");
    let uid = User::Alice.uid().to_string();
    shell.args(["--pdeathsig", "KILL", "--reuid", &uid, "--regid", &uid, "--clear-groups"]);
    // More than one command each, so that every shell stays and has a child.
    let curl = "curl --silent https://example.org/news; true";
    let script = format!("script --quiet --command '{curl}' /dev/null; true");
    shell.args(["sh", "-c", "bash -c \"$1\"; true", "sh", &script]).env("SHELL", "/bin/bash").current_dir("/tmp");
    let shell = Process::of(shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    let curl = eventually("curl", || child(shell.pid(), "curl"));
    let records = Records::connect(443).uid(User::Alice.uid()).pid(curl).to([192, 0, 2, 1]);
    let records = records.without("PROCTITLE").without("CWD").and("CWD cwd=\"/tmp\"");
    world.auditd.send(records.text());
    wait_for(&world, &desktop, 1);
    // A click.
    dunstctl(&world, &desktop, &["action", "0"]);
    wait_for(&world, &desktop, 2);

    let picture = desktop.path("screen.png");
    screen.take(&picture);
    assert!(fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    if std::env::var_os(UPDATE).is_some() {
        fs::copy(&picture, PICTURE).unwrap();
        fs::set_permissions(PICTURE, fs::Permissions::from_mode(0o644)).unwrap();
    }

    // dunst tells only of what is gone from the screen what was in it.
    dunstctl(&world, &desktop, &["close-all"]);
    let told = dunstctl(&world, &desktop, &["history"]).replace(['\u{2068}', '\u{2069}'], "");
    for part in ["example.org", "port 443", "/curl", "alice", "bash", "https://example.org/news"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

/// The descendant of a process whose program has this name, and is its newest.
fn child(pid: u32, program: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
    self::child(child, program).or((name.trim() == program).then_some(child))
}
