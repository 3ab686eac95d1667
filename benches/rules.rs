//! What a `socket` and its `connect`, and a message on a connected socket, cost every program: without audit rules, with the
//! plain ones (`-S socket,connect`), and with ours. Run by `scripts/bench-rules`, which starts an auditd to drain the events.
//!
//! Every rule is narrowed to this very program (`-F exe=`), which ours are not in use: one field more to compare. The three
//! are measured in turn, round by round, so that the ratios hold when the machine's speed drifts. Draws `benches/rules.svg`.

#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a program for people")]

mod support;

use std::net::SocketAddrV4;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use opensnitch_audit::rules::{RuleSet, Scope, running_machine};
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket,
    socketpair,
};
use support::plot::Bars;

/// Few pairs at a time and a pause behind them: auditd carries some 13,000 events a second, and behind that every program
/// waits for it.
const PAIRS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(150);
const ROUNDS: usize = 15;

const KEY: &str = "opensnitch-bench";

fn main() {
    let exe = std::env::current_exe().unwrap();
    let narrowed = format!("-F exe={}", exe.display());
    let set = RuleSet::wanted(running_machine().unwrap(), KEY.parse().unwrap(), Scope::default(), 1);
    let ours = set.rules().iter().map(ToString::to_string).filter(|rule| rule.contains("always,exit"));
    let plain = format!("-a always,exit -F arch=b64 -S socket,connect {narrowed} -F key={KEY}");
    let sets: [(&str, Vec<String>); 3] = [
        ("without rules", Vec::new()),
        ("-S socket,connect", vec![plain]),
        ("ours", ours.map(|rule| rule.replace(" -F key=", &format!(" {narrowed} -F key="))).collect()),
    ];
    let (from, to) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::empty(), None).unwrap();
    let mut times = [const { [const { Vec::new() }; 3] }; 3];
    for _ in 0..ROUNDS {
        for ((_, rules), times) in sets.iter().zip(&mut times) {
            rules.iter().for_each(|rule| auditctl(rule));
            times[0].push(measure(local));
            times[1].push(measure(inet));
            times[2].push(measure(|| message(&from, &to)));
            rules.iter().for_each(|rule| auditctl(&rule.replacen("-a ", "-d ", 1)));
        }
    }
    println!("{:20} {:>16} {:>16} {:>16}", "a pair, median of 15", "AF_UNIX", "inet", "a message");
    let micros = |of_set: &[Vec<f64>; 3]| [0, 1, 2].map(|what| median(of_set[what].clone()) * 1e6);
    for ((name, _), of_set) in sets.iter().zip(&times) {
        let [local, inet, message] = micros(of_set);
        println!("{name:20} {local:>13.1} µs {inet:>13.1} µs {message:>13.2} µs");
    }
    let medians = times.each_ref().map(micros);
    let groups = [("a pair of AF_UNIX", 0), ("a pair of inet", 1), ("a message", 2)]
        .map(|(name, what)| (name, medians.iter().map(|of_set| of_set[what]).collect()));
    let bars = sets.each_ref().map(|(name, _)| *name);
    Bars { title: "What rules cost every program", y: "µs", bars: &bars, groups: &groups }.write("rules.svg");
    for (at, (name, _)) in sets.iter().enumerate().skip(1) {
        let [local, inet, message] = [0, 1, 2].map(|what| {
            median(times[at][what].iter().zip(&times[0][what]).map(|(with, without)| with / without).collect())
        });
        println!(
            "{name} costs {local:.2} times without rules on AF_UNIX, {inet:.2} times on inet, {message:.2} times a message"
        );
    }
}

/// Seconds a pair.
fn measure(pair: impl Fn()) -> f64 {
    let start = Instant::now();
    (0..PAIRS).for_each(|_| pair());
    let time = start.elapsed().as_secs_f64() / f64::from(PAIRS);
    sleep(PAUSE);
    time
}

fn local() {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let _ = connect(&socket, &SocketAddrUnix::new("/nonexistent").unwrap());
}

/// Of datagrams: a connect that sends nothing.
fn inet() {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    connect(&socket, &"127.0.0.1:9".parse::<SocketAddrV4>().unwrap()).unwrap();
}

/// Sent and taken: on a connected socket, as most are.
fn message(from: &OwnedFd, to: &OwnedFd) {
    send(from, b"hello", SendFlags::empty()).unwrap();
    recv(to, &mut [0; 8], RecvFlags::empty()).unwrap();
}

fn auditctl(rule: &str) {
    let done = Command::new("auditctl").args(rule.split(' ')).status().unwrap();
    assert!(done.success(), "auditctl {rule}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
