//! The command line; public, so that the man page is made from it.

/// Tells which program connects to the network for the first time, as notifications of the desktop.
///
/// Without a command it stays, and tells until the session ends.
#[derive(Debug, clap::Parser)]
#[command(name = "opensnitch-audit-notify", version)]
pub struct Options {
    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done instead of telling.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the programs that are muted, and mutes or undoes.
    Muted {
        /// What to do instead of listing.
        #[command(subcommand)]
        change: Option<Change>,
    },
}

/// A change of what is muted.
#[derive(Debug, clap::Subcommand)]
pub enum Change {
    /// Tells of these programs and applications again.
    Undo {
        /// As the list shows them.
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}
