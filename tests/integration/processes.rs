//! What `/proc` knows of the process behind an event.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::support::{Process, Records, World, eventually};

/// A process whose arguments were read, and its event: of one process that is not tried again, where a busy machine takes too
/// long.
#[track_caller]
fn with_arguments(
    world: &mut World,
    start: impl Fn() -> Process,
    records: impl Fn(u32) -> Records,
) -> (Process, serde_json::Value) {
    let root = world.root();
    eventually("arguments that are read", || {
        let process = start();
        // What the record itself tells of them is shorter.
        let told = process.arguments().len();
        world.auditd.send(records(process.pid()).text());
        let event = eventually("a visit", || {
            root.event_of(process.pid()).ok().filter(|event| event.get("StartTime").is_some())
        });
        let is_read = event.get("ArgsCut").is_some() || event["Args"].as_array().is_some_and(|args| args.len() == told);
        is_read.then_some((process, event))
    })
}

#[test]
fn a_running_process_is_known() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    // No PROCTITLE, no EXECVE: nothing tells the arguments but /proc.
    let (process, event) = with_arguments(&mut world, Process::start, |pid| Records::socket().pid(pid));
    let pid = process.pid();
    assert_eq!(event["StartTime"], process.start_time());
    assert_eq!(event["Running"], true);
    assert_eq!(event["Args"], json!(["sleep", "1000"]));
    assert_eq!(event["ProcCmdLine"], "sleep 1000");
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroups.lines().any(|line| line.ends_with(&format!(":{}", event["CGroup"].as_str().unwrap()))));
    drop(process);
    let event = root.event_of(pid).unwrap();
    assert_eq!(event["Running"], false);
}

#[test]
fn the_unit_is_the_cgroups() {
    let process = Process::start();
    let pid = process.pid();
    let place = format!("/proc/{pid}/cgroup");
    let Some(mut world) = World::start_where("", |folder, namespace| {
        let cgroup = folder.join("cgroup");
        fs::write(&cgroup, "0::/system.slice/ntp.service\n").unwrap();
        namespace.with(&cgroup, &place)
    }) else {
        return;
    };
    let other = Process::start();
    for pid in [pid, other.pid()] {
        world.auditd.send(Records::connect(1).pid(pid).text());
    }
    let root = world.root();
    let event = eventually("a unit", || root.event_of(pid).ok().filter(|event| event.get("Unit").is_some()));
    assert_eq!((&event["Unit"], &event["CGroup"]), (&json!("ntp.service"), &json!("/system.slice/ntp.service")));
    let found = root.find(&[("Unit", "s", "ntp.service")]).unwrap().0;
    assert_eq!(found.iter().map(|row| &row["Pid"]).collect::<Vec<_>>(), [&json!(pid)]);
}

#[test]
fn arguments_come_from_the_best_source() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let ended = Records::connect(1);
    // A title is cut: what is in /proc is better, while the program runs.
    let titled = |pid| Records::connect(1).pid(pid).title("sleep");
    let (process, event) = with_arguments(&mut world, Process::start, titled);
    let pid = process.pid();
    assert_eq!(event["Args"], json!(["sleep", "1000"]));
    // The process had another program then: what is in /proc now is that one's.
    world.auditd.send(Records::connect(2).pid(pid).title("sh\x00-c").text());
    eventually("a visit", || {
        let event = root.event_of(pid).ok().filter(|event| event["DstPort"] == 2)?;
        (event["Args"] == json!(["sh", "-c"]) && event.get("StartTime").is_some()).then_some(())
    });
    world.auditd.send(Records::execve(&["what", "it was", ""]).pid(pid).text());
    eventually("a visit", || {
        let event = root.event_of(pid).ok().filter(|event| event["EventType"] == "execve")?;
        (event["Args"] == json!(["what", "it was", ""]) && event.get("StartTime").is_some()).then_some(())
    });
    world.auditd.send(ended.text());
    assert_eq!(root.wait_for_event_of(ended.pid)["Args"], json!(["client"]));
}

