//! Streams to events on one core, beside the crate `linux-audit-parser` that only parses the same bytes, and beside a bare
//! search for newlines, the least that any reader does; and beside libauparse, auditd's own library, where `gcc` and
//! `libauparse-dev` are there (`tests/auparse.c`): both of them ask for every field.
//!
//! Each round times all contenders one after the other, so that a machine that slows down slows all of them; the ratios are
//! medians over the rounds. With `--profile STREAM PASSES` our part runs alone, for a profiler: the difference
//! between two numbers of passes is what the stream costs.

#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a program for people")]

#[path = "support/rival.rs"]
mod rival;

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use audit_records::{Assembler, Event, Framer, Who, WhoBuf};
use rival::{Auparse, ratio};

const ROUNDS: usize = 15;
/// Few enough for the bytes to stay near the processor, as those are that the kernel hands over.
const EVENTS: u32 = 1_000;
/// How often each contender passes over them in one round.
const PASSES: u32 = 20;
/// What a reader takes from the socket at once, in bytes.
const READ: usize = 64 * 1024;

fn main() {
    let streams = [
        ("ENRICHED connect", connects("opensnitch", true)),
        ("RAW connect", connects("opensnitch", false)),
        ("another's ENRICHED connect", connects("another", true)),
    ];
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name, passes, ..] = &*arguments
        && flag == "--profile"
    {
        let (_, stream) = streams.iter().find(|(of, _)| of == name).unwrap();
        let passes: usize = passes.parse().unwrap();
        let mut framer = Framer::default();
        println!("{} events", (0..passes).map(|_| to_events(&mut framer, stream.as_bytes())).sum::<usize>());
        return;
    }
    let auparse = Auparse::build();
    for (name, stream) in &streams {
        let bytes = stream.as_bytes();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stream.log");
        fs::write(&file, bytes).unwrap();
        let mut framer = Framer::default();
        let mut contenders: [(&str, &mut dyn FnMut() -> usize); 3] = [
            ("to events", &mut || to_events(&mut framer, bytes)),
            ("newlines alone", &mut || memchr::memchr_iter(b'\n', bytes).count()),
            ("linux-audit-parser", &mut || {
                let lines = bytes.split_inclusive(|&byte| byte == b'\n');
                lines.filter(|line| black_box(linux_audit_parser::parse(line, true)).is_ok()).count()
            }),
        ];
        let mut times = vec![Vec::new(); contenders.len()];
        let mut auparse_times = Vec::new();
        for _ in 0..ROUNDS {
            for (contender, times) in contenders.iter_mut().zip(&mut times) {
                let start = Instant::now();
                for _ in 0..PASSES {
                    black_box((contender.1)());
                }
                times.push(start.elapsed());
            }
            auparse_times.extend(auparse.as_ref().map(|auparse| auparse.time(&file, PASSES)));
        }
        println!("{name}: {EVENTS} events of {} bytes", bytes.len() / EVENTS as usize);
        let rival = &times[2];
        let mut names: Vec<&str> = contenders.iter().map(|(name, _)| *name).collect();
        let mut measured: Vec<&Vec<Duration>> = times.iter().collect();
        if auparse.is_some() {
            names.push("libauparse");
            measured.push(&auparse_times);
        }
        for (contender, times) in names.iter().zip(measured.iter().copied()) {
            let nanoseconds = median(times.clone()).as_secs_f64() * 1e9 / f64::from(EVENTS * PASSES);
            println!(
                "  {contender:20} {nanoseconds:7.0} ns an event, {:5.2} million a second, {:6.2} times linux-audit-parser",
                1e3 / nanoseconds,
                ratio(rival, times)
            );
        }
        if auparse.is_some() {
            println!("  to events is {:.2} times libauparse", ratio(&auparse_times, &times[0]));
        }
    }
}

/// Connects of 50 processes.
fn connects(key: &str, enriched: bool) -> String {
    let mut stream = String::new();
    let interpreted = |text| if enriched { text } else { "" };
    for serial in 1..=EVENTS {
        let id = format!("msg=audit(1795344942.{:03}:{serial})", serial % 1000);
        let (pid, port) = (1000 + serial % 50, serial % 60_000);
        writeln!(
            stream,
            "type=SYSCALL {id}: arch=c000003e syscall=42 success=no exit=-115 a0=3 a1=7fff74306800 a2=10 a3=0 items=0 ppid=322 \
             pid={pid} auid=1000 uid=1000 gid=1000 euid=1000 suid=1000 fsuid=1000 egid=1000 sgid=1000 fsgid=1000 tty=pts0 ses=3 \
             comm=\"curl\" exe=\"/usr/bin/curl\" subj=unconfined key=\"{key}\"{}",
            interpreted(
                "\x1dARCH=x86_64 SYSCALL=connect AUID=\"alice\" UID=\"alice\" GID=\"alice\" EUID=\"alice\" SUID=\"alice\" \
                 FSUID=\"alice\" EGID=\"alice\" SGID=\"alice\" FSGID=\"alice\""
            )
        )
        .unwrap();
        writeln!(
            stream,
            "type=SOCKADDR {id}: saddr=0200{port:04X}C00002010000000000000000{}",
            interpreted("\x1dSADDR={ saddr_fam=inet laddr=192.0.2.1 lport=443 }")
        )
        .unwrap();
        writeln!(stream, "type=PROCTITLE {id}: proctitle=6375726C0068747470733A2F2F6578616D706C652E6F72672F").unwrap();
        writeln!(stream, "type=EOE {id}: ").unwrap();
    }
    stream
}

/// `framer` is as a reader has it: one for all that comes.
fn to_events(framer: &mut Framer, bytes: &[u8]) -> usize {
    let mut assembler = Assembler::new("opensnitch", false);
    let another = WhoBuf::new(Who::default());
    let mut events = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = framer.space();
        let taken = space.len().min(rest.len()).min(READ);
        space[..taken].copy_from_slice(&rest[..taken]);
        framer.filled(taken);
        rest = &rest[taken..];
        while let Some(line) = framer.line() {
            assembler.push(line, Duration::ZERO, &mut |event| {
                look(&event, another.as_who());
                events += 1;
            });
        }
    }
    events
}

/// What the service's store asks of every event of a process that it knows.
fn look(event: &Event<'_>, another: Who<'_>) {
    let who = event.who();
    black_box((event.id(), event.event_type(), event.success(), event.exit(), event.fd(), event.sockaddr()));
    black_box((who.pid(), who == another));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
