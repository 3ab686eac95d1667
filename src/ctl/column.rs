//! What a table of events can show of each.

use std::cmp::Ordering;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Color, Style};
use clap::ValueEnum;
use opensnitch_audit_client::Event;

use super::escape::{name, printable, quoted};
use super::time::Clock;
use crate::process::Accounts;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Column {
    /// When the call was made.
    Time,
    /// What was called.
    Type,
    /// The process.
    Pid,
    /// Its parent.
    Parent,
    /// The real user.
    User,
    /// The real group.
    Group,
    /// The user who logged in.
    Login,
    /// The program's path.
    Program,
    /// The thread's name.
    Name,
    /// The arguments.
    Arguments,
    /// The working directory.
    Directory,
    /// Where it went; of a started program its arguments.
    Destination,
    /// The protocol.
    Protocol,
    /// The address family.
    Family,
    /// How it ended, and how many more there were.
    Result,
    /// The systemd unit.
    Unit,
    /// The application.
    App,
    /// The container.
    Container,
    /// The terminal.
    Terminal,
    /// The event's number.
    Sequence,
}

/// What events have in common that are merged into one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// Process and type, as `GetEvents` merges: they went to many destinations.
    ByType,
    /// The destination too, as signals are merged.
    Alike,
}

/// How values are shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) clock: Clock,
    /// Dates in full.
    pub(super) roomy: bool,
    /// Users and groups as numbers.
    pub(super) numeric: bool,
    pub(super) accounts: Accounts,
}

impl Shown {
    pub(super) fn user(&self, uid: u32) -> String {
        let known = if self.numeric { None } else { self.accounts.name(uid) };
        known.map_or_else(|| uid.to_string(), |known| name(&crate::text::text(&known).0))
    }

    pub(super) fn group(&self, gid: u32) -> String {
        let known = if self.numeric { None } else { self.accounts.group_name(gid) };
        known.map_or_else(|| gid.to_string(), |known| name(&crate::text::text(&known).0))
    }
}

impl Column {
    /// Those that are shown unless others are asked for.
    pub(super) const DEFAULT: [Self; 7] =
        [Self::Time, Self::Type, Self::Pid, Self::User, Self::Program, Self::Destination, Self::Result];

