//! Whatever the kernel answers over netlink: no length in it makes us read beyond it, and nothing becomes a rule of ours
//! but the very bytes of one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use opensnitch_audit::netlink::fuzzing::answers;
use opensnitch_audit::{rules, socket};

fuzz_target!(|input: (u16, &[u8])| {
    let (kind, datagram) = input;
    let mut given = 0;
    answers(datagram, kind, |payload| {
        given += payload.len();
        socket::fuzzing::read(payload);
        rules::fuzzing::read(payload);
    });
    assert!(given <= datagram.len());
    // As a payload, too: a datagram's beginning is seldom guessed.
    socket::fuzzing::read(datagram);
    rules::fuzzing::read(datagram);
});
