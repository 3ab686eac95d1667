//! What is kept of a connection: enough to tell it to a person, and of bounded size whoever chose the words.

use std::collections::VecDeque;
use std::net::IpAddr;

use opensnitch_audit_client::Event;

use crate::subject::Subject;

/// A connection that a person wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) subject: Subject,
    pub(crate) process: Process,
    pub(crate) destination: Destination,
    /// How many of the same kind this stands for.
    pub(crate) count: u64,
}

/// The process that made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// The path of its program, or the name of its thread where no path is known.
    pub(crate) path: String,
    /// The application that its cgroup names. Every program can choose that.
    pub(crate) app: Option<String>,
    /// It sees other files than the machine's.
    pub(crate) is_sandboxed: bool,
    pub(crate) uid: Option<u32>,
    /// Its arguments, joined.
    pub(crate) command: Option<String>,
    pub(crate) folder: Option<String>,
    /// Pid and program of its ancestors, nearest first.
    pub(crate) parents: Vec<(u32, String)>,
}

/// Where it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    /// `tcp`, `udp`, …
    pub(crate) protocol: Option<String>,
    /// The name that was looked up before.
    pub(crate) name: Option<String>,
}

impl Destination {
    fn is_same(&self, other: &Self) -> bool {
        (self.address, self.port, &self.protocol) == (other.address, other.port, &other.protocol)
    }
}

/// Bytes that are kept of a text which a program chose: of a path the whole, and more of arguments than a notification shows.
const MAX_TEXT: usize = 4096;
/// Bytes that are kept of the path of an ancestor.
const MAX_PARENT: usize = 256;
/// Ancestors that are kept: as many as the service tells.
const MAX_PARENTS: usize = 16;

impl Connection {
    /// Of an event; `None` where it does not leave the machine, or is no connection. `name` is asked for the name under
    /// which an address was looked up.
    pub(crate) fn of(event: &Event, name: impl FnOnce(IpAddr) -> Option<String>) -> Option<Self> {
        if !matches!(event.event_type.as_deref(), Some("connect" | "send")) {
            return None;
        }
        let address = event.dst_host.as_deref()?.parse::<IpAddr>().ok()?.to_canonical();
        // To connect to no address is to connect to this machine.
        if address.is_loopback() || address.is_unspecified() {
            return None;
        }
        let text = |text: &Option<String>| text.as_deref().map(|text| cut(text, MAX_TEXT));
        let parents = event.parents.iter().take(MAX_PARENTS).map(|(pid, path)| (*pid, cut(path, MAX_PARENT)));
        let process = Process {
            path: text(&event.proc_path).or_else(|| text(&event.proc_name)).unwrap_or_default(),
            app: text(&event.app),
            is_sandboxed: event.mount_namespace == Some(true),
            uid: event.uid,
            command: text(&event.proc_cmd_line),
            folder: text(&event.proc_dir),
            parents: parents.collect(),
        };
        let destination = Destination {
            address,
            port: event.dst_port.unwrap_or(0),
            protocol: event.protocol.as_deref().map(|name| cut(name, MAX_PARENT)),
            name: name(address),
        };
        Some(Self { subject: Subject::of(event), process, destination, count: event.count.unwrap_or(1) })
    }
}

/// What is known of a program: its newest process, and where it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) subject: Subject,
    pub(crate) process: Process,
    /// The last one is the newest.
    pub(crate) destinations: VecDeque<Destination>,
    /// There were more of them than are kept.
    pub(crate) had_more: bool,
    pub(crate) connections: u64,
}

/// Destinations that are kept of a program: more than a notification can show.
const MAX_DESTINATIONS: usize = 32;

impl Program {
    pub(crate) fn new(connection: Connection) -> Self {
        let Connection { subject, process, destination, count } = connection;
        let destinations = VecDeque::from([destination]);
        Self { subject, process, destinations, had_more: false, connections: count }
    }

    /// Another connection of the same.
    pub(crate) fn add(&mut self, connection: Connection) {
        self.process = connection.process;
        self.connections = self.connections.saturating_add(connection.count);
        let destination = connection.destination;
        if let Some(at) = self.destinations.iter().position(|known| known.is_same(&destination)) {
            let known = self.destinations.remove(at);
            let name = destination.name.or(known.and_then(|known| known.name));
            self.destinations.push_back(Destination { name, ..destination });
            return;
        }
        if self.destinations.len() >= MAX_DESTINATIONS {
            self.destinations.pop_front();
            self.had_more = true;
        }
        self.destinations.push_back(destination);
    }
}

/// The beginning of a text: at most so many bytes of it.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text).to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A connect of this program to this address, port 443.
    pub(crate) fn event(path: &str, host: &str) -> Event {
        let mut event = Event::default();
        event.event_type = Some("connect".into());
        event.proc_path = Some(path.to_owned());
        event.dst_host = Some(host.to_owned());
        event.dst_port = Some(443);
        event.protocol = Some("tcp".into());
        event
    }

    pub(crate) fn connection(path: &str, host: &str) -> Connection {
        Connection::of(&event(path, host), |_| None).unwrap()
    }

    #[test]
    fn what_stays_on_the_machine_is_no_connection() {
        let leaves = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1", "169.254.1.1", "224.0.0.251"];
        let stays = ["127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "no address", ""];
        for host in leaves {
            assert!(Connection::of(&event("/usr/bin/curl", host), |_| None).is_some(), "{host}");
        }
        for host in stays {
            assert_eq!(Connection::of(&event("/usr/bin/curl", host), |_| None), None, "{host}");
        }
        for kind in ["socket", "execve", "bind", "accept"] {
            let mut event = event("/usr/bin/curl", "192.0.2.1");
            event.event_type = Some(kind.into());
            assert_eq!(Connection::of(&event, |_| None), None, "{kind}");
        }
    }

    #[test]
    fn destinations_are_told_once_and_the_newest_last() {
        let mut program = Program::new(connection("/usr/bin/curl", "192.0.2.1"));
        for host in ["192.0.2.2", "192.0.2.1", "192.0.2.1"] {
            program.add(connection("/usr/bin/curl", host));
        }
        let hosts: Vec<String> = program.destinations.iter().map(|to| to.address.to_string()).collect();
        assert_eq!((hosts, program.connections), (vec!["192.0.2.2".to_owned(), "192.0.2.1".to_owned()], 4));
    }

    #[test]
    fn nothing_that_a_program_chose_is_kept_without_a_bound() {
        let long = "é".repeat(100_000);
        let mut event = event(&long, "192.0.2.1");
        event.proc_cmd_line = Some(long.clone());
        event.proc_dir = Some(long.clone());
        event.app = Some(long.clone());
        event.protocol = Some(long.clone().into());
        event.parents = vec![(1, long); 100];
        let mut program = Program::new(Connection::of(&event, |_| None).unwrap());
        for number in 0..1000_u32 {
            let host = std::net::Ipv4Addr::from_bits(0xc000_0200 + number).to_string();
            program.add(connection("/usr/bin/curl", &host));
        }
        assert!(format!("{program:?}").len() < 64 * 1024);
        assert!(program.had_more);
        assert_eq!(program.connections, 1001);
    }
}
