//! An audit stream or log becomes events, without a service.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use audit_records::{Assembler, Framer};
use opensnitch_audit_client::Event;

use super::Failure;
use super::print::{Merged, Rows};
use crate::dbus::wire;
use crate::source::LINE;
use crate::store::Store;

/// Processes whose sockets are remembered, to tell the protocol of what they connect: as many as the service has by default.
const PROCESSES: usize = 4096;

/// Reads `file` or standard input to its end, in constant memory.
pub(super) fn run(file: Option<&Path>, key: &str, as_json: bool) -> Result<(), Failure> {
    let mut rows = Rows::new(BufWriter::new(io::stdout().lock()), as_json, Merged::Alike);
    let mut print = |event: &Event| rows.row(event);
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
    print: &mut impl FnMut(&Event) -> io::Result<()>,
) -> io::Result<[(u64, &'static str); 4]> {
    let mut framer = Framer::default();
    let mut assembler = Assembler::new(key, false);
    let mut now = Duration::ZERO;
    // As the service does, but of the history only the last row is needed.
    let store = Store::new(1, PROCESSES, &[]);
    let mut printed = Ok(());
    let mut keep = |event: audit_records::Event<'_>| {
        let row = store.insert(&event, Duration::ZERO, 0);
        if printed.is_ok() {
            printed = print(&wire::of_records(&row));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The serials of the events in a stream, in the order in which they are printed, and how many were whole.
    fn serials(stream: &str) -> (Vec<u32>, usize) {
        let (mut serials, mut whole) = (Vec::new(), 0);
        let mut print = |event: &Event| {
            serials.extend(event.serial);
            // Both records are there.
            whole += usize::from(event.pid.is_some() && event.dst_host.is_some());
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
