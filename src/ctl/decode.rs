//! An audit stream or log becomes events, without a service.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::Failure;
use super::print::one_line;
use crate::dbus::json;
use crate::dbus::wire::{Context, Row};
use crate::event::{Assembler, Event};
use crate::record::parse;
use crate::stream::Framer;

/// Reads `file` or standard input to its end, in constant memory.
pub(super) fn run(file: Option<&Path>, key: &str, as_json: bool) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut print = |event: &Event| {
        let row = Row::new(event, Context::default());
        if as_json { writeln!(out, "{}", json::object(row.iter())) } else { writeln!(out, "{}", one_line(&row)) }
    };
    let anomalies = match file {
        Some(path) => {
            let unreadable = |error| Failure::File(path.to_owned(), error);
            decode(File::open(path).map_err(unreadable)?, key, &mut print)?
        }
        None => decode(io::stdin().lock(), key, &mut print)?,
    };
    out.flush()?;
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
    // The time that the records tell: a log has no other, and no EOE either.
    let mut now = Duration::ZERO;
    let mut result = Ok(());
    let mut keep = |event: Event| {
        if result.is_ok() {
            result = print(&event);
        }
    };
    let mut malformed = 0;
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
            let Ok(record) = parse(line) else {
                malformed += 1;
                continue;
            };
            now = now.max(Duration::from_millis(record.id.milliseconds));
            assembler.expire(now, &mut keep);
            assembler.push_record(&record, line, now, &mut keep);
        }
    }
    assembler.finish_all(&mut keep);
    result?;
    let (stream, events) = (framer.counts(), assembler.counts());
    Ok([
        (malformed + stream.oversized, "lines are no audit records"),
        (stream.torn, "lines are torn"),
        (events.late, "records came after their event was complete"),
        (events.cut, "records or arguments are beyond a bound"),
    ])
}
