//! A terminal that a program believes in: tmux, with nobody before it.

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::eventually;

/// No line of its own at the bottom.
const CONFIG: &str = "set -g status off\nset -g default-terminal tmux-256color\n";

/// Says how the program ended, and keeps the terminal open.
const SHELL: &str = "\"$@\"; echo \"ended: $?\"; exec sleep 1000";

/// A terminal of a certain size in which one program runs.
pub(crate) struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// Runs this command in it.
    pub(crate) fn run(columns: u16, lines: u16, command: &Command) -> Self {
        let terminal = Self { folder: TempDir::new().unwrap() };
        let config = terminal.folder.path().join("tmux.conf");
        std::fs::write(&config, CONFIG).unwrap();
        let mut tmux = terminal.tmux(&["-f", config.to_str().unwrap(), "new-session", "-d"]);
        tmux.args(["-x", &columns.to_string(), "-y", &lines.to_string(), "env"]);
        // env takes its options before its variables.
        let (set, unset): (Vec<_>, Vec<_>) = command.get_envs().partition(|(_, value)| value.is_some());
        for (name, _) in unset {
            tmux.arg("-u").arg(name);
        }
        tmux.arg("LC_ALL=C.UTF-8");
        for (name, value) in set {
            tmux.arg(format!("{}={}", name.to_str().unwrap(), value.unwrap().to_str().unwrap()));
        }
        tmux.args(["sh", "-c", SHELL, "sh"]);
        let output = tmux.arg(command.get_program()).args(command.get_args()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-u").arg("-S").arg(self.socket()).args(arguments).env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        tmux
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("tmux")
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.tmux(arguments).output().unwrap()
    }

    /// Presses keys, as tmux names them: `Down`, `Enter`, `Tab`, `C-c`, or a character.
    pub(crate) fn press(&self, keys: &[&str]) {
        let output = self.ask(&[&["send-keys"], keys].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Types a text.
    pub(crate) fn write(&self, text: &str) {
        self.press(&["-l", text]);
    }

    /// What stands there now, without blanks at the ends of lines.
    pub(crate) fn screen(&self) -> String {
        let output = self.ask(&["capture-pane", "-p"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// The same with its colours.
    pub(crate) fn coloured(&self) -> String {
        String::from_utf8(self.ask(&["capture-pane", "-p", "-e"]).stdout).unwrap()
    }

    /// Waits until a piece of text stands there, and returns the screen.
    #[track_caller]
    pub(crate) fn wait_for(&self, piece: &str) -> String {
        self.wait_until(piece, |screen| screen.contains(piece))
    }

    /// Waits until the screen is as it should be, and returns it.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let reached = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&format!("{what:?} on the screen"), || {
                screen = self.screen();
                is_so(&screen).then_some(())
            });
        }));
        assert!(reached.is_ok(), "the screen has no {what:?}:\n{screen}");
        screen
    }

    /// The exit code of the program, once it has ended.
    #[track_caller]
    pub(crate) fn wait_for_end(&self) -> String {
        let screen = self.wait_for("ended: ");
        screen.lines().find_map(|line| line.strip_prefix("ended: ")).unwrap().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.ask(&["kill-server"]);
    }
}
