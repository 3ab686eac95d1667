//! Whatever records and `/proc` say: the event is a message that D-Bus takes, no longer than it was counted, and a client
//! reads back what was sent.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use audit_records::{Args, Assembler};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use opensnitch_audit::dbus::fuzzing::event;
use opensnitch_audit::process::{Ancestor, Cgroup, Process};
use opensnitch_audit::store::{Answer, Source, Store, Whose};
use opensnitch_audit_client::{Event, INTERFACE, PATH};
use zbus::message::Message;

/// The types that tell something, so that few bytes make an event.
const TYPES: [&str; 8] = ["SYSCALL", "URINGOP", "SOCKADDR", "SOCKETCALL", "CWD", "PATH", "EXECVE", "PROCTITLE"];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    records: Vec<(u8, &'a [u8])>,
    process: Option<Known<'a>>,
    parents: Vec<(u32, &'a [u8])>,
    name: Option<&'a [u8]>,
    count: u64,
    seen_us: u64,
}

/// What `/proc` says.
#[derive(Arbitrary, Debug)]
struct Known<'a> {
    pid: u32,
    uid: u32,
    start_time_us: u64,
    cgroup: &'a [u8],
    title: &'a [u8],
    whole: bool,
    exe: Option<&'a [u8]>,
    comm: Option<&'a [u8]>,
    own_mounts: Option<bool>,
}

fn process(known: &Known<'_>, parents: Arc<[Ancestor]>) -> Process {
    let mut process = Process::new(known.pid, known.uid, known.start_time_us, 0);
    process.cgroup = Cgroup::from_lines(known.cgroup).map(Arc::new);
    process.args = Args::from_title(known.title.to_vec(), known.whole);
    process.exe = known.exe.map(Into::into);
    process.comm = known.comm.map(Into::into);
    process.own_mounts = known.own_mounts;
    process.parents = parents;
    process
}

fn check(event: &Event) {
    let body = ("connect", "", event);
    let message = Message::signal(PATH, INTERFACE, "EventSeen").build(&body).unwrap();
    assert!(message.body().len() <= event.size() + 32, "{} bytes, counted as {}", message.body().len(), event.size());
    let read = message.body();
    let (_, _, read): (String, String, Event) = read.deserialize().unwrap();
    assert_eq!(&read, event);
    // zbus reads what D-Bus forbids: its strings hold no NUL.
    let texts = [&event.proc_path, &event.proc_name, &event.proc_dir, &event.proc_cmd_line, &event.dst_path];
    let more = [&event.user_name, &event.raw_event, &event.unit, &event.app, &event.container, &event.cgroup, &event.node];
    let all = texts.into_iter().chain(more).flatten().chain(&event.args).chain(&event.keys);
    let all = all.chain(event.parents.iter().map(|(_, program)| program));
    assert!(all.into_iter().all(|text| !text.contains('\0')));
}

fuzz_target!(|input: Input<'_>| {
    let store = Store::new(4, 4, b"machine");
    let ancestor = |(pid, program): &(u32, &[u8])| Ancestor { pid: *pid, program: (*program).into() };
    let parents: Arc<[Ancestor]> = input.parents.iter().map(ancestor).collect();
    let mut assembler = Assembler::new("", true);
    let mut rows = Vec::new();
    let mut keep = |event: audit_records::Event<'_>| rows.push(store.insert(&event, Source::Audisp, Duration::ZERO, input.seen_us));
    for (kind, text) in &input.records {
        let header = format!("type={} msg=audit(1.000:1): ", TYPES[usize::from(*kind) % TYPES.len()]);
        assembler.push(&[header.as_bytes(), text].concat(), Duration::ZERO, &mut keep);
    }
    assembler.finish_all(&mut keep);
    for mut row in rows {
        row.whose = match &input.process {
            Some(known) => Whose::Process(Arc::new(process(known, parents.clone()))),
            None => Whose::Gone { at_ms: 0, parents: parents.clone() },
        };
        check(&event(&Answer { row, count: input.count }, input.name));
    }
});
