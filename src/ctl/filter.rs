//! Which events somebody wants to see: the options that `list`, `find`, `watch`, `top` and `show` have in common.

use std::net::{IpAddr, ToSocketAddrs};

use audit_records::{EventType, Family, Protocol, SocketType};
use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::ZonedDateTime;
use opensnitch_audit_client::{Event, Query};

use super::Failure;
use super::escape::printable;
use super::time::{FORMS, moment};
use crate::store::{OUTCOMES, Prefix};

/// All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct Filter {
    /// Only events of this process.
    #[arg(long)]
    pid: Option<u32>,
    /// Only events of children of this process.
    #[arg(long, value_name = "PID", alias = "ppid")]
    parent: Option<u32>,
    /// Only events of this real user, by name or number.
    #[arg(long, alias = "uid", value_parser = user)]
    user: Option<u32>,
    /// Only events of this user who logged in, by name or number.
    #[arg(long, value_name = "USER", alias = "auid", value_parser = user)]
    login: Option<u32>,
    /// Only events of this program: its path, its base name, or a folder with '/*' behind it.
    #[arg(long, value_name = "PROGRAM")]
    exe: Option<String>,
    /// Only events of any of these types, with commas between them.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(EventType::ALL.map(EventType::name)))]
    event_types: Vec<String>,
    /// Only events of this address family: inet, inet6, local, …
    #[arg(long, value_parser = family)]
    family: Option<String>,
    /// Only events of this protocol.
    #[arg(long, value_parser = PossibleValuesParser::new(protocols()))]
    protocol: Option<String>,
    /// Only events to this address, prefix as 192.0.2.0/24, or name, which is looked up once.
    #[arg(long, value_parser = host)]
    host: Option<String>,
    /// Only events to this port.
    #[arg(long)]
    port: Option<u16>,
    /// Only events that ended so.
    #[arg(long, value_parser = PossibleValuesParser::new(OUTCOMES))]
    outcome: Option<String>,
    /// Only events of this systemd unit.
    #[arg(long)]
    unit: Option<String>,
    /// Only events of this application.
    #[arg(long)]
    app: Option<String>,
    /// Only events since then: as 5min, 09:00, yesterday, 2026-11-22, "2026-11-22 09:00", 2026-11-22T09:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<String>,
    /// Only events until then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<String>,
}

/// What is looked for: what the service can look for, and what is looked at here.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    query: Query,
    /// The base name of a program.
    base_name: Option<String>,
    /// What a name stands for.
    hosts: Vec<IpAddr>,
}

impl Filter {
    /// Whether every event is wanted.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Only events of this process, too.
    pub(super) fn of_process(mut self, pid: u32) -> Self {
        self.pid = Some(pid);
        self
    }

    /// Only events of these types, unless others were asked for.
    pub(super) fn or_types(mut self, types: &[&str]) -> Self {
        if self.event_types.is_empty() {
            self.event_types = types.iter().map(|name| (*name).to_owned()).collect();
        }
        self
    }

    /// The same with times that are told from now on, and with addresses for a name. These are said on standard error.
    ///
    /// # Errors
    /// [`Failure::Usage`] where the name has no address.
    pub(super) fn wanted(&self, now: &ZonedDateTime) -> Result<Wanted, Failure> {
        let mut query = Query::new();
        query.pid = self.pid;
        query.ppid = self.parent;
        query.uid = self.user;
        query.audit_uid = self.login;
        query.event_types.clone_from(&self.event_types);
        query.net_family.clone_from(&self.family);
        query.protocol.clone_from(&self.protocol);
        query.dst_port = self.port;
        query.outcome.clone_from(&self.outcome);
        query.unit.clone_from(&self.unit);
        query.app.clone_from(&self.app);
        query.since = self.since.as_deref().and_then(|text| moment(text, now));
        query.until = self.until.as_deref().and_then(|text| moment(text, now));
        let mut wanted = Wanted { query, ..Wanted::default() };
        match &self.exe {
            Some(exe) if !exe.contains('/') => wanted.base_name = Some(exe.clone()),
            exe => wanted.query.proc_path.clone_from(exe),
        }
        match self.host.as_deref() {
            Some(host) if Prefix::parse(host).is_none() => {
                wanted.hosts = addresses(host)?;
                // One address can be looked for by the service.
                if let [only] = wanted.hosts.as_slice() {
                    wanted.query.dst_host = Some(only.to_string());
                }
            }
            host => wanted.query.dst_host = host.map(str::to_owned),
        }
        Ok(wanted)
    }
}

