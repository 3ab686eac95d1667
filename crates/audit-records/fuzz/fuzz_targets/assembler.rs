//! Records of any kind at any time: bounds hold, an event comes once, everything asked of it has an answer, and every record is
//! in an event or counted.

#![no_main]

use std::collections::HashSet;
use std::time::Duration;

use audit_records::{Assembler, Event, MAX_ARGS_BYTES, MAX_EVENT_BYTES, MAX_LINE, WhoBuf};
use libfuzzer_sys::fuzz_target;

/// The types that tell something, so that few bytes make an event, by name and number.
const TYPES: [(&str, u16); 11] = [
    ("SYSCALL", 1300),
    ("URINGOP", 1336),
    ("SOCKADDR", 1306),
    ("SOCKETCALL", 1304),
    ("CWD", 1307),
    ("PATH", 1302),
    ("EXECVE", 1309),
    ("PROCTITLE", 1327),
    ("EOE", 1320),
    ("CONFIG_CHANGE", 1305),
    ("USER_CMD", 1123),
];

fn ask(event: &Event<'_>) {
    let who = event.who();
    let owned = WhoBuf::new(who);
    assert!(owned.as_who() == who);
    let subject = who.subject();
    assert_eq!((who.pid(), who.ppid(), who.uid(), who.auid()), (subject.pid, subject.ppid, subject.uid, subject.auid));
    assert_eq!((who.exe().as_deref(), who.comm().as_deref()), (subject.exe.as_deref(), subject.comm.as_deref()));
    let _ = (who.keys(), who.cwd(), who.node(), who.title());
    let _ = (event.outcome(), event.fd(), event.socket_type(), event.protocol(), event.family(), event.address());
    let _ = (event.file(), event.syscall(), event.arch());
    assert!(event.raw().is_none_or(|raw| raw.len() <= MAX_EVENT_BYTES + MAX_LINE));
    if let Some(args) = event.args() {
        assert!(args.size() <= MAX_ARGS_BYTES && !(args.whole && args.cut));
        assert!(!args.whole || args.count() == Some(args.iter().count() as u32));
    }
}

/// Where nothing is counted as late, cut or without its subject, the events hold all records that tell something, in their
/// order.
fn is_accounted_for(mut sent: Vec<Vec<u8>>, events: &[Vec<u8>]) {
    let mut held: Vec<&[u8]> = events.iter().flat_map(|raw| raw.split(|&byte| byte == b'\n')).collect();
    held.sort_unstable();
    // What only some events tell, and what ends one, may be nobody's.
    sent.retain(|line| !["EOE", "CONFIG_CHANGE", "USER_CMD"].iter().any(|kind| line[5..].starts_with(kind.as_bytes())));
    sent.sort_unstable();
    let mut held = held.into_iter();
    for line in sent {
        assert!(held.by_ref().any(|one| one == line), "{} is in no event", line.escape_ascii());
    }
}

fuzz_target!(|records: Vec<(u8, u8, u8, &[u8])>| {
    for (key, keep_raw) in [("", true), ("k", false)] {
        let mut assembler = Assembler::new(key, keep_raw);
        let mut seen = HashSet::new();
        let mut now = Duration::ZERO;
        let (mut sent, mut events, mut unfinished) = (Vec::new(), Vec::new(), 0);
        let mut out = |event: Event<'_>| {
            ask(&event);
            unfinished += u64::from(!event.is_whole());
            events.extend(event.raw().map(<[u8]>::to_vec));
            assert!(seen.insert(event.id()), "an event twice");
        };
        for (kind, serial, wait, text) in &records {
            now += Duration::from_millis(u64::from(*wait));
            let (name, number) = TYPES[usize::from(*kind) % TYPES.len()];
            let key: &[u8] = if *kind >= 128 { b" key=\"k\"" } else { b"" };
            let message = [format!("audit(1.000:{}): ", serial % 8).as_bytes(), text, key].concat();
            assembler.expire(now, &mut out);
            let line = [format!("type={name} msg=").as_bytes(), &message].concat();
            if *serial < 128 {
                assembler.push(&line, now, &mut out);
            } else {
                // As the kernel sends it; what is kept of it is a line all the same.
                assembler.push_message(number, &message, now, &mut out);
            }
            sent.push(line);
        }
        assembler.finish_all(&mut out);
        assert!(assembler.deadline().is_none());
        let counts = assembler.counts();
        assert_eq!((counts.parsed + counts.malformed, counts.matched), (records.len() as u64, seen.len() as u64));
        // An event without its subject is incomplete, and not handed out.
        let lost = counts.malformed + counts.late + counts.cut + (counts.incomplete - unfinished) + counts.rule_changes;
        // What ends a line is none of it, and inside of a message it becomes a space.
        let has_ends = sent.iter().flatten().any(|byte| matches!(byte, b'\r' | b'\n'));
        if keep_raw && lost == 0 && !has_ends {
            is_accounted_for(sent, &events);
        }
    }
});
