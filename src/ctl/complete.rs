//! What a shell may put in the place of the word that is being typed.
//!
//! The shells' own files (`packaging/completions/`) ask for it and know nothing themselves: what there is comes from the
//! command line's definition, and what events have come from the service.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write, stdout};
use std::time::Duration;

use clap::{Arg, ArgAction, Command, CommandFactory, ValueHint};
use opensnitch_audit_client::{Event, NAME};
use zbus::Connection;
use zbus::proxy::MethodFlags;

use super::escape::{is_unprintable, printable};
use super::filter::families;
use super::options::Options;

/// How long the service may take to say what there is: somebody holds the tabulator key meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says that the shell shall complete names of files.
const FILES: &str = ":files";

/// A word, and what it means.
type Candidates = BTreeMap<String, String>;

/// Prints what may stand in the place of the last of these words, which come after the program's name.
pub(super) fn run(words: &[String]) -> io::Result<()> {
    let mut out = stdout().lock();
    for (word, meaning) in candidates(words, events) {
        // A name of a program that cannot be typed is no help, and may be meant to do harm.
        if !word.contains(is_unprintable) {
            writeln!(out, "{word}\t{}", printable(&meaning))?;
        }
    }
    Ok(())
}

fn candidates(words: &[String], events: impl Fn() -> Vec<Event>) -> Candidates {
    let mut root = Options::command();
    root.build();
    let (current, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let place = Place::find(&root, before);
    let (given, found) = match (place.option, current.split_once('=')) {
        (Some(option), _) => of_list(current, "", |_| values(option, &events)),
        (None, Some((name, value))) if name.starts_with("--") => {
            let option = place.option(name);
            of_list(value, &format!("{name}="), |_| option.map(|option| values(option, &events)).unwrap_or_default())
        }
        (None, _) if current.starts_with('-') => (String::new(), place.options()),
        (None, _) => {
            let mut found = place.subcommands();
            if let Some(positional) = place.positional() {
                found.extend(values(positional, &events));
            }
            (String::new(), found)
        }
    };
    let found = found.into_iter().map(|(word, meaning)| (format!("{given}{word}"), meaning));
    found.filter(|(word, _)| word.starts_with(current) || word == FILES).collect()
}

/// Of a list with commas the last item is being typed.
fn of_list(value: &str, before: &str, values: impl Fn(&str) -> Candidates) -> (String, Candidates) {
    let (list, last) = value.rfind(',').map_or(("", value), |comma| value.split_at(comma + 1));
    (format!("{before}{list}"), values(last))
}

/// Where in the command line the current word stands.
struct Place<'a> {
    command: &'a Command,
    /// It is the value of this option.
    option: Option<&'a Arg>,
    /// So many words without an option stand before it.
    positionals: usize,
}

impl<'a> Place<'a> {
    fn find(root: &'a Command, before: &[String]) -> Self {
        let mut place = Self { command: root, option: None, positionals: 0 };
        for word in before {
            if place.option.take().is_some() {
                continue;
            }
            if word.starts_with("--") {
                place.option = place.option(word).filter(|option| takes_value(option));
            } else if let Some(command) = place.command.find_subcommand(word) {
                (place.command, place.positionals) = (command, 0);
            } else if !word.starts_with('-') {
                place.positionals += 1;
            }
        }
        place
    }

    fn option(&self, word: &str) -> Option<&'a Arg> {
        let name = word.strip_prefix("--")?;
        self.command.get_arguments().find(|option| option.get_long() == Some(name))
    }

    fn options(&self) -> Candidates {
        let options = self.command.get_arguments().filter(|option| !option.is_hide_set());
        let named = options.filter_map(|option| Some((format!("--{}", option.get_long()?), help(option.get_help()))));
        named.collect()
    }

    fn subcommands(&self) -> Candidates {
        let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
        commands.map(|command| (command.get_name().to_owned(), help(command.get_about()))).collect()
    }

    fn positional(&self) -> Option<&'a Arg> {
        let mut all = self.command.get_positionals();
        let last = self.command.get_positionals().last().filter(|last| matches!(last.get_action(), ArgAction::Append));
        all.nth(self.positionals).or(last)
    }
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

