//! `opensnitch-audit-notify`: tells a desktop's user which program connects to the network for the first time.
//!
//! The way of the data: `watch` follows the service on the system bus and hands on what a person wants to hear of
//! (`program`); `herald` decides what is told and when; `text` puts it into `words`; `show` brings it to the notification
//! server on the session bus and hears which button was pressed. `watch` and `show` run apart, so that a server that hangs
//! never keeps the service's events waiting; between them stands a bounded queue, and what does not fit is counted.
//!
//! Only `watch`, `show` and `lookups` know a bus or a socket; `subject` and `applications` read files.

mod applications;
mod herald;
mod lookups;
mod options;
mod program;
mod show;
mod subject;
mod terminal;
mod text;
mod watch;
mod words;

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use opensnitch_audit_client::printable;
pub use options::{Change, Command, Options};

use crate::applications::Applications;
use crate::herald::Herald;
use crate::lookups::Lookups;
use crate::subject::{Subject, Subjects, SubjectsFile};
use crate::words::Words;

/// Does what the command line says. The exit code is 1 where something went wrong, which standard error says.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    let outcome = match options.command {
        None => stay(),
        Some(Command::Muted { change: None }) => list_muted(),
        Some(Command::Muted { change: Some(Change::Undo { names }) }) => undo(&names),
    };
    outcome.unwrap_or_else(|error| {
        say(&error.to_string());
        ExitCode::FAILURE
    })
}

/// Why it cannot be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    File(#[from] subject::FileError),
    #[error("no folder for configuration is known: set HOME or XDG_CONFIG_HOME")]
    NoHome,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A line on standard error, which is the journal's where systemd started this.
fn say(what: &str) {
    eprintln!("opensnitch-audit-notify: {}", printable(what));
}

fn stay() -> Result<ExitCode, Failure> {
    let mut muted = SubjectsFile::at(muted_path()?);
    let mut told = told_path().map(SubjectsFile::at);
    // A mistake in a file is told, and no reason to tell nothing.
    let read = |file: &mut SubjectsFile| {
        file.read().unwrap_or_else(|error| {
            say(&error.to_string());
            Subjects::default()
        })
    };
    let now = Instant::now();
    let herald = Herald::new(told.as_mut().map(read).unwrap_or_default(), read(&mut muted), now);
    let languages: Vec<String> = sys_locale::get_locales().collect();
    let words = Words::of(languages.iter().cloned());
    // As desktop files write them.
    let applications = Applications::of_desktop(languages.iter().map(|one| one.replace('-', "_")).collect());

    // One that follows the service, and one that may wait for a name service or a disk.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let lookups = Arc::new(Lookups::default());
    let (watcher, seen) = watch::channel(lookups.clone());
    runtime.spawn(async move { lookups.follow().await });
    runtime.spawn(watcher.run());
    let mut show = show::Show { herald, muted, looked: now, told, words, applications, seen };
    Ok(runtime.block_on(show.run()))
}

fn list_muted() -> Result<ExitCode, Failure> {
    let words = Words::of(sys_locale::get_locales());
    let mut out = io::stdout().lock();
    let mut is_empty = true;
    for subject in SubjectsFile::at(muted_path()?).read()?.iter() {
        is_empty = false;
        let kind = match subject {
            Subject::Program(_) => words.say("muted-program"),
            Subject::Application(_) => words.say("muted-application"),
            Subject::Sandboxed(_) => words.say("muted-sandboxed"),
        };
        writeln!(out, "{} ({kind})", printable(subject.name()))?;
    }
    if is_empty {
        writeln!(out, "{}", words.say("muted-none"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn undo(names: &[String]) -> Result<ExitCode, Failure> {
    let words = Words::of(sys_locale::get_locales());
    let file = SubjectsFile::at(muted_path()?);
    let mut code = ExitCode::SUCCESS;
    for name in names {
        // As the list shows it, or as it is.
        let undone = file.change(|muted| {
            let is_meant = |subject: &Subject| subject.name() == name || printable(subject.name()) == *name;
            let meant: Vec<Subject> = muted.iter().filter(is_meant).collect();
            for subject in &meant {
                muted.remove(subject.name());
            }
            (!meant.is_empty()).then_some(())
        })?;
        if undone.is_some() {
            writeln!(io::stdout(), "{} {}", words.say("muted-undone"), printable(name))?;
        } else {
            say(&format!("{} {name}", words.say("muted-unknown")));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// `~/.config/opensnitch-audit/muted.toml`.
fn muted_path() -> Result<PathBuf, Failure> {
    let home = || Some(env::home_dir().filter(|home| home.is_absolute())?.join(".config"));
    let config = folder("XDG_CONFIG_HOME").or_else(home).ok_or(Failure::NoHome)?;
    Ok(config.join("opensnitch-audit/muted.toml"))
}

/// What was told in this login session: its folder goes when the user has logged out.
fn told_path() -> Option<PathBuf> {
    Some(folder("XDG_RUNTIME_DIR")?.join("opensnitch-audit-notify/told.toml"))
}

/// A folder that a variable of the XDG base directories names. One that is not absolute is none.
fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
