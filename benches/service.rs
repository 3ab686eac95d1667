//! The service on a bus of its own, fed by a socket in auditd's place: how long its answers take beside a Ping on the same
//! connection, and what it holds in memory.
//!
//! Needs root and dbus-daemon. The ratios are what to trust: all calls of one table are made in turn.

#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a program for people")]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use opensnitch_audit_client::{Protocol, Query};
use support::bench::{AUDITD, Bench, EVENTS, sleeper};
use support::records::{NO_PROCESS, connect_of};
use support::{Figures, figures, taken};
use tokio::runtime::Runtime;
use zbus::{MatchRule, Message, MessageStream};

const CALLS: usize = 2_000;

/// Whose events the records are.
const USER: u32 = 1000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut arguments = std::env::args().skip_while(|argument| argument != "--profile").skip(1);
    if let Some(calls) = arguments.next() {
        runtime.block_on(profile(calls.parse().unwrap(), &arguments.collect::<Vec<_>>()));
        return;
    }
    println!("memory, resident:");
    for processes in [1_000, EVENTS] {
        let mut bench = Bench::start("");
        let idle = bench.resident();
        bench.feed(0, EVENTS, processes);
        runtime.block_on(bench.matched(EVENTS.into()));
        thread::sleep(Duration::from_secs(1));
        println!("  {idle} kB idle, {} kB with {EVENTS} events of {processes} processes", bench.resident());
    }

    let mut bench = Bench::start("");
    bench.feed(0, EVENTS, 1_000);
    runtime.block_on(bench.matched(EVENTS.into()));
    // Somebody who holds a connection that the store knows.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (source, destination) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let mut holder = sleeper(stream.into());
    bench.send(connect_of(holder.id(), 2_000_000, destination).as_bytes());
    runtime.block_on(bench.matched(u64::from(EVENTS) + 1));

    println!("calls, {CALLS} of each in turn:");
    runtime.block_on(calls(&bench, holder.id(), source, destination, "10 processes with sockets"));
    let mut crowd: Vec<Child> = (0..10_000)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect("127.0.0.1:9").unwrap();
            sleeper(socket.into())
        })
        .collect();
    runtime.block_on(calls(&bench, holder.id(), source, destination, "10,000 processes with sockets"));
    for child in crowd.iter_mut().chain([&mut holder]) {
        let _ = child.kill();
        let _ = child.wait();
    }

    println!("calls of a user, {CALLS} of each in turn:");
    for (bench, events) in [(&filled(&runtime, 16), 16), (&bench, EVENTS)] {
        bench.as_user(USER, async |bench| user_calls(bench, &format!("with {events} events")).await);
    }
    let what = format!("while {AUDITD} events a second come");
    bench.in_storm(AUDITD, || bench.as_user(USER, async |bench| user_calls(bench, &what).await));

    let events = 4_096;
    println!("a list of {events} events, 50 in turn:");
    runtime.block_on(lists(&filled(&runtime, events)));

    println!("FindEvents in {EVENTS} events, 200 of each in turn:");
    runtime.block_on(finds(&bench));

    println!("while others walk through {EVENTS} events for what is not there:");
    let alone = runtime.block_on(beside(&mut bench, 0));
    let crowded = runtime.block_on(beside(&mut bench, 2));
    for (what, alone, crowded) in [("GetEventByPid", alone.0, crowded.0), ("Ping", alone.1, crowded.1)] {
        println!(
            "  {what:14} median {:?} alone, {:?} beside two; 99 of 100 {:?} and {:?}",
            alone.median, crowded.median, alone.most, crowded.most
        );
    }
    println!("  20,000 events arrive in {:?} alone, {:?} beside two", alone.2, crowded.2);
}

/// For a profiler, which is the command: so many GetEventByPid, and nothing else. See scripts/guard.
async fn profile(calls: u32, command: &[String]) {
    let mut bench = Bench::start_under(command, "");
    bench.feed(0, 1, 1);
    bench.matched(1).await;
    let audit = bench.audit().await;
    for _ in 0..calls {
        audit.get_event_by_pid(NO_PROCESS).await.unwrap();
    }
    bench.stop();
}

/// So many events, each of another process.
fn filled(runtime: &Runtime, events: u32) -> Bench {
    let mut bench = Bench::start("");
    bench.feed(0, events, events);
    runtime.block_on(bench.matched(events.into()));
    bench
}

