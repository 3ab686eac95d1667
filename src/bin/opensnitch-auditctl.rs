//! Asks the service `org.opensnitch.Audit`, and decodes audit streams.

use std::process::ExitCode;

use clap::Parser;
use opensnitch_audit::ctl::{Options, run};

fn main() -> ExitCode {
    run(Options::parse())
}
