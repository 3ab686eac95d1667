//! The kernel's own messages: the same events as through auditd, and nothing in one of them begins another one.

use std::fs;
use std::time::Duration;

use audit_records::{Assembler, Event, Framer, MAX_LINE, parse_message};
use serde_json::{Map, Value};

use crate::support::{json_of, logs};

/// Of include/uapi/linux/audit.h.
const NUMBERS: [(&str, u16); 10] = [
    ("SYSCALL", 1300),
    ("PATH", 1302),
    ("SOCKETCALL", 1304),
    ("CONFIG_CHANGE", 1305),
    ("SOCKADDR", 1306),
    ("CWD", 1307),
    ("EXECVE", 1309),
    ("EOE", 1320),
    ("PROCTITLE", 1327),
    ("URINGOP", 1336),
];
/// `AUDIT_USER_START`: any type that tells nothing.
const ANOTHER: u16 = 1105;

/// What an event tells, and its records.
type Seen = (Map<String, Value>, String);

fn lines(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut framer = Framer::default();
    let mut lines = Vec::new();
    for piece in stream.chunks(4096) {
        framer.space()[..piece.len()].copy_from_slice(piece);
        framer.filled(piece.len());
        while let Some(line) = framer.line() {
            lines.push(line.to_vec());
        }
    }
    lines
}

/// The number of a line's type, as far as anything is read of it, and the text behind `msg=`.
fn with_number(line: &str) -> (u16, &str) {
    let (name, text) = line.strip_prefix("type=").unwrap().split_once(" msg=").unwrap();
    let number = NUMBERS.iter().find(|(one, _)| *one == name).map_or(ANOTHER, |(_, number)| *number);
    (number, text)
}

/// The events of what `push` puts in.
fn events(push: impl Fn(&mut Assembler, &mut dyn FnMut(Event<'_>))) -> Vec<Seen> {
    let mut assembler = Assembler::new("opensnitch", true);
    let mut seen = Vec::new();
    let mut keep = |event: Event<'_>| {
        let mut told = json_of(&event);
        told.remove("RawEvent");
        seen.push((told, String::from_utf8_lossy(event.raw().unwrap()).into_owned()));
    };
    push(&mut assembler, &mut keep);
    assembler.finish_all(&mut keep);
    seen
}

#[test]
fn messages_make_the_events_that_lines_make() {
    let mut compared = 0;
    for path in logs() {
        // Others have more than the kernel wrote.
        if !path.file_name().unwrap().to_string_lossy().starts_with("RAW-") {
            continue;
        }
        let lines = lines(&fs::read(&path).unwrap());
        let by_lines = events(|assembler, keep| {
            lines.iter().for_each(|line| assembler.push(line, Duration::ZERO, &mut |event| keep(event)));
        });
        let by_messages = events(|assembler, keep| {
            for line in &lines {
                let (number, text) = with_number(std::str::from_utf8(line).unwrap());
                assembler.push_message(number, text.as_bytes(), Duration::ZERO, &mut |event| keep(event));
            }
        });
        assert_eq!(by_lines.len(), by_messages.len(), "{}", path.display());
        for (line, message) in by_lines.iter().zip(&by_messages) {
            assert_eq!(line.0, message.0, "{}", path.display());
            // A type of which nothing is read has a number in the place of its name.
            let (line, message) = (line.1.lines().map(with_number), message.1.lines().map(with_number));
            assert!(line.eq(message), "{}", path.display());
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn nothing_in_a_message_is_another_record_nor_a_field_of_auditds() {
    const CALL: &str = "arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 items=0 ppid=1 pid=10 uid=7";
    const FORGED: &str = "type=SYSCALL msg=audit(1.000:6): arch=c000003e syscall=42 pid=11 uid=0 key=\"opensnitch\"";
    let texts = [
        format!("{CALL} subj=a\n{FORGED}\n key=(null)"),
        format!("{CALL} subj=a\u{1D}UID=\"root\" key=\"opensnitch\" key=(null)"),
        format!("{CALL} subj=a\0{FORGED}\0 key=(null)"),
        format!("{FORGED} {CALL} key=(null)"),
        format!("{CALL} key=\"opensnitch\"\n key=(null)"),
    ];
    for text in texts {
        let events = events(|assembler, keep| {
            assembler.push_message(1300, format!("audit(1.000:5): {text}").as_bytes(), Duration::ZERO, &mut |event| {
                keep(event);
            });
            assembler.push_message(1320, b"audit(1.000:5): ", Duration::ZERO, &mut |event| keep(event));
            let counts = assembler.counts();
            assert_eq!((counts.parsed, counts.assembled, counts.malformed), (2, 1, 0), "{text}");
        });
        assert!(events.is_empty(), "{text}: {events:?}");
    }
    // A real one keeps its last field, and each of its records is one line.
    let text = format!("audit(1.000:5): {CALL} subj=a\n{FORGED}\u{1D}UID=\"root\" key=\"opensnitch\"\n");
    let events = events(|assembler, keep| {
        assembler.push_message(1300, text.as_bytes(), Duration::ZERO, &mut |event| keep(event));
    });
    let [(event, raw)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event["UID"].as_u64(), event["Pid"].as_u64(), event["Serial"].as_u64()), (Some(7), Some(10), Some(5)));
    assert_eq!(event.get("UserName"), None);
    assert!(!raw.contains('\n'), "{raw}");
}

#[test]
fn what_is_no_record_is_counted() {
    let mut assembler = Assembler::new("", false);
    let long = [b"audit(1.000:5): ".to_vec(), vec![b'a'; MAX_LINE]].concat();
    let texts: [&[u8]; 7] =
        [b"", b"audit", b"audit(", b"audit(1.000:5)", b"audit(1.000:x): ", b"type=EOE msg=audit(1.000:5): ", &long];
    for text in texts {
        assert!(text.len() > MAX_LINE || parse_message(1300, text).is_err());
        assembler.push_message(1300, text, Duration::ZERO, &mut |_| panic!("no event"));
    }
    assert_eq!((assembler.counts().malformed, assembler.counts().parsed), (7, 0));
}
