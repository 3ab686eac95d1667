//! Records of any kind at any time: bounds hold, an event comes once, and everything asked of it has an answer.

#![no_main]

use std::collections::HashSet;
use std::time::Duration;

use audit_records::{Assembler, Event, MAX_ARGS_BYTES, MAX_EVENT_BYTES, MAX_LINE, WhoBuf};
use libfuzzer_sys::fuzz_target;

/// The types that tell something, so that few bytes make an event.
const TYPES: [&str; 11] = [
    "SYSCALL",
    "URINGOP",
    "SOCKADDR",
    "SOCKETCALL",
    "CWD",
    "PATH",
    "EXECVE",
    "PROCTITLE",
    "EOE",
    "CONFIG_CHANGE",
    "USER_CMD",
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

fuzz_target!(|records: Vec<(u8, u8, u8, &[u8])>| {
    for (key, keep_raw) in [("", true), ("k", false)] {
        let mut assembler = Assembler::new(key, keep_raw);
        let mut seen = HashSet::new();
        let mut now = Duration::ZERO;
        let mut out = |event: Event<'_>| {
            ask(&event);
            assert!(seen.insert(event.id()), "an event twice");
        };
        for (kind, serial, wait, text) in &records {
            now += Duration::from_millis(u64::from(*wait));
            let name = TYPES[usize::from(*kind) % TYPES.len()];
            let key: &[u8] = if *kind >= 128 { b" key=\"k\"" } else { b"" };
            let line = [format!("type={name} msg=audit(1.000:{}): ", serial % 8).as_bytes(), text, key].concat();
            assembler.expire(now, &mut out);
            assembler.push(&line, now, &mut out);
        }
        assembler.finish_all(&mut out);
        assert!(assembler.deadline().is_none());
        let counts = assembler.counts();
        assert_eq!((counts.parsed + counts.malformed, counts.matched), (records.len() as u64, seen.len() as u64));
    }
});
