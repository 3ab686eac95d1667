//! Records parsed and events assembled a second on one core, beside the crate `linux-audit-parser` on the same bytes.
//!
//! Each round times all contenders one after the other, so that a machine that slows down slows all of them; the
//! ratios are medians over the rounds.

#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a program for people")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use opensnitch_audit::event::Assembler;
use opensnitch_audit::record::{Data, parse};
use opensnitch_audit::stream::Framer;

/// How often each contender passes over the corpus in one round.
const PASSES: usize = 4;
const ROUNDS: usize = 15;

fn main() {
    let mut bytes = Vec::new();
    for folder in ["debian12-auditd-3.0.9", "debian13-auditd-4.0.2"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        // Two files are execve arguments of 100 kB and more: nearly all memcpy, they would flatter.
        let flatters = |file: &Path| ["bigarg", "longargs"].iter().any(|name| file.to_string_lossy().contains(name));
        files.retain(|file| file.extension().is_some_and(|end| end == "log") && !flatters(file));
        for file in files {
            bytes.extend(fs::read(file).unwrap());
        }
    }
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    println!("{} records, {} bytes, {ROUNDS} rounds of {PASSES} passes", lines.len(), bytes.len());

    let contenders: [(&str, &dyn Fn() -> usize); 4] = [
        ("parse, header and fields", &|| lines.iter().filter(|line| parse_whole(line)).count()),
        ("parse, linux-audit-parser", &|| {
            lines.iter().filter(|line| linux_audit_parser::parse(line, true).is_ok()).count()
        }),
        ("parse, header and key", &|| lines.iter().filter(|line| parse_header(line)).count()),
        ("stream to events", &|| assemble(&bytes)),
    ];
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..PASSES {
                black_box((contender.1)());
            }
            times.push(start.elapsed());
        }
    }
    let records = lines.len() * PASSES;
    for ((name, run), times) in contenders.iter().zip(&times) {
        let median = median(times.clone());
        let rate = records as f64 / median.as_secs_f64() / 1e6;
        println!("{name:28} {rate:7.2} million records/s {:6.0} ns a record  ({})", 1e9 / rate / 1e6, run());
    }
    let ratios = |of: usize, to: usize| {
        let mut ratios: Vec<f64> =
            times[to].iter().zip(&times[of]).map(|(to, of)| to.as_secs_f64() / of.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    println!("parsing is {:.1} times as fast as linux-audit-parser", ratios(0, 1));
    println!("passing over what is not ours is {:.1} times as fast", ratios(2, 1));
    println!("framing, parsing and assembling together are {:.1} times as fast as its parsing alone", ratios(3, 1));
}

fn parse_whole(line: &[u8]) -> bool {
    let Ok(record) = parse(line.trim_ascii_end()) else { return false };
    match black_box(record.data()) {
        Data::Execve(execve) => {
            execve.chunks().for_each(|chunk| {
                black_box(chunk);
            });
        }
        data => {
            black_box(data);
        }
    }
    true
}

fn parse_header(line: &[u8]) -> bool {
    parse(line.trim_ascii_end()).is_ok_and(|record| {
        black_box(record.key());
        true
    })
}

fn assemble(bytes: &[u8]) -> usize {
    let mut framer = Framer::default();
    let mut assembler = Assembler::new("opensnitch", false);
    let mut events = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = framer.space();
        let taken = space.len().min(rest.len());
        space[..taken].copy_from_slice(&rest[..taken]);
        framer.filled(taken);
        rest = &rest[taken..];
        while let Some(line) = framer.line() {
            assembler.push(line, Duration::ZERO, &mut |event| {
                black_box(event);
                events += 1;
            });
        }
    }
    events
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
