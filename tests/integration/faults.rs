//! What may go wrong around the service, with the real one: it loses nothing silently, and is well again afterwards.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::support::{Daemon, Kind, PrivateBus, Process, Records, User, World, available, eventually, memory};

/// After whatever went wrong, the next event is told.
#[track_caller]
fn is_well(world: &mut World) {
    let connect = Records::connect(443);
    world.auditd.send(connect.text());
    assert_eq!(world.root().wait_for_event_of(connect.pid)["DstPort"], 443);
}

/// Sends events of this making, and waits until each is a row.
#[track_caller]
fn all_arrive(world: &mut World, events: usize, make: impl Fn(usize) -> String) {
    let before = world.root().counter("EventsMatched");
    for first in (0..events).step_by(500) {
        let text: String = (first..events.min(first + 500)).map(&make).collect();
        world.auditd.send(text);
    }
    world.root().wait_for_counter("EventsMatched", before + events as u64);
}

#[test]
fn a_hundred_thousand_events_without_an_end_are_all_told() {
    let Some(mut world) = World::start("") else { return };
    all_arrive(&mut world, 100_000, |_| format!("{}\n", Records::connect(1).lines()[0]));
    let root = world.root();
    assert_eq!((root.counter("EventsIncomplete"), root.counter("RecordsCut")), (100_000, 0));
    is_well(&mut world);
}

#[test]
fn a_stream_that_comes_byte_by_byte_is_the_same_stream() {
    let Some(mut world) = World::start("") else { return };
    let slow = Records::connect(7);
    for byte in slow.text().bytes() {
        world.auditd.send([byte]);
    }
    assert_eq!(world.root().wait_for_event_of(slow.pid)["DstPort"], 7);
    // And one that stops in the middle of a line keeps nobody waiting.
    world.auditd.send("type=SYSCALL msg=au");
    assert_eq!(world.root().events().len(), 1);
    world.auditd.restart();
    is_well(&mut world);
    assert_eq!(world.root().counter("LinesTorn"), 1);
}

/// A frame of the plugin's binary format: version, length of the header, type and length of the text, then the text.
fn frame(header: [u32; 4], text: &str) -> Vec<u8> {
    let mut frame: Vec<u8> = header.into_iter().flat_map(u32::to_ne_bytes).collect();
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[test]
fn empty_lines_and_frames_that_lie_cost_nothing() {
    let Some(mut world) = World::start("") else { return };
    for _ in 0..100 {
        world.auditd.send("\n".repeat(10_000));
        world.auditd.send("\r\n".repeat(10_000));
    }
    is_well(&mut world);
    let record = &Records::connect(1).lines()[0];
    let length = record.len() as u32;
    let headers = [
        [0, 16, 1300, length],
        [1, 0, 1300, length],
        [1, 15, 1300, length],
        [1, u32::MAX, 1300, length],
        [1, 16, 1300, 0],
        [1, 16, 1300, length - 1],
        [1, 16, 1300, length + 1],
        [1, 16, 1300, 8971],
        [1, 16, 1300, u32::MAX],
        [1, 16, u32::MAX, length],
        [u32::MAX; 4],
        [0; 4],
    ];
    for header in headers {
        // The first of a stream, and behind a good one.
        for good in [false, true] {
            world.auditd.restart();
            if good {
                world.auditd.send(frame([1, 16, 1300, length], record));
            }
            for _ in 0..100 {
                world.auditd.send(frame(header, record));
            }
        }
        world.auditd.restart();
        is_well(&mut world);
    }
}

#[test]
fn serials_and_clocks_that_jump_lose_no_event() {
    let Some(mut world) = World::start("") else { return };
    let now = Records::connect(1).time;
    // Back and forth between the epoch, the end of a 32-bit clock, next year, and now.
    let times = [now, 0, now + 31_536_000_000, 4_294_967_295_000, now - 1, 1];
    let serials = [u32::MAX, 1, 2_147_483_648, 5, 4, 3];
    all_arrive(&mut world, 3000, |number| {
        let mut records = Records::connect(1).at(times[number % times.len()] + number as u64);
        records.serial = serials[number / 7 % serials.len()];
        records.text()
    });
    let root = world.root();
    assert_eq!(root.counter("EventsIncomplete"), 0);
    // What is told is in order of arrival, whatever the clock said.
    let rows = root.find(&[("Limit", "u", "1000")]).unwrap().0;
    let sequences: Vec<u64> = rows.iter().map(|row| row["Sequence"].as_u64().unwrap()).collect();
    assert!(sequences.len() == 1000 && sequences.is_sorted_by(|newer, older| newer > older), "{sequences:?}");
    is_well(&mut world);
}

/// Runs a command among the mounts of the service.
fn among_its_mounts(world: &World, command: &[&str]) {
    let mounts = format!("--mount=/proc/{}/ns/mnt", world.daemon.pid());
    assert!(Command::new("nsenter").arg(mounts).args(command).status().unwrap().success(), "{command:?}");
}

#[test]
fn a_proc_that_vanishes_makes_nothing_up_and_may_come_back() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let (before, during) = (Process::start(), Process::start());
    let connect = |process: &Process| Records::connect(1).pid(process.pid());
    world.auditd.send(connect(&before).text());
    eventually("what /proc knows", || root.event_of(before.pid()).ok()?.get("StartTime").cloned());

    among_its_mounts(&world, &["mount", "-t", "tmpfs", "none", "/proc"]);
    world.auditd.send(connect(&during).text());
    let event = root.wait_for_event_of(during.pid());
    assert!(event.get("StartTime").is_none(), "{event}");
    // That it has ended is not known.
    is_well(&mut world);
    assert_ne!(root.event_of(during.pid()).unwrap().get("Running"), Some(&false.into()));
    assert_eq!(root.event_of(before.pid()).unwrap()["Running"], true);

    among_its_mounts(&world, &["umount", "/proc"]);
    world.auditd.send(connect(&during).text());
    eventually("what /proc knows again", || root.event_of(during.pid()).ok()?.get("StartTime").cloned());
    is_well(&mut world);
}

