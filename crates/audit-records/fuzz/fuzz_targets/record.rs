//! No line panics; what one field says does not depend on another way to ask for it, and the fast ways of reading say what the
//! slow ones do.

#![no_main]

use std::collections::HashMap;

use audit_records::{ByteOrder, Sockaddr, parse};
use libfuzzer_sys::fuzz_target;

/// Where fields begin, so that few bytes make a record; the first is a line without a header.
const BEGINNINGS: [&[u8]; 6] = [
    b"",
    b"type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 items=0 ",
    b"type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 items=0 ppid=1 \
      pid=10 auid=1 uid=1 gid=1 euid=1 suid=1 fsuid=1 egid=1 sgid=1 fsgid=1 tty=(none) ses=1 comm=",
    b"type=URINGOP msg=audit(1.000:1): uring_op=16 success=yes exit=0 items=0 ",
    b"node=vm type=SOCKADDR msg=audit(1.000:1): saddr=",
    b"type=CONFIG_CHANGE msg=audit(1.000:1): auid=1 ses=1 subj=x op=add_rule key=",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (beginning, rest) = input;
    let line = [BEGINNINGS[usize::from(beginning) % BEGINNINGS.len()], rest].concat();
    audit_records::assert_fast_is_slow(rest);
    let Ok(record) = parse(&line) else { return };
    audit_records::assert_fast_is_slow(record.own());
    audit_records::assert_fast_is_slow(record.interpretations());
    let mut first = HashMap::new();
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
    let _ = (record.key(), record.node);
});
