//! Whatever arrives and however much of it: bounded, counted, answered.

use std::collections::HashMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use zbus::Variant;

use crate::support::{Client, Listener, Records, Subscriber, User, World, available, eventually, memory};

/// The resident size that nothing may drive the service beyond, in bytes: its bounds together and what the allocator keeps.
const MAX_RESIDENT: u64 = 160 * 1024 * 1024;

/// After whatever was sent, the next event is told as if nothing had been.
#[track_caller]
fn still_works(world: &mut World) {
    // What was torn before it may have eaten the first line.
    world.auditd.send("\n");
    let connect = Records::connect(443);
    world.auditd.send(connect.text());
    assert_eq!(world.root().wait_for_event_of(connect.pid)["DstPort"], 443);
    let resident = world.daemon.resident();
    assert!(resident < MAX_RESIDENT, "{resident} bytes");
}

/// Every line is accounted for, and every event of ours.
#[track_caller]
fn adds_up(client: &Client) {
    let mut last = Value::Null;
    eventually("counters that add up", || {
        last = client.property("Statistics");
        let count = |name: &str| last[name].as_u64().unwrap();
        // Beyond the lines that are no records, LinesMalformed has those too long to be lines.
        let lines = count("LinesRead") >= count("RecordsParsed")
            && count("LinesRead") <= count("RecordsParsed") + count("LinesMalformed");
        let signals = count("SignalsSent") + count("SignalsCoalesced") + count("SignalsLost");
        (lines && signals == count("EventsMatched")).then_some(())
    });
}

#[test]
fn a_flood_beyond_every_bound_is_cut_and_counted() {
    let Some(mut world) = World::start("keep_raw = true\nmax_events = 100") else { return };
    let root = world.root();

    // Events that never end.
    for _ in 0..2000 {
        let lines = Records::connect(1).lines();
        world.auditd.send(format!("{}\n", lines[0]));
    }
    still_works(&mut world);
    root.wait_for_counter("EventsIncomplete", 2000);
    root.wait_for_counter("EventsMatched", 2001);
    root.wait_for_counter("EventsCached", 100);
    assert_eq!(root.counter("EventsEvicted"), 1901);
    assert_eq!(root.counter("RecordsCut"), 0);

    // Records of one event, and their bytes.
    let many = (0..5000).fold(Records::connect(1), |records, _| records.and("PATH item=7 name=\"x\""));
    world.auditd.send(many.text());
    root.wait_for_event_of(many.pid);
    let cut = root.counter("RecordsCut");
    assert!((4000..5000).contains(&cut), "{cut}");
    let long = "x".repeat(8000);
    let heavy = (0..500).fold(Records::connect(1), |records, _| records.and(&format!("PATH item=7 name=\"{long}\"")));
    world.auditd.send(heavy.text());
    root.wait_for_event_of(heavy.pid);
    assert!(root.counter("RecordsCut") > cut + 400);
    still_works(&mut world);

    // Bytes of all events under way.
    for _ in 0..40 {
        let records =
            (0..50).fold(Records::connect(1), |records, _| records.and(&format!("PATH item=7 name=\"{long}\"")));
        world.auditd.send(records.unfinished());
    }
    still_works(&mut world);

    // Arguments: numbers, pieces, bytes.
    let cut = root.counter("RecordsCut");
    let wild = Records::execve(&["one", "two"])
        .and("EXECVE a4294967295=\"x\" a4294967296=\"x\" a99999999999999999999=\"x\" a8192=\"x\"")
        .and("EXECVE a2_len=4294967295 a2[4294967295]=\"x\" a2[1]=\"y\" argc=4294967295");
    world.auditd.send(wild.text());
    assert_eq!(root.wait_for_event_of(wild.pid)["Args"], serde_json::json!(["one", "two"]));
    // There are two, says the first record: what comes beyond is none of them.
    assert_eq!(root.counter("RecordsCut"), cut);
    still_works(&mut world);
    adds_up(&root);
}

