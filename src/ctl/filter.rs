//! Which events are looked for.

use audit_records::{EventType, Family, Protocol, SocketType};
use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use opensnitch_audit_client::Query;

use crate::store::OUTCOMES;

/// What `find` looks for; all that is given must hold.
#[derive(Debug, Default, Args)]
pub(super) struct Find {
    /// The process.
    #[arg(long)]
    pid: Option<u32>,
    /// Its parent.
    #[arg(long)]
    ppid: Option<u32>,
    /// The real user's number.
    #[arg(long)]
    uid: Option<u32>,
    /// The login user's number.
    #[arg(long)]
    auid: Option<u32>,
    /// The program's path; all programs under a folder where it ends in '/*'.
    #[arg(long, value_name = "PATH")]
    exe: Option<String>,
    /// Any of these types, with commas between them.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(EventType::ALL.map(EventType::name)))]
    event_types: Vec<String>,
    /// The address family: inet, inet6, local, …
    #[arg(long, value_parser = family)]
    family: Option<String>,
    /// The protocol.
    #[arg(long, value_parser = PossibleValuesParser::new(protocols()))]
    protocol: Option<String>,
    /// The address connected to, or a prefix as 192.0.2.0/24.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port connected to.
    #[arg(long)]
    port: Option<u16>,
    /// How the call ended.
    #[arg(long, value_parser = PossibleValuesParser::new(OUTCOMES))]
    outcome: Option<String>,
    /// The systemd unit.
    #[arg(long)]
    unit: Option<String>,
    /// The application.
    #[arg(long)]
    app: Option<String>,
    /// Not before this time: as 2026-11-22T10:55:41Z, or microseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u64>,
    /// Not after this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
    /// At most so many events; all unless given.
    #[arg(long)]
    pub(super) limit: Option<usize>,
}

impl Find {
    pub(super) fn query(&self) -> Query {
        let mut query = Query::new();
        query.pid = self.pid;
        query.ppid = self.ppid;
        query.uid = self.uid;
        query.audit_uid = self.auid;
        query.proc_path.clone_from(&self.exe);
        query.event_types.clone_from(&self.event_types);
        query.net_family.clone_from(&self.family);
        query.protocol.clone_from(&self.protocol);
        query.dst_host.clone_from(&self.host);
        query.dst_port = self.port;
        query.outcome.clone_from(&self.outcome);
        query.unit.clone_from(&self.unit);
        query.app.clone_from(&self.app);
        query.since = self.since;
        query.until = self.until;
        query
    }
}

/// By name, or by number as an event has a family without a name.
fn family(text: &str) -> Result<String, String> {
    let names = (0..=u16::MAX).map_while(|number| Family(number).name());
    let is_unnamed = |number: u16| Family(number).name().is_none() && text == number.to_string();
    if Family::named(text).is_some() || text.parse().is_ok_and(is_unnamed) {
        return Ok(text.to_owned());
    }
    Err(format!("it is one of {}", names.collect::<Vec<_>>().join(", ")))
}

/// The names that an event's protocol can have.
fn protocols() -> Vec<&'static str> {
    /// `IPPROTO_MAX` of the kernel's include/uapi/linux/in.h.
    const MAX: u32 = 263;
    // Of a raw socket the number alone decides.
    let named = |number| Protocol { family: Family::INET, socket_type: SocketType::RAW, number }.name();
    (0..MAX).filter_map(named).collect()
}

/// Microseconds since the epoch.
fn time(text: &str) -> Result<u64, String> {
    let expected = || "a time is as 2026-11-22T10:55:41Z, or microseconds since 1970".to_owned();
    if let Ok(us) = text.parse() {
        return Ok(us);
    }
    let time: Timestamp = text.parse().map_err(|_| expected())?;
    u64::try_from(time.as_microsecond()).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        find: Find,
    }

    fn find(line: &str) -> Result<Find, String> {
        let words = ["find"].into_iter().chain(line.split(' '));
        Line::try_parse_from(words).map(|line| line.find).map_err(|error| error.to_string())
    }

    #[test]
    fn filters_become_a_query() {
        let since = || Query::new().since(1_795_344_941_500_000u64);
        let table = [
            ("--pid 1 --ppid 2 --uid 3 --auid 4", Query::new().pid(1u32).ppid(2u32).uid(3u32).audit_uid(4u32)),
            ("--exe /usr/bin/* --unit a --app b", Query::new().proc_path("/usr/bin/*").unit("a").app("b")),
            (
                "--type connect,send --type bind",
                Query::new().event_type("connect").event_type("send").event_type("bind"),
            ),
            ("--family inet6 --protocol udp", Query::new().net_family("inet6").protocol("udp")),
            ("--family 99", Query::new().net_family("99")),
            ("--host 192.0.2.0/24 --port 443", Query::new().dst_host("192.0.2.0/24").dst_port(443u16)),
            ("--outcome in-progress", Query::new().outcome("in-progress")),
            ("--since 1795344941500000 --until 7", since().until(7u64)),
            ("--since 2026-11-22T10:55:41.5Z", since()),
            ("--since 2026-11-22T11:55:41.5+01:00", since()),
        ];
        for (line, expected) in table {
            assert_eq!(find(line).unwrap().query(), expected, "{line}");
        }
    }

    #[test]
    fn a_value_that_cannot_match_names_those_that_can() {
        let table = [
            ("--family ipv4", "it is one of unspec, local, inet, "),
            ("--family 2", "it is one of unspec, local, inet, "),
            ("--type connect,open", "[possible values: socket, connect, "),
            ("--outcome ok", "[possible values: success, in-progress, failure]"),
            ("--protocol TCP", "[possible values: icmp, igmp, ipip, tcp, udp, "),
            ("--since yesterday", "a time is as 2026-11-22T10:55:41Z"),
            ("--since 1969-12-31T23:59:59Z", "a time is as 2026-11-22T10:55:41Z"),
            ("--port 65536", "0..=65535"),
        ];
        for (line, expected) in table {
            let message = find(line).unwrap_err();
            assert!(message.contains(expected), "{line}: {message}");
        }
    }
}
