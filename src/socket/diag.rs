//! From a connection to its socket: the kernel is asked (sock_diag(7), `net/ipv4/inet_diag.c`).
//!
//! An **exact** question costs the kernel one look into a hash table. A **dump** by port walks the whole table; it is
//! made only of UDP sockets, for what an exact question cannot see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow::{Break, Continue};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::wire::{self, Entry, Family};
use super::{Error, Protocol, Socket, Tuple, lists};
use crate::netlink::{self, Answer, Ask};

/// `SOCK_DIAG_BY_FAMILY`, of the question and of the answer.
const BY_FAMILY: u16 = 20;

/// Sockets that are kept of one dump. More than a few share a local port only in servers with a socket for each client.
const MATCHES_MAX: usize = 64;

/// The kernel chooses local ports from here on (`net.ipv4.ip_local_port_range`), and never one that is in use. A lower
/// one was chosen by its program, and several may have chosen the same.
const FIRST_CHOSEN_BY_KERNEL: u16 = 32_768;

/// No interface in particular.
const ANY: u32 = 0;

/// Protocols of raw sockets (`IPPROTO_*`); a socket of the last one sends any.
const ICMP: u16 = 1;
const ICMPV6: u16 = 58;
const ANY_PROTOCOL: u16 = 255;

/// The name of the socket that systemd passes (`FileDescriptorName=` in `opensnitch-audit.socket`).
pub const PASSED_AS: &str = "sock-diag";

/// The kernel's sockets of one network namespace. One question at a time; each takes microseconds.
#[derive(Debug)]
pub struct SockDiag {
    socket: Mutex<netlink::Socket>,
    /// `/proc/…/net` of the same namespace.
    net: PathBuf,
    sees_machine: bool,
}

impl SockDiag {
    /// Looks at the network namespace of the calling thread.
    ///
    /// # Errors
    /// Where the kernel has no sock_diag, or refuses it.
    pub fn open() -> Result<Self, Error> {
        Ok(Self::new(
            netlink::Socket::open(netlink::Family::SockDiag)?,
            "/proc/thread-self/net".into(),
            is_machines_own(),
        ))
    }

    /// Looks at the network namespace of a socket that systemd made (`ListenNetlink=inet-diag 0`) and passed as
    /// [`PASSED_AS`], which is the machine's own.
    ///
    /// # Errors
    /// Where it is no such socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        Ok(Self::new(netlink::Socket::from_fd(fd, netlink::Family::SockDiag)?, "/proc/1/net".into(), true))
    }

    fn new(socket: netlink::Socket, net: PathBuf, sees_machine: bool) -> Self {
        Self { socket: Mutex::new(socket), net, sees_machine }
    }

    /// Whether it looks at the machine's own network namespace, as far as can be told. A service with a private network
    /// that was passed no socket does not, and finds nothing.
    #[must_use]
    pub const fn sees_machine(&self) -> bool {
        self.sees_machine
    }

    /// The sockets that this connection can belong to, the likeliest first.
    ///
    /// Mostly it is one. It is none where the socket is closed, or was never in this network namespace, or where the
    /// kernel has no module for the protocol. It is several where they share the local address: groups and reused
    /// ports of UDP, raw sockets that speak ICMP.
    ///
    /// # Errors
    /// [`Error::Netlink`] where the kernel does not answer.
    pub fn find(&self, tuple: &Tuple) -> Result<Vec<Socket>, Error> {
        let (source, destination) = (tuple.source(), tuple.destination());
        let query = || Query { socket: self.lock(), net: &self.net, source, destination };
        let entries = match tuple.protocol() {
            Protocol::Tcp => query().connection(wire::TCP),
            Protocol::Dccp => query().connection(wire::DCCP),
            Protocol::Sctp => Ok(Vec::from_iter(query().exact(wire::SCTP, source, destination, ANY)?)),
            Protocol::Udp => query().datagrams(wire::UDP),
            Protocol::Udplite => query().datagrams(wire::UDPLITE),
            Protocol::Icmp => Ok(self.messages(tuple)),
        }?;
        // A socket without an inode belongs to no process any more: TIME_WAIT, or closed with data on its way.
        let held = entries.into_iter().filter(|entry| entry.inode != 0);
        Ok(held.map(|entry| Socket { inode: entry.inode.into(), uid: entry.uid }).collect())
    }

    /// The kernel is not asked: `/proc` has these sockets.
    fn messages(&self, tuple: &Tuple) -> Vec<Entry> {
        let (source, destination) = (tuple.source().ip(), tuple.destination().ip());
        let family = Family::of(tuple.source());
        let speaks = |entry: &Entry| {
            let peer = entry.peer.ip();
            entry.sends_from(source) && (peer.is_unspecified() || peer == destination)
        };
        let identifier = tuple.source().port();
        let mut entries = lists::pings(&self.net, family);
        entries.retain(|entry| speaks(entry) && (identifier == 0 || identifier == entry.local.port()));
        // The kernel gives each identifier to one socket.
        if identifier == 0 || entries.is_empty() {
            let numbers = [if source.is_ipv4() { ICMP } else { ICMPV6 }, ANY_PROTOCOL];
            let raw = lists::raw(&self.net, family).into_iter();
            entries.extend(raw.filter(|entry| speaks(entry) && numbers.contains(&entry.local.port())));
        }
        entries.truncate(MATCHES_MAX);
        entries
    }

    fn lock(&self) -> MutexGuard<'_, netlink::Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Query<'a> {
    socket: MutexGuard<'a, netlink::Socket>,
    net: &'a Path,
    source: SocketAddr,
    destination: SocketAddr,
}