#[test]
fn a_line_without_an_end_is_thrown_away() {
    let Some(mut world) = World::start("") else { return };
    still_works(&mut world);
    let root = world.root();
    let block = [b'x'; 64 * 1024];
    for _ in 0..500 {
        world.auditd.send(block);
    }
    still_works(&mut world);
    assert_eq!((root.counter("LinesMalformed"), root.counter("LinesTorn")), (1, 0));
    adds_up(&root);
}

#[test]
fn garbage_disturbs_nobody() {
    let Some(mut world) = World::start("") else { return };
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..6 {
        // Alone on a connection, and behind what makes it text.
        world.auditd.hang_up();
        world.auditd.accept();
        if round % 2 == 1 {
            still_works(&mut world);
        }
        for _ in 0..64 {
            let garbage: Vec<u8> = (0..2048).flat_map(|_| random().to_ne_bytes()).collect();
            world.auditd.send(garbage);
        }
        world.auditd.hang_up();
        world.auditd.accept();
        still_works(&mut world);
    }
    let table = [
        "type=",
        "type= msg=audit(",
        "type=SYSCALL msg=audit(1.000:1):",
        "node= type=SYSCALL msg=audit(1.000:1): pid=1",
        "type=SYSCALL msg=audit(16523210---): pid=1",
        "type=EOE msg=audit(18446744073709551615.999:4294967295): ",
        "type=SYSCALL msg=audit(1.000:1): key=\"opensnitch\" pid=-1 uid=x arch= syscall=9999999999 exit=\"\" comm= exe=",
        "type=SYSCALL msg=audit(1.000:1): ========= = = \"\"\" key=\"opensnitch",
        "type=EOE msg=audit(1.000:1): ",
        "\x1d\x1d\x1d",
        "type=SYSCALL\x1d msg=audit(1.000:1): ",
        "\0\0\0\0",
        "type=EXECVE msg=audit(1.000:2): a0=",
    ];
    for line in table {
        world.auditd.send(format!("{line}\n"));
    }
    still_works(&mut world);
    adds_up(&world.root());
}

#[test]
fn events_alike_become_one_signal_with_a_count() {
    let Some(mut world) = World::start("coalesce_ms = 3000") else { return };
    let monitor = Listener::monitor(&world.root());
    let alike = Records::connect(1);
    let other_port = Records::connect(2).pid(alike.pid);
    let other_type = Records::socket().pid(alike.pid);
    let other_pid = Records::connect(1);
    let four = [&alike, &other_port, &other_type, &other_pid];
    // The first of each kind is told at once, the others when the window closes.
    for records in four {
        world.auditd.send(records.again().text());
    }
    let seen = eventually("the first four", || Some(monitor.events_seen()).filter(|seen| seen.len() >= 4));
    assert!(seen.len() == 4 && seen.iter().all(|event| event["Count"] == 1), "{seen:?}");
    for _ in 0..6 {
        for records in four {
            world.auditd.send(records.again().text());
        }
    }
    let key = |event: &Value| (event["EventType"].clone(), event["Pid"].clone(), event.get("DstPort").cloned());
    let seen = eventually("four more", || Some(monitor.events_seen()).filter(|seen| seen.len() >= 8));
    assert_eq!(seen.len(), 8);
    for event in &seen[4..] {
        assert_eq!(event["Count"], 6, "{event}");
        assert_eq!(seen.iter().filter(|one| key(one) == key(event)).count(), 2);
    }
    let root = world.root();
    adds_up(&root);
    assert_eq!(
        (root.counter("SignalsSent"), root.counter("SignalsCoalesced"), root.counter("SignalsLost")),
        (8, 20, 0)
    );
}

