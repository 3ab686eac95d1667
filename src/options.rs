//! The command line of `opensnitch-auditd`; here, so that its man page is made from it.

use std::path::PathBuf;

/// Tells over D-Bus which processes open connections, as the kernel's audit saw it.
#[derive(Debug, clap::Parser)]
#[command(name = "opensnitch-auditd", version)]
pub struct Service {
    /// Read this configuration instead of /etc/opensnitch-audit.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log more.
    #[arg(short, long)]
    pub verbose: bool,
}
