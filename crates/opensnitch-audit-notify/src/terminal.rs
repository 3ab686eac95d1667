//! Opens `opensnitch-auditctl top` in a terminal, where there is one.

use std::path::Path;
use std::{env, io};

use tokio::process::Command;

use crate::say;

/// Programs that open the user's terminal, and what they want before a command: the one of freedesktop.org, and Debian's.
const TERMINALS: [(&str, &[&str]); 2] = [("xdg-terminal-exec", &[]), ("x-terminal-emulator", &["-e"])];
/// What is opened.
const TOP: [&str; 2] = ["opensnitch-auditctl", "top"];

/// Whether it can be opened.
pub(crate) fn is_there() -> bool {
    is_program(TOP[0]) && TERMINALS.iter().any(|(terminal, _)| is_program(terminal))
}

/// Opens it. It lives on when this process ends.
pub(crate) fn open() {
    let Some((terminal, words)) = TERMINALS.iter().find(|(terminal, _)| is_program(terminal)) else { return };
    let mut command = Command::new(terminal);
    // tokio waits for its end when it comes.
    if let Err(error) = command.args(*words).args(TOP).stdin(std::process::Stdio::null()).spawn() {
        say(&format!("{terminal} cannot be started: {error}"));
    }
}

fn is_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| is_executable(&folder.join(name)).unwrap_or(false))
}

fn is_executable(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = path.metadata()?;
    Ok(meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
