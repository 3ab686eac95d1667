//! Transport protocols, as `GetEventByConnection` names them.

use std::fmt;
use std::str::FromStr;

/// A transport protocol whose connections have an owner that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite.
    UdpLite,
    /// ICMP, and with IPv6 addresses ICMPv6: `ping` without privileges. Its ports are the identifier of the echo request.
    Icmp,
    /// SCTP.
    Sctp,
    /// DCCP.
    Dccp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Tcp, Self::Udp, Self::UdpLite, Self::Icmp, Self::Sctp, Self::Dccp];

    /// Its name on the bus.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::UdpLite => "udplite",
            Self::Icmp => "icmp",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
        }
    }

    /// From the number in an IPv4 header, or in the last `next header` of IPv6, as IANA assigns them.
    ///
    /// ```
    /// use opensnitch_audit_client::Protocol;
    ///
    /// assert_eq!(Protocol::from_number(17), Some(Protocol::Udp));
    /// assert_eq!(Protocol::from_number(89), None);
    /// ```
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 | 58 => Some(Self::Icmp),
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            33 => Some(Self::Dccp),
            132 => Some(Self::Sctp),
            136 => Some(Self::UdpLite),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no such protocol here. Its text names those that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProtocol;

impl fmt::Display for UnknownProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a protocol is one of {}", Protocol::ALL.map(Protocol::name).join(", "))
    }
}

impl std::error::Error for UnknownProtocol {}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, UnknownProtocol> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or(UnknownProtocol)
    }
}
