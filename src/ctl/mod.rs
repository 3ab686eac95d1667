//! `opensnitch-auditctl`: the service's answers for people and for scripts.

mod client;
mod decode;
mod filter;
mod generate;
mod print;
mod rules;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use opensnitch_audit_client::Protocol;
use zbus::DBusError;

use filter::Find;

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
    /// List the newest event of each process and type that you may see, the newest first.
    List,
    /// Show the newest event of a process.
    Show {
        /// The process.
        pid: u32,
    },
    /// List the events that match, from all that are remembered, the newest first.
    Find(Box<Find>),
    /// Say whose connection that is.
    Owner {
        /// tcp, udp, udplite, icmp, sctp or dccp.
        protocol: Protocol,
        /// Address and port on this machine: 192.0.2.7:51234 or [2001:db8::7]:51234.
        source: SocketAddr,
        /// Address and port at the other end.
        destination: SocketAddr,
    },
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
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    #[error("{0}")]
    Refused(String),
    #[error("events do not arrive")]
    Diagnosed,
    #[error("{}", answer(.0))]
    Bus(#[from] zbus::Error),
}

/// What the bus or the service answered, for people.
fn answer(error: &zbus::Error) -> String {
    match error {
        zbus::Error::FDO(error) if matches!(**error, zbus::fdo::Error::ServiceUnknown(_)) => {
            "the service is not running: start it with 'systemctl start opensnitch-audit'".to_owned()
        }
        zbus::Error::FDO(error) => {
            error.description().map_or_else(|| format!("the service answered {}", error.name()), str::to_owned)
        }
        zbus::Error::MethodError(_, Some(message), _) => message.clone(),
        zbus::Error::MethodError(name, None, _) => format!("the service answered {name}"),
        error => format!("the system bus cannot be used: {error}"),
    }
}
