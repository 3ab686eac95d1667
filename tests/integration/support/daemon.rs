//! Our service, as a process.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::{PrivateBus, Systemd, User, eventually, memory};

/// `opensnitch-auditd` with a configuration of the test's own. Its log is shown when the test fails.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts it and waits until its name is on the bus. Unless `config` says otherwise it manages no rules.
    pub(crate) fn start(bus: &PrivateBus, config: &str) -> Self {
        Self::spawn(bus, config).wait_until_up(bus)
    }

    /// The same, where its log goes there.
    pub(crate) fn start_logging_to(bus: &PrivateBus, config: &str, log: Stdio) -> Self {
        Self::spawn_logging_to(bus, &config_file(bus, config), log).wait_until_up(bus)
    }

    /// The same, where this systemd starts it.
    pub(crate) fn start_by(systemd: &Systemd, bus: &PrivateBus, config: &str) -> Self {
        Self::spawn_by(Some(systemd), bus, &config_file(bus, config), Stdio::piped()).wait_until_up(bus)
    }

    fn wait_until_up(mut self, bus: &PrivateBus) -> Self {
        let daemon = &mut self;
        let client = bus.client(User::Root);
        eventually("org.opensnitch.Audit on the bus", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the service ended: {}", daemon.log());
            (client.owner_pid("org.opensnitch.Audit") == Some(daemon.pid())).then_some(())
        });
        self
    }

    /// Starts it.
    pub(crate) fn spawn(bus: &PrivateBus, config: &str) -> Self {
        Self::spawn_with(bus, &config_file(bus, config))
    }

    /// Starts it with this configuration as it is.
    pub(crate) fn spawn_with(bus: &PrivateBus, file: &Path) -> Self {
        Self::spawn_logging_to(bus, file, Stdio::piped())
    }

    fn spawn_logging_to(bus: &PrivateBus, file: &Path, stderr: Stdio) -> Self {
        Self::spawn_by(None, bus, file, stderr)
    }

    fn spawn_by(systemd: Option<&Systemd>, bus: &PrivateBus, file: &Path, stderr: Stdio) -> Self {
        let mut command = bus.namespace().command("sh");
        command.env_remove("NOTIFY_SOCKET");
        if let Some(systemd) = systemd {
            systemd.pass(&mut command);
        }
        let mut child = command
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_opensnitch-auditd")])
            .arg("--config")
            .arg(file)
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            // As in the unit.
            .env("MALLOC_ARENA_MAX", "2")
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .stderr(stderr)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (kept, stderr) = (log.clone(), child.stderr.take());
        thread::spawn(move || {
            let Some(stderr) = stderr else { return };
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = kept.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a piece of the log.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, piece: &str) {
        eventually(&format!("{piece:?} in the log"), || self.log().contains(piece).then_some(()));
    }

    /// Its resident size in bytes.
    pub(crate) fn resident(&self) -> u64 {
        memory(self.pid(), "VmRSS")
    }

    /// The descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        self.count("fd")
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> usize {
        self.count("task")
    }

    /// Waits until none of its threads has anything to do: all sleep, as often as at the last look.
    #[track_caller]
    pub(crate) fn wait_for_rest(&self) {
        let mut before = Vec::new();
        eventually("a service at rest", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            // It tells how often a thread went to sleep. A thread that has just ended has none.
            let read = |task: io::Result<fs::DirEntry>| fs::read_to_string(task.unwrap().path().join("status"));
            let now: Vec<String> = tasks.map(|task| read(task).unwrap_or_default()).collect();
            let rests = now == before && now.iter().all(|status| status.contains("State:\tS"));
            before = now;
            rests.then_some(())
        });
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{folder}", self.pid())).unwrap().count()
    }

    /// Sends a signal.
    pub(crate) fn kill(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the end of the service", || self.child.try_wait().unwrap())
    }
}

/// A file with this configuration. Unless it says otherwise no rules are managed, and the machine's own events stay away.
fn config_file(bus: &PrivateBus, config: &str) -> PathBuf {
    let file = bus.folder().join("config.toml");
    let rules = if config.contains("manage_rules") { "" } else { "manage_rules = false\n" };
    let source = if config.contains("source =") { "" } else { "\nsource = 'audisp'\n" };
    fs::write(&file, format!("{rules}{config}{source}")).unwrap();
    file
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill(Signal::TERM);
            for _ in 0..100 {
                if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    break;
                }
                thread::sleep(std::time::Duration::from_millis(20));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("the service's log:\n{}", self.log());
        }
    }
}
