//! No line panics; what one field says does not depend on another way to ask for it.

#![no_main]

use audit_records::{ByteOrder, Sockaddr, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let Ok(record) = parse(line) else { return };
    let mut first = std::collections::HashMap::new();
    let mut labelled = false;
    for (name, value) in record.fields() {
        labelled |= name.starts_with(b"subj") || name.starts_with(b"obj");
        if !labelled {
            first.entry(name).or_insert(value);
        }
        let _ = (value.text(), value.strict_text(), value.word(), value.truth(), value.signed(), value.hexadecimal());
        let _ = (Sockaddr::decode(value, ByteOrder::Little), Sockaddr::decode(value, ByteOrder::Big));
        assert!(value.bytes().count() <= line.len());
    }
    for (name, value) in first {
        if let Ok(name) = str::from_utf8(name) {
            assert_eq!(record.field(name), value);
        }
    }
    let _ = (record.key(), record.interpretations());
});
