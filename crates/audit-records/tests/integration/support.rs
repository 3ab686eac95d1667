//! What the tests share: a stream to events, an event to JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_records::{Address, Args, Assembler, AssemblyCounts, Event, Framer, FramingCounts, Outcome, error_name};
use serde_json::{Map, Value, json};

/// Every recorded stream.
pub(crate) fn logs() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus");
    let mut logs: Vec<PathBuf> = ["debian12-auditd-3.0.9", "debian13-auditd-4.0.2"]
        .iter()
        .flat_map(|folder| fs::read_dir(corpus.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    logs.sort();
    assert!(logs.len() >= 40);
    logs
}

/// What a stream gave.
pub(crate) struct Decoded {
    pub(crate) events: Vec<Map<String, Value>>,
    pub(crate) framing: FramingCounts,
    pub(crate) assembly: AssemblyCounts,
}

/// The events under `key` of a stream read in pieces of these sizes, and then in one.
pub(crate) fn decode(stream: &[u8], key: &str, sizes: &[usize]) -> Decoded {
    decode_by_turns(stream, key, sizes, false)
}

/// The same, where each piece has a framer and an assembler of its own, which go on where those before them were.
pub(crate) fn decode_by_many(stream: &[u8], key: &str, sizes: &[usize]) -> Decoded {
    decode_by_turns(stream, key, sizes, true)
}

fn decode_by_turns(stream: &[u8], key: &str, sizes: &[usize], by_many: bool) -> Decoded {
    let mut framing = FramingCounts::default();
    let mut assembly = AssemblyCounts::default();
    let mut framer = Framer::default();
    let mut assembler = Assembler::new(key, false);
    let mut events = Vec::new();
    let mut keep = |event: Event<'_>| events.push(json_of(&event));
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
            assembler.push(line, Duration::ZERO, &mut keep);
        }
        if by_many {
            framing = sum_of_framing(framing, framer.counts());
            assembly = sum_of_assembly(assembly, assembler.counts());
            framer = Framer::resume(copied(&framer.state())).unwrap();
            assembler = Assembler::resume(key, false, copied(&assembler.state()), Duration::ZERO).unwrap();
        }
    }
    while let Some(line) = framer.last_line() {
        assembler.push(line, Duration::ZERO, &mut keep);
    }
    assembler.finish_all(&mut keep);
    let framing = sum_of_framing(framing, framer.counts());
    let assembly = sum_of_assembly(assembly, assembler.counts());
    assert_eq!(assembly.parsed + assembly.malformed, framing.lines, "every line is a record or is counted");
    assert_eq!(assembly.matched, events.len() as u64);
    Decoded { events, framing, assembly }
}

fn sum_of_framing(one: FramingCounts, other: FramingCounts) -> FramingCounts {
    FramingCounts {
        lines: one.lines + other.lines,
        torn: one.torn + other.torn,
        oversized: one.oversized + other.oversized,
    }
}

fn sum_of_assembly(one: AssemblyCounts, other: AssemblyCounts) -> AssemblyCounts {
    AssemblyCounts {
        parsed: one.parsed + other.parsed,
        malformed: one.malformed + other.malformed,
        assembled: one.assembled + other.assembled,
        incomplete: one.incomplete + other.incomplete,
        matched: one.matched + other.matched,
        late: one.late + other.late,
        cut: one.cut + other.cut,
        serial_gaps: one.serial_gaps + other.serial_gaps,
        rule_changes: one.rule_changes + other.rule_changes,
    }
}

/// As another process reads it.
#[cfg(feature = "serde")]
fn copied<T: serde::Serialize + serde::de::DeserializeOwned>(state: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(state).unwrap()).unwrap()
}

#[cfg(not(feature = "serde"))]
fn copied<T: Clone>(state: &T) -> T {
    state.clone()
}