impl Query<'_> {
    /// TCP and what is like it: one socket for each connection, also while it is being made.
    fn connection(&mut self, protocol: u8) -> Result<Vec<Entry>, Error> {
        if let Some(entry) = self.connected(protocol, ANY)? {
            return Ok(vec![entry]);
        }
        // A socket that is bound to an interface, also by a link-local address, is found only with that interface.
        for interface in lists::interfaces(self.net) {
            if let Some(entry) = self.connected(protocol, interface)? {
                return Ok(vec![entry]);
            }
        }
        Ok(Vec::new())
    }

    fn connected(&mut self, protocol: u8, interface: u32) -> Result<Option<Entry>, netlink::Error> {
        // Where there is no such connection, the kernel finds who listens on the port.
        let found = self.exact(protocol, self.source, self.destination, interface)?;
        match found.filter(|entry| entry.state != wire::LISTEN) {
            // Nobody has accepted it yet: it belongs to whom listens.
            Some(Entry { inode: 0, state: wire::ESTABLISHED | wire::SYN_RECV | wire::CLOSE_WAIT, .. }) => {
                let listener = self.exact(protocol, self.source, unspecified(self.source), interface)?;
                Ok(listener.filter(|entry| entry.state == wire::LISTEN))
            }
            found => Ok(found),
        }
    }

    /// UDP and what is like it: connected to the destination, or not connected at all.
    fn datagrams(&mut self, protocol: u8) -> Result<Vec<Entry>, Error> {
        // The kernel looks as if a datagram had come from the destination, and so finds also those bound to no address.
        // Its source is the sender of that one ("swapped for historical reasons", `udp_dump_one`).
        let found = self.exact(protocol, self.destination, self.source, ANY)?;
        if let Some(entry) = found
            && (entry.peer == self.destination || entry.local.port() >= FIRST_CHOSEN_BY_KERNEL)
        {
            return Ok(vec![entry]);
        }
        let (source, destination) = (self.source, self.destination);
        let mut entries = self.dump(protocol, source)?;
        entries.retain(|entry| entry.local.port() == source.port() && entry.sends_from(source.ip()));
        let rank = |entry: &Entry| match entry.peer {
            peer if peer == destination => 0,
            peer if peer.port() == 0 => 1,
            // Connected to another; sendto(2) may still name a destination.
            _ => 2,
        };
        let best = entries.iter().map(rank).min();
        entries.retain(|entry| Some(rank(entry)) == best);
        if entries.is_empty() {
            entries.extend(found);
        }
        Ok(entries)
    }

    /// The one socket that the kernel finds for these addresses.
    fn exact(
        &mut self,
        protocol: u8,
        source: SocketAddr,
        destination: SocketAddr,
        interface: u32,
    ) -> Result<Option<Entry>, netlink::Error> {
        let question = wire::question(Family::of(source), protocol, source, destination, interface);
        let mut found = None;
        self.socket.request(BY_FAMILY, Ask::Plain, &question, |answer| match answer {
            Answer::Payload(bytes) => {
                found = Entry::decode(bytes);
                Ok(Break(()))
            }
            Answer::Done => Ok(Break(())),
            Answer::Errno(errno) if is_nothing(errno) => Ok(Break(())),
            Answer::Errno(errno) => Err(netlink::Error::Io(errno)),
        })?;
        Ok(found)
    }

    /// All sockets with this local port, of both families that can carry this one.
    fn dump(&mut self, protocol: u8, source: SocketAddr) -> Result<Vec<Entry>, netlink::Error> {
        let destination = unspecified(source);
        let families: &[Family] = if source.is_ipv4() { &[Family::V4, Family::V6] } else { &[Family::V6] };
        let mut entries = Vec::new();
        for family in families {
            let question = wire::question(*family, protocol, source, destination, ANY);
            self.socket.request(BY_FAMILY, Ask::Dump, &question, |answer| match answer {
                Answer::Payload(bytes) => {
                    entries.extend(Entry::decode(bytes));
                    Ok(if entries.len() < MATCHES_MAX { Continue(()) } else { Break(()) })
                }
                Answer::Done => Ok(Break(())),
                Answer::Errno(errno) if is_nothing(errno) => Ok(Break(())),
                Answer::Errno(errno) => Err(netlink::Error::Io(errno)),
            })?;
        }
        Ok(entries)
    }
}

/// Whether the calling thread's network namespace is that of the first process.
pub fn is_machines_own() -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    match (namespace("thread-self"), namespace("1")) {
        (Some(ours), Some(first)) => ours == first,
        _ => true,
    }
}

/// No such socket, or no module for its protocol (`inet_diag_lock_handler`) or family.
fn is_nothing(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT)
}

/// No address and no port, in the family of this one.
fn unspecified(like: SocketAddr) -> SocketAddr {
    let address = match like {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(address, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_passed;

    #[test]
    fn the_unit_passes_a_socket_under_the_name_that_is_looked_for() {
        let lines = [format!("FileDescriptorName={PASSED_AS}"), "ListenNetlink=inet-diag 0".to_owned()];
        assert_passed("opensnitch-audit.socket", &lines);
    }
}