    /// Its name above it.
    pub(super) fn header(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_uppercase()).unwrap_or_default()
    }

    /// The columns of a terminal that suit it where its rows are not known before.
    pub(super) fn usual_width(self, shown: &Shown) -> usize {
        match self {
            Self::Time if shown.roomy => 23,
            Self::Time => 11,
            Self::Type if !shown.roomy => 7,
            Self::Type | Self::Terminal | Self::Family | Self::Protocol | Self::Sequence => 8,
            Self::Pid | Self::Parent => 7,
            Self::User | Self::Group | Self::Login if !shown.roomy => 8,
            Self::User | Self::Group | Self::Login => 10,
            Self::Name => 15,
            // A usual error, and a count.
            Self::Result if !shown.roomy => 15,
            Self::Result => 20,
            Self::Unit | Self::App | Self::Container => 24,
            Self::Program | Self::Directory | Self::Arguments => 40,
            Self::Destination => 47,
        }
    }

    /// Columns of a terminal below which it gives way only where nothing else can: what is cut there says nothing.
    pub(super) fn least(self) -> usize {
        match self {
            Self::Program | Self::Directory | Self::Arguments | Self::Destination | Self::Result => 12,
            Self::Unit | Self::App | Self::Container | Self::Name => 8,
            _ => usize::MAX,
        }
    }

    /// Its middle can be spared: its ends tell what it is.
    pub(super) fn is_long_by_nature(self) -> bool {
        matches!(self, Self::Program | Self::Directory | Self::Arguments | Self::Unit | Self::App | Self::Container)
    }

    /// Numbers stand at the right.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Pid | Self::Parent | Self::Sequence)
    }

    /// What it shows of an event; `-` where that is not known.
    pub(super) fn cell(self, event: &Event, merged: Merged, shown: &Shown) -> String {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let text = |text: Option<&str>| text.map(name);
        let cell = match self {
            Self::Time if shown.roomy => event.timestamp.map(|us| shown.clock.full(us)),
            Self::Time => event.timestamp.map(|us| shown.clock.brief(us)),
            Self::Type => event.event_type.as_deref().or(event.syscall_name.as_deref()).map(name),
            Self::Pid => number(event.pid),
            Self::Parent => number(event.ppid),
            Self::User => event.uid.map(|uid| shown.user(uid)),
            Self::Group => event.gid.map(|gid| shown.group(gid)),
            Self::Login => match &event.user_name {
                Some(user) if !shown.numeric => Some(name(user)),
                _ => event.audit_uid.map(|uid| shown.user(uid)),
            },
            Self::Program => program(event),
            Self::Name => text(event.proc_name.as_deref()),
            Self::Arguments => command_line(event),
            Self::Directory => text(event.proc_dir.as_deref()),
            Self::Destination => destination(event),
            Self::Protocol => text(event.protocol.as_deref()),
            Self::Family => text(event.net_family.as_deref()),
            Self::Result => return result(event, merged, shown.roomy),
            Self::Unit => text(event.unit.as_deref()),
            Self::App => text(event.app.as_deref()),
            Self::Container => text(event.container.as_deref()),
            Self::Terminal => text(event.tty.as_deref()),
            Self::Sequence => event.sequence.map(|sequence| sequence.to_string()),
        };
        cell.unwrap_or_else(|| "-".to_owned())
    }

    /// The colour of a cell.
    pub(super) fn style(self, event: &Event) -> Style {
        let coloured = |colour: AnsiColor| Style::new().fg_color(Some(Color::Ansi(colour)));
        match (self, event.event_type.as_deref(), event.outcome.as_deref()) {
            (Self::Time | Self::Sequence, ..) => Style::new().dimmed(),
            (Self::Program, ..) => Style::new().bold(),
            (Self::Type, Some("execve"), _) => coloured(AnsiColor::Magenta),
            (Self::Type, Some("connect" | "send"), _) => coloured(AnsiColor::Cyan),
            (Self::Type, Some("bind" | "accept"), _) => coloured(AnsiColor::Blue),
            (Self::Result, _, Some("failure")) => coloured(AnsiColor::Red),
            (Self::Result, _, Some("in-progress")) => coloured(AnsiColor::Yellow),
            _ => Style::new(),
        }
    }

    /// Which of two events comes first, sorted by this column.
    pub(super) fn compare(self, left: &Event, right: &Event, shown: &Shown) -> Ordering {
        match self {
            Self::Time => left.timestamp.cmp(&right.timestamp),
            Self::Pid => left.pid.cmp(&right.pid),
            Self::Parent => left.ppid.cmp(&right.ppid),
            Self::Sequence => left.sequence.cmp(&right.sequence),
            Self::Destination => (&left.dst_host, left.dst_port).cmp(&(&right.dst_host, right.dst_port)),
            _ => self.cell(left, Merged::Alike, shown).cmp(&self.cell(right, Merged::Alike, shown)),
        }
    }
}

/// The program's path, else the thread's name.
pub(super) fn program(event: &Event) -> Option<String> {
    event.proc_path.as_deref().or(event.proc_name.as_deref()).map(name)
}

/// Where an event went; of a started program its arguments.
pub(super) fn destination(event: &Event) -> Option<String> {
    if event.event_type.as_deref() == Some("execve") {
        return command_line(event);
    }
    let else_where = || event.dst_path.as_deref().or(event.net_family.as_deref()).map(name);
    event.destination().as_deref().map(printable).or_else(else_where)
}

/// The arguments as a shell would take them, more or less.
pub(super) fn command_line(event: &Event) -> Option<String> {
    match event.args.as_slice() {
        [] => event.proc_cmd_line.as_deref().map(quoted),
        args => Some(args.iter().map(|word| name(word)).collect::<Vec<_>>().join(" ")),
    }
}

