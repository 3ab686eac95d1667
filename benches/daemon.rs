//! The service as a whole: what it costs the machine, how long an event takes to its signal, and whether it gives its memory
//! back.
//!
//! Needs root and dbus-daemon. Processor time is the service's own, so the bench's part does not count.

#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a program for people")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use support::bench::{AUDITD, Bench, EVENTS, TICK, sleeper};
use support::records::{NO_PROCESS, connect, connect_of};
use support::rival::{Auparse, ratio};
use support::{Figures, figures};
use tokio::runtime::Runtime;
use zbus::{MatchRule, MessageStream};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    full_speed(&runtime);
    at_auditds_limit(&runtime);
    latency(&runtime);
    memory(&runtime);
}

/// Beside libauparse, which only reads the same bytes: in turn, so that a machine that slows down slows both.
fn full_speed(runtime: &Runtime) {
    const ROUNDS: usize = 5;
    const MANY: u32 = 400_000;
    const FEW: u32 = 10_000;
    let records = |count: u32| -> String { (0..count).map(|serial| of_the_dead(serial, 1_000)).collect() };
    let many = records(MANY);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("daemon.log");
    fs::write(&file, records(FEW)).unwrap();
    let auparse = Auparse::build();
    let [mut ours, mut others] = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        let mut bench = Bench::start("");
        let before = bench.processor_time();
        bench.send(many.as_bytes());
        runtime.block_on(bench.matched(MANY.into()));
        ours.push((bench.processor_time() - before) / MANY);
        others.extend(auparse.as_ref().map(|auparse| auparse.time(&file, MANY / FEW) / MANY));
    }
    let ratio = auparse.map(|_| ratio(&others, &ours));
    println!("at full speed, {MANY} events of 1,000 processes that ended, medians of {ROUNDS} turns:");
    for (what, times) in [("the service", ours), ("libauparse", others)] {
        if !times.is_empty() {
            let per_second = 1.0 / figures(times).median.as_secs_f64();
            println!("  {what:12} {per_second:7.0} events a second of processor time");
        }
    }
    if let Some(ratio) = ratio {
        println!("  the service is {ratio:.2} times libauparse");
    }
}

