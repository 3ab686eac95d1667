//! polkit's prompt on a plain terminal.

use std::io::{IsTerminal, Read, stdin};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// polkit's agent for terminals.
const PROGRAM: &str = "pkttyagent";

/// polkit's agent for this process, as systemctl starts one for itself; it ends with this.
#[derive(Debug)]
pub(super) struct Agent(Child);

impl Agent {
    /// Starts it where a person can be asked, and waits until polkit knows it. A desktop's own agent goes before it
    /// (`--fallback`). It asks on the terminal itself, so its standard output is free to tell when it is ready. Without it
    /// polkit refuses what it would ask for, and the error says so.
    pub(super) fn start() -> Option<Self> {
        if geteuid().is_root() || !stdin().is_terminal() {
            return None;
        }
        let mut command = Command::new(PROGRAM);
        command.args(["--fallback", "--notify-fd", "1"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().ok()?;
        let mut ready = child.stdout.take()?;
        // It closes this when it is registered, and when it fails.
        let _ = ready.read_to_end(&mut Vec::new());
        Some(Self(child))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // By a signal that it can answer: it puts the terminal back.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}
