//! An audit stream or log becomes events, without a service.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use audit_records::{Address, Assembler, Event, Framer, Outcome, error_name};
use opensnitch_audit_client::{self as client, text};

use super::Failure;
use super::print::{Merged, Rows};

/// How far the assembler's clock goes with each line. A stream has no other clock: what its records say is when a call was
/// made, which may have blocked for minutes before it was told, and how fast the stream can be read says nothing.
///
/// So an event without an end, as every event of a log on disk, is finished 2,000 lines after its first one. The records of
/// one event lie much closer together: the kernel writes them at once, and only those of other processors between them.
const LINE: Duration = Duration::from_millis(1);

/// Reads `file` or standard input to its end, in constant memory.
pub(super) fn run(file: Option<&Path>, key: &str, as_json: bool) -> Result<(), Failure> {
    let mut rows = Rows::new(BufWriter::new(io::stdout().lock()), as_json, Merged::Alike);
    let mut print = |event: &Event<'_>| rows.row(&typed(event));
    let anomalies = match file {
        Some(path) => {
            let unreadable = |error| Failure::File(path.to_owned(), error);
            decode(File::open(path).map_err(unreadable)?, key, &mut print)?
        }
        None => decode(io::stdin().lock(), key, &mut print)?,
    };
    rows.flush()?;
    for (count, what) in anomalies {
        if count > 0 {
            eprintln!("opensnitch-auditctl: {count} {what}");
        }
    }
    Ok(())
}

