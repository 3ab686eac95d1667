//! Whatever was kept over a restart: a store within its bounds comes of it, or none; and what comes of it is kept and read
//! back as it is.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use opensnitch_audit::store::{Query, Sight, Store};

const ROWS: usize = 8;
const ENTRIES: usize = 8;
const NOW: Duration = Duration::from_secs(1000);

/// The sequences of all rows, and of the newest with their counts.
fn ask(store: &Store) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut rows, mut newest) = (Vec::new(), Vec::new());
    store.find(&Query { limit: 1000, ..Query::default() }, Sight::All, |answer| {
        rows.push(answer.row.sequence);
        true
    });
    store.newest(Sight::All, NOW, |answer| {
        newest.push((answer.row.sequence, answer.count));
        true
    });
    (rows, newest)
}

fuzz_target!(|items: &[u8]| {
    // What it begins with is no secret, and the checksum is right: what stands between is the fuzzer's.
    let mut bytes = [b"opensnitch-audit store 2\n", items].concat();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let Ok(restored) = Store::restore(&bytes, ROWS, ENTRIES, b"machine", NOW) else { return };
    let asked = ask(&restored.store);
    assert!(asked.0.len() <= ROWS && asked.1.len() <= ENTRIES && restored.pending.len() <= ROWS);
    let mut kept = Vec::new();
    restored.store.save(&mut kept).unwrap();
    let again = Store::restore(&kept, ROWS, ENTRIES, b"machine", NOW).unwrap();
    assert_eq!(ask(&again.store), asked);
    restored.store.goes_on(u64::MAX, u64::MAX, usize::MAX);
    restored.store.expire(NOW * 1000);
});
