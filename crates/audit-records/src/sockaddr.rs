//! Socket addresses, decoded from the raw bytes of `saddr=`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::value::{Value, hex_bytes};

/// `struct sockaddr_storage` is 128 bytes and the kernel copies no more of an address (net/socket.c).
const MAX_SOCKADDR: usize = 128;

/// The order of bytes of the machine that wrote the record; `sa_family` is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// All but s390x.
    Little,
    /// s390x.
    Big,
}

/// An address family: `AF_…` of the kernel's include/linux/socket.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Family(
    /// The number.
    pub u16,
);

impl Family {
    /// `AF_UNIX`.
    pub const LOCAL: Self = Self(1);
    /// `AF_INET`.
    pub const INET: Self = Self(2);
    /// `AF_INET6`.
    pub const INET6: Self = Self(10);

    /// The family's name as auditd writes it (`saddr_fam=`), or `None` for a number that has none.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        FAMILIES.get(usize::from(self.0)).copied()
    }

    /// The family of that [`name`](Self::name).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let number = FAMILIES.iter().position(|known| *known == name)?;
        u16::try_from(number).ok().map(Self)
    }
}

/// Names by number: lib/famtab.h of audit-userspace, `AF_LOCAL` for `AF_UNIX` as there; newer ones as in the kernel.
const FAMILIES: [&str; 46] = [
    "unspec",
    "local",
    "inet",
    "ax25",
    "ipx",
    "appletalk",
    "netrom",
    "bridge",
    "atmpvc",
    "x25",
    "inet6",
    "rose",
    "decnet",
    "netbeui",
    "security",
    "key",
    "netlink",
    "packet",
    "ash",
    "econet",
    "atmsvc",
    "rds",
    "sna",
    "irda",
    "pppox",
    "wanpipe",
    "llc",
    "ib",
    "mpls",
    "can",
    "tipc",
    "bluetooth",
    "iucv",
    "rxrpc",
    "isdn",
    "phonet",
    "ieee802154",
    "caif",
    "alg",
    "nfc",
    "vsock",
    "kcm",
    "qipcrtr",
    "smc",
    "xdp",
    "mctp",
];

/// What an address says, for the families that name a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Address {
    /// Address and port of `sockaddr_in`.
    Inet(Ipv4Addr, u16),
    /// Address, port and scope id of `sockaddr_in6`; the scope is absent in the 24 bytes of RFC 2133.
    Inet6(Ipv6Addr, u16, Option<u32>),
    /// The path of a local socket, bytes as given.
    Path(Box<[u8]>),
    /// The abstract name of a local socket, without its leading NUL.
    Abstract(Box<[u8]>),
}

impl Address {
    /// Address and port, where it has them.
    #[must_use]
    pub const fn ip(&self) -> Option<(IpAddr, u16)> {
        match *self {
            Self::Inet(host, port) => Some((IpAddr::V4(host), port)),
            Self::Inet6(host, port, _) => Some((IpAddr::V6(host), port)),
            Self::Path(_) | Self::Abstract(_) => None,
        }
    }
}

/// A decoded address: its family, and the peer where the family has one we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockaddr {
    /// The family.
    pub family: Family,
    /// The peer; `None` for the other families, an unnamed local socket, and an address too short to name one.
    pub address: Option<Address>,
}

impl Sockaddr {
    /// Decodes the value of `saddr=`. `None` where it has not even a family.
    #[must_use]
    pub fn decode(saddr: Value<'_>, order: ByteOrder) -> Option<Self> {
        let mut rest = saddr.pairs();
        let family = taken(&mut rest)?;
        let family = Family(match order {
            ByteOrder::Little => u16::from_le_bytes(family),
            ByteOrder::Big => u16::from_be_bytes(family),
        });
        let address = match family {
            Family::INET => inet(rest),
            Family::INET6 => inet6(rest, order),
            Family::LOCAL => local(&saddr.bytes().take(MAX_SOCKADDR).skip(2).collect::<Vec<u8>>()),
            _ => None,
        };
        Some(Self { family, address })
    }
}

/// The next bytes, where there are so many.
#[inline]
fn taken<const N: usize>(rest: &mut &[[u8; 2]]) -> Option<[u8; N]> {
    let (pairs, behind) = rest.split_first_chunk()?;
    *rest = behind;
    hex_bytes(pairs)
}