#[test]
fn an_ended_process_is_told_from_its_events() {
    let Some(mut world) = World::start("") else { return };
    let ended = Records::socket();
    world.auditd.send(ended.text());
    let root = world.root();
    // An event is there before somebody has looked.
    let event = eventually("a look", || root.event_of(ended.pid).ok().filter(|event| event.get("Running").is_some()));
    assert_eq!(event["Running"], false);
    for unknown in ["StartTime", "Unit", "CGroup", "Args", "ProcCmdLine"] {
        assert!(event.get(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn a_pid_that_comes_again_is_another_process() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let old = Process::start();
    let pid = old.pid();
    for records in [Records::connect(1), Records::connect(2), Records::socket()] {
        world.auditd.send(records.pid(pid).text());
    }
    // The newest of each process and type.
    let of_pid = || root.events().into_iter().filter(|row| row["Pid"] == pid).collect::<Vec<_>>();
    let rows = eventually("both events of the old process", || {
        let rows = of_pid();
        (rows.len() == 2 && rows.iter().all(|row| row.get("StartTime").is_some())).then_some(rows)
    });
    assert_eq!((&rows[1]["EventType"], &rows[1]["Count"]), (&json!("connect"), &json!(2)));
    let old_start = rows[0]["StartTime"].as_u64().unwrap();
    drop(old);
    // No pid comes again at once: the kernel goes through all others first.
    sleep(Duration::from_millis(300));
    let new = Process::start_with(pid);
    world.auditd.send(Records::connect(3).pid(pid).text());
    let rows = eventually("the new process beside the old one", || {
        let rows = of_pid();
        (rows.len() == 3 && rows[0]["StartTime"] == new.start_time()).then_some(rows)
    });
    assert!(new.start_time() > old_start);
    assert_eq!((&rows[0]["DstPort"], &rows[0]["Count"]), (&json!(3), &json!(1)), "nothing of the old one's");
    assert_eq!((&rows[0]["Running"], &rows[2]["Running"]), (&json!(true), &json!(false)));
    assert_eq!((&rows[2]["StartTime"], &rows[2]["Count"]), (&json!(old_start), &json!(2)));
}

#[test]
fn a_pid_that_comes_again_is_another_process_than_one_nobody_saw_alive() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let old = Process::start();
    let pid = old.pid();
    drop(old);
    let ended = Records::socket().pid(pid);
    world.auditd.send(ended.text());
    let event = root.wait_for_event_of(pid);
    assert!(event.get("StartTime").is_none() || event["Running"] == false);
    // Audit's clock and that of a process's start agree to a tenth of a second.
    sleep(Duration::from_millis(300));
    let new = Process::start_with(pid);
    world.auditd.send(Records::connect(1).pid(pid).text());
    eventually("the new process beside the old one", || {
        let rows = root.find(&[("Pid", "u", &pid.to_string())]).unwrap().0;
        (rows.len() == 2 && rows[0]["StartTime"] == new.start_time() && rows[1]["Running"] == false).then_some(())
    });
}

#[test]
fn a_late_event_is_not_the_new_processs() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let before = Records::socket();
    sleep(Duration::from_millis(300));
    let new = Process::start();
    world.auditd.send(before.pid(new.pid()).text());
    let event = root.wait_for_event_of(new.pid());
    // Visits come in the order of the events: with the next one's, this one's is over, and it brought nothing.
    let marker = Process::start();
    world.auditd.send(Records::socket().pid(marker.pid()).text());
    eventually("a visit to the marker", || {
        root.event_of(marker.pid()).ok().filter(|event| event.get("StartTime").is_some())
    });
    assert_eq!(root.event_of(new.pid()).unwrap(), event);
    for unknown in ["StartTime", "CGroup", "Args"] {
        assert!(event.get(unknown).is_none(), "{unknown}");
    }
    // Its process had ended before this one began.
    assert_eq!(event["Running"], false);
}

#[test]
fn a_long_command_line_of_a_living_process_is_whole() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let word = "x".repeat(100);
    let many: Vec<String> = (0..30).map(|at| format!("{at}{word}")).collect();
    let too_many: Vec<String> = (0..100).map(|at| format!("{at}{word}")).collect();
    for (words, cut) in [(many, false), (too_many, true)] {
        let script = ["-c", "read -r _", "sh"];
        let arguments: Vec<String> = ["sh"].iter().chain(&script).map(|&one| one.to_owned()).chain(words).collect();
        let start = || Process::of(Command::new("sh").args(&arguments[1..]).stdin(Stdio::piped()));
        // The kernel's record has the first 128 bytes.
        let title = arguments.join("\0");
        let titled = |pid| Records::connect(1).pid(pid).title(&title[..128]);
        let (_process, event) = with_arguments(&mut world, start, titled);
        let args: Vec<&str> = event["Args"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
        if cut {
            // Of more than 4 kB the beginning.
            let told = args.join("\0");
            assert!(title.starts_with(&told) && (3900..=4096).contains(&told.len()), "{}", told.len());
        } else {
            assert_eq!(args, arguments);
        }
        assert_eq!(event.get("ArgsCut").is_some(), cut, "{event}");
        assert_eq!(event["ProcCmdLine"], args.join(" "));
    }
    // Of one that has ended there is the record.
    let ended = Records::connect(1).title(&"y\0".repeat(64));
    world.auditd.send(ended.text());
    let event = root.wait_for_event_of(ended.pid);
    assert_eq!(event["Args"].as_array().unwrap().len(), 64);
}

/// What the service says of the program of an event that was made by this process's ring at that time.
#[track_caller]
fn program_of_ring(world: &mut World, records: &Records) -> Option<String> {
    let row = |root: &crate::support::Client| {
        let rows = root.find(&[("Pid", "u", &records.pid.to_string()), ("EventType", "s", "connect")]).unwrap().0;
        rows.into_iter().find(|row| row["Serial"] == records.serial && row.get("StartTime").is_some())
    };
    world.auditd.send(records.by_ring());
    let row = eventually("a visit", || row(&world.root()));
    assert_eq!(row.get("ProcPathFrom"), row.get("ProcPath").is_some().then(|| json!("proc")).as_ref());
    let is_bare = row.get("ProcName").is_none() && row.get("Args").is_none();
    assert!(row.get("ProcPath").is_some() || is_bare, "{row}");
    Some(row.get("ProcPath")?.as_str().unwrap().to_owned())
}

/// A shell that becomes another program when it is told to.
fn changing() -> Process {
    Process::of(Command::new("sh").args(["-c", "read -r _; exec cat"]).stdin(Stdio::piped()))
}

#[test]
fn what_a_ring_did_is_told_of_the_program_that_was_seen_before_and_after_it() {
    let Some(mut world) = World::start("") else { return };
    let mut process = changing();
    let pid = process.pid();
    let connect = || Records::connect(1).pid(pid);
    let shell = connect().exe;
    // The first that is heard of it.
    assert_eq!(program_of_ring(&mut world, &connect()).as_ref(), Some(&shell));
    // Its ring has done something, and before anybody looks it starts another program: nobody knows which one did it.
    let done = connect();
    process.tell("now");
    let other = eventually("another program", || Some(connect().exe).filter(|exe| *exe != shell));
    assert_eq!(program_of_ring(&mut world, &done), None);
    // Later only the other one can have done it.
    assert_eq!(program_of_ring(&mut world, &connect()).as_ref(), Some(&other));
    // A record that names a program is believed, and lends nobody else's arguments to it.
    let named = connect().exe(&shell).without("PROCTITLE");
    world.auditd.send(named.text());
    let event = eventually("the event", || {
        let rows = world.root().find(&[("Pid", "u", &pid.to_string())]).unwrap().0;
        rows.into_iter().find(|row| row["Serial"] == named.serial && row.get("StartTime").is_some())
    });
    assert_eq!((&event["ProcPath"], &event["ProcPathFrom"]), (&json!(shell), &json!("record")));
    assert!(event.get("Args").is_none(), "{event}");
}

#[test]
fn a_program_that_the_record_names_and_the_process_never_ran_lends_it_nothing() {
    let Some(mut world) = World::start("") else { return };
    let process = Process::start();
    let connect = || Records::connect(1).pid(process.pid());
    let before = connect();
    let named = connect().exe("/usr/bin/curl").without("PROCTITLE");
    world.auditd.send(named.text());
    eventually("a visit", || world.root().event_of(process.pid()).ok()?.get("StartTime").cloned());
    // It has run another program, by the record: what it did before it was seen to run this one may be that one's.
    assert_eq!(program_of_ring(&mut world, &before), None);
    assert!(program_of_ring(&mut world, &connect()).is_some());
}

#[test]
fn arguments_are_those_of_the_file_that_was_started() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let file = fs::metadata("/usr/bin/sleep").unwrap();
    let (device, inode) = (MetadataExt::dev(&file), MetadataExt::ino(&file));
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    for (inode, args) in [(inode, json!(["sleep", "1000"])), (inode + 1, json!(["sleep"]))] {
        let path = format!(
            "PATH item=0 name=\"/usr/bin/sleep\" inode={inode} dev={major:02x}:{minor:02x} mode=0100755 ouid=0"
        );
        // Of one process it is not tried again, where a busy machine takes too long.
        eventually("its arguments", || {
            let process = Process::start();
            // Nothing but the title tells the arguments, which is a beginning.
            let execve = Records::execve(&[]).pid(process.pid()).without("EXECVE").title("sleep").and(&path);
            world.auditd.send(execve.text());
            let event = eventually("a visit", || {
                root.event_of(process.pid()).ok().filter(|event| event.get("StartTime").is_some())
            });
            (event["Args"] == args).then_some(())
        });
    }
}