/// All that an event tells, under the names that its fields have elsewhere.
pub(crate) fn json_of(event: &Event<'_>) -> Map<String, Value> {
    let mut map = Map::new();
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    let who = event.who();
    let subject = who.subject();
    let bytes = |bytes: Option<&[u8]>| bytes.map(|bytes| json!(text(bytes)));
    add("Timestamp", Some(json!(event.id().milliseconds * 1000)));
    add("Serial", Some(json!(event.id().serial)));
    add("EventType", event.event_type().map(|one| json!(one.name())));
    add("Pid", subject.pid.map(Into::into));
    add("PPid", subject.ppid.map(Into::into));
    add("UID", subject.uid.map(Into::into));
    add("Gid", subject.gid.map(Into::into));
    add("EUid", subject.euid.map(Into::into));
    add("EGid", subject.egid.map(Into::into));
    add("UserName", bytes(subject.auid_name.as_deref()));
    add("ProcName", bytes(subject.comm.as_deref()));
    add("ProcPath", bytes(subject.exe.as_deref()));
    let args = event.args().or_else(|| who.title()).filter(|args| !args.is_empty());
    let words: Option<Vec<String>> = args.as_ref().map(|args| args.iter().map(text).collect());
    add("ProcCmdLine", words.as_ref().map(|words| json!(words.join(" "))));
    add("Args", words.map(Into::into));
    add("ArgsCut", args.as_ref().filter(|args| args.cut).map(|_| json!(true)));
    add("ProcDir", bytes(who.cwd().as_deref()));
    add("TTY", bytes(subject.tty.as_deref()));
    add("AuditUid", subject.auid.map(Into::into));
    add("SessionId", subject.session.map(Into::into));
    add("NetFamily", event.family().map(|one| json!(one.name().map_or_else(|| one.0.to_string(), str::to_owned))));
    match event.address() {
        None => {}
        Some(Address::Inet(host, port)) => {
            add("DstHost", Some(json!(host.to_string())));
            add("DstPort", Some(port.into()));
        }
        Some(Address::Inet6(host, port, scope)) => {
            add("DstHost", Some(json!(host.to_string())));
            add("DstPort", Some(port.into()));
            add("DstScope", scope.map(Into::into));
        }
        Some(Address::Path(path)) => add("DstPath", bytes(Some(&path))),
        Some(Address::Abstract(name)) => add("DstPath", Some(json!(format!("@{}", text(&name))))),
    }
    add("Success", event.success().map(Into::into));
    add("Exit", event.exit().map(Into::into));
    let (outcome, error) = match event.outcome() {
        None => (None, None),
        Some(Outcome::Success) => (Some("success"), None),
        Some(Outcome::InProgress) => (Some("in-progress"), None),
        Some(Outcome::Failure(error)) => (Some("failure"), error.and_then(error_name)),
    };
    add("Outcome", outcome.map(Into::into));
    add("Error", error.map(Into::into));
    add("Syscall", event.syscall().map(Into::into));
    add(
        "SyscallName",
        event.arch().zip(event.syscall()).and_then(|(arch, call)| arch.syscall_name(call)).map(Into::into),
    );
    add("Arch", event.arch().map(|arch| json!(arch.name().map_or_else(|| format!("{:x}", arch.0), str::to_owned))));
    if let Some(file) = event.file() {
        add("OUid", file.ouid.map(Into::into));
        add("OGid", file.ogid.map(Into::into));
        add("INode", file.inode.map(Into::into));
        add("Dev", bytes(file.dev.as_deref()));
        add("ProcMode", bytes(file.mode.as_deref()));
    }
    let keys: Vec<String> = who.keys().iter().map(|key| text(key)).collect();
    add("Keys", (!keys.is_empty()).then(|| keys.into()));
    add("Node", bytes(who.node()));
    add("RawEvent", bytes(event.raw()));
    add("Fd", event.fd().map(Into::into));
    add("SocketType", event.socket_type().and_then(|one| one.name()).map(Into::into));
    add("Protocol", event.protocol().and_then(|one| one.name()).map(Into::into));
    map
}

/// Bytes as text; what is not UTF-8, and NUL, as `\xHH`.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\0', "\\x00"));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// What is known of arguments in all of an event's ways to tell them.
pub(crate) fn args_of(stream: &[u8], key: &str) -> Vec<Option<Args>> {
    let mut assembler = Assembler::new(key, false);
    let mut args = Vec::new();
    for line in stream.split(|&byte| byte == b'\n') {
        assembler.push(line, Duration::ZERO, &mut |event| args.push(event.args()));
    }
    assembler.finish_all(&mut |event| args.push(event.args()));
    args
}
