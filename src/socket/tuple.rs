//! What a packet shows of its connection, checked once.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::text::excerpt;

/// A protocol whose sockets the kernel can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP, and the subflows of MPTCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite; Linux had it until 6.x.
    Udplite,
    /// ICMP over IPv4, and ICMPv6 over IPv6.
    Icmp,
    /// SCTP.
    Sctp,
    /// DCCP; Linux had it until 6.15.
    Dccp,
}

impl Protocol {
    const ALL: [Self; 6] = [Self::Tcp, Self::Udp, Self::Udplite, Self::Icmp, Self::Sctp, Self::Dccp];

    /// Its name in the D-Bus contract, as protocols(5) has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Udplite => "udplite",
            Self::Icmp => "icmp",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
        }
    }

    /// Whether its messages have ports.
    const fn has_ports(self) -> bool {
        !matches!(self, Self::Icmp)
    }
}

impl FromStr for Protocol {
    type Err = TupleError;

    /// By its [`name`](Self::name). `icmpv6` is `icmp`: the addresses tell which one is meant.
    fn from_str(text: &str) -> Result<Self, TupleError> {
        let name = if text == "icmpv6" { "icmp" } else { text };
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.name() == name)
            .ok_or_else(|| TupleError::Protocol { text: excerpt(text) })
    }
}

/// A connection, by what its packets show: from the source, which is this machine, to the destination.
///
/// Both addresses are of one family, and an IPv4 address is written as such and not as `::ffff:…`. No port is 0, but for
/// ICMP: its source port is the identifier of an echo request, or 0 where that is not known, and its destination port
/// has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    protocol: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
}

impl Tuple {
    /// Checks the five arguments of a call.
    ///
    /// # Errors
    /// For the first argument that is wrong.
    pub fn parse(
        protocol: &str,
        source: &str,
        source_port: u16,
        destination: &str,
        destination_port: u16,
    ) -> Result<Self, TupleError> {
        let protocol: Protocol = protocol.parse()?;
        let source = SocketAddr::new(address("source", source)?, source_port);
        let destination = SocketAddr::new(address("destination", destination)?, destination_port);
        for (argument, address) in [("source", source), ("destination", destination)] {
            if address.port() == 0 && protocol.has_ports() {
                return Err(TupleError::Port { argument });
            }
        }
        if source.is_ipv4() != destination.is_ipv4() {
            let [source, destination] = [source, destination].map(|address| address.ip());
            return Err(TupleError::Families { source_address: source, destination });
        }
        Ok(Self { protocol, source, destination })
    }

    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The address on this machine.
    #[must_use]
    pub const fn source(&self) -> SocketAddr {
        self.source
    }

    /// The address of the peer.
    #[must_use]
    pub const fn destination(&self) -> SocketAddr {
        self.destination
    }
}

/// Why the arguments are no connection. Every message names the argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TupleError {
    /// The protocol is none that is known.
    #[error("the protocol is \"tcp\", \"udp\", \"udplite\", \"icmp\", \"sctp\" or \"dccp\", not {text}")]
    Protocol {
        /// The first characters of it, in quotes.
        text: String,
    },
    /// An address is none.
    #[error("the {argument} is an IPv4 or IPv6 address, not {text}")]
    Address {
        /// `source` or `destination`.
        argument: &'static str,
        /// The first characters of it, in quotes.
        text: String,
    },
    /// A port is 0.
    #[error("the {argument} port is 0, which no connection has")]
    Port {
        /// `source` or `destination`.
        argument: &'static str,
    },
    /// One address is IPv4 and the other IPv6.
    #[error("the source {source_address} and the destination {destination} are not of one family")]
    Families {
        /// The source's.
        source_address: IpAddr,
        /// The destination's.
        destination: IpAddr,
    },
}