/// How it ended; nothing where all went well.
pub(super) fn outcome(event: &Event) -> String {
    match event.outcome.as_deref() {
        Some("failure") => event.error.as_deref().map_or_else(|| "failed".to_owned(), name),
        Some("in-progress") => "in progress".to_owned(),
        _ => String::new(),
    }
}

fn result(event: &Event, merged: Merged, roomy: bool) -> String {
    let mut result = outcome(event);
    if let Some(count @ 2..) = event.count {
        result.push_str(match (result.is_empty(), roomy) {
            (true, _) => "",
            (false, true) => ", ",
            (false, false) => " ",
        });
        let _ = match (merged, roomy) {
            (Merged::Alike, _) => write!(result, "×{count}"),
            (Merged::ByType, true) => write!(result, "{} more", count - 1),
            (Merged::ByType, false) => write!(result, "+{}", count - 1),
        };
    }
    result
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::ctl) fn shown() -> Shown {
        Shown { clock: Clock::new(true), roomy: true, numeric: true, accounts: Accounts::default() }
    }

    pub(in crate::ctl) fn connect() -> Event {
        let mut event = Event::default();
        event.timestamp = Some(1_795_344_941_704_000);
        event.event_type = Some("connect".into());
        event.pid = Some(4711);
        event.uid = Some(1000);
        event.proc_path = Some("/usr/bin/curl".to_owned());
        event.dst_host = Some("2001:db8::1".to_owned());
        event.dst_port = Some(443);
        event
    }

    #[test]
    fn cells() {
        let mut event = connect();
        event.protocol = Some("tcp".into());
        event.user_name = Some("al ice".to_owned());
        event.audit_uid = Some(5);
        let table = [
            (Column::Time, "2026-11-22 10:55:41.704"),
            (Column::Type, "connect"),
            (Column::Pid, "4711"),
            (Column::Parent, "-"),
            (Column::User, "1000"),
            (Column::Login, "5"),
            (Column::Program, "/usr/bin/curl"),
            (Column::Destination, "[2001:db8::1]:443"),
            (Column::Protocol, "tcp"),
            (Column::Result, ""),
            (Column::Unit, "-"),
        ];
        for (column, expected) in table {
            assert_eq!(column.cell(&event, Merged::Alike, &shown()), expected, "{column:?}");
        }
    }

    #[test]
    fn what_is_merged_does_not_read_as_if_all_went_to_one_destination() {
        let table = [
            (None, None, ["", ""], ["", ""]),
            (Some(1), None, ["", ""], ["", ""]),
            (Some(2), None, ["1 more", "+1"], ["×2", "×2"]),
            (
                Some(20),
                Some("ECONNREFUSED"),
                ["ECONNREFUSED, 19 more", "ECONNREFUSED +19"],
                ["ECONNREFUSED, ×20", "ECONNREFUSED ×20"],
            ),
        ];
        for (count, error, by_type, alike) in table {
            let mut event = connect();
            event.count = count;
            event.outcome = error.map(|_| "failure".into());
            event.error = error.map(Into::into);
            assert_eq!([true, false].map(|roomy| result(&event, Merged::ByType, roomy)), by_type);
            assert_eq!([true, false].map(|roomy| result(&event, Merged::Alike, roomy)), alike);
        }
    }

    #[test]
    fn arguments_are_told_apart() {
        let mut event = connect();
        event.event_type = Some("execve".into());
        event.args = ["sh", "-c", "a b", "", "x\n"].map(str::to_owned).to_vec();
        assert_eq!(destination(&event).unwrap(), "sh -c \"a b\" \"\" \"x\\u{a}\"");
    }

    #[test]
    fn numbers_are_sorted_as_numbers() {
        let mut other = connect();
        (other.pid, other.dst_port) = (Some(12_000), Some(1443));
        for column in [Column::Pid, Column::Destination] {
            assert_eq!(column.compare(&connect(), &other, &shown()), Ordering::Less, "{column:?}");
        }
    }
}
