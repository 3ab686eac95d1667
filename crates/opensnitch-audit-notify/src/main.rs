//! Tells a desktop's user which program connects to the network for the first time.

use std::process::ExitCode;

use clap::Parser;
use opensnitch_audit_notify::{Options, run};

fn main() -> ExitCode {
    run(Options::parse())
}
