//! What holds for every input.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use linux_audit_parser as oracle;
use opensnitch_audit::event::{Assembler, Event};
use opensnitch_audit::record::{Data, EventId, Kind, Value, parse};
use opensnitch_audit::stream::Framer;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::corpus::{log, logs};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The events under our key in a stream that is read in pieces of these sizes, and then in one.
fn events(stream: &[u8], sizes: &[usize]) -> Vec<Event> {
    let mut framer = Framer::default();
    let mut assembler = Assembler::new("opensnitch", false);
    let mut events = Vec::new();
    let mut rest = stream;
    let mut sizes = sizes.iter();
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(usize::MAX);
        let space = framer.space();
        let taken = space.len().min(rest.len()).min(size.max(1));
        space[..taken].copy_from_slice(&rest[..taken]);
        framer.filled(taken);
        rest = &rest[taken..];
        while let Some(line) = framer.line() {
            assembler.push(line, Duration::ZERO, &mut |event| events.push(event));
        }
    }
    while let Some(line) = framer.last_line() {
        assembler.push(line, Duration::ZERO, &mut |event| events.push(event));
    }
    assembler.finish_all(&mut |event| events.push(event));
    let counts = assembler.counts();
    assert_eq!(counts.parsed + counts.malformed, framer.counts().lines, "every line is a record or is counted");
    assert_eq!(counts.matched, events.len() as u64);
    events
}

/// Pieces of which streams are made, well-formed and not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = vec![
        "type=",
        "SYSCALL",
        "SOCKADDR",
        "EXECVE",
        "PATH",
        "URINGOP",
        "PROCTITLE",
        "CWD",
        "SOCKETCALL",
        "EOE",
        "CONFIG_CHANGE",
        "UNKNOWN[1300]",
        " msg=audit(",
        "1.000:1",
        "2.999:4294967295",
        "18446744073709551615.000:1",
        "): ",
        "):",
        "\n",
        " ",
        "=",
        "\"",
        "'",
        "msg='",
        "\x1d",
        "node=vm ",
        "node=",
        "key=\"opensnitch\"",
        "key=",
        "key=6F70656E736E69746368",
        "arch=c000003e",
        "syscall=42",
        "syscall=59",
        "syscall=102",
        "a0=",
        "a0=\"x\"",
        "a1[0]=",
        "a4294967295[4294967295]=41",
        "argc=9999999999",
        "saddr=0200",
        "saddr=0100",
        "saddr=0A",
        "7F000001",
        "exit=-9223372036854775808",
        "success=no",
        "pid=1",
        "uid=4294967295",
        "item=0",
        "inode=",
        "uring_op=16",
        "proctitle=6100",
        "(null)",
        "AUID=\"",
        "41424344",
    ];
    let header = |version: u32, size: u32| -> Vec<u8> {
        [version, 16, 1300, size].into_iter().flat_map(u32::to_ne_bytes).collect()
    };
    prop_oneof![
        12 => select(words).prop_map(|word| word.as_bytes().to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (0u32..3, prop_oneof![0u32..200, Just(8970), any::<u32>()]).prop_map(move |(version, size)| header(version, size)),
        1 => (any::<u8>(), prop_oneof![1usize..100, 17_000usize..20_000]).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..120).prop_map(|pieces| pieces.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1usize..20, 1usize..600, 1usize..70_000], 0..400)
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn no_bytes_panic(stream in soup(), sizes in sizes()) {
        events(&stream, &sizes);
    }

    #[test]
    fn no_fields_panic(kind in select(vec!["SYSCALL", "URINGOP", "SOCKADDR", "SOCKETCALL", "CWD", "PATH", "EXECVE", "PROCTITLE", "CONFIG_CHANGE", "X"]), fields in soup()) {
        let line = [format!("type={kind} msg=audit(1.000:1): ").as_bytes(), &fields].concat();
        let record = parse(&line).unwrap();
        let _ = record.key();
        if let Data::Execve(execve) = record.data() {
            prop_assert!(execve.chunks().count() <= line.len());
        }
        let _ = parse(&fields);
        let mut assembler = Assembler::new("", true);
        let mut events = 0;
        assembler.push(&line, Duration::ZERO, &mut |_| events += 1);
        assembler.push(b"type=EOE msg=audit(1.000:1): ", Duration::ZERO, &mut |_| events += 1);
        assembler.finish_all(&mut |_| events += 1);
        prop_assert!(events <= 1);
    }
}