/// Hands each event to `print` in the order in which they are complete, and returns what was not understood.
fn decode(
    mut input: impl Read,
    key: &str,
    print: &mut impl FnMut(&Event<'_>) -> io::Result<()>,
) -> io::Result<[(u64, &'static str); 4]> {
    let mut framer = Framer::default();
    let mut assembler = Assembler::new(key, false);
    let mut now = Duration::ZERO;
    let mut printed = Ok(());
    let mut keep = |event: Event<'_>| {
        if printed.is_ok() {
            printed = print(&event);
        }
    };
    let mut ended = false;
    while !ended {
        ended = match input.read(framer.space()) {
            Ok(bytes) => {
                framer.filled(bytes);
                bytes == 0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => false,
            Err(error) => return Err(error),
        };
        while let Some(line) = if ended { framer.last_line() } else { framer.line() } {
            now += LINE;
            assembler.expire(now, &mut keep);
            assembler.push(line, now, &mut keep);
        }
    }
    assembler.finish_all(&mut keep);
    printed?;
    let (stream, events) = (framer.counts(), assembler.counts());
    Ok([
        (events.malformed + stream.oversized, "lines are no audit records"),
        (stream.torn, "lines are torn"),
        (events.late, "records came after their event was complete"),
        (events.cut, "records or arguments are beyond a bound"),
    ])
}

/// What the records of an event say, as the service tells it.
fn typed(event: &Event<'_>) -> client::Event {
    let mut typed = client::Event::default();
    add_process(&mut typed, event);
    add_call(&mut typed, event);
    add_destination(&mut typed, event);
    typed.raw_event = event.raw().map(|raw| text(raw).0);
    typed
}

fn add_process(typed: &mut client::Event, event: &Event<'_>) {
    let who = event.who();
    let subject = who.subject();
    let lossy = |bytes: Option<&[u8]>| bytes.map(|bytes| text(bytes).0);
    typed.pid = subject.pid;
    typed.ppid = subject.ppid;
    typed.uid = subject.uid;
    typed.gid = subject.gid;
    typed.euid = subject.euid;
    typed.egid = subject.egid;
    typed.audit_uid = subject.auid;
    typed.user_name = lossy(subject.auid_name.as_deref());
    typed.session_id = subject.session;
    typed.tty = lossy(subject.tty.as_deref());
    typed.proc_name = lossy(subject.comm.as_deref());
    if let Some(exe) = &subject.exe {
        let (path, raw) = text(exe);
        (typed.proc_path, typed.proc_path_raw) = (Some(path), raw);
        typed.proc_path_from = Some("record".to_owned());
    }
    if let Some(cwd) = who.cwd() {
        let (path, raw) = text(&cwd);
        (typed.proc_dir, typed.proc_dir_raw) = (Some(path), raw);
    }
    if let Some(args) = event.args().or_else(|| who.title()) {
        typed.args = args.iter().map(|arg| text(arg).0).collect();
        typed.args_cut = args.cut.then_some(true);
        typed.proc_cmd_line = Some(typed.args.join(" "));
    }
    typed.keys = who.keys().iter().map(|key| text(key).0).collect();
    typed.node = lossy(who.node());
}

fn add_call(typed: &mut client::Event, event: &Event<'_>) {
    let id = event.id();
    typed.timestamp = Some(id.milliseconds.saturating_mul(1000));
    typed.serial = Some(id.serial);
    typed.event_type = event.event_type().map(|one| one.name().to_owned());
    typed.success = event.success();
    typed.exit = event.exit();
    typed.fd = event.fd();
    let (outcome, error) = match event.outcome() {
        None => (None, None),
        Some(Outcome::Success) => (Some("success"), None),
        Some(Outcome::InProgress) => (Some("in-progress"), None),
        Some(Outcome::Failure(error)) => (Some("failure"), error.and_then(error_name)),
    };
    typed.outcome = outcome.map(str::to_owned);
    typed.error = error.map(str::to_owned);
    typed.syscall = event.syscall();
    if let Some(arch) = event.arch() {
        typed.arch = Some(arch.name().map_or_else(|| format!("{:x}", arch.0), str::to_owned));
        typed.syscall_name = event.syscall().and_then(|number| arch.syscall_name(number)).map(str::to_owned);
    }
    if let Some(file) = event.file() {
        typed.ouid = file.ouid;
        typed.ogid = file.ogid;
        typed.inode = file.inode;
        typed.dev = file.dev.as_deref().map(|dev| text(dev).0);
        typed.proc_mode = file.mode.as_deref().map(|mode| text(mode).0);
    }
}

fn add_destination(typed: &mut client::Event, event: &Event<'_>) {
    typed.net_family = event.family().map(|family| family.name().map_or_else(|| family.0.to_string(), str::to_owned));
    typed.socket_type = event.socket_type().and_then(|one| one.name()).map(str::to_owned);
    typed.protocol = event.protocol().and_then(|one| one.name()).map(str::to_owned);
    match event.address() {
        None => {}
        Some(Address::Inet(host, port)) => {
            (typed.dst_host, typed.dst_port) = (Some(host.to_string()), Some(port));
        }
        Some(Address::Inet6(host, port, scope)) => {
            (typed.dst_host, typed.dst_port, typed.dst_scope) = (Some(host.to_string()), Some(port), scope);
        }
        Some(Address::Path(path)) => {
            let (path, raw) = text(&path);
            (typed.dst_path, typed.dst_path_raw) = (Some(path), raw);
        }
        Some(Address::Abstract(name)) => {
            let (path, raw) = text(&name);
            typed.dst_path = Some(format!("@{path}"));
            // Byte for byte as the kernel has it: with the NUL that makes it abstract.
            typed.dst_path_raw = raw.map(|raw| [b"\0", raw.as_slice()].concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The serials of the events in a stream, in the order in which they are printed, and how many were whole.
    fn serials(stream: &str) -> (Vec<u32>, usize) {
        let (mut serials, mut whole) = (Vec::new(), 0);
        let mut print = |event: &Event<'_>| {
            serials.push(event.id().serial);
            // Both records are there.
            whole += usize::from(event.who().pid().is_some() && event.address().is_some());
            Ok(())
        };
        let anomalies = decode(stream.as_bytes(), "k", &mut print).unwrap();
        assert!(anomalies.iter().all(|(count, _)| *count == 0), "{anomalies:?}");
        (serials, whole)
    }

    fn syscall(second: u32, serial: u32) -> String {
        format!(
            "type=SYSCALL msg=audit({second}.000:{serial}): arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 \
             items=0 ppid=1 pid={serial} auid=0 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=1 \
             comm=\"c\" exe=\"/c\" subj=unconfined key=\"k\"\n"
        )
    }

    fn sockaddr(second: u32, serial: u32) -> String {
        format!("type=SOCKADDR msg=audit({second}.000:{serial}): saddr=020000097F000001\n")
    }

    fn eoe(second: u32, serial: u32) -> String {
        format!("type=EOE msg=audit({second}.000:{serial}): \n")
    }

    #[test]
    fn a_time_in_a_record_finishes_no_other_event() {
        // A call that blocked for an hour tells when it began; the one beside it is under way meanwhile.
        let (early, late) = (1_000, 4_600);
        let stream = [
            syscall(late, 2),
            syscall(early, 1),
            sockaddr(early, 1),
            syscall(late + 9_000, 3),
            sockaddr(late + 9_000, 3),
            sockaddr(late, 2),
            eoe(early, 1),
            eoe(late, 2),
            eoe(late + 9_000, 3),
        ];
        assert_eq!(serials(&stream.concat()), (vec![1, 2, 3], 3));
    }

    #[test]
    fn events_of_a_log_on_disk_are_whole_and_in_order() {
        // No EOE anywhere; each event's second record comes behind the next one's first.
        let record = |serial: u32| [syscall(1_000, serial + 1), sockaddr(1_000, serial)].concat();
        let stream = syscall(1_000, 1) + &(1..5_000).map(record).collect::<String>() + &sockaddr(1_000, 5_000);
        assert_eq!(serials(&stream), ((1..=5_000).collect(), 5_000));
    }

    #[test]
    fn an_event_whose_end_is_missing_does_not_wait_for_the_end_of_the_stream() {
        let whole = |serial: u32| [syscall(1_000, serial), sockaddr(1_000, serial), eoe(1_000, serial)].concat();
        let first = syscall(1_000, 1) + &sockaddr(1_000, 1);
        let (serials, whole) = serials(&(first + &(2..=2_000).map(whole).collect::<String>()));
        let place = serials.iter().position(|serial| *serial == 1).unwrap();
        assert!((600..700).contains(&place), "{place}");
        assert_eq!((serials.len(), whole), (2_000, 2_000));
    }
}