/// As a user whose groups the service looks up, and who may see own events.
async fn user_calls(bench: &Bench, what: &str) {
    let (audit, peer) = (&bench.audit().await, &bench.peer().await);
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..CALLS {
        times[0].push(taken(peer.ping()).await);
        times[1].push(taken(async { audit.get_event_by_pid(NO_PROCESS + 7).await.unwrap() }).await);
    }
    println!("  {what}:");
    let [ping, by_pid] = times.map(figures);
    print("Ping", ping, ping);
    print("GetEventByPid", by_pid, ping);
}

/// Until the reply is here; what a client makes of it is its own affair. And the same list as a signal of somebody's who has it
/// ready: the bus looks at every value of it.
async fn lists(bench: &Bench) {
    let audit = bench.audit().await;
    let sender = bench.connection().await;
    let listener = audit.inner().connection();
    let ready = Message::signal("/", "org.example.Bench", "List").destination(listener.unique_name().unwrap().clone());
    let ready = ready.build(&audit.get_events().await.unwrap()).unwrap();
    let rule = MatchRule::builder().interface("org.example.Bench").build().unwrap();
    let mut lists = MessageStream::for_match_rule(rule, listener, None).await.unwrap();
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..50 {
        times[0].push(taken(async { audit.inner().call_method("GetEvents", &()).await.unwrap() }).await);
        let list = async {
            sender.send(&ready).await.unwrap();
            lists.next().await.unwrap().unwrap()
        };
        times[1].push(taken(list).await);
    }
    for (what, Figures { median, most }) in ["GetEvents", "the bus alone"].into_iter().zip(times.map(figures)) {
        println!("    {what:20} median {median:9.1?}, 99 of 100 {most:9.1?}");
    }
}

/// Each call in turn, so that what slows one slows all.
async fn calls(bench: &Bench, pid: u32, source: SocketAddr, destination: SocketAddr, among: &str) {
    let (audit, peer) = (&bench.audit().await, &bench.peer().await);
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..CALLS {
        times[0].push(taken(peer.ping()).await);
        times[1].push(taken(audit.get_event_by_pid(pid)).await);
        times[2].push(taken(async { audit.owner(Protocol::Tcp, source, destination).await.unwrap().unwrap() }).await);
    }
    println!("  among {among}:");
    let [ping, by_pid, by_connection] = times.map(figures);
    for (what, figures) in [("Ping", ping), ("GetEventByPid", by_pid), ("GetEventByConnection", by_connection)] {
        print(what, figures, ping);
    }
}

async fn finds(bench: &Bench) {
    let (audit, peer) = (&bench.audit().await, &bench.peer().await);
    let by_host = Query::new().dst_host("192.0.2.7").dst_port(7u16);
    let of_host = Query::new().dst_host("192.0.2.7");
    let nothing = Query::new().dst_host("198.51.100.0/24");
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..200 {
        times[0].push(taken(peer.ping()).await);
        times[1].push(taken(audit.find_events(&by_host)).await);
        times[2].push(taken(audit.find_events(&of_host)).await);
        times[3].push(taken(audit.find_events(&nothing)).await);
    }
    let [ping, rest @ ..] = times.map(figures);
    print("Ping", ping, ping);
    for (what, figures) in ["a host and port", "a host, 100 rows", "a network, no row"].into_iter().zip(rest) {
        print(what, figures, ping);
    }
}

/// `GetEventByPid`, `Ping` and the reader, beside so many who walk.
async fn beside(bench: &mut Bench, walkers: usize) -> (Figures, Figures, Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..walkers {
        let (audit, stop) = (bench.audit().await, stop.clone());
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                audit.find_events(&Query::new().unit("none.service")).await.unwrap();
            }
        }));
    }
    let (audit, peer) = (bench.audit().await, bench.peer().await);
    let (mut by_pid, mut ping) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        ping.push(taken(peer.ping()).await);
        by_pid.push(taken(audit.get_event_by_pid(NO_PROCESS + 7)).await);
    }
    let before = audit.statistics().await.unwrap()["EventsMatched"];
    let start = Instant::now();
    // Serials that were not there before: an event is taken once.
    bench.feed(u32::try_from(before).unwrap(), 20_000, 1_000);
    bench.matched(before + 20_000).await;
    let arrived = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    (figures(by_pid), figures(ping), arrived)
}

fn print(what: &str, figures: Figures, ping: Figures) {
    let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
    println!(
        "    {what:20} median {:9.1?}, 99 of 100 {:9.1?}: {:5.2} and {:5.2} times a Ping",
        figures.median,
        figures.most,
        ratio(figures.median, ping.median),
        ratio(figures.most, ping.most)
    );
}