/// How an auditd writes a line.
fn write(line: &[u8], form: usize) -> Vec<u8> {
    let binary = |payload: usize| {
        let words = [1, 16, 1300, line.len() as u32];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.extend_from_slice(line);
        bytes.resize(16 + line.len().max(payload), 0);
        bytes
    };
    match form {
        0 => [line, b"\n"].concat(),
        1 => line.to_vec(),
        2 => binary(0),
        _ => binary(8970),
    }
}

fn lines(stream: &[u8]) -> Vec<&[u8]> {
    stream.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect()
}

proptest! {
    #![proptest_config(config(80))]

    #[test]
    fn how_the_bytes_were_split_into_reads_makes_no_difference(which in any::<Index>(), form in 0usize..4, sizes in sizes()) {
        let logs = logs();
        let stream = fs::read(which.get(&logs)).unwrap();
        let expected = events(&stream, &[]);
        prop_assert!(!expected.is_empty());
        let written: Vec<u8> = lines(&stream).into_iter().flat_map(|line| write(line, form)).collect();
        prop_assert_eq!(events(&written, &sizes), expected);
    }
}

/// The lines of each event, in the order of their first ones.
fn grouped(stream: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut groups: Vec<(EventId, Vec<&[u8]>)> = Vec::new();
    for line in lines(stream) {
        let id = parse(line).unwrap().id;
        match groups.iter_mut().find(|(of, _)| *of == id) {
            Some((_, group)) => group.push(line),
            None => groups.push((id, vec![line])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Events in the order of their ids.
fn sorted(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| event.id);
    events
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn interleaved_events_are_the_same_events(
        name in select(vec!["RAW-net.log", "RAW-exec.log", "NODE-net.log", "ENRICHED-useradd.log", "ENRICHED-s32-wide.log", "RAW-longargs.log", "RAW-uring.log", "RAW-bind.log"]),
        turns in proptest::collection::vec(any::<Index>(), 0..600),
        shuffles in proptest::collection::vec(any::<Index>(), 0..100),
        out_of_order: bool,
    ) {
        let stream = fs::read(log(name)).unwrap();
        let mut groups = grouped(&stream);
        let expected = sorted(events(&stream, &[]));
        if out_of_order {
            let mut shuffles = shuffles.iter();
            for group in &mut groups {
                // EOE stays the last one: it says that nothing follows.
                let movable = group.len().saturating_sub(1);
                for at in 0..movable {
                    let Some(shuffle) = shuffles.next() else { break };
                    group.swap(at, shuffle.index(movable));
                }
            }
        }
        let mut mixed: Vec<u8> = Vec::new();
        let mut turns = turns.iter();
        let mut left: Vec<std::collections::VecDeque<&[u8]>> = groups.into_iter().map(Into::into).collect();
        while !left.is_empty() {
            // A dozen under way at once, and now and then one more.
            let at = turns.next().map_or(0, |turn| turn.index(left.len().min(12)));
            mixed.extend_from_slice(left[at].pop_front().unwrap());
            mixed.push(b'\n');
            left.retain(|group| !group.is_empty());
        }
        prop_assert_eq!(sorted(events(&mixed, &[])), expected);
    }
}

/// Whether a value reads the same.
fn agrees(ours: Value<'_>, theirs: Option<&oracle::Value<'_>>) -> bool {
    use oracle::{Number, Quote};
    match theirs {
        None | Some(oracle::Value::Empty) => ours.is_nothing(),
        Some(oracle::Value::Number(Number::Dec(number))) => ours.signed() == Some(*number),
        Some(oracle::Value::Number(Number::Hex(number))) => ours.hexadecimal() == Some(*number),
        Some(oracle::Value::Number(Number::Oct(number))) => {
            let word = ours.word().and_then(|word| u64::from_str_radix(str::from_utf8(word).unwrap(), 8).ok());
            word == Some(*number)
        }
        Some(oracle::Value::Str(text, Quote::Double)) => ours.text().as_deref() == Some(*text),
        // As written, or out of hexadecimal.
        Some(oracle::Value::Str(bytes, _)) => {
            let decoded = || ours.text().as_deref() == Some(*bytes) || ours.bytes(usize::MAX).eq(bytes.iter().copied());
            ours.written() == *bytes || decoded()
        }
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn another_parser_reads_the_same() {
    let mut met = BTreeMap::<&str, usize>::new();
    for path in logs() {
        let stream = fs::read(&path).unwrap();
        for line in lines(&stream) {
            let with_newline = [line, b"\n"].concat();
            let theirs = oracle::parse(&with_newline, true).unwrap();
            let ours = parse(line).unwrap();
            let shown = String::from_utf8_lossy(line);
            assert_eq!(ours.node, theirs.node.as_deref(), "{shown}");
            assert_eq!((ours.id.milliseconds, ours.id.serial), (theirs.id.timestamp, theirs.id.sequence), "{shown}");
            let kind = match theirs.ty.to_string().as_str() {
                "SYSCALL" => Kind::Syscall,
                "URINGOP" => Kind::Uringop,
                "SOCKADDR" => Kind::Sockaddr,
                "SOCKETCALL" => Kind::Socketcall,
                "CWD" => Kind::Cwd,
                "PATH" => Kind::Path,
                "EXECVE" => Kind::Execve,
                "PROCTITLE" => Kind::Proctitle,
                "EOE" => Kind::Eoe,
                "CONFIG_CHANGE" => Kind::ConfigChange,
                _ => Kind::Other,
            };
            assert_eq!(ours.kind, kind, "{shown}");
            let field = |name: &str| (&theirs.body).into_iter().find(|(key, _)| *key == *name).map(|(_, value)| value);
            let mut compare = |name: &'static str, value: Value<'_>| {
                assert!(agrees(value, field(name)), "{name} in {shown}: {:?}", field(name));
                *met.entry(name).or_default() += usize::from(field(name).is_some());
            };
            match ours.data() {
                Data::Syscall(call) | Data::Uringop(call) => {
                    for (name, value) in [
                        ("arch", call.arch),
                        ("syscall", call.syscall),
                        ("uring_op", call.uring_op),
                        ("success", call.success),
                        ("exit", call.exit),
                        ("a0", call.a0),
                        ("ppid", call.ppid),
                        ("pid", call.pid),
                        ("auid", call.auid),
                        ("uid", call.uid),
                        ("gid", call.gid),
                        ("euid", call.euid),
                        ("egid", call.egid),
                        ("tty", call.tty),
                        ("ses", call.ses),
                        ("comm", call.comm),
                        ("exe", call.exe),
                        ("key", call.key),
                    ] {
                        compare(name, value);
                    }
                    assert!(agrees(ours.key().unwrap_or_default(), field("key")), "{shown}");
                }
                Data::Sockaddr(saddr) => compare("saddr", saddr),
                Data::Socketcall { a0 } => compare("a0", a0),
                Data::Cwd(cwd) => compare("cwd", cwd),
                Data::Proctitle(title) => compare("proctitle", title),
                Data::Path(path) => {
                    for (name, value) in [
                        ("item", path.item),
                        ("inode", path.inode),
                        ("dev", path.dev),
                        ("mode", path.mode),
                        ("ouid", path.ouid),
                        ("ogid", path.ogid),
                    ] {
                        compare(name, value);
                    }
                }
                Data::Execve(execve) => {
                    let theirs: Vec<_> = (&theirs.body)
                        .into_iter()
                        .filter_map(|(key, value)| match key {
                            oracle::Key::Arg(argument, chunk) => {
                                Some((*argument, u32::from(chunk.unwrap_or(0)), value))
                            }
                            _ => None,
                        })
                        .collect();
                    let ours: Vec<_> = execve.chunks().collect();
                    assert_eq!(ours.len(), theirs.len(), "{shown}");
                    for (ours, (argument, chunk, value)) in ours.iter().zip(theirs) {
                        assert_eq!((ours.argument, ours.chunk), (argument, chunk), "{shown}");
                        assert!(agrees(ours.value, Some(value)), "a{argument}[{chunk}] in {shown}");
                    }
                }
                Data::Eoe | Data::ConfigChange(_) | Data::Other => {}
            }
        }
    }
    assert!(met.len() >= 27 && met.values().all(|count| *count > 0), "{met:?}");
}
