//! A network of the test's own: a loopback device, and packets that a firewall may hold.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with a name, gone with the test.
pub(crate) struct Network(String);

impl Network {
    pub(crate) fn new() -> Self {
        let name = format!("osa-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Self(name);
        network.ip(&["netns", "add", &network.0]);
        network.ip(&["-n", &network.0, "link", "set", "lo", "up"]);
        network
    }

    /// The file that stands for it.
    pub(crate) fn file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }

    /// A program in it. It ends with the test.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]).arg(format!("--net={}", self.file().display())).arg("--");
        command.arg(program.as_ref());
        command
    }

    /// Runs a program in it to its end, which must be a good one.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) {
        let output = self.command(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[track_caller]
    fn ip(&self, words: &[&str]) {
        let output = Command::new("ip").args(words).output().unwrap();
        assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}
