//! Where the output goes: a terminal by way of a pager, as systemd's tools do it, or anything else.

use std::env;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write, stdout};
use std::process::{Child, ChildStdin, Command, Stdio};

use clap::ColorChoice;
use rustix::termios::tcgetwinsize;

/// Pagers that are tried one after the other, where nobody chose one.
const PAGERS: [&str; 2] = ["less", "more"];

/// How less behaves, as systemd's tools have it: it ends by itself where all fits on one screen, shows colours, cuts long
/// lines, and ends with Ctrl-C.
const LESS: &str = "FRSXMK";

/// Columns of the terminal, if it is one or if `COLUMNS` says how many there are.
pub(super) fn columns() -> Option<usize> {
    let told = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    told.or_else(|| {
        let size = tcgetwinsize(stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    })
}

/// Whether there are colours: as asked for, else on a terminal, unless `NO_COLOR` (no-color.org) is set.
pub(super) fn colours(choice: ColorChoice) -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            stdout().is_terminal() && !is_set("NO_COLOR") && env::var_os("TERM") != Some("dumb".into())
        }
    }
}

/// Standard output, or the pager before it.
pub(super) enum Screen {
    Plain(BufWriter<Stdout>),
    Paged(Child, BufWriter<ChildStdin>),
}

impl Screen {
    /// With a pager where a person looks, unless told otherwise.
    pub(super) fn open(no_pager: bool) -> Self {
        let pager = if no_pager || !stdout().is_terminal() { None } else { pager() };
        pager.unwrap_or_else(|| Self::Plain(BufWriter::new(stdout())))
    }

    /// Shows what is left, and waits until it was looked at.
    pub(super) fn close(self) -> io::Result<()> {
        match self {
            Self::Plain(mut out) => out.flush(),
            Self::Paged(mut child, input) => {
                // Where the pager has ended, whoever looked has seen enough.
                drop(input);
                child.wait().map(drop)
            }
        }
    }
}

/// `SYSTEMD_PAGER` or `PAGER`; none where that is empty or `cat`.
fn pager() -> Option<Screen> {
    let chosen = ["SYSTEMD_PAGER", "PAGER"].into_iter().find_map(|name| env::var(name).ok());
    let pagers = chosen.map_or_else(|| PAGERS.map(str::to_owned).to_vec(), |chosen| vec![chosen]);
    pagers.iter().find_map(|line| {
        let mut words = line.split_whitespace();
        let program = words.next().filter(|program| *program != "cat")?;
        let mut command = Command::new(program);
        command.args(words).env("LESS", LESS).env("LESSCHARSET", "utf-8").env("LESSSECURE", "1");
        let mut child = command.stdin(Stdio::piped()).spawn().ok()?;
        let input = child.stdin.take()?;
        Some(Screen::Paged(child, BufWriter::new(input)))
    })
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Paged(_, input) => input.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Paged(_, input) => input.flush(),
        }
    }
}