fn at_auditds_limit(runtime: &Runtime) {
    const SECONDS: u32 = 10;
    println!("at {AUDITD} events a second, {SECONDS} seconds long:");
    let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let null = || fs::File::open("/dev/null").unwrap().into();
    let mut living: Vec<Child> = (0..1_000).map(|_| sleeper(null())).collect();
    let pids: Vec<u32> = living.iter().map(Child::id).collect();
    let ended = |serial| of_the_dead(serial, 1_000);
    let of_the_living = |serial| connect_of(pids[serial as usize % pids.len()], serial, nowhere);
    // As auditd writes when it has a backlog, and as it writes when it has none.
    let one_by_one = Duration::from_micros(1);
    for (what, tick, event) in [
        ("1,000 ended processes:", TICK, &ended as &dyn Fn(u32) -> String),
        ("1,000 living processes:", TICK, &of_the_living),
        ("ended, one by one:", one_by_one, &ended),
        ("living, one by one:", one_by_one, &of_the_living),
    ] {
        let bench = Bench::start("");
        let events = AUDITD * SECONDS;
        let (start, before) = (Instant::now(), bench.processor_time());
        bench.pace(tick, events, AUDITD, event);
        runtime.block_on(bench.matched(events.into()));
        let share = 100.0 * (bench.processor_time() - before).as_secs_f64() / start.elapsed().as_secs_f64();
        let statistics = runtime.block_on(async { bench.audit().await.statistics().await.unwrap() });
        let [seen, gaps, visits] = ["EventsMatched", "SerialGaps", "VisitsLost"].map(|name| statistics[name]);
        println!(
            "  {what:23} {share:4.1} % of a core; {seen} of {events} events seen, {gaps} missing, \
             {visits} looks at /proc left out"
        );
    }
    for child in &mut living {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A thousand events a second by default settings: one in ten is the first of its kind, and signalled at once. Beside each of
/// these the bench sends a signal of its own.
fn latency(runtime: &Runtime) {
    const EVENTS: u32 = 5_000;
    let mut bench = Bench::start("");
    let (ours, alone) = runtime.block_on(async {
        let (listener, sender) = (bench.connection().await, bench.connection().await);
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).build().unwrap();
        let mut signals =
            MessageStream::for_match_rule(rule, &listener, Some(NonZero::new(1024).unwrap())).await.unwrap();
        let received = tokio::spawn(async move {
            let mut received: HashMap<(bool, u32), Instant> = HashMap::new();
            while let Ok(Some(Ok(message))) = tokio::time::timeout(Duration::from_secs(2), signals.next()).await {
                let now = Instant::now();
                match message.header().member().map(|member| member.as_str()) {
                    Some("EventSeen") => {
                        let (_, _, event): (String, String, opensnitch_audit_client::Event) =
                            message.body().deserialize().unwrap();
                        received.insert((true, event.serial.unwrap()), now);
                    }
                    Some("Tick") => {
                        received.insert((false, message.body().deserialize().unwrap()), now);
                    }
                    _ => {}
                }
            }
            received
        });
        let mut sent = HashMap::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        for serial in 0..EVENTS {
            ticks.tick().await;
            let is_first = serial % 10 == 0;
            let pid = if is_first { NO_PROCESS + serial } else { NO_PROCESS + 1 };
            if is_first {
                sent.insert((false, serial), Instant::now());
                sender.emit_signal(None::<&str>, "/", "org.example.Bench", "Tick", &serial).await.unwrap();
                sent.insert((true, serial), Instant::now());
            }
            bench.send(connect(serial, pid, 7, 80).as_bytes());
        }
        let received = received.await.unwrap();
        let times = |ours: bool| {
            let of = sent.iter().filter(|((is_ours, _), _)| *is_ours == ours);
            figures(of.filter_map(|(key, at)| Some(received.get(key)?.duration_since(*at))).collect())
        };
        (times(true), times(false))
    });
    println!("at 1,000 events a second, from the record's last byte to the first signal of its kind:");
    for (what, Figures { median, most }) in [("EventSeen", ours), ("a signal of the bus alone", alone)] {
        println!("  {what:26} median {median:8.1?}, 99 of 100 {most:8.1?}");
    }
}

fn memory(runtime: &Runtime) {
    let mut bench = Bench::start("max_events = 65536");
    let idle = bench.resident();
    bench.feed(0, EVENTS, EVENTS);
    runtime.block_on(bench.matched(EVENTS.into()));
    sleep(Duration::from_secs(10));
    let full = bench.resident();
    println!("memory, resident: {idle} kB idle, {full} kB with {EVENTS} events of as many processes");
    let rows = runtime.block_on(async {
        let audit = bench.audit().await;
        for _ in 0..20 {
            audit.get_events().await.unwrap();
        }
        audit.statistics().await.unwrap()["EventsCached"]
    });
    let during = bench.resident();
    sleep(Duration::from_secs(10));
    println!("  {rows} entries in the cache; {during} kB after 20 lists, {} kB ten seconds later", bench.resident());
    let before = bench.resident();
    bench.feed(EVENTS, 4 * EVENTS, EVENTS);
    runtime.block_on(bench.matched(u64::from(EVENTS) * 5));
    let during = bench.resident();
    sleep(Duration::from_secs(10));
    println!(
        "  {before} kB, {during} kB after a flood of {} more, {} kB ten seconds later",
        4 * EVENTS,
        bench.resident()
    );
}

fn of_the_dead(serial: u32, processes: u32) -> String {
    connect(serial, NO_PROCESS + serial % processes, (serial % 251) as u8, (serial % 60_000) as u16)
}
