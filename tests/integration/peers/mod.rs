//! Programs of others: the D-Bus libraries and tools that Debian has, each as its own users write for it.
//!
//! The clients beside this file do the same in the words of four libraries: they read `Connected`, ask for the newest event
//! of a process, find its events, ask for what is not there, and subscribe until one event is seen; [`TALK`] is what they
//! print. dfuzzer is not among them, since no release of Debian has it: what it found is in SECURITY.md.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::contract::members;
use crate::support::{Client, Listener, Records, User, World, available};

const XML: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dbus/org.opensnitch.Audit.xml");

/// What each client prints.
const TALK: [&str; 6] = [
    "connected 1",
    "event /usr/bin/client 127.0.0.1:443",
    "found 1, next 0",
    "error org.opensnitch.Audit.Error.NotFound",
    "seen /usr/bin/client 127.0.0.1:80",
    "end",
];

/// A client's source, which is beside this file.
fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/peers").join(file)
}

/// Runs a program of Debian's that must succeed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    // A warning is a finding.
    assert_eq!(said, "", "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compiles a client with these libraries, as pkg-config knows them; its parts were made in the folder.
fn compile(folder: &Path, compiler: &str, parts: &[PathBuf], libraries: &str) -> PathBuf {
    let flags = run(Command::new("pkg-config").args(["--cflags", "--libs", libraries]));
    let program = folder.join("client");
    let mut compile = Command::new(compiler);
    compile.args(["-Wall", "-Wextra", "-Werror", "-fPIC", "-I"]).arg(folder).arg("-o").arg(&program).args(parts);
    run(compile.args(flags.split_whitespace()));
    program
}

/// An ordinary user's client says what is in [`TALK`].
fn talks(world: &mut World, program: &str, arguments: &[&Path]) {
    let root = world.root();
    let send = |world: &mut World, port| {
        let records = Records::connect(port).uid(User::Alice.uid());
        world.auditd.send(records.text());
        root.wait_for_event_of(records.pid);
        records.pid
    };
    let known = send(world, 443);
    let mut command = world.client(User::Alice).command(program);
    command.args(arguments).arg(known.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    for expected in &TALK[..4] {
        assert_eq!(lines.next().as_deref(), Some(*expected));
    }
    root.wait_for_counter("Subscriptions", 1);
    send(world, 80);
    assert_eq!(lines.collect::<Vec<_>>(), TALK[4..]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_client_of_sd_bus() {
    if !available(&["cc", "pkg-config", "/usr/include/systemd/sd-bus.h"]) {
        return;
    }
    let Some(mut world) = World::start("") else { return };
    let program = compile(world.bus.folder(), "cc", &[source("sd-bus.c")], "libsystemd");
    talks(&mut world, program.to_str().unwrap(), &[]);
}

#[test]
fn a_client_of_what_gdbus_codegen_makes() {
    if !available(&["cc", "pkg-config", "gdbus-codegen"]) {
        return;
    }
    let Some(mut world) = World::start("") else { return };
    let folder = world.bus.folder().to_owned();
    let mut codegen = Command::new("gdbus-codegen");
    codegen.args(["--interface-prefix", "org.opensnitch.", "--generate-c-code", "audit", "--output-directory"]);
    run(codegen.arg(&folder).args(["--generate-docbook", "audit", XML]));
    // Its documentation is ours, with every argument told.
    let docs = fs::read_to_string(folder.join("audit-org.opensnitch.Audit.xml")).unwrap();
    assert!(docs.contains("Which process opened that connection?") && docs.contains("The address on this machine"));
    let program = compile(&folder, "cc", &[source("gdbus.c"), folder.join("audit.c")], "gio-unix-2.0");
    talks(&mut world, program.to_str().unwrap(), &[]);
}

#[test]
fn a_client_of_what_qdbusxml2cpp_makes() {
    if !available(&["g++", "pkg-config", "qdbusxml2cpp", "moc"]) {
        return;
    }
    let Some(mut world) = World::start("") else { return };
    let folder = world.bus.folder().to_owned();
    // Without namespaces: one interface's name is the beginning of the other's.
    run(Command::new("qdbusxml2cpp").args(["-N", "-p", "audit", XML]).current_dir(&folder));
    run(Command::new("moc").args(["audit.h", "-o", "audit-moc.cpp"]).current_dir(&folder));
    let program = compile(&folder, "g++", &[source("qt.cpp")], "Qt5DBus");
    talks(&mut world, program.to_str().unwrap(), &[]);
}

#[test]
fn a_client_of_dbus_python() {
    if !available(&PYTHON) {
        return;
    }
    let Some(mut world) = World::start("") else { return };
    talks(&mut world, "/usr/bin/python3", &[&source("dbus-python.py")]);
}

/// Python with dbus-python and GLib's main loop.
const PYTHON: [&str; 3] =
    ["/usr/bin/python3", "/usr/lib/python3/dist-packages/dbus", "/usr/lib/python3/dist-packages/gi"];

/// `gdbus` as root, whose answer it is.
fn gdbus(root: &Client, arguments: &[&str]) -> String {
    let (verb, rest) = arguments.split_first().unwrap();
    let object = [*verb, "--system", "--dest", "org.opensnitch.Audit", "--object-path", "/org/opensnitch/Audit"];
    run(root.command("gdbus").args(object).args(rest))
}

#[test]
fn gdbus_calls_introspects_and_listens() {
    if !available(&["gdbus"]) {
        return;
    }
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    assert_eq!(members(&gdbus(&root, &["introspect", "--xml"])), members(&fs::read_to_string(XML).unwrap()));

    let mut monitor = root.command("gdbus");
    let monitor = Listener::to(monitor.args(["monitor", "--system", "--dest", "org.opensnitch.Audit"]));
    monitor.wait_for("is owned by");
    let records = Records::connect(443);
    world.auditd.send(records.text());
    monitor.wait_for("org.opensnitch.Audit.EventSeen ('connect', '/usr/bin/client', {");

    let event = gdbus(&root, &["call", "--method", "org.opensnitch.Audit.GetEventByPid", &records.pid.to_string()]);
    assert!(event.contains("'DstHost': <'127.0.0.1'>, 'DstPort': <uint16 443>"), "{event}");
    let query = format!("{{'Pid': <uint32 {}>}}", records.pid);
    let found = gdbus(&root, &["call", "--method", "org.opensnitch.Audit.FindEvents", &query]);
    assert!(found.starts_with("([{") && found.ends_with("}], uint64 0)\n"), "{found}");
}
