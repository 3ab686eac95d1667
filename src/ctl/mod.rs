//! `opensnitch-auditctl`: the service's answers for people and for scripts.

mod client;
mod decode;
mod generate;
mod print;
mod rules;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use zbus::DBusError;

pub use print::{one_line, printable};

/// Shows which processes open connections, as the kernel's audit saw it.
#[derive(Debug, Parser)]
#[command(name = "opensnitch-auditctl", version)]
pub struct Options {
    /// One JSON object a line, with the keys of the D-Bus interface.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the events in the cache that you may see, the newest first.
    List,
    /// Show the newest event of a process.
    Show {
        /// The process.
        pid: u32,
    },
    /// List the events that match.
    Find(Find),
    /// Print events as they are seen, until interrupted.
    Watch,
    /// Show what the service is doing and what it counted.
    Status,
    /// Say why events may not arrive, and what to do. Fails where it is certain that they do not.
    Diagnose,
    /// Show or change the kernel's audit rules of the service.
    Rules {
        #[command(subcommand)]
        action: Rules,
    },
    /// Read an audit stream or log and print its events. Needs no service.
    Decode(Decode),
    /// Write man pages or shell completions.
    #[command(hide = true)]
    Generate {
        what: Generated,
        /// Write into this folder.
        folder: PathBuf,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Rules {
    /// Show each rule as auditctl writes it. Only root learns whether the kernel has it.
    List {
        /// The service's configuration, instead of /etc/opensnitch-audit.toml.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Load what is not loaded yet.
    Add,
    /// Remove our rules and no others.
    Delete,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Generated {
    Man,
    Completions,
}

/// What `find` looks for; all that is given must hold.
#[derive(Debug, Default, Args)]
struct Find {
    /// The process.
    #[arg(long)]
    pid: Option<u32>,
    /// Its parent.
    #[arg(long)]
    ppid: Option<u32>,
    /// The real user's number.
    #[arg(long)]
    uid: Option<u32>,
    /// The program's path.
    #[arg(long, value_name = "PATH")]
    exe: Option<String>,
    /// socket, connect, socketpair, bind or execve.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// inet, inet6, local, …
    #[arg(long)]
    family: Option<String>,
    /// The address connected to.
    #[arg(long)]
    host: Option<String>,
    /// The port connected to.
    #[arg(long)]
    port: Option<u16>,
    /// The systemd unit.
    #[arg(long)]
    unit: Option<String>,
    /// At most so many events; all unless given.
    #[arg(long)]
    limit: Option<usize>,
}

/// What `decode` reads.
#[derive(Debug, Args)]
struct Decode {
    /// Read this file instead of standard input.
    file: Option<PathBuf>,
    /// Only events under this key of a rule; '' for all.
    #[arg(long, default_value = "opensnitch")]
    key: String,
}

/// Runs one command.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    let json = options.json;
    let result = match options.command {
        Command::Decode(decode) => decode::run(decode.file.as_deref(), &decode.key, json),
        Command::Generate { what, folder } => generate::run(what, &folder),
        command => client::run(command, json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(Failure::Io(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("opensnitch-auditctl: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    File(PathBuf, io::Error),
    Config(crate::config::Error),
    Refused(String),
    Diagnosed,
    Bus(zbus::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        Self::Bus(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::File(file, error) => write!(f, "{} cannot be read: {error}", file.display()),
            Self::Config(error) => write!(f, "{error}"),
            Self::Diagnosed => write!(f, "events do not arrive"),
            Self::Refused(message) => write!(f, "{message}"),
            Self::Bus(zbus::Error::FDO(error)) if matches!(**error, zbus::fdo::Error::ServiceUnknown(_)) => {
                write!(f, "the service is not running: start it with 'systemctl start opensnitch-audit'")
            }
            Self::Bus(zbus::Error::FDO(error)) => match error.description() {
                Some(message) => write!(f, "{message}"),
                None => write!(f, "the service answered {}", error.name()),
            },
            Self::Bus(zbus::Error::MethodError(_, Some(message), _)) => write!(f, "{message}"),
            Self::Bus(zbus::Error::MethodError(name, None, _)) => write!(f, "the service answered {name}"),
            Self::Bus(error) => write!(f, "the system bus cannot be used: {error}"),
        }
    }
}