#[test]
fn a_log_on_a_full_disk_stops_nobody() {
    if !available(&[]) {
        return;
    }
    let bus = PrivateBus::start();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut world = World::on_logging_to(bus, "", full.into());
    // Each of these is logged.
    for _ in 0..3 {
        world.auditd.restart();
        is_well(&mut world);
    }
    world.daemon.kill(Signal::TERM);
    assert_eq!(world.daemon.wait().code(), Some(0));
}

#[test]
fn without_a_descriptor_left_it_lives_and_is_well_once_there_are_some() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    is_well(&mut world);
    let pid = Pid::from_raw(world.daemon.pid().cast_signed());
    let limit = |current: usize| {
        let current = Some(current as u64);
        let before = prlimit(pid, Resource::Nofile, Rlimit { current, maximum: Some(8192) });
        before.unwrap();
    };
    // No descriptor beyond those that are open.
    limit(world.daemon.descriptors());
    let process = Process::start();
    let events: Vec<Records> = (0..100).map(|_| Records::connect(1).pid(process.pid()).again()).collect();
    world.auditd.send(events.iter().map(Records::text).collect::<String>());
    let event = root.wait_for_event_of(process.pid());
    assert_ne!(event.get("Running"), Some(&false.into()), "it runs: {event}");
    is_well(&mut world);
    assert_ne!(root.event_of(process.pid()).unwrap().get("Running"), Some(&false.into()));
    assert!(root.call("Diagnose", &[]).is_ok() && !root.events().is_empty());
    let owner = ["ssqsq", "tcp", "127.0.0.1", "1", "127.0.0.1", "2"];
    assert!(root.call("GetEventByConnection", &owner).is_err());

    limit(8192);
    world.auditd.send(Records::connect(2).pid(process.pid()).text());
    eventually("what /proc knows", || root.event_of(process.pid()).ok()?.get("StartTime").cloned());
    // Nor is its socket to auditd lost for good where there was none for it.
    limit(world.daemon.descriptors() - 1);
    world.auditd.hang_up();
    root.wait_for_property("Connected", false);
    limit(8192);
    world.auditd.accept();
    root.wait_for_property("Connected", true);
    is_well(&mut world);
}

#[test]
fn without_memory_it_ends_at_once_and_is_well_when_it_is_started_again() {
    let Some(mut world) = World::start("") else { return };
    is_well(&mut world);
    // Less than the history alone takes. What the unit's limit does is the same from outside: the service is ended.
    let limit = memory(world.daemon.pid(), "VmData") + 4 * 1024 * 1024;
    let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
    prlimit(Pid::from_raw(world.daemon.pid().cast_signed()), Resource::Data, limit).unwrap();
    let argument = "x".repeat(3000);
    let mut events = (0..20_000).map(|_| Records::execve(&["x", &argument]).text());
    assert!(events.any(|event| !world.auditd.try_send(event)), "all of them fit");
    let status = world.daemon.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::ABORT.as_raw()), "{status}");
    world.daemon.wait_for_log("memory allocation of");
    is_well(&mut world.start_again());
}