#[test]
fn a_path_of_another_file_system_than_the_machines_says_so() {
    let Some(mut world) = World::start("") else { return };
    let sleep = fs::canonicalize("/usr/bin/sleep").unwrap();
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let bound = format!("mount --bind {} /usr/bin/true && exec {nobody} /usr/bin/true 1000", sleep.display());
    let mut in_mounts = Command::new("unshare");
    in_mounts.args(["--mount", "--propagation=private", "sh", "-c", &bound]);
    // By root's word only here: in a user namespace of its own, everybody may.
    let mut in_root = Command::new("chroot");
    in_root.args(["--userspec=65534:65534", "/usr", "/bin/sleep", "1000"]);
    let mut here = Command::new("setpriv");
    here.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/sleep", "1000"]);
    for (mut command, exe, is_told) in
        [(in_mounts, "/usr/bin/true", true), (in_root, "/bin/sleep", true), (here, "/usr/bin/sleep", false)]
    {
        let process = Process::of(&mut command);
        eventually("the last program", || {
            let comm = fs::read_to_string(format!("/proc/{}/comm", process.pid())).unwrap();
            (comm == "true\n" || comm == "sleep\n").then_some(())
        });
        world.auditd.send(Records::connect(1).pid(process.pid()).exe(exe).uid(65_534).text());
        let event = eventually("a visit", || {
            world.root().event_of(process.pid()).ok().filter(|event| event.get("StartTime").is_some())
        });
        assert_eq!((&event["ProcPath"], &event["ProcPathFrom"]), (&json!(exe), &json!("record")));
        assert_eq!(event.get("MountNamespace"), is_told.then_some(&json!(true)), "{event}");
    }
}