/// Port and address, both in network order.
fn inet(mut rest: &[[u8; 2]]) -> Option<Address> {
    let port = taken(&mut rest)?;
    let address: [u8; 4] = taken(&mut rest)?;
    Some(Address::Inet(address.into(), u16::from_be_bytes(port)))
}

/// Port, flow label, address, and in the machine's order the scope id.
fn inet6(mut rest: &[[u8; 2]], order: ByteOrder) -> Option<Address> {
    let port = taken(&mut rest)?;
    let _flow: [u8; 4] = taken(&mut rest)?;
    let address: [u8; 16] = taken(&mut rest)?;
    let scope = taken(&mut rest).map(|scope| match order {
        ByteOrder::Little => u32::from_le_bytes(scope),
        ByteOrder::Big => u32::from_be_bytes(scope),
    });
    Some(Address::Inet6(address.into(), u16::from_be_bytes(port), scope))
}

/// unix(7): nothing is an unnamed socket, a leading NUL an abstract name of the whole length, else a path up to its NUL.
/// What a program left behind the NUL is no part of the path.
fn local(rest: &[u8]) -> Option<Address> {
    match rest.split_first()? {
        (0, []) => None,
        (0, name) => Some(Address::Abstract(name.into())),
        _ => Some(Address::Path(rest.split(|&byte| byte == 0).next()?.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(hex: &str, order: ByteOrder) -> Option<Sockaddr> {
        Sockaddr::decode(Value::new(hex.as_bytes()), order)
    }

    #[test]
    fn addresses() {
        use Address::{Abstract, Inet, Inet6, Path};
        let v4 = |text: &str, port| Some(Inet(text.parse().unwrap(), port));
        let v6 = |text: &str, port, scope| Some(Inet6(text.parse().unwrap(), port, scope));
        let table: &[(&str, u16, Option<Address>)] = &[
            ("020000097F0000010000000000000000", 2, v4("127.0.0.1", 9)),
            ("020000097F000001", 2, v4("127.0.0.1", 9)),
            ("020000097F0000", 2, None),
            ("0200", 2, None),
            ("0A000009000000000000000000000000000000000000000100000000", 10, v6("::1", 9, Some(0))),
            ("0A0014E900000000FE80000000000000000000000000000102000000", 10, v6("fe80::1", 5353, Some(2))),
            ("0A00005000000000000000000000000000000000000000FF", 10, v6("::ff", 80, None)),
            ("0A000050000000000000000000000000000000000000", 10, None),
            ("01002F72756E2F6E6F6E6500", 1, Some(Path((*b"/run/none").into()))),
            ("01002F72756E", 1, Some(Path((*b"/run").into()))),
            ("01002F2F00FF00FF", 1, Some(Path((*b"//").into()))),
            ("01000061627374", 1, Some(Abstract((*b"abst").into()))),
            ("01000062696E0001FF", 1, Some(Abstract((*b"bin\0\x01\xff").into()))),
            ("0100", 1, None),
            ("010000", 1, None),
            ("100000000000000000000000", 16, None),
            ("28000000D20400000200000000000000", 40, None),
            ("1100080001000000", 17, None),
            ("00000000000000000000000000000000", 0, None),
            ("FFFF00", 0xFFFF, None),
        ];
        for (hex, family, address) in table {
            let expected = Some(Sockaddr { family: Family(*family), address: address.clone() });
            assert_eq!(decode(hex, ByteOrder::Little), expected, "{hex}");
        }
        assert_eq!(decode("02", ByteOrder::Little), None);
        assert_eq!(decode("", ByteOrder::Little), None);
    }

    #[test]
    fn the_family_is_in_the_order_of_the_machine() {
        assert_eq!(
            decode("0002005 07F000001".replace(' ', "").as_str(), ByteOrder::Big),
            Some(Sockaddr { family: Family::INET, address: Some(Address::Inet([127, 0, 0, 1].into(), 80)) })
        );
    }

    #[test]
    fn names() {
        let table = [
            (0, "unspec"),
            (1, "local"),
            (2, "inet"),
            (10, "inet6"),
            (16, "netlink"),
            (17, "packet"),
            (31, "bluetooth"),
            (40, "vsock"),
            (44, "xdp"),
            (45, "mctp"),
        ];
        for (number, name) in table {
            assert_eq!(Family(number).name(), Some(name));
        }
        assert_eq!(Family(46).name(), None);
    }
}
