//! The command line.

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueHint};

use super::column::{Column, Shown};
use super::filter::Filter;
use super::screen;
use super::table::Look;
use super::time::Clock;
use crate::process::Accounts;

/// Shows which processes open connections, as the kernel's audit saw it.
#[derive(Debug, Parser)]
#[command(name = "opensnitch-auditctl", version, color = ColorChoice::Auto)]
pub struct Options {
    #[command(flatten)]
    view: View,
    #[command(subcommand)]
    command: Command,
}

/// How output looks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
struct View {
    /// One JSON object a line, with the keys of the D-Bus interface.
    #[arg(long, global = true)]
    json: bool,
    /// Show these columns, with commas between them.
    #[arg(long, global = true, value_name = "COLUMN", value_delimiter = ',', hide_possible_values = true)]
    columns: Vec<Column>,
    /// No header above a table, and no remarks below it.
    #[arg(long, global = true)]
    no_legend: bool,
    /// Users and groups as numbers.
    #[arg(long, global = true)]
    numeric: bool,
    /// Times in UTC instead of local time.
    #[arg(long, global = true)]
    utc: bool,
    /// Colours: on a terminal unless NO_COLOR is set, always, or never.
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
    /// Do not pipe long output into a pager.
    #[arg(long, global = true)]
    no_pager: bool,
}

/// What is done, and how its output looks.
pub(super) struct Appearance {
    pub(super) look: Look,
    pub(super) no_pager: bool,
}

impl Options {
    pub(super) fn into_parts(self) -> (Command, Appearance) {
        /// Columns of a terminal from which on there is room for dates in full.
        const ROOMY: usize = 120;
        let Self { view, command } = self;
        let width = screen::columns();
        let shown = Shown {
            clock: Clock::new(view.utc),
            roomy: width.is_none_or(|width| width >= ROOMY),
            numeric: view.numeric,
            accounts: Accounts::default(),
        };
        let look = Look {
            as_json: view.json,
            columns: if view.columns.is_empty() { Column::DEFAULT.to_vec() } else { view.columns },
            legend: !view.no_legend,
            colours: !view.json && screen::colours(view.color),
            width,
            shown,
        };
        (command, Appearance { look, no_pager: view.no_pager })
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the newest event of each process and type that you may see, the newest first.
    List {
        #[command(flatten)]
        order: Order,
        #[command(flatten)]
        filter: Box<Filter>,
    },
    /// List the events that match, from all that are remembered, the newest first.
    Find {
        #[command(flatten)]
        order: Order,
        /// At most so many events; all unless given.
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
        #[command(flatten)]
        filter: Box<Filter>,
    },
    /// Print events as they are seen, until interrupted.
    Watch {
        #[command(flatten)]
        filter: Box<Filter>,
    },
    /// Follow which programs connect where, and how often, on one screen.
    ///
    /// It begins with the last five minutes; types are connect, send and accept unless others are asked for. Rates are of the
    /// last ten seconds. Below the programs are the destinations of the one that is chosen.
    ///
    /// Keys: Up, Down, PageUp, PageDown, Home and End choose a program. 's' sorts by the next column, 'r' reverses the order. '/'
    /// takes a text, and only programs stay that have it in their path, user or destinations, until Esc. 'q' leaves.
    Top {
        #[command(flatten)]
        filter: Box<Filter>,
    },
    /// Show all that is known of a process: what it is, who started it, its connections.
    Show {
        /// The process.
        #[arg(value_name = "PID")]
        process: u32,
        #[command(flatten)]
        filter: Box<Filter>,
    },
    /// Say whose connection that is.
    Owner {
        /// Protocol, this machine's address and port, and the other end's: tcp 192.0.2.7:51234 198.51.100.1:443. Or a line
        /// of ss.
        #[arg(required = true, value_name = "CONNECTION", allow_hyphen_values = true)]
        connection: Vec<String>,
    },
    /// Show what the service is doing and what it counted, on one screen.
    Status {
        /// Print nothing but what is wrong, and fail where anything is.
        #[arg(long)]
        check: bool,
    },
    /// Say why events may not arrive, and what to do. Fails where it is certain that they do not.
    Diagnose,
    /// Show or change the kernel's audit rules of the service.
    Rules {
        #[command(subcommand)]
        action: Rules,
    },
    /// Read audit streams or logs and print their events. Needs no service.
    Decode(Decode),
    /// Print what a shell may put in the place of the last word.
    #[command(hide = true)]
    Complete {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// In which order rows come.
#[derive(Debug, Args)]
pub(super) struct Order {
    /// Sort by this column instead of showing the newest first.
    #[arg(long, value_name = "COLUMN", hide_possible_values = true)]
    pub(super) sort: Option<Column>,
    /// The other way round.
    #[arg(long)]
    pub(super) reverse: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Rules {
    /// Show each rule as auditctl writes it. Only root learns whether the kernel has it.
    List {
        /// The service's configuration, instead of /etc/opensnitch-audit.toml.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        config: Option<PathBuf>,
    },
    /// Load what is not loaded yet.
    Add,
    /// Remove our rules and no others.
    Delete,
}

/// What `decode` reads.
#[derive(Debug, Args)]
pub(super) struct Decode {
    /// Read these files, one after the other, instead of standard input, which '-' is.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) files: Vec<PathBuf>,
    /// Only events under this key of a rule; '' for all.
    #[arg(long, default_value = "opensnitch")]
    pub(super) key: String,
}