fn address(argument: &'static str, text: &str) -> Result<IpAddr, TupleError> {
    let address = text.parse::<IpAddr>().map_err(|_| TupleError::Address { argument, text: excerpt(text) })?;
    Ok(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::MAX_EXCERPT;

    #[test]
    fn tuples() {
        let table = [
            (("tcp", "192.0.2.1", 1, "192.0.2.2", 2), Protocol::Tcp, "192.0.2.1:1", "192.0.2.2:2"),
            (("udp", "2001:db8::1", 65535, "::1", 1), Protocol::Udp, "[2001:db8::1]:65535", "[::1]:1"),
            (("udplite", "::ffff:192.0.2.1", 1, "192.0.2.2", 2), Protocol::Udplite, "192.0.2.1:1", "192.0.2.2:2"),
            (("sctp", "::ffff:192.0.2.1", 1, "::ffff:c000:202", 2), Protocol::Sctp, "192.0.2.1:1", "192.0.2.2:2"),
            (("dccp", "0.0.0.0", 1, "255.255.255.255", 2), Protocol::Dccp, "0.0.0.0:1", "255.255.255.255:2"),
            (("icmp", "192.0.2.1", 0, "192.0.2.2", 0), Protocol::Icmp, "192.0.2.1:0", "192.0.2.2:0"),
            (("icmpv6", "::1", 7, "::1", 0), Protocol::Icmp, "[::1]:7", "[::1]:0"),
        ];
        for ((protocol, source, sport, destination, dport), expected, from, to) in table {
            let tuple = Tuple::parse(protocol, source, sport, destination, dport).unwrap();
            assert_eq!(tuple.protocol(), expected);
            assert_eq!((tuple.source().to_string(), tuple.destination().to_string()), (from.into(), to.into()));
        }
    }

    #[test]
    fn every_protocol_is_found_by_its_name_and_named_in_the_error() {
        let error = "quic".parse::<Protocol>().unwrap_err().to_string();
        for protocol in Protocol::ALL {
            assert_eq!(protocol.name().parse(), Ok(protocol));
            assert!(error.contains(&format!("\"{}\"", protocol.name())), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_argument() {
        let table = [
            (("TCP", "192.0.2.1", 1, "192.0.2.2", 2), "not \"TCP\""),
            (("", "192.0.2.1", 1, "192.0.2.2", 2), "the protocol is"),
            (("tcp", "localhost", 1, "192.0.2.2", 2), "the source is an IPv4 or IPv6 address, not \"localhost\""),
            (("tcp", "192.0.2.1", 1, "192.0.2.256", 2), "the destination is an IPv4 or IPv6 address"),
            (("tcp", "192.0.2.1", 1, "192.0.2.2/24", 2), "the destination"),
            (("tcp", "fe80::1%eth0", 1, "fe80::2", 2), "the source"),
            (("tcp", "0x7f000001", 1, "127.0.0.1", 2), "the source"),
            (("tcp", "192.0.2.1", 0, "192.0.2.2", 2), "the source port is 0"),
            (("udp", "192.0.2.1", 1, "192.0.2.2", 0), "the destination port is 0"),
            (("tcp", "192.0.2.1", 1, "::1", 2), "the source 192.0.2.1 and the destination ::1"),
            (("icmp", "::1", 0, "192.0.2.1", 0), "not of one family"),
        ];
        for ((protocol, source, sport, destination, dport), expected) in table {
            let error = Tuple::parse(protocol, source, sport, destination, dport).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_error_carries_little_of_a_hostile_text() {
        let table = [
            "a".repeat(7_000_000),
            "\u{1b}[2J".to_owned(),
            "\u{202e}\u{9b}\u{7f}\n".repeat(1000),
            "é".repeat(1000),
            "\u{10ffff}".repeat(1000),
        ];
        for text in table {
            for error in [
                text.parse::<Protocol>().unwrap_err(),
                Tuple::parse("tcp", &text, 1, "::1", 1).unwrap_err(),
                Tuple::parse("tcp", "::1", 1, &text, 1).unwrap_err(),
            ] {
                let error = error.to_string();
                assert!(error.chars().count() < MAX_EXCERPT + 80, "{error}");
                let hostile = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{10ffff}');
                assert!(!error.contains(hostile), "{error}");
            }
        }
    }
}