#[test]
fn beyond_the_rate_every_event_is_counted_as_lost() {
    let Some(mut world) = World::start("coalesce_ms = 0\nsignals_per_second = 10") else { return };
    let root = world.root();
    let monitor = Listener::monitor(&root);
    for _ in 0..20 {
        let burst: String = (0..50).map(|_| Records::connect(1).text()).collect();
        world.auditd.send(burst);
    }
    root.wait_for_counter("EventsMatched", 1000);
    adds_up(&root);
    let told = || -> (u64, u64) {
        let count = |event: &Value| event["Count"].as_u64().unwrap();
        let lost = |arguments: &Value| arguments[0].as_u64().unwrap();
        (monitor.events_seen().iter().map(count).sum(), monitor.signals("EventsLost").iter().map(lost).sum())
    };
    eventually("all events, as seen or as lost", || {
        let (seen, lost) = told();
        assert!(seen + lost <= 1000, "{seen} + {lost}");
        (seen + lost == 1000).then_some(())
    });
    let (seen, lost) = told();
    assert!(seen >= 10 && lost >= 500, "{seen}, {lost}");
    assert_eq!((root.counter("SignalsSent"), root.counter("SignalsLost")), (seen, lost));
    assert_eq!(root.counter("EventsCached"), 1000, "the cache misses none");
}

#[test]
fn a_client_that_never_reads_disturbs_nobody() {
    if !available(&["dbus-monitor"]) {
        return;
    }
    let Some(mut world) = World::start("coalesce_ms = 0\nsignals_per_second = 10000\nkeep_raw = true") else { return };
    let rule = "type='signal',sender='org.opensnitch.Audit'";
    let stuck = Listener::subscribe(&world.client(User::Member), rule);
    let reads = Listener::subscribe(&world.client(User::Member), rule);
    eventually("two subscriptions", || {
        world.auditd.send(Records::connect(1).text());
        std::thread::sleep(Duration::from_millis(50));
        [&stuck, &reads].iter().all(|one| one.has_heard("member=EventSeen")).then_some(())
    });
    stuck.freeze();
    let padding = "x".repeat(6000);
    for _ in 0..2000 {
        world.auditd.send(Records::connect(1).and(&format!("PATH item=1 name=\"{padding}\"")).text());
    }
    let last = Records::connect(443);
    world.auditd.send(last.text());
    reads.wait_for(&format!("uint32 {}", last.pid));
    still_works(&mut world);
}

#[test]
fn whoever_introspects_is_no_stranger_for_long() {
    let Some(world) = World::start("") else { return };
    let monitor = Listener::monitor_of(&world.root(), "type='method_call',member='GetConnectionCredentials'");
    let alice = Subscriber::connect(&world.bus, User::Alice);
    let name = alice.connection.unique_name().unwrap().to_string();
    // A stranger gets 64 KiB, which is four answers, and others only once the bus has told who it is.
    alice.introspect().unwrap();
    monitor.wait_for(&format!("[\"{name}\"]"));
    for _ in 0..100 {
        alice.introspect().unwrap();
    }
}

#[test]
fn many_calls_at_once_are_answered_or_refused() {
    let Some(mut world) = World::start("") else { return };
    let all: String = (0..50).map(|_| Records::connect(1).text()).collect();
    world.auditd.send(all);
    let root = world.root();
    root.wait_for_counter("EventsCached", 50);
    let address = world.bus.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (answered, refused) = runtime.block_on(async {
        let address: zbus::Address = address.as_str().try_into().unwrap();
        let mut calls = tokio::task::JoinSet::new();
        // The bus itself lets each connection have 128 calls under way.
        for _ in 0..6 {
            let connection = zbus::connection::Builder::address(address.clone()).build().await.unwrap();
            for _ in 0..100 {
                let connection = connection.clone();
                calls.spawn(async move {
                    let (name, path) = (opensnitch_audit_client::NAME, opensnitch_audit_client::PATH);
                    let call = connection.call_method(Some(name), path, Some(name), "GetEvents", &());
                    match tokio::time::timeout(Duration::from_secs(60), call).await.expect("an answer") {
                        Ok(_) => true,
                        Err(error) => {
                            let error = error.to_string();
                            assert!(error.contains("LimitsExceeded") && error.contains("call again"), "{error}");
                            false
                        }
                    }
                });
            }
        }
        let answers = calls.join_all().await;
        (answers.iter().filter(|answered| **answered).count(), answers.iter().filter(|answered| !**answered).count())
    });
    assert_eq!(answered + refused, 600);
    assert!(answered > 0);
    still_works(&mut world);
}

