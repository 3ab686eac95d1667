//! What the store adds to the way of an event: the same records are assembled, and all that a row holds is decoded, without
//! it and with it. Both are measured round by round, so that a machine that slows down slows both.

#![expect(clippy::print_stdout, reason = "a program for people")]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use audit_records::{Assembler, Event};
use opensnitch_audit::store::{Prefix, Query, Sight, Source, Store};
use support::figures;
use support::records::{NO_PROCESS, connect};

const EVENTS: u32 = 65_536;
const ROUNDS: usize = 15;

fn main() {
    for processes in [1_000, EVENTS] {
        let records: Vec<String> = (0..EVENTS)
            .map(|serial| {
                connect(serial, NO_PROCESS + serial % processes, (serial % 251) as u8, (serial % 60_000) as u16)
            })
            .collect();
        let store = Store::new(EVENTS as usize, 4096, b"host");
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            without.push(assemble(&records, |event| {
                decode(event);
            }));
            with.push(assemble(&records, |event| {
                black_box(store.insert(event, Source::Audisp, Duration::ZERO, 0));
            }));
        }
        let added = with.iter().zip(&without).map(|(with, without)| with.saturating_sub(*without)).collect();
        let each = |time: Duration| time.as_nanos() / u128::from(EVENTS);
        println!(
            "{processes:6} processes: {} ns an event without the store, {} ns with it: it adds {} ns",
            each(figures(without).median),
            each(figures(with).median),
            each(figures(added).median)
        );
        for (what, query) in [
            ("one port of one host", Query { host: Prefix::parse("192.0.2.7"), port: Some(7), ..Query::default() }),
            ("a network, nothing matches", Query { host: Prefix::parse("198.51.100.0/24"), ..Query::default() }),
            ("a process", Query { pid: Some(NO_PROCESS + 7), ..Query::default() }),
        ] {
            let times =
                (0..200).map(|_| time(|| store.find(&query, Sight::All, |answer| black_box(answer).count > 0)).1);
            let figures = figures(times.collect());
            println!("       find {what}: {:?}, 99 of 100 {:?}", figures.median, figures.most);
        }
    }
}

/// Asks the event for all that a row of the store holds.
fn decode(event: &Event<'_>) {
    black_box((event.id(), event.event_type(), event.arch(), event.syscall(), event.success(), event.exit()));
    black_box((event.fd(), event.protocol(), event.sockaddr(), event.file(), event.args(), event.raw(), event.who()));
}

fn assemble(records: &[String], mut see: impl FnMut(&Event<'_>)) -> Duration {
    let mut assembler = Assembler::new("opensnitch", false);
    time(|| {
        for lines in records {
            for line in lines.lines() {
                assembler.push(line.as_bytes(), Duration::ZERO, &mut |event| see(&event));
            }
        }
    })
    .1
}

/// How long it takes.
fn time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
