//! The kernel's own audit, with rules for one program of the test's own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::eventually;

/// There is one kernel: for the tests of one run, …
static TURN: Mutex<()> = Mutex::new(());
/// … and for all that run at the same time, those of the library (src/rules/evasion.rs) too.
const LOCK: &str = "/run/opensnitch-audit-test.lock";

/// The kernel's audit, for one test at a time. It has one rule more: for the connects of one program, which nobody else runs.
pub(crate) struct Kernel {
    program: PathBuf,
    _run: File,
    _turn: MutexGuard<'static, ()>,
}

impl Kernel {
    /// `None`, said loudly, where the kernel does not give its audit to this machine: in a container, say. Under every
    /// setting, since nothing that could be installed changes that.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let run = File::create(LOCK).ok()?;
        run.lock().unwrap();
        let program = folder.join("program");
        fs::copy("/bin/bash", &program).unwrap();
        let kernel = Self { program, _run: run, _turn: turn };
        let multicast = opensnitch_audit::source::Multicast::open();
        if let Err(error) = multicast.as_ref() {
            return skip(&format!("the kernel's multicast: {error}"));
        }
        match kernel.rule("-a") {
            true => Some(kernel),
            false => skip("the kernel's rules"),
        }
    }

    fn rule(&self, change: &str) -> bool {
        let exe = format!("exe={}", self.program.display());
        let rule = ["always,exit", "-F", "arch=b64", "-S", "connect", "-F", &exe, "-k", "opensnitch"];
        Command::new("auditctl").arg(change).args(rule).output().is_ok_and(|output| output.status.success())
    }

    /// The program runs, and will connect to ports, once audit is on: where nobody had switched it on the service does, in a moment.
    pub(crate) fn connects(&self) -> Connects {
        eventually("audit", || (self.status("enabled") != 0).then_some(()));
        const SCRIPT: &str = "while read -r port; do true <>\"/dev/tcp/127.0.0.1/$port\"; echo; done";
        let mut child = Command::new(&self.program)
            .args(["-c", SCRIPT])
            // Without one it looks its user up, which is a connect of its own, to nscd's socket.
            .env("SHELL", &self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ports = child.stdin.take().unwrap();
        Connects { child, ports }
    }

    /// What `auditctl -s` says of this.
    pub(crate) fn status(&self, what: &str) -> u32 {
        let output = Command::new("auditctl").arg("-s").output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.rule("-d");
    }
}

/// A process that connects.
pub(crate) struct Connects {
    child: Child,
    ports: std::process::ChildStdin,
}

impl Connects {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Connects to this port of 127.0.0.1, where nobody listens.
    pub(crate) fn to(&mut self, port: u16) {
        writeln!(self.ports, "{port}").unwrap();
    }
}

impl Drop for Connects {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn skip<T>(what: &str) -> Option<T> {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: this machine cannot have {what}");
    None
}