impl Wanted {
    /// What the service can look for. Not all that it finds is wanted.
    pub(super) fn query(&self) -> Query {
        self.query.clone()
    }

    /// Whether an event is wanted.
    pub(super) fn holds(&self, event: &Event) -> bool {
        let query = &self.query;
        let host =
            event.dst_host.as_deref().and_then(|host| host.parse::<IpAddr>().ok()).map(|host| host.to_canonical());
        let is = |wanted: &Option<String>, is: Option<&str>| wanted.is_none() || wanted.as_deref() == is;
        (query.pid.is_none() || query.pid == event.pid)
            && (query.ppid.is_none() || query.ppid == event.ppid)
            && (query.uid.is_none() || query.uid == event.uid)
            && (query.audit_uid.is_none() || query.audit_uid == event.audit_uid)
            && (query.dst_port.is_none() || query.dst_port == event.dst_port)
            && (query.event_types.is_empty()
                || event.event_type.as_deref().is_some_and(|one| query.event_types.iter().any(|wanted| wanted == one)))
            && is(&query.net_family, event.net_family.as_deref())
            && is(&query.protocol, event.protocol.as_deref())
            && is(&query.outcome, event.outcome.as_deref())
            && is(&query.unit, event.unit.as_deref())
            && is(&query.app, event.app.as_deref())
            && query.since.is_none_or(|since| event.timestamp >= Some(since))
            && query.until.is_none_or(|until| event.timestamp.is_some_and(|time| time <= until))
            && query
                .dst_host
                .as_deref()
                .and_then(Prefix::parse)
                .is_none_or(|wanted| host.is_some_and(|is| wanted.holds(is)))
            && (self.hosts.is_empty() || host.is_some_and(|is| self.hosts.contains(&is)))
            && query
                .proc_path
                .as_deref()
                .is_none_or(|wanted| event.proc_path.as_deref().is_some_and(|is| is_program(is, wanted)))
            && self
                .base_name
                .as_deref()
                .is_none_or(|wanted| event.proc_path.as_deref().is_some_and(|is| is.rsplit('/').next() == Some(wanted)))
    }

    /// What the bus can choose signals by, one for each rule: the type, and the program. Folders are left to
    /// [`holds`](Self::holds): zbus takes only paths of objects for `arg1path`.
    pub(super) fn rules(&self) -> Vec<(Option<&str>, Option<&str>)> {
        let program = self.query.proc_path.as_deref().filter(|program| !program.ends_with("/*"));
        match self.query.event_types.as_slice() {
            [] => vec![(None, program)],
            types => types.iter().map(|one| (Some(one.as_str()), program)).collect(),
        }
    }
}

/// Whether a path is the one wanted, or below the folder wanted.
fn is_program(path: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(folder) if folder.ends_with('/') => path.starts_with(folder),
        _ => path == wanted,
    }
}

/// What a name stands for.
fn addresses(name: &str) -> Result<Vec<IpAddr>, Failure> {
    let found = (name, 0).to_socket_addrs();
    let found =
        found.map_err(|error| Failure::Usage(format!("{} is no address, and no name: {error}", printable(name))))?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
    addresses.sort();
    addresses.dedup();
    let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    eprintln!("opensnitch-auditctl: {} is {}", printable(name), shown.join(", "));
    Ok(addresses)
}

/// An address or a prefix, also in brackets, or a name.
fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let is_name = |one: char| one.is_alphanumeric() || matches!(one, '.' | '-' | '_');
    let looks_like_a_number = bare.chars().all(|one| one.is_ascii_digit() || one == '.');
    if Prefix::parse(bare).is_some() || (!bare.is_empty() && bare.chars().all(is_name) && !looks_like_a_number) {
        return Ok(bare.to_owned());
    }
    Err("a host is an address as 192.0.2.7 or 2001:db8::7, a prefix as 192.0.2.0/24, or a name".to_owned())
}