fn help(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// What an argument can be.
fn values(argument: &Arg, events: &impl Fn() -> Vec<Event>) -> Candidates {
    let possible = argument.get_possible_values();
    if !possible.is_empty() {
        let shown = possible.iter().filter(|value| !value.is_hide_set());
        return shown.map(|value| (value.get_name().to_owned(), help(value.get_help()))).collect();
    }
    if matches!(argument.get_value_hint(), ValueHint::FilePath) {
        return [(FILES.to_owned(), String::new())].into();
    }
    let program = |event: &Event| event.proc_path.clone().unwrap_or_default();
    let of_events = |value: &dyn Fn(&Event) -> Option<String>| {
        let events = events();
        events.iter().filter_map(|event| Some((value(event)?, program(event)))).collect()
    };
    match argument.get_id().as_str() {
        "pid" | "process" => of_events(&|event| Some(event.pid?.to_string())),
        "parent" => of_events(&|event| Some(event.ppid?.to_string())),
        "exe" => of_events(&|event| event.proc_path.clone()),
        "unit" => of_events(&|event| event.unit.clone()),
        "app" => of_events(&|event| event.app.clone()),
        "host" => of_events(&|event| event.dst_host.clone()),
        "port" => of_events(&|event| Some(event.dst_port?.to_string())),
        "family" => families().map(|family| (family.to_owned(), String::new())).collect(),
        "user" | "login" => users(),
        "since" | "until" => {
            ["today", "yesterday", "5min", "1h", "1day"].map(|word| (word.to_owned(), String::new())).into()
        }
        _ => Candidates::new(),
    }
}

/// The machine's own users. Those of a network may be many, and are not listed.
fn users() -> Candidates {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(3)?.to_owned()))
    };
    users.lines().filter_map(user).collect()
}

/// The newest events that the user may see. A service that does not run is not started for this.
fn events() -> Vec<Event> {
    let ask = async {
        let connection = Connection::system().await.ok()?;
        let proxy = zbus::Proxy::new(&connection, NAME, opensnitch_audit_client::PATH, NAME).await.ok()?;
        proxy.call_with_flags("GetEvents", MethodFlags::NO_AUTO_START, &()).await.ok()?
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok();
    let answer =
        runtime.and_then(|runtime| runtime.block_on(async { tokio::time::timeout(PATIENCE, ask).await.ok()? }));
    answer.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let events = || {
            let mut event = Event::default();
            event.pid = Some(4711);
            event.ppid = Some(1);
            event.proc_path = Some("/usr/bin/curl".to_owned());
            event.unit = Some("a.service".to_owned());
            event.dst_host = Some("192.0.2.7".to_owned());
            event.dst_port = Some(443);
            vec![event]
        };
        candidates(&words, events).into_keys().collect()
    }

    #[test]
    fn what_is_there_is_completed() {
        let table: [(&str, &[&str]); 20] = [
            ("wa", &["watch"]),
            ("rules ", &["add", "delete", "help", "list"]),
            ("--no", &["--no-legend", "--no-pager"]),
            ("list --out", &["--outcome"]),
            ("--js", &["--json"]),
            ("show --js", &["--json"]),
            ("show ", &["4711"]),
            ("--utc show 4", &["4711"]),
            ("show 4711 ", &[]),
            ("find --exe ", &["/usr/bin/curl"]),
            ("find --exe=/usr", &["--exe=/usr/bin/curl"]),
            ("find --exe x --unit ", &["a.service"]),
            ("find --parent ", &["1"]),
            ("find --host 1", &["192.0.2.7"]),
            ("find --port ", &["443"]),
            ("find --type con", &["connect"]),
            ("find --type bind,con", &["bind,connect"]),
            ("find --columns time,pr", &["time,program", "time,protocol"]),
            ("decode ", &[":files"]),
            ("rules list --config ", &[":files"]),
        ];
        for (line, expected) in table {
            assert_eq!(complete(line), expected, "{line}");
        }
        assert!(complete("find --user ro").contains(&"root".to_owned()));
        assert!(complete("find --family ine").iter().eq(["inet", "inet6"]));
    }

    #[test]
    fn what_is_hidden_is_not_completed() {
        assert!(!complete("").contains(&"complete".to_owned()) && complete("").contains(&"list".to_owned()));
    }
}
