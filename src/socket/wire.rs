//! A question about sockets and its answer, byte for byte (`include/uapi/linux/inet_diag.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::netlink::word;

/// `AF_INET`, `AF_INET6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4 = 2,
    V6 = 10,
}

impl Family {
    pub(super) fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Numbers of protocols (`IPPROTO_*`).
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const DCCP: u8 = 33;
pub(super) const SCTP: u8 = 132;
pub(super) const UDPLITE: u8 = 136;

/// `TCP_*` in `include/net/tcp_states.h`; other protocols use the same.
pub(super) const ESTABLISHED: u8 = 1;
pub(super) const SYN_RECV: u8 = 3;
pub(super) const CLOSE_WAIT: u8 = 8;
pub(super) const LISTEN: u8 = 10;

/// `struct inet_diag_req_v2`, in bytes.
const REQUEST: usize = 56;
/// `struct inet_diag_msg`, in bytes.
const ENTRY: usize = 72;
/// Bytes of an address in both.
const ADDRESS: usize = 16;
/// The attribute `INET_DIAG_SKV6ONLY`.
const SKV6ONLY: u16 = 11;
/// `INET_DIAG_NOCOOKIE`: whatever socket is there.
const NO_COOKIE: u64 = u64::MAX;

/// The question for sockets of these two addresses, bound to no interface or to this one. In a dump only the ports count,
/// and 0 stands for any.
pub(super) fn question(
    family: Family,
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
    interface: u32,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST);
    // No extensions; a byte of padding.
    bytes.extend([family as u8, protocol, 0, 0]);
    // In any state.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(address) => {
                bytes.extend(address.octets());
                bytes.extend([0; ADDRESS - 4]);
            }
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(interface.to_ne_bytes());
    bytes.extend(NO_COOKIE.to_ne_bytes());
    bytes
}

/// One socket of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) state: u8,
    /// Unspecified where it is bound to no address. Mapped addresses are written as IPv4.
    pub(super) local: SocketAddr,
    /// Port 0 where it is connected to nobody.
    pub(super) peer: SocketAddr,
    pub(super) uid: u32,
    /// 0 where no descriptor leads to it: not accepted yet, or closed.
    pub(super) inode: u32,
    /// Whether it is an IPv6 socket that carries no IPv4; told only of those that are not connected.
    pub(super) only_v6: bool,
}

impl Entry {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, attributes) = bytes.split_at_checked(ENTRY)?;
        let port = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let address = |at: usize| match bytes.first()? {
            2 => Some(IpAddr::V4(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?))),
            10 => Some(IpAddr::V6(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<ADDRESS>()?)).to_canonical()),
            _ => None,
        };
        Some(Self {
            state: *bytes.get(1)?,
            local: SocketAddr::new(address(8)?, port(4)?),
            peer: SocketAddr::new(address(24)?, port(6)?),
            uid: word(bytes, 16)?,
            inode: word(bytes, 17)?,
            only_v6: Attributes(attributes).any(|(kind, value)| kind == SKV6ONLY && value.first() == Some(&1)),
        })
    }

    /// Whether it can send from this address: it is bound to it, to any, or to a group.
    pub(super) fn sends_from(&self, source: IpAddr) -> bool {
        let local = self.local.ip();
        if self.only_v6 && source.is_ipv4() {
            return false;
        }
        // The kernel fills in the address of the interface for those bound to a group (`ip_route_output`).
        local == source || local.is_unspecified() || local.is_multicast()
    }
}

/// Kinds and values of attributes (`struct nlattr`).
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, _) = self.0.split_first_chunk::<4>()?;
        let [length, kind] = [[header[0], header[1]], [header[2], header[3]]].map(u16::from_ne_bytes);
        let value = self.0.get(4..usize::from(length))?;
        self.0 = self.0.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_question_is_laid_out_as_the_kernel_reads_it() {
        let bytes = question(Family::V4, TCP, socket("192.0.2.1:258"), socket("192.0.2.2:772"), 0x0707_0707);
        let mut expected = vec![2, 6, 0, 0, 255, 255, 255, 255, 1, 2, 3, 4, 192, 0, 2, 1];
        expected.extend([0; 12]);
        expected.extend([192, 0, 2, 2]);
        expected.extend([0; 12]);
        expected.extend([7; 4]);
        expected.extend([255; 8]);
        assert_eq!(bytes, expected);
        let bytes = question(Family::V6, UDP, socket("[2001:db8::1]:1"), socket("[::2]:2"), 0);
        assert_eq!((bytes.len(), &bytes[..2], bytes[12], bytes[43]), (REQUEST, &[10, 17][..], 0x20, 2));
    }

    /// As the kernel sends it.
    fn entry(family: u8, source: &[u8], destination: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY];
        bytes[..2].copy_from_slice(&[family, ESTABLISHED]);
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[8..8 + source.len()].copy_from_slice(source);
        bytes[24..24 + destination.len()].copy_from_slice(destination);
        bytes[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        bytes[68..72].copy_from_slice(&77_u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_entry_is_read_as_the_kernel_writes_it() {
        let expected = |local: &str, peer: &str| {
            let (local, peer) = (socket(local), socket(peer));
            Some(Entry { state: ESTABLISHED, local, peer, uid: 1000, inode: 77, only_v6: false })
        };
        let v4 = entry(2, &[192, 0, 2, 1], &[192, 0, 2, 2]);
        assert_eq!(Entry::decode(&v4), expected("192.0.2.1:258", "192.0.2.2:772"));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1];
        let v6 = entry(10, &mapped, &Ipv6Addr::LOCALHOST.octets());
        assert_eq!(Entry::decode(&v6), expected("192.0.2.1:258", "[::1]:772"));
        let with = |attributes: &[u8]| Entry::decode(&[&v4, attributes].concat()).unwrap();
        let attribute = |length: u16, kind: u16, value: u8| {
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[value, 0, 0, 0]].concat()
        };
        let table = [
            (attribute(5, SKV6ONLY, 1), true),
            (attribute(5, SKV6ONLY, 0), false),
            (attribute(5, 8, 1), false),
            ([attribute(5, 8, 1), attribute(5, SKV6ONLY, 1)].concat(), true),
            (attribute(0, SKV6ONLY, 1), false),
            (attribute(9, SKV6ONLY, 1), false),
            (attribute(4, SKV6ONLY, 1), false),
            (vec![1; 3], false),
        ];
        for (attributes, only_v6) in table {
            assert_eq!(with(&attributes), Entry { only_v6, ..with(&[]) }, "{attributes:?}");
        }
        assert_eq!(Entry::decode(&v4[..71]), None);
        assert_eq!(Entry::decode(&entry(1, &[], &[])), None, "another family");
    }

    proptest! {
        #[test]
        fn no_entry_panics(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = Entry::decode(&bytes);
        }
    }
}