/// By name or number.
fn user(text: &str) -> Result<u32, String> {
    let named = || uzers::get_user_by_name(text).map(|user| user.uid());
    text.parse().ok().or_else(named).ok_or_else(|| "there is no such user: 'getent passwd' lists them".to_owned())
}

/// By name, or by number as an event has a family without a name.
fn family(text: &str) -> Result<String, String> {
    let is_unnamed = |number: u16| Family(number).name().is_none() && text == number.to_string();
    if Family::named(text).is_some() || text.parse().is_ok_and(is_unnamed) {
        return Ok(text.to_owned());
    }
    Err(format!("it is one of {}", families().collect::<Vec<_>>().join(", ")))
}

/// The names of address families.
pub(super) fn families() -> impl Iterator<Item = &'static str> {
    (0..=u16::MAX).map_while(|number| Family(number).name())
}

/// The names that an event's protocol can have.
fn protocols() -> Vec<&'static str> {
    /// `IPPROTO_MAX` of the kernel's include/uapi/linux/in.h.
    const MAX: u32 = 263;
    // Of a raw socket the number alone decides.
    let named = |number| Protocol { family: Family::INET, socket_type: SocketType::RAW, number }.name();
    (0..MAX).filter_map(named).collect()
}

/// A time that is read when the command runs.
fn time(text: &str) -> Result<String, String> {
    moment(text, &ZonedDateTime::now()).map(|_| text.to_owned()).ok_or_else(|| FORMS.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: Filter,
    }

    fn filter(words: &[&str]) -> Result<Filter, String> {
        let words = ["find"].iter().chain(words);
        Line::try_parse_from(words).map(|line| line.filter).map_err(|error| error.to_string())
    }

    fn wanted(line: &str) -> Wanted {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        filter(&words).unwrap().wanted(&ZonedDateTime::now()).unwrap()
    }

    #[test]
    fn filters_become_a_query() {
        let since = || Query::new().since(1_795_344_941_500_000u64);
        let table = [
            ("", Query::new()),
            ("--pid 1 --parent 2 --user 3 --login 4", Query::new().pid(1u32).ppid(2u32).uid(3u32).audit_uid(4u32)),
            ("--ppid 2 --uid 3 --auid 4", Query::new().ppid(2u32).uid(3u32).audit_uid(4u32)),
            ("--user root", Query::new().uid(0u32)),
            ("--exe /usr/bin/* --unit a --app b", Query::new().proc_path("/usr/bin/*").unit("a").app("b")),
            ("--exe curl", Query::new()),
            (
                "--type connect,send --type bind",
                Query::new().event_type("connect").event_type("send").event_type("bind"),
            ),
            ("--family inet6 --protocol udp", Query::new().net_family("inet6").protocol("udp")),
            ("--family 99", Query::new().net_family("99")),
            ("--host 192.0.2.0/24 --port 443", Query::new().dst_host("192.0.2.0/24").dst_port(443u16)),
            ("--host [::1]", Query::new().dst_host("::1")),
            ("--outcome in-progress", Query::new().outcome("in-progress")),
            ("--since 1795344941500000 --until 7", since().until(7u64)),
            ("--since 2026-11-22T11:55:41.5+01:00", since()),
        ];
        for (line, expected) in table {
            assert_eq!(wanted(line).query(), expected, "{line}");
        }
    }

    #[test]
    fn a_value_that_cannot_match_names_those_that_can() {
        let table: [(&[&str], &str); 13] = [
            (&["--family", "ipv4"], "it is one of unspec, local, inet, "),
            (&["--family", "2"], "it is one of unspec, local, inet, "),
            (&["--type", "connect,open"], "[possible values: socket, connect, "),
            (&["--outcome", "ok"], "[possible values: success, in-progress, failure]"),
            (&["--protocol", "TCP"], "[possible values: icmp, igmp, ipip, tcp, udp, "),
            (&["--since", "tomorrow evening"], "a time is as 5min, 09:00, yesterday"),
            (&["--since", "1969-12-31T23:59:59Z"], "a time is as 5min, 09:00, yesterday"),
            (&["--port", "65536"], "0..=65535"),
            (&["--user", "nobody-has-this-name"], "there is no such user"),
            (&["--host", "192.0.2.256"], "a host is an address as"),
            (&["--host", "192.0.2.0/33"], "a host is an address as"),
            (&["--host", "[::1"], "a host is an address as"),
            (&["--host", ""], "a host is an address as"),
        ];
        for (words, expected) in table {
            let message = filter(words).unwrap_err();
            assert!(message.contains(expected), "{words:?}: {message}");
        }
    }

    #[test]
    fn what_is_wanted_is_told_from_the_rest() {
        let mut event = Event::default();
        event.pid = Some(7);
        event.ppid = Some(1);
        event.uid = Some(0);
        event.audit_uid = Some(1000);
        event.proc_path = Some("/usr/bin/curl".to_owned());
        event.event_type = Some("connect".into());
        event.net_family = Some("inet6".into());
        event.protocol = Some("tcp".into());
        event.dst_host = Some("::ffff:192.0.2.7".to_owned());
        event.dst_port = Some(443);
        event.outcome = Some("failure".into());
        event.unit = Some("a.service".to_owned());
        event.app = Some("b".to_owned());
        event.timestamp = Some(1000);
        let table = [
            ("--pid 7 --parent 1 --user root --login 1000", "--pid 8 --parent 2 --user 1 --login 1"),
            ("--exe curl", "--exe url"),
            ("--exe /usr/bin/curl", "--exe /usr/bin/cur"),
            ("--exe /usr/*", "--exe /usr/b*"),
            ("--type socket,connect", "--type socket"),
            ("--family inet6 --protocol tcp --outcome failure", "--family inet --protocol udp --outcome success"),
            ("--host 192.0.2.0/24", "--host 192.0.3.0/24"),
            ("--host 192.0.2.7 --port 443", "--host 192.0.2.8 --port 80"),
            ("--unit a.service --app b", "--unit a --app c"),
            ("--since 1000 --until 1000", "--since 1001 --until 999"),
        ];
        for (holds, fails) in table {
            assert!(wanted(holds).holds(&event), "{holds}");
            let words: Vec<&str> = fails.split(' ').collect();
            for option in words.chunks(2) {
                let option = option.join(" ");
                assert!(!wanted(&option).holds(&event), "{option}");
                assert!(!wanted(&option).holds(&Event::default()), "{option}");
            }
        }
        assert!(wanted("").holds(&Event::default()));
    }

    #[test]
    fn a_name_is_what_it_stands_for() {
        let mut event = Event::default();
        event.dst_host = Some("127.0.0.1".to_owned());
        assert!(wanted("--host localhost").holds(&event));
        event.dst_host = Some("192.0.2.1".to_owned());
        assert!(!wanted("--host localhost").holds(&event));
        let failure = filter(&["--host", "name.invalid"]).unwrap().wanted(&ZonedDateTime::now()).unwrap_err();
        assert!(failure.to_string().starts_with("name.invalid is no address, and no name"), "{failure}");
    }

    #[test]
    fn the_bus_chooses_by_type_and_program() {
        let table = [
            ("", "* *"),
            ("--type connect,send", "connect *, send *"),
            ("--exe /usr/bin/*", "* *"),
            ("--exe /usr/bin/curl", "* /usr/bin/curl"),
            ("--exe curl --type bind", "bind *"),
        ];
        for (line, expected) in table {
            let wanted = wanted(line);
            let rule = |(event_type, program): &(Option<&str>, Option<&str>)| {
                format!("{} {}", event_type.unwrap_or("*"), program.unwrap_or("*"))
            };
            assert_eq!(wanted.rules().iter().map(rule).collect::<Vec<_>>().join(", "), expected, "{line}");
        }
    }
}
