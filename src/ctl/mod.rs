//! `opensnitch-auditctl`: the service's answers for people and for scripts.

mod agent;
mod client;
mod column;
mod complete;
mod decode;
mod diagnose;
mod escape;
mod failure;
mod filter;
mod journal;
mod options;
mod rules;
mod screen;
mod show;
mod status;
mod table;
mod time;
mod top;
mod tuple;
mod unit;
mod watch;

use std::io::ErrorKind;
use std::process::ExitCode;

use failure::Failure;
use options::Command;
pub use options::Options;

/// Runs one command.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    let (command, view) = options.into_parts();
    let result = match command {
        Command::Decode(decode) => decode::run(&decode, &view),
        Command::Complete { words } => complete::run(&words).map_err(Failure::Io),
        command => client::run(command, &view),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(Failure::Io(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("opensnitch-auditctl: {failure}");
            failure.code()
        }
    }
}