/// Somebody who asks for more than makes sense.
struct Asks {
    connection: zbus::Connection,
}

impl Asks {
    /// The error that answers a call.
    async fn refusal<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> String
    where
        B: serde::Serialize + zbus::Type,
    {
        let call =
            self.connection.call_method(Some(opensnitch_audit_client::NAME), path, Some(interface), method, body);
        match tokio::time::timeout(Duration::from_secs(60), call).await.expect("an answer") {
            Err(error) => error.to_string(),
            Ok(answer) => panic!("{method}: {answer:?}"),
        }
    }

    async fn of_query(&self, key: &str, value: Variant<'_>) -> String {
        let (ours, path) = (opensnitch_audit_client::NAME, opensnitch_audit_client::PATH);
        self.refusal(path, ours, "FindEvents", &HashMap::from([(key, value)])).await
    }

    async fn of_setting(&self, path: &str, property: &str, value: Variant<'_>) -> String {
        let body = (opensnitch_audit_client::NAME, property, value);
        self.refusal(path, "org.freedesktop.DBus.Properties", "Set", &body).await
    }
}

#[test]
fn a_call_of_megabytes_is_refused_in_few_words() {
    let Some(mut world) = World::start("") else { return };
    let address = world.bus.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answers = runtime.block_on(async {
        let address: zbus::Address = address.as_str().try_into().unwrap();
        let asks = Asks { connection: zbus::connection::Builder::address(address).build().await.unwrap() };
        let (ours, path) = (opensnitch_audit_client::NAME, opensnitch_audit_client::PATH);
        let long = "x".repeat(7_000_000);
        let long = long.as_str();
        // Each of these becomes a value of its own, which takes much more room than it does on the bus.
        let many = || Variant::from(vec![""; 3_500_000]);
        [
            asks.of_query(long, Variant::from(1_u32)).await,
            asks.of_query("ProcPath", Variant::from(long)).await,
            asks.of_query("DstHost", Variant::from(long)).await,
            asks.of_query("EventType", many()).await,
            asks.of_query("EventType", Variant::from(vec!["bind"; 500_000])).await,
            asks.refusal(path, ours, "GetEventByConnection", &("tcp", long, 1_u16, "127.0.0.1", 1_u16)).await,
            asks.refusal(path, ours, "GetEventByPid", &long).await,
            asks.refusal(path, ours, "Diagnose", &long).await,
            asks.refusal(path, "org.freedesktop.DBus.Properties", "Get", &(ours, long)).await,
            asks.refusal(path, "org.freedesktop.DBus.Properties", "Get", &(ours, &long[..50_000])).await,
            asks.of_setting(path, &long[..50_000], Variant::from(1_u32)).await,
            asks.of_setting(path, "Version", many()).await,
            asks.of_setting("/", "Version", many()).await,
            asks.refusal(&format!("/{}", &long[..1_800]), ours, "Diagnose", &()).await,
            asks.refusal(path, &format!("x.{}", &long[..200]), "Diagnose", &()).await,
            asks.refusal(path, ours, &long[..200], &()).await,
        ]
    });
    for (case, error) in answers.iter().enumerate() {
        let repeated = error.matches('x').count();
        assert!(error.len() < 1024 && repeated < 110, "case {case}: {} bytes: {error:.300}", error.len());
    }
    let peak = peak(world.daemon.pid());
    assert!(peak < MAX_RESIDENT, "{peak} bytes");
    still_works(&mut world);
}

/// The most that a process had in memory so far, in bytes.
fn peak(pid: u32) -> u64 {
    memory(pid, "VmHWM")
}

#[test]
fn decode_reads_any_size_in_constant_memory() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_opensnitch-auditctl"))
        .args(["decode", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text: String = (0..500).map(|_| Records::connect(1).text()).collect();
    for _ in 0..100 {
        stdin.write_all(text.as_bytes()).unwrap();
    }
    let peak = peak(child.id());
    assert!(peak < 32 * 1024 * 1024, "{peak} bytes for {}", text.len() * 100);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
