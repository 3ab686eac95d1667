//! Somebody who listens.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use super::client::plain;
use super::process::hang;
use super::{Client, eventually};

/// What one listener heard, line by line.
pub(crate) struct Listener {
    child: Child,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    /// `busctl monitor` sees all that goes over the bus, whatever the policy. Only root may.
    pub(crate) fn monitor(client: &Client) -> Self {
        Self::monitor_of(client, "type='signal',path='/org/opensnitch/Audit'")
    }

    /// The same, of what this match rule finds.
    pub(crate) fn monitor_of(client: &Client, rule: &str) -> Self {
        let mut command = client.busctl(&["monitor", &format!("--match={rule}")]);
        command.env("SYSTEMD_LOG_LEVEL", "info");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut ready).unwrap();
        assert!(ready.contains("Monitoring"), "{ready}");
        Self::read(child)
    }

    /// A subscriber with this match rule, as any client can be one.
    pub(crate) fn subscribe(client: &Client, rule: &str) -> Self {
        // As anybody but root it is no monitor but a plain subscriber.
        Self::to(client.command("dbus-monitor").args(["--system", rule]))
    }

    /// A program that prints what it hears.
    pub(crate) fn to(command: &mut Command) -> Self {
        Self::read(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// `opensnitch-auditctl watch`, with what it says on standard error between its rows.
    pub(crate) fn watch(client: &Client, arguments: &[&str]) -> Self {
        let mut command = client.command("sh");
        command.args(["-c", "exec \"$@\" 2>&1", "sh", env!("CARGO_BIN_EXE_opensnitch-auditctl"), "watch"]);
        Self::to(command.args(arguments))
    }

    fn read(mut child: Child) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (kept, stdout) = (heard.clone(), child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, heard }
    }

    /// Never reads again.
    pub(crate) fn freeze(&self) {
        hang(&self.child);
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a piece of text was heard.
    pub(crate) fn has_heard(&self, piece: &str) -> bool {
        self.lines().iter().any(|line| line.contains(piece))
    }

    /// How many lines have a piece of text.
    pub(crate) fn count(&self, piece: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(piece)).count()
    }

    /// Of a subscriber, type and program of every `EventSeen` so far.
    pub(crate) fn types_and_programs(&self) -> BTreeSet<(String, String)> {
        let lines = self.lines();
        let text = |line: &str| line.trim().strip_prefix("string \"")?.strip_suffix('"').map(str::to_owned);
        let signals = lines.windows(3).filter(|lines| lines[0].contains("member=EventSeen"));
        signals.filter_map(|lines| Some((text(&lines[1])?, text(&lines[2])?))).collect()
    }

    /// Waits until a piece of text was heard.
    #[track_caller]
    pub(crate) fn wait_for(&self, piece: &str) {
        eventually(&format!("{piece:?} from the bus"), || self.has_heard(piece).then_some(()));
    }

    /// Of a monitor, the arguments of all signals of this name so far.
    pub(crate) fn signals(&self, member: &str) -> Vec<Value> {
        let messages = self.lines();
        let messages = messages.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        messages
            .filter(|message| message["member"] == member)
            .map(|message| message["payload"]["data"].clone())
            .collect()
    }

    /// Of a monitor, the events of all `EventSeen` so far.
    pub(crate) fn events_seen(&self) -> Vec<Value> {
        self.signals("EventSeen").iter().map(|arguments| plain(&arguments[2])).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let lines = self.lines();
            eprintln!(
                "a listener heard {} lines, the last of them:\n{}",
                lines.len(),
                lines[lines.len().saturating_sub(30)..].join("\n")
            );
        }
    }
}
