//! What an ordinary user does to the service with programs of its own, with the real one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::support::{Listener, Process, Records, User, World, available, eventually};

const NOBODY: u32 = 65_534;

/// Runs a program as the user nobody.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn as_nobody(command: &[&str]) -> Command {
    let mut nobody = Command::new(AS_NOBODY[0]);
    nobody.args(&AS_NOBODY[1..]).args(command);
    nobody
}

/// Compiles the program whose command line cannot be read; see there. Beside it is FUSE's device, as udev makes it.
fn hang(folder: &Path) -> PathBuf {
    let device = folder.join("fuse");
    let made = Command::new("mknod").args(["-m", "666"]).arg(&device).args(["c", "10", "229"]).status();
    assert!(made.unwrap().success());
    let program = folder.join("hang");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/process/tests/hang.c");
    assert!(Command::new("cc").arg("-o").arg(&program).arg(source).status().unwrap().success());
    program
}

/// A process of nobody's whose command line cannot be read, as long as this is there.
struct Hanging {
    pid: u32,
    file_system: Child,
    _stdin: ChildStdin,
}

impl Hanging {
    /// As nobody may start it: in a user namespace, where the file system is nobody's own.
    fn start(program: &Path) -> Self {
        let (program, device) = (program.to_str().unwrap(), program.with_file_name("fuse"));
        let device = device.to_str().unwrap();
        let mut command = as_nobody(&["unshare", "--user", "--map-root-user", program, "0", device]);
        let mut file_system = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(file_system.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let stdin = file_system.stdin.take().unwrap();
        Self { pid: line.trim().parse().expect("nobody may have a user namespace"), file_system, _stdin: stdin }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.file_system.kill();
        let _ = self.file_system.wait();
    }
}

#[test]
fn programs_whose_command_line_hangs_stop_neither_visits_nor_signals() {
    if !available(&["cc", "/dev/fuse"]) {
        return;
    }
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    let (root, program) = (world.root(), hang(world.bus.folder()));
    let monitor = Listener::monitor(&root);
    let hanging: Vec<_> = (0..12).map(|_| Hanging::start(&program)).collect();
    for round in 1..=3_u16 {
        for one in &hanging {
            world.auditd.send(Records::connect(round).pid(one.pid).uid(NOBODY).without("PROCTITLE").text());
        }
        // Behind them, one whose command line must be read too.
        world.reads_arguments();
    }
    // Those that hang are told too: who they are, and not their arguments.
    for one in &hanging {
        let event = eventually("a visit", || root.event_of(one.pid).ok().filter(|one| one.get("StartTime").is_some()));
        assert!(event.get("Args").is_none() && event["Running"] == true && event["UID"] == NOBODY, "{event}");
    }
    let of_those = |event: &serde_json::Value| hanging.iter().any(|one| event["Pid"] == one.pid);
    eventually("all their signals", || {
        (monitor.events_seen().iter().filter(|event| of_those(event)).count() == 3 * hanging.len()).then_some(())
    });
    assert_eq!((root.counter("SignalsLost"), root.counter("VisitsLost")), (0, 0));
}

/// EXECVE records of these arguments, in pieces as the kernel writes them (`audit_log_execve_info` in kernel/auditsc.c).
fn execve_in_pieces(arguments: &[&str]) -> Vec<String> {
    const PIECE: usize = 7500;
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    let mut records = vec![format!("EXECVE argc={}", arguments.len())];
    for (at, argument) in arguments.iter().enumerate() {
        let digits = hex(argument);
        if digits.len() <= PIECE {
            records[0] += &format!(" a{at}={digits}");
            continue;
        }
        records.push(format!("EXECVE  a{at}_len={}", digits.len()));
        for (piece, chunk) in digits.as_bytes().chunks(PIECE).enumerate() {
            let last = records.len() - 1;
            let text = format!(" a{at}[{piece}]={}", str::from_utf8(chunk).unwrap());
            if piece == 0 { records[last] += &text } else { records.push(format!("EXECVE {text}")) }
        }
    }
    records
}

#[test]
fn events_with_arguments_of_256_kilobytes_push_out_nobody() {
    let Some(mut world) = World::start("execve = true\nhistory = 1000\nmax_events = 200") else { return };
    let root = world.root();
    let own = |port| Records::connect(port).uid(User::Alice.uid());
    world.auditd.send((1..=100).map(|port| own(port).text()).collect::<String>());
    // Two arguments, since one may have 128 kB at the most (`MAX_ARG_STRLEN`).
    let long = "x".repeat(128 * 1024 - 1);
    let mut processes = Vec::new();
    for _ in 0..40 {
        let script = ["sh", "-c", "read -r _", "sh", &long, &long];
        let process = Process::of(as_nobody(&script).stdin(Stdio::piped()));
        let is_there = || std::fs::read(format!("/proc/{}/cmdline", process.pid())).unwrap().starts_with(b"sh\0-c");
        eventually("its arguments", || is_there().then_some(()));
        let mut execve = Records::execve(&[]).pid(process.pid()).uid(NOBODY).without("EXECVE");
        for record in execve_in_pieces(&script) {
            execve = execve.and(&record);
        }
        world.auditd.send(execve.text());
        // And connects, whose arguments are read from the process.
        for port in 1..=50 {
            let connect = Records::connect(port).pid(process.pid()).uid(NOBODY).without("PROCTITLE");
            world.auditd.send(connect.text());
        }
        processes.push(process);
    }
    root.wait_for_counter("EventsMatched", 100 + 40 * 51);
    let uid = User::Alice.uid().to_string();
    let rows = root.find(&[("UID", "u", &uid), ("Limit", "u", "1000")]).unwrap().0;
    assert_eq!(rows.len(), 100, "rows of the other user");
    assert_eq!(root.events().iter().filter(|row| row["UID"] == User::Alice.uid()).count(), 100, "and the newest");
    // What is kept of the arguments is little, and says so.
    let last = eventually("a visit", || {
        let event = root.event_of(processes[39].pid()).ok()?;
        event.get("ArgsCut").is_some().then_some(event)
    });
    let kept: usize = last["Args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().len()).sum();
    assert!(kept <= 4096, "{kept} bytes");
    // 20 MB of arguments went by.
    assert!(world.daemon.resident() < 64 * 1024 * 1024, "{}", world.daemon.resident());
}

/// What the package's script does where `/run/auditd.pid` has this pid: it must run `auditd`'s own program file, which is `program`
/// here. Whether it sent its signal.
fn script_signals(pid: u32, program: &str) -> bool {
    const SCRIPT: &str = include_str!("../../packaging/deb/postinst");
    let function = SCRIPT.split_once("\nsignal_auditd() {").unwrap().1.split_once("\n}\n").unwrap().0;
    let inside = format!(
        "mount -t tmpfs none /run && echo {pid} >/run/auditd.pid && mount --bind {program} /usr/sbin/auditd || exit 9\n\
         signal_auditd() {{{function}\n}}\nsignal_auditd"
    );
    let status = Command::new("unshare").args(["-m", "--propagation=private", "sh", "-c", &inside]).status().unwrap();
    assert!(status.code().is_some_and(|code| code != 9), "{status}");
    status.success()
}

#[test]
fn the_packages_script_signals_nobody_but_auditd() {
    if !available(&["auditd"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [auditd, other] = ["auditd", "other"].map(|name| folder.path().join(name));
    let runs = |program: &Path| {
        std::fs::copy("/usr/bin/sleep", program).unwrap();
        Process::of(Command::new(program).arg("1000"))
    };
    let (real, another) = (runs(&auditd), runs(&other));
    let program = auditd.to_str().unwrap();
    // The number was auditd's once.
    assert!(!script_signals(another.pid(), program) && another.is_running());
    assert!(script_signals(real.pid(), program));
    eventually("its end", || (!real.is_running()).then_some(()));
}
