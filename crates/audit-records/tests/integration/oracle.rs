//! Another parser reads the same: laurel's.

use std::collections::BTreeMap;
use std::fs;

use audit_records::{Kind, Value, parse};
use linux_audit_parser as oracle;

use crate::generated;
use crate::support::logs;

/// Whether a value reads the same.
fn agrees(ours: Value<'_>, theirs: &oracle::Value<'_>) -> bool {
    use oracle::{Number, Quote};
    match theirs {
        oracle::Value::Empty => ours.is_nothing(),
        oracle::Value::Number(Number::Dec(number)) => ours.signed() == Some(*number),
        oracle::Value::Number(Number::Hex(number)) => ours.hexadecimal() == Some(*number),
        oracle::Value::Number(Number::Oct(number)) => {
            let word = ours.word().and_then(|word| u64::from_str_radix(str::from_utf8(word).unwrap(), 8).ok());
            word == Some(*number)
        }
        oracle::Value::Str(text, Quote::Double) => ours.text().as_deref() == Some(*text),
        // As written, or out of hexadecimal.
        oracle::Value::Str(bytes, _) => {
            let decoded = || ours.text().as_deref() == Some(*bytes) || ours.bytes().eq(bytes.iter().copied());
            ours.written() == *bytes || decoded()
        }
        _ => false,
    }
}

/// The fields that an event is made of, by record.
const FIELDS: [(Kind, &[&str]); 8] = [
    (
        Kind::Syscall,
        &[
            "arch", "syscall", "success", "exit", "a0", "a1", "a2", "ppid", "pid", "auid", "uid", "gid", "euid",
            "egid", "tty", "ses", "comm", "exe",
        ],
    ),
    (Kind::Uringop, &["uring_op", "success", "exit", "ppid", "pid", "uid", "gid", "euid", "egid"]),
    (Kind::Sockaddr, &["saddr"]),
    (Kind::Socketcall, &["a0", "a1", "a2"]),
    (Kind::Cwd, &["cwd"]),
    (Kind::Path, &["item", "inode", "dev", "mode", "ouid", "ogid"]),
    (Kind::Proctitle, &["proctitle"]),
    (Kind::Eoe, &[]),
];

/// How often each field was met.
type Met = BTreeMap<&'static str, usize>;

fn compare(stream: &[u8], met: &mut Met) {
    for line in stream.split_inclusive(|&byte| byte == b'\n') {
        let theirs = oracle::parse(line, true).unwrap();
        let ours = parse(line).unwrap();
        let shown = String::from_utf8_lossy(line);
        assert_eq!(ours.node, theirs.node.as_deref(), "{shown}");
        assert_eq!((ours.id.milliseconds, ours.id.serial), (theirs.id.timestamp, theirs.id.sequence), "{shown}");
        let Some((_, names)) = FIELDS.iter().find(|(kind, _)| *kind == ours.kind) else { continue };
        for name in *names {
            let theirs = (&theirs.body).into_iter().find(|(key, _)| *key == **name).map(|(_, value)| value);
            let own = ours.field(name);
            match theirs {
                None => assert_eq!(own.written(), b"", "{name} in {shown}"),
                Some(theirs) => assert!(agrees(own, theirs), "{name} in {shown}: {theirs:?}"),
            }
            *met.entry(name).or_default() += usize::from(theirs.is_some());
        }
        if matches!(ours.kind, Kind::Syscall | Kind::Uringop) {
            let theirs =
                (&theirs.body).into_iter().filter(|(key, _)| *key == *"key").map(|(_, value)| value).next_back();
            assert!(theirs.is_some_and(|theirs| agrees(ours.key(), theirs)), "{shown}: {theirs:?}");
        }
    }
}

#[test]
fn another_parser_reads_the_same() {
    let mut met = Met::new();
    for path in logs() {
        compare(&fs::read(path).unwrap(), &mut met);
    }
    assert!(met.values().all(|count| *count > 0), "{met:?}");
}

#[test]
fn another_parser_reads_generated_streams_the_same() {
    let mut met = Met::new();
    for seed in 1..=10 {
        compare(&generated::stream(seed), &mut met);
    }
    assert!(met.values().all(|count| *count > 500), "{met:?}");
}