#[test]
fn three_hundred_connections_are_all_served() {
    for kind in Kind::all() {
        let mut world = World::start_on(kind, "");
        is_well(&mut world);
        let before = world.daemon.descriptors();
        let crowd: Vec<_> = User::ALL.iter().flat_map(|user| [*user; 100]).collect();
        // The bus itself looks at who connects, one after the other.
        let streams: Vec<_> = crowd.iter().map(|user| user.connect(&world.bus)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connections = runtime.block_on(async {
            let mut calls = tokio::task::JoinSet::new();
            for (stream, user) in streams.into_iter().zip(crowd) {
                calls.spawn(async move {
                    let builder = zbus::connection::Builder::unix_stream(stream).user_id(user.uid());
                    let connection = builder.build().await.unwrap();
                    let audit = opensnitch_audit_client::AuditProxy::new(&connection).await.unwrap();
                    // A user has so many places, and who gets none is told to call again.
                    while let Err(error) = audit.get_events().await {
                        assert!(error.to_string().contains("LimitsExceeded"), "{kind:?}: {error}");
                    }
                    connection
                });
            }
            calls.join_all().await
        });
        is_well(&mut world);
        assert_eq!(connections.len(), 300, "{kind:?}");
        // Whatever was open by chance is closed, and nothing else is open.
        eventually("as few descriptors as before", || (world.daemon.descriptors() <= before).then_some(()));
        runtime.block_on(async { drop(connections) });
        is_well(&mut world);
    }
}

#[test]
fn after_the_bus_is_back_a_service_that_is_started_again_serves() {
    let Some(mut world) = World::start("") else { return };
    is_well(&mut world);
    world.bus.kill();
    assert_eq!(world.daemon.wait().code(), Some(1));
    world.bus.restart();
    let mut world = world.start_again();
    is_well(&mut world);
    assert_eq!(world.root().property("Connected"), true);
}

/// The threads of the service, by name.
fn threads(daemon: &Daemon) -> Vec<(u32, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let named = tasks.filter_map(|task| {
        let task = task.unwrap();
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, name.trim().to_owned()))
    });
    named.collect()
}

/// The symbol of a function of the standard library that panics and takes no arguments, `alloc::raw_vec::capacity_overflow`,
/// as the program has it: the names of compilers differ in what they put around it.
fn panicking_function() -> String {
    let program = fs::read(env!("CARGO_BIN_EXE_opensnitch-auditd")).unwrap();
    let symbols = program.split(|byte| *byte == 0).filter(|text| text.starts_with(b"_") && text.len() < 100);
    let wanted = symbols
        .filter_map(|text| str::from_utf8(text).ok())
        .find(|name| name.contains("5alloc7raw_vec17capacity_overflow"));
    wanted.unwrap().to_owned()
}

/// A debugger lets that thread run into a panic, which unwinds unless somebody ends it.
fn panic_in(daemon: &Daemon, thread: u32) {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-p", &daemon.pid().to_string()]);
    // One line of Python, where gdb itself has no word for it.
    let choose = format!("python [t.switch() for t in gdb.selected_inferior().threads() if t.ptid[1] == {thread}]");
    let call = format!("call ((void (*)(void)){})()", panicking_function());
    for command in [&choose, "set language c", &call] {
        gdb.args(["-ex", command]);
    }
    let output = gdb.stdin(Stdio::null()).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("No symbol"), "{output:?}");
}

#[test]
fn a_panic_in_any_thread_ends_the_service() {
    if !available(&["gdb"]) {
        return;
    }
    // The first thread has the name of the program, cut as the kernel does it.
    for name in ["opensnitch-audi", "tokio-rt-worker", "reader", "visitor", "title"] {
        let Some(mut world) = World::start("") else { return };
        world.reads_arguments();
        let found = threads(&world.daemon).into_iter().find(|(_, one)| one == name);
        let Some((thread, _)) = found else { panic!("no thread {name}: {:?}", threads(&world.daemon)) };
        panic_in(&world.daemon, thread);
        let status = world.daemon.wait();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(Signal::ABORT.as_raw()),
            "{name}: {status}"
        );
        world.daemon.wait_for_log("a part of the service panicked, and the service ends");
        // What starts it again is systemd: see the unit, and the booted machines.
        is_well(&mut world.start_again());
    }
}

#[test]
fn the_unit_starts_the_service_again_however_it_ends() {
    let unit = include_str!("../../systemd/opensnitch-audit.service");
    for line in ["Restart=on-failure", "StartLimitIntervalSec=0", "WatchdogSec=30s"] {
        assert!(unit.lines().any(|one| one == line), "{line}");
    }
}
