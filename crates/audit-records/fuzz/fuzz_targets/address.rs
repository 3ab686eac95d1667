//! An address says what its bytes say: compared with the layout of the kernel's structures, read in the plainest way.

#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};

use audit_records::{Address, ByteOrder, Family, Sockaddr, Value};
use libfuzzer_sys::fuzz_target;

/// `sockaddr_in`, `sockaddr_in6` (with and without its scope) and `sockaddr_un`, by their offsets.
fn plainly(bytes: &[u8], order: ByteOrder) -> Option<(u16, Option<Address>)> {
    let number =
        |at: usize, size: usize| (at..at + size).try_fold(0u32, |sum, at| Some(sum << 8 | u32::from(*bytes.get(at)?)));
    let in_order = |at: usize, size: usize| {
        let number = number(at, size)?;
        Some(match order {
            ByteOrder::Big => number,
            ByteOrder::Little => number.swap_bytes() >> (32 - 8 * size),
        })
    };
    let family = in_order(0, 2)? as u16;
    let address = match Family(family) {
        Family::INET => number(4, 4).map(|host| Address::Inet(Ipv4Addr::from(host), number(2, 2).unwrap() as u16)),
        Family::INET6 => bytes.get(8..24).map(|host| {
            let host = Ipv6Addr::from(<[u8; 16]>::try_from(host).unwrap());
            Address::Inet6(host, number(2, 2).unwrap() as u16, in_order(24, 4))
        }),
        Family::LOCAL => match &bytes[2..] {
            [] | [0] => None,
            [0, name @ ..] => Some(Address::Abstract(name.into())),
            path => Some(Address::Path(path.iter().copied().take_while(|&byte| byte != 0).collect())),
        },
        _ => None,
    };
    Some((family, address))
}

fuzz_target!(|input: (bool, &[u8])| {
    let (is_big, bytes) = input;
    let order = if is_big { ByteOrder::Big } else { ByteOrder::Little };
    // The kernel takes no longer one: sockaddr_storage.
    let bytes = &bytes[..bytes.len().min(128)];
    let written: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    for end in ["", "G", "\x1d", "F"] {
        let value = format!("{written}{end}");
        let found = Sockaddr::decode(Value::new(value.as_bytes()), order);
        assert_eq!(found.map(|found| (found.family.0, found.address)), plainly(bytes, order), "{value}");
    }
});
