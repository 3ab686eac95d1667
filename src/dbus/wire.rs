//! The form of an event and of a finding on the bus: from the store's rows to the contract's keys. Defined only here; the
//! client crate names the keys and their types.

use std::net::Ipv4Addr;
use std::sync::Arc;

use audit_records::{Address, Args, Bytes, EventType, Outcome, error_name};
use opensnitch_audit_client::{Event, Finding, Word};
use tokio::task::spawn_blocking;

use super::State;
use crate::diagnose;
use crate::process::{Accounts, Parents, Process};
use crate::store::{Answer, Row, Whose, outcome_name};
use crate::text::text;

/// What the service knows of an event. The names of users are asked of `names`.
pub(super) fn event(answer: &Answer, names: impl Fn(u32) -> Option<Bytes>) -> Event {
    let row = &answer.row;
    let mut event = of_row(row, names);
    event.count = Some(answer.count);
    event.last_seen = Some(row.seen_us);
    event.sequence = Some(row.sequence);
    event.source = Some(row.source.name().into());
    add_process(&mut event, row);
    event
}

/// What the records of an event say.
#[must_use]
pub fn of_records(row: &Row) -> Event {
    of_row(row, |_| None)
}

fn of_row(row: &Row, names: impl Fn(u32) -> Option<Bytes>) -> Event {
    let mut event = Event::default();
    add_call(&mut event, row);
    add_subject(&mut event, row, names);
    add_destination(&mut event, row);
    event
}

/// What the service knows of a process of which no event came.
pub(super) fn process(process: &Process) -> Event {
    let mut event = Event::default();
    event.pid = Some(process.pid);
    event.uid = Some(process.uid);
    event.source = Some("proc".into());
    event.ppid = process.parents.first().map(|parent| parent.pid);
    event.proc_name = process.comm.as_deref().map(|comm| text(comm).0);
    add_program(&mut event, process.exe.as_deref(), "proc");
    add_args(&mut event, process.args.as_ref());
    add_what_proc_knows(&mut event, process);
    event
}

/// What the service knows of an event, with the names of users. It is made away from the bus's own threads where somebody has
/// to be asked for it; `None` where the service is stopping.
pub async fn event_of(state: &Arc<State>, answer: Answer) -> Option<Event> {
    let make = |state: &State, answer: &Answer| event(answer, |uid| state.accounts.name(uid));
    if is_ready(&answer.row, &state.accounts) {
        return Some(make(state, &answer));
    }
    let state = state.clone();
    spawn_blocking(move || make(&state, &answer)).await.ok()
}

/// The arguments of `EventSeen`, for all and for a subscriber: type, program and event.
///
/// # Errors
/// Where the service is stopping.
pub(super) async fn seen(state: &Arc<State>, answer: Answer) -> zbus::Result<(&'static str, String, Event)> {
    let event_type = answer.row.event_type.map_or("", EventType::name);
    let stopping = || zbus::Error::Failure("the service is stopping".to_owned());
    let event = event_of(state, answer).await.ok_or_else(stopping)?;
    let exe = event.proc_path.clone().unwrap_or_default();
    Ok((event_type, exe, event))
}

/// Whether nobody has to be asked for the event of a row: neither the name service for its user's name, nor `/proc` whether
/// its process runs.
fn is_ready(row: &Row, accounts: &Accounts) -> bool {
    let subject = row.subject();
    let needs_name = subject.auid_name.is_none() && subject.auid.is_some_and(|auid| accounts.peek(auid).is_none());
    let is_known = row.process().is_none_or(|process| process.is_watched() || process.ended_at_ms().is_some());
    !needs_name && is_known
}

fn add_call(event: &mut Event, row: &Row) {
    event.timestamp = Some(row.timestamp_us());
    event.serial = Some(row.id.serial);
    event.event_type = row.event_type.map(|one| one.name().into());
    event.syscall = row.syscall;
    event.syscall_name = row.arch.zip(row.syscall).and_then(|(arch, number)| arch.syscall_name(number)).map(Word::from);
    event.arch = row.arch.map(|arch| arch.name().map_or_else(|| format!("{:x}", arch.0).into(), Word::from));
    event.success = row.success;
    event.exit = row.exit;
    event.fd = row.fd;
    event.outcome = row.outcome().map(|outcome| outcome_name(outcome).into());
    if let Some(Outcome::Failure(error)) = row.outcome() {
        event.error = error.and_then(error_name).map(Word::from);
    }
    if let Some(file) = row.extra.as_deref().and_then(|extra| extra.file.as_ref()) {
        event.ouid = file.ouid;
        event.ogid = file.ogid;
        event.inode = file.inode;
        event.dev = file.dev.as_deref().map(|dev| text(dev).0);
        event.proc_mode = file.mode.as_deref().map(|mode| text(mode).0);
    }
    event.raw_event = row.extra.as_deref().and_then(|extra| extra.raw.as_deref()).map(|raw| text(raw).0);
}

