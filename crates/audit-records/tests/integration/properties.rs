//! What holds for every input.

use std::collections::VecDeque;
use std::fs;
use std::time::Duration;

use audit_records::{Assembler, EventId, Framer, FramerState, parse};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value};

use crate::support::{decode, decode_by_many, json_of, logs};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
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
        "1300",
        " msg=audit(",
        "1.000:1",
        "2.999:4294967295",
        "18446744073709551615.000:1",
        "): ",
        "):",
        "\n",
        "\r\n",
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
        "subj=",
        "arch=c000003e",
        "arch=40000003",
        "syscall=42",
        "syscall=59",
        "syscall=102",
        "syscall=426",
        "a0=",
        "a0=\"x\"",
        "a1[0]=",
        "a1_len=",
        "a4294967294[4294967294]=41",
        "argc=4294967295",
        "argc=2",
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
        "op=add_rule key=\"opensnitch\" list=4 res=1",
        "(null)",
        "AUID=\"",
        "41424344",
    ];
    let header = |version: u32, size: u32| -> Vec<u8> {
        [version, 16, 1300, size].into_iter().flat_map(u32::to_ne_bytes).collect()
    };
    prop_oneof![
        12 => select(words).prop_map(|word| word.as_bytes().to_vec()),
        3 => select(vec!["SYSCALL", "URINGOP", "EXECVE", "SOCKADDR", "EOE", "CONFIG_CHANGE"])
            .prop_map(|name| format!("\ntype={name} msg=audit(1.000:1): ").into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (0u32..3, prop_oneof![0u32..200, Just(8970), any::<u32>()])
            .prop_map(move |(version, size)| header(version, size)),
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
    #![proptest_config(config(1000))]

    #[test]
    fn no_bytes_panic_and_no_split_matters(stream in soup(), sizes in sizes()) {
        let (whole, split) = (decode(&stream, "opensnitch", &[]), decode(&stream, "opensnitch", &sizes));
        prop_assert_eq!(whole.events, split.events);
        prop_assert_eq!(whole.framing, split.framing);
        prop_assert_eq!(whole.assembly, split.assembly);
    }

    #[test]
    fn who_goes_on_in_another_process_loses_nothing(stream in soup(), sizes in sizes()) {
        let (one, many) = (decode(&stream, "opensnitch", &sizes), decode_by_many(&stream, "opensnitch", &sizes));
        prop_assert_eq!(one.events, many.events);
        prop_assert_eq!(one.framing, many.framing);
        prop_assert_eq!(one.assembly, many.assembly);
    }

    #[test]
    fn no_fields_panic(
        kind in select(vec!["SYSCALL", "URINGOP", "SOCKADDR", "SOCKETCALL", "CWD", "PATH", "EXECVE", "PROCTITLE", "CONFIG_CHANGE", "X"]),
        fields in soup(),
    ) {
        let line = [format!("type={kind} msg=audit(1.000:1): ").as_bytes(), &fields].concat();
        let record = parse(&line).unwrap();
        prop_assert!(record.fields().count() <= line.len());
        let _ = (record.key(), record.field("key"), record.interpretations(), parse(&fields).is_ok());
        let mut assembler = Assembler::new("", true);
        let mut events = 0;
        for line in [&*line, b"type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=42", b"type=EOE msg=audit(1.000:1): "] {
            assembler.push(line, Duration::ZERO, &mut |event| {
                json_of(&event);
                events += 1;
            });
        }
        assembler.finish_all(&mut |_| events += 1);
        prop_assert!(events <= 1);
    }
}

/// How an auditd writes a line.
fn write(line: &[u8], form: usize) -> Vec<u8> {
    let binary = |payload: usize| {
        let size = u32::try_from(line.len()).unwrap();
        let mut bytes: Vec<u8> = [1, 16, 1300, size].into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.extend_from_slice(line);
        bytes.resize(16 + line.len().max(payload), 0);
        bytes
    };
    match form {
        0 => [line, b"\n"].concat(),
        1 => [line, b"\r\n"].concat(),
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
    fn how_a_stream_is_written_and_split_makes_no_difference(which in any::<Index>(), form in 0usize..4, sizes in sizes()) {
        let logs = logs();
        let stream = fs::read(which.get(&logs)).unwrap();
        let expected = decode(&stream, "opensnitch", &[]).events;
        prop_assert!(!expected.is_empty());
        let written: Vec<u8> = lines(&stream).into_iter().flat_map(|line| write(line, form)).collect();
        let found = decode(&written, "opensnitch", &sizes);
        prop_assert_eq!(&found.events, &expected);
        prop_assert_eq!((found.framing.torn, found.framing.oversized), (0, 0));
        let found = decode_by_many(&written, "opensnitch", &sizes);
        prop_assert_eq!(&found.events, &expected);
        prop_assert_eq!((found.framing.torn, found.framing.oversized), (0, 0));
    }

    #[test]
    fn what_follows_a_lost_piece_begins_with_the_next_record(
        which in any::<Index>(), form in 0usize..4, at in any::<Index>(), lost in 1usize..3000, is_known: bool,
    ) {
        let log = fs::read(which.get(&logs())).unwrap();
        let own: Vec<&[u8]> = lines(&log).into_iter().take(40).collect();
        let written: Vec<Vec<u8>> = own.iter().map(|line| write(line, form)).collect();
        let stream = written.concat();
        // The first reader has the first two records at least: it knows how they are written.
        let least = written[0].len() + written[1].len() + 16;
        let cut = least + at.index(stream.len() - least);
        let mut framer = Framer::default();
        let mut found = read(&mut framer, &stream[..cut]);
        // Where nothing else is lost than what the first one had read, it is known to begin within a record or not.
        let (state, goes_on) = match is_known {
            true => (framer.state().without_rest(), cut),
            false => (framer.state().somewhere_behind(), stream.len().min(cut + lost)),
        };
        let before = found.len();
        let mut framer = Framer::resume(state).unwrap();
        found.extend(read(&mut framer, &stream[goes_on..]));
        // All that is found is a record as it was written, in order, none before the place and none twice.
        let mut rest = own.iter();
        prop_assert!(found.iter().all(|line| rest.any(|own| own == line)), "{found:?}");
        let mut end = 0;
        let ends = written.iter().map(|record| { end += record.len(); end });
        let starts_behind = ends.filter(|&end| end >= goes_on && end < stream.len()).count();
        // Of those that begin behind the place at most one is not found.
        prop_assert!(found.len() - before + 1 >= starts_behind, "{} of {starts_behind}", found.len() - before);
        prop_assert!(framer.counts().torn <= 1);
    }
}

/// The lines of a piece of a stream.
fn read(framer: &mut Framer, piece: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = piece;
    while !rest.is_empty() {
        let space = framer.space();
        let taken = space.len().min(rest.len());
        space[..taken].copy_from_slice(&rest[..taken]);
        framer.filled(taken);
        rest = &rest[taken..];
        while let Some(line) = framer.line() {
            found.push(line.to_vec());
        }
    }
    found
}

#[test]
fn the_rest_of_a_lost_line_is_no_record() {
    let forged = b"type=SYSCALL msg=audit(1.000:2): pid=1
type=EOE msg=audit(1.000:3): 
";
    let first = |piece: &[u8], lose: fn(FramerState) -> FramerState| {
        let mut framer = Framer::default();
        read(&mut framer, piece);
        let mut framer = Framer::resume(lose(framer.state())).unwrap();
        (read(&mut framer, forged).len(), framer.counts().torn)
    };
    let (whole, half) = (
        b"type=EOE msg=audit(1.000:1): 
",
        b"type=EOE msg=audit(1.000:1): 
type=USER msg=audit(1.0",
    );
    assert_eq!(first(whole, FramerState::without_rest), (2, 0));
    assert_eq!(first(half, FramerState::without_rest), (1, 1));
    for piece in [&whole[..], half] {
        assert_eq!(first(piece, FramerState::somewhere_behind), (1, 1));
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

fn log(name: &str) -> Vec<u8> {
    fs::read(logs().into_iter().find(|log| log.ends_with(name)).unwrap()).unwrap()
}

/// Events in the order of their ids.
fn sorted(mut events: Vec<Map<String, Value>>) -> Vec<Map<String, Value>> {
    events.sort_by_key(|event| (event["Timestamp"].as_u64(), event["Serial"].as_u64()));
    events
}

const SOME_LOGS: [&str; 8] = [
    "RAW-net.log",
    "RAW-exec.log",
    "NODE-net.log",
    "ENRICHED-useradd.log",
    "ENRICHED-s32-wide.log",
    "RAW-longargs.log",
    "RAW-uring.log",
    "RAW-bind.log",
];

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn interleaved_events_are_the_same_events(
        name in select(SOME_LOGS.to_vec()),
        turns in proptest::collection::vec(any::<Index>(), 0..600),
        shuffles in proptest::collection::vec(any::<Index>(), 0..100),
        out_of_order: bool,
    ) {
        let stream = log(name);
        let mut groups = grouped(&stream);
        let expected = sorted(decode(&stream, "opensnitch", &[]).events);
        // Of a long argument vector only the first records are kept: in another order they are others.
        if out_of_order && name != "RAW-longargs.log" {
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
        let mut left: Vec<VecDeque<&[u8]>> = groups.into_iter().map(Into::into).collect();
        while !left.is_empty() {
            // A dozen under way at once, and now and then one more.
            let at = turns.next().map_or(0, |turn| turn.index(left.len().min(12)));
            mixed.extend_from_slice(left[at].pop_front().unwrap());
            mixed.push(b'\n');
            left.retain(|group| !group.is_empty());
        }
        prop_assert_eq!(sorted(decode(&mixed, "opensnitch", &[]).events), expected);
    }
}

/// Places where the kernel or auditd writes text that a program chose, unescaped: a line up to it and behind it.
const UNESCAPED: [(&str, &str); 6] = [
    ("type=NETFILTER_CFG msg=audit(1.000:1): table=", ":2 family=2 entries=1 op=nft_register_table pid=9 comm=\"nft\""),
    (
        "type=SYSCALL msg=audit(1.000:2): arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 items=0 ppid=1 \
         pid=10 auid=4294967295 uid=1000 gid=1000 euid=1000 suid=1000 fsuid=1000 egid=1000 sgid=1000 fsgid=1000 tty=(none) \
         ses=4294967295 comm=\"x\" exe=\"/x\" subj=",
        " (enforce) key=\"opensnitch\"",
    ),
    ("type=SYSCALL msg=audit(1.000:2): arch=c000003e syscall=42 ppid=1 pid=10 uid=1000 subj=", " key=\"other\""),
    ("type=SOCKADDR msg=audit(1.000:3): saddr=01002F7800\x1dSADDR={ saddr_fam=local path=", " }"),
    ("type=USER_CMD msg=audit(1.000:4): pid=9 uid=1000 msg='op=x cmd=", " res=success'"),
    ("type=CONFIG_CHANGE msg=audit(1.000:5): auid=1000 ses=1 subj=", " op=add_rule key=\"other\" list=4 res=1"),
];

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn no_text_of_a_program_forges(
        place in select(UNESCAPED.to_vec()),
        words in proptest::collection::vec(select(vec![
            "type=SYSCALL msg=audit(1.000:9): ", "node=vm ", "type=", "msg=audit(", "arch=c000003e syscall=42 ", "pid=1 ", "uid=0 ",
            "exe=\"/usr/sbin/sshd\" ", "comm=\"sshd\" ", "key=\"opensnitch\"", " op=remove_rule key=\"opensnitch\" list=4 res=1", "'", "\"",
            " ", "\x1d", "x", "subj=", "AUID=\"root\"", "type=EOE msg=audit(1.000:2): ", "saddr=020001BBC0000201",
        ]), 0..12),
    ) {
        let (before, behind) = place;
        let around = |text: &str| {
            format!(
                "type=SYSCALL msg=audit(1.000:7): arch=c000003e syscall=42 pid=7 key=\"opensnitch\"\n{before}{text}{behind}\n\
                 type=EOE msg=audit(1.000:2): \ntype=EOE msg=audit(1.000:7): \n"
            )
        };
        let harmless = decode(around("x").as_bytes(), "opensnitch", &[]);
        let hostile = decode(around(&words.concat()).as_bytes(), "opensnitch", &[]);
        if hostile.framing.torn == 0 {
            prop_assert_eq!(hostile.assembly.rule_changes, 0);
            prop_assert_eq!(hostile.events, harmless.events);
        } else {
            // The line is thrown away, or read without its interpretations; the others are what they were.
            prop_assert_eq!(hostile.assembly.rule_changes, 0);
            for event in &hostile.events {
                prop_assert!(harmless.events.contains(event), "{:?}", event);
            }
            prop_assert!(hostile.events.iter().any(|event| event["Serial"] == 7));
        }
    }
}
