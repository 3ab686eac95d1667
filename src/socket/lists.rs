//! Sockets that speak ICMP: those made for it (`SOCK_DGRAM` and `IPPROTO_ICMP`, icmp(7)), and raw ones. sock_diag does
//! not know the former, and the latter only with a module that few kernels have; `/proc/net` lists both
//! (`net/ipv4/ping.c`, `net/ipv4/raw.c`). And the interfaces, by which sockets can be bound.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::wire::{Entry, Family};

/// Bytes of a list: some 8,000 sockets. Each is a program that pings, or watches the network.
const LIST_MAX: u64 = 1024 * 1024;

/// Interfaces: asking for each takes 3 µs. A machine with more has containers behind them.
const INTERFACES_MAX: usize = 256;

/// Sockets made for ICMP. The local port is the identifier of their echo requests.
pub(super) fn pings(net: &Path, family: Family) -> Vec<Entry> {
    list(&net.join(match family {
        Family::V4 => "icmp",
        Family::V6 => "icmp6",
    }))
}

/// Raw sockets. The local port is the number of their protocol.
pub(super) fn raw(net: &Path, family: Family) -> Vec<Entry> {
    list(&net.join(match family {
        Family::V4 => "raw",
        Family::V6 => "raw6",
    }))
}

/// Numbers of the interfaces, of those that speak IPv4. `/proc/net/dev` has only their names; this is the list of their
/// multicast groups (`net/ipv4/igmp.c`), where each has a line like `2\teth0      :     1      V3`.
pub(super) fn interfaces(net: &Path) -> Vec<u32> {
    let number = |line: &str| line.split_once('\t')?.0.parse().ok();
    read(&net.join("igmp")).lines().filter_map(number).take(INTERFACES_MAX).collect()
}

fn list(file: &Path) -> Vec<Entry> {
    read(file).lines().filter_map(entry).collect()
}

/// A kernel without such things has no list of them.
fn read(file: &Path) -> String {
    let mut text = Vec::new();
    match File::open(file).and_then(|file| file.take(LIST_MAX).read_to_end(&mut text)) {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}

/// The columns are `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn entry(line: &str) -> Option<Entry> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (local, peer) = (address(columns.next()?)?, address(columns.next()?)?);
    let state = u8::from_str_radix(columns.next()?, 16).ok()?;
    let mut columns = columns.skip(3);
    let uid = columns.next()?.parse().ok()?;
    let inode = columns.nth(1)?.parse().ok()?;
    Some(Entry { state, local, peer, uid, inode, only_v6: false })
}

/// Words in the machine's byte order, each as the number it is when it is read so, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_kernels_lists() {
        let lines = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    3: 0100007F:0003 08080808:0000 01 00000000:00000000 00:00000000 00000000  1000        0 20415 2 0000000000000000 0
    9: B80D0120000000000000000001000000:0009 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77 2 0000000000000000 0
    short: 0100007F:0003";
        let found: Vec<Entry> = lines.lines().filter_map(entry).collect();
        let entry = |local: &str, peer: &str, state, uid, inode| Entry {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            state,
            uid,
            inode,
            only_v6: false,
        };
        let expected =
            [entry("127.0.0.1:3", "8.8.8.8:0", 1, 1000, 20415), entry("[2001:db8::1]:9", "[::]:0", 7, 0, 77)];
        assert_eq!(found, expected);
    }

    #[test]
    fn interfaces_of_the_kernels_list() {
        let folder = tempfile::tempdir().unwrap();
        let text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    12\teth0      :     2      V3\n\t\t\t\tFB0000E0     1 0:00000000\t\t0\n\
                    13\t9\t      :     2      V3\n";
        std::fs::write(folder.path().join("igmp"), text).unwrap();
        assert_eq!(interfaces(folder.path()), [1, 12, 13]);
        assert_eq!(interfaces(&folder.path().join("none")), [0; 0]);
        assert!(interfaces(Path::new("/proc/thread-self/net")).contains(&1));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,80}", hex in "[0-9A-F]{0,40}:[0-9A-F]{0,6}") {
            let _ = (entry(&line), address(&line), address(&hex));
        }
    }
}
