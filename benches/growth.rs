//! How the service behaves as its work grows: over the number of processes, and over the number of events a second. Draws
//! `benches/processes.svg` and `benches/latency.svg`.

#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, reason = "a program for people")]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use support::bench::Bench;
use support::plot::Plot;
use support::records::{NO_PROCESS, connect};
use support::{figures, taken};
use tokio::runtime::Runtime;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    over_processes(&runtime);
    over_rate(&runtime);
}

fn over_processes(runtime: &Runtime) {
    let mut lines =
        ["a thousand events a second of processor time", "resident memory (MB)", "GetEventByPid (µs)", "Ping (µs)"]
            .map(|name| (name.to_owned(), Vec::new()));
    println!(
        "| processes | events a second of processor time | resident | GetEventByPid | Ping |\n| --- | --- | --- | --- | --- |"
    );
    for processes in [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        let mut bench = Bench::start("");
        let events = processes.max(200_000);
        let before = bench.processor_time();
        bench.feed(0, events, processes);
        runtime.block_on(bench.matched(events.into()));
        let rate = f64::from(events) / (bench.processor_time() - before).as_secs_f64();
        let (call, ping) = runtime.block_on(async {
            let (audit, peer) = (bench.audit().await, bench.peer().await);
            let last = NO_PROCESS + (events - 1) % processes;
            let (mut calls, mut pings) = (Vec::new(), Vec::new());
            for _ in 0..500 {
                pings.push(taken(async { peer.ping().await.unwrap() }).await);
                calls.push(taken(async { audit.get_event_by_pid(last).await.unwrap() }).await);
            }
            (figures(calls).median, figures(pings).median)
        });
        let resident = bench.resident() as f64 / 1000.0;
        println!("| {processes} | {rate:.0} | {resident:.1} MB | {call:.0?} | {ping:.0?} |");
        let values = [rate / 1000.0, resident, micros(call), micros(ping)];
        for ((_, points), value) in lines.iter_mut().zip(values) {
            points.push((f64::from(processes), value));
        }
    }
    Plot { title: "As processes grow", x: "processes", y: "", lines: &lines }.write("processes.svg");
}

fn over_rate(runtime: &Runtime) {
    let mut lines = ["99 of 100", "median"].map(|name| (name.to_owned(), Vec::new()));
    println!("\n| events a second | to the signal, median | 99 of 100 |\n| --- | --- | --- |");
    for per_second in [10, 100, 1_000, 5_000, 10_000, 20_000] {
        let mut bench = Bench::start("signals_per_second = 10000");
        let figures = runtime.block_on(latency(&mut bench, per_second));
        println!("| {per_second} | {:.1?} | {:.1?} |", figures.median, figures.most);
        for ((_, points), time) in lines.iter_mut().zip([figures.most, figures.median]) {
            points.push((f64::from(per_second), micros(time)));
        }
    }
    let title = "From a record's last byte to its signal";
    Plot { title, x: "events a second", y: "µs", lines: &lines }.write("latency.svg");
}

/// Of at most a hundred first events of their kind a second, among as many as that of others.
async fn latency(bench: &mut Bench, per_second: u32) -> support::Figures {
    let events = (per_second * 5).min(50_000);
    let every = (per_second / 100).max(1);
    let audit = bench.audit().await;
    let mut signals = audit.receive_event_seen().await.unwrap();
    let received = tokio::spawn(async move {
        let mut received: HashMap<u32, Instant> = HashMap::new();
        while let Ok(Some(signal)) = tokio::time::timeout(Duration::from_secs(2), signals.next()).await {
            let now = Instant::now();
            received.entry(signal.args().unwrap().event.serial.unwrap()).or_insert(now);
        }
        received
    });
    let mut sent = HashMap::new();
    let start = Instant::now();
    for serial in 0..events {
        let due = start + Duration::from_secs(1) * serial / per_second;
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let is_first = serial % every == 0;
        bench.send(connect(serial, NO_PROCESS + if is_first { serial } else { 1 }, 7, 80).as_bytes());
        if is_first {
            sent.insert(serial, Instant::now());
        }
    }
    let received = received.await.unwrap();
    figures(sent.iter().filter_map(|(serial, at)| Some(received.get(serial)?.saturating_duration_since(*at))).collect())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