fn add_subject(event: &mut Event, row: &Row, names: impl Fn(u32) -> Option<Bytes>) {
    let who = row.origin.who();
    let subject = row.subject();
    // What /proc says of its program, where that is the event's.
    let program = row.program();
    event.pid = subject.pid;
    event.ppid = subject.ppid;
    event.uid = subject.uid;
    event.gid = subject.gid;
    event.euid = subject.euid;
    event.egid = subject.egid;
    event.audit_uid = subject.auid;
    event.session_id = subject.session;
    // Of another machine's users ours has no names.
    let ours = || subject.auid.filter(|_| row.origin.is_local).and_then(names).map(|name| text(&name).0);
    event.user_name = subject.auid_name.as_deref().map(|name| text(name).0).or_else(ours);
    event.tty = subject.tty.as_deref().map(|tty| text(tty).0);
    let comm = subject.comm.as_deref().or_else(|| program?.comm.as_deref());
    event.proc_name = comm.map(|comm| text(comm).0);
    match (subject.exe.as_deref(), program.and_then(|program| program.exe.as_deref())) {
        (Some(exe), _) => add_program(event, Some(exe), "record"),
        (None, exe) => add_program(event, exe, "proc"),
    }
    let own = row.extra.as_deref().and_then(|extra| extra.args.clone()).or_else(|| who.title());
    let of_proc = program.and_then(|program| program.args.as_ref());
    // Nor may its title be another one.
    let same = |args: &&Args| own.as_ref().is_none_or(|title| title.are_beginning_of(args));
    let args = own.as_ref().filter(|args| args.whole).or_else(|| of_proc.filter(same)).or(own.as_ref());
    add_args(event, args);
    if let Some(cwd) = who.cwd() {
        let (path, escaped) = text(&cwd);
        event.proc_dir = Some(path);
        event.proc_dir_raw = escaped.then(|| cwd.into_owned());
    }
    event.keys = who.keys().iter().map(|key| text(key).0).collect();
    event.node = who.node().map(|node| text(node).0);
}

fn add_program(event: &mut Event, exe: Option<&[u8]>, from: &'static str) {
    let Some(exe) = exe else { return };
    let (path, escaped) = text(exe);
    event.proc_path = Some(path);
    event.proc_path_raw = escaped.then(|| exe.to_vec());
    event.proc_path_from = Some(from.into());
}

fn add_args(event: &mut Event, args: Option<&Args>) {
    // One that has none, and says so, has nothing to show.
    let Some(args) = args.filter(|args| !args.is_empty()) else { return };
    event.args = args.iter().map(|arg| text(arg).0).collect();
    event.proc_cmd_line = Some(event.args.join(" "));
    event.args_cut = args.cut.then_some(true);
}

/// A finding, as it is sent.
#[must_use]
pub fn finding(finding: diagnose::Finding) -> Finding {
    let mut told = Finding::default();
    told.id = finding.id.to_owned();
    told.severity = finding.severity.name().to_owned();
    told.message = finding.message;
    told.remedy = finding.remedy;
    told
}

fn add_destination(event: &mut Event, row: &Row) {
    event.net_family = row.family.map(|family| family.name().map_or_else(|| family.0.to_string().into(), Word::from));
    event.socket_type = row.socket.and_then(|one| one.socket_type.name()).map(Word::from);
    event.protocol = row.socket.and_then(|one| one.name()).map(Word::from);
    match &row.address {
        None => {}
        Some(Address::Inet(host, port)) => {
            event.dst_host = Some(dotted(*host));
            event.dst_port = Some(*port);
        }
        Some(Address::Inet6(host, port, scope)) => {
            event.dst_host = Some(host.to_string());
            event.dst_port = Some(*port);
            event.dst_scope = *scope;
        }
        Some(Address::Path(path)) => {
            let (text, escaped) = text(path);
            event.dst_path = Some(text);
            event.dst_path_raw = escaped.then(|| path.to_vec());
        }
        Some(Address::Abstract(name)) => {
            let (text, escaped) = text(name);
            event.dst_path = Some(format!("@{text}"));
            // Byte for byte as the kernel has it: with the NUL that makes it abstract.
            event.dst_path_raw = escaped.then(|| [b"\0", &**name].concat());
        }
    }
}

/// As its `Display` has it, for a tenth of the instructions: a list has an address in nearly every event.
fn dotted(host: Ipv4Addr) -> String {
    let mut text = String::with_capacity("255.255.255.255".len());
    for octet in host.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        for (least, ten) in [(100, 100), (10, 10), (0, 1)] {
            if octet >= least {
                text.push(char::from(b'0' + octet / ten % 10));
            }
        }
    }
    text
}

fn add_process(event: &mut Event, row: &Row) {
    match &row.whose {
        Whose::Process(process) => add_what_proc_knows(event, process),
        Whose::Gone { parents, .. } => {
            event.running = Some(false);
            event.parents = ancestors(parents);
        }
        Whose::Pending | Whose::Nothing => {}
    }
}

fn add_what_proc_knows(event: &mut Event, process: &Process) {
    event.start_time = Some(process.start_time_us);
    event.running = process.is_running();
    event.mount_namespace = process.own_mounts.filter(|own| *own);
    event.parents = ancestors(&process.parents);
    if let Some(cgroup) = &process.cgroup {
        let shown = |bytes: &Option<Box<[u8]>>| bytes.as_deref().map(|bytes| text(bytes).0);
        event.cgroup = Some(text(&cgroup.path).0);
        event.unit = shown(&cgroup.unit);
        event.app = shown(&cgroup.app);
        event.container = shown(&cgroup.container);
    }
}

fn ancestors(parents: &Parents) -> Vec<(u32, String)> {
    parents.iter().map(|parent| (parent.pid, text(&parent.program).0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_everywhere_else() {
        for octet in 0..=u8::MAX {
            let host = Ipv4Addr::new(octet, 0, octet / 2, 255 - octet);
            assert_eq!(dotted(host), host.to_string());
        }
    }
}
