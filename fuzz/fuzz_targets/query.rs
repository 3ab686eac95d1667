//! Whatever bytes a caller sends as the arguments of `FindEvents` and `GetEventByConnection`: a refusal in few words, or an
//! answer within its bounds.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use audit_records::Assembler;
use libfuzzer_sys::fuzz_target;
use opensnitch_audit::dbus::fuzzing::query;
use opensnitch_audit::socket::Tuple;
use opensnitch_audit::store::{MAX_LIMIT, Sight, Source, Store};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{BE, LE};

/// A refusal's length in bytes: a sentence with 100 bytes of the caller's own.
const MAX_REFUSAL: usize = 600;

/// Some rows of two users.
static STORE: LazyLock<Store> = LazyLock::new(|| {
    let store = Store::new(64, 64, b"machine");
    let mut assembler = Assembler::new("", false);
    let mut keep = |event: audit_records::Event<'_>| drop(store.insert(&event, Source::Audisp, Duration::ZERO, 1));
    for serial in 0..32 {
        let uid = serial % 2;
        for record in [
            format!("SYSCALL msg=audit(1.000:{serial}): arch=c000003e syscall=42 success=yes exit=0 a0=3 ppid=1 pid={serial} auid={uid} uid={uid} comm=\"x\" exe=\"/usr/bin/x\" key=\"k\""),
            format!("SOCKADDR msg=audit(1.000:{serial}): saddr=020001BB7F0000010000000000000000"),
            format!("EOE msg=audit(1.000:{serial}):"),
        ] {
            assembler.push(format!("type={record}").as_bytes(), Duration::ZERO, &mut keep);
        }
    }
    store
});

fn find(bytes: &[u8], context: Context) {
    let data = Data::new(bytes, context);
    let Ok((keys, _)) = data.deserialize() else { return };
    match query(keys) {
        Err(refusal) => assert!(refusal.len() <= MAX_REFUSAL, "{} bytes", refusal.len()),
        Ok(query) => {
            assert!((1..=MAX_LIMIT as usize).contains(&query.limit) && query.event_types.len() <= 16);
            let mut last = query.before;
            let mut found = 0;
            let next = STORE.find(&query, Sight::Own(1), |answer| {
                assert!(answer.row.sequence < last && answer.row.origin.uid == Some(1));
                last = answer.row.sequence;
                found += 1;
                true
            });
            assert!(found <= query.limit && (next == 0 || next == last));
        }
    }
}

fn connection(bytes: &[u8], context: Context) {
    let data = Data::new(bytes, context);
    let Ok((arguments, _)) = data.deserialize() else { return };
    let (protocol, source, sport, destination, dport): (&str, &str, u16, &str, u16) = arguments;
    if let Err(refusal) = Tuple::parse(protocol, source, sport, destination, dport) {
        assert!(refusal.to_string().len() <= MAX_REFUSAL);
    }
}

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (little, finds, bytes) = input;
    let context = if little { Context::new(LE, 0) } else { Context::new(BE, 0) };
    if finds { find(bytes, context) } else { connection(bytes, context) }
});
