//! What is asked and who may know.

use serde_json::{Value, json};

use crate::support::{CallError, INVALID, Key, NOT_FOUND, Records, User, World, eventually};

/// The keys of the contract and their types, as its document has them.
const KEYS: &str = "Timestamp t Serial u EventType s Pid u PPid u UID u Gid u EUid u EGid u OUid u OGid u UserName s \
    ProcName s ProcPath s ProcCmdLine s ProcDir s ProcMode s TTY s NetFamily s DstHost s DstPort q Success b Exit x \
    Syscall u INode t Dev s RawEvent s LastSeen t Args as SyscallName s Arch s Outcome s Error s DstPath s DstScope u \
    AuditUid u SessionId u Keys as Node s StartTime t Running b Unit s CGroup s Count t Sequence t ProcPathRaw ay \
    ProcDirRaw ay DstPathRaw ay Fd i SocketType s Protocol s Parents a(us) App s Container s ProcPathFrom s \
    MountNamespace b ArgsCut b Source s Certainty s Holders au";

fn pids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["Pid"].as_u64().unwrap()).collect()
}

#[test]
fn an_event_is_told_in_the_words_of_the_contract() {
    let Some(mut world) = World::start("keep_raw = true") else { return };
    let records = Records::connect(0x1F90)
        .uid(User::Alice.uid())
        .and("PATH item=0 name=\"/run/x\" inode=5000000000 dev=fd:01 mode=0140777 ouid=7 ogid=8 nametype=NORMAL");
    let lines = records.lines().join("\n").replace("auid=4294967295", "auid=60002").replace("tty=(none)", "tty=pts3");
    let lines = lines.replace("success=yes exit=0", "success=no exit=-115").replace("ses=4294967295", "ses=9");
    world.auditd.send(format!("{lines}\n"));
    let root = world.root();
    // Whether it runs is known a moment later.
    let row = eventually("a look at its process", || {
        root.event_of(records.pid).ok().filter(|row| row.get("Running").is_some())
    });
    let expected = json!({
        "Timestamp": records.time * 1000, "Serial": records.serial, "EventType": "connect", "Pid": records.pid,
        "PPid": 1, "UID": 60001, "Gid": 60001, "EUid": 60001, "EGid": 60001, "OUid": 7, "OGid": 8, "UserName": "bob",
        "ProcName": "client", "ProcPath": "/usr/bin/client", "ProcPathFrom": "record", "ProcCmdLine": "client", "ProcDir": "/",
        "ProcMode": "0140777", "TTY": "pts3", "NetFamily": "inet", "DstHost": "127.0.0.1", "DstPort": 8080,
        "Success": false, "Exit": -115, "Fd": 2, "Outcome": "in-progress", "Syscall": 42, "SyscallName": "connect",
        "Arch": "x86_64", "INode": 5_000_000_000_u64, "Dev": "fd:01", "Args": ["client"], "AuditUid": 60002,
        "SessionId": 9, "Keys": ["opensnitch"], "RawEvent": lines, "Source": "audisp", "Running": false,
        "Parents": row["Parents"], "Count": 1,
        "LastSeen": row["LastSeen"], "Sequence": 1,
    });
    assert_eq!(row, expected);
    // The record's parent is there still, as on every machine.
    assert_eq!(row["Parents"][0][0], 1);
    let seen = row["LastSeen"].as_u64().unwrap();
    assert!(seen >= records.time * 1000 && seen < records.time * 1000 + 60_000_000, "{seen}");
}

#[test]
fn a_login_has_the_name_that_the_record_tells_or_that_this_machine_has() {
    let Some(mut world) = World::start("") else { return };
    // Before the type, behind the record, and the name.
    let table = [
        ("", "", Some("bob")),
        ("", "\x1dAUID=\"carol\"", Some("carol")),
        ("node=elsewhere ", "\x1dAUID=\"carol\"", Some("carol")),
        // Another machine's users are not ours, whatever their numbers.
        ("node=elsewhere ", "", None),
    ];
    for (node, interpretations, name) in table {
        let records = Records::connect(1);
        let text = records.text().replace("auid=4294967295", "auid=60002").replace("type=", &format!("{node}type="));
        world.auditd.send(text.replacen('\n', &format!("{interpretations}\n"), 1));
        let event = world.root().wait_for_event_of(records.pid);
        assert_eq!(event.get("UserName").map(|name| name.as_str().unwrap()), name, "{node}{interpretations}");
    }
}

#[test]
fn every_value_has_the_type_of_the_contract() {
    let Some(mut world) = World::start("keep_raw = true") else { return };
    let words: Vec<&str> = KEYS.split_whitespace().collect();
    let types: Vec<(&str, &str)> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let path = Records::connect(1).exe("/bin/x\u{fc}").and("SOCKADDR saddr=010000FF01");
    // Two SOCKADDR records: the first one counts, so it goes.
    let text = path.text().replace("saddr=020000017F0000010000000000000000", "saddr=01002F78FF00");
    let text = text.replace("exe=\"/bin/x\u{fc}\"", "exe=2F62696E2FFF").replace("cwd=\"/\"", "cwd=2FFE");
    let v6 = Records::connect6("fe80::1".parse().unwrap(), 1, 2).text();
    let v6 = v6.replace("type=", "node=vm type=").replace("success=yes exit=0", "success=no exit=-111");
    let mine = Records::connect(1).pid(std::process::id());
    for text in [text, v6, mine.text()] {
        world.auditd.send(text);
    }
    let root = world.root();
    eventually("three events, one of a process", || {
        let rows = root.events();
        (rows.len() == 3 && rows[0].get("StartTime").is_some()).then_some(())
    });
    let reply = root.call("GetEvents", &[]).unwrap();
    let mut met = Vec::new();
    for row in reply[0].as_array().unwrap() {
        for (key, value) in row.as_object().unwrap() {
            let expected = types.iter().find(|(name, _)| name == key);
            assert_eq!(expected.map(|(_, one)| *one), value["type"].as_str(), "{key}");
            met.push(key.clone());
        }
    }
    for key in ["DstPathRaw", "ProcPathRaw", "ProcDirRaw", "DstScope", "Node", "Error", "StartTime", "CGroup"] {
        assert!(met.iter().any(|one| one == key), "{key}");
    }
    let rows = root.events();
    assert_eq!(rows[2]["ProcPath"], "/bin/\\xff");
    assert_eq!(rows[2]["ProcPathRaw"], json!(b"/bin/\xff"));
    assert_eq!(rows[2]["DstPath"], "/x\\xff");
    assert_eq!(rows[2]["DstPathRaw"], json!(b"/x\xff"));
    assert_eq!((&rows[1]["DstHost"], &rows[1]["DstScope"]), (&json!("fe80::1"), &json!(2)));
}

#[test]
fn queries_choose_by_every_key() {
    let Some(mut world) = World::start("") else { return };
    let a = Records::connect(80).uid(1).exe("/bin/a");
    let b = Records::connect(443).uid(2).exe("/bin/b");
    let b = b.clone().at(b.time + 1_000_000);
    let c = Records::socket().uid(1).exe("/bin/a");
    let d = Records::connect6("::1".parse().unwrap(), 53, 0).uid(3).exe("/bin/d");
    let d6 = d.text().replace("ppid=1 ", "ppid=77 ");
    for text in [a.text(), b.text(), c.text(), d6] {
        world.auditd.send(text);
    }
    let root = world.root();
    let [a_pid, b_pid, c_pid, d_pid] = [&a, &b, &c, &d].map(|records| u64::from(records.pid));
    root.wait_for_event_of(d.pid);
    let since = (b.time * 1000).to_string();
    let pid = a.pid.to_string();
    let table: &[(&[Key], &[u64])] = &[
        (&[], &[d_pid, c_pid, b_pid, a_pid]),
        (&[("Pid", "u", &pid)], &[a_pid]),
        (&[("PPid", "u", "77")], &[d_pid]),
        (&[("UID", "u", "1")], &[c_pid, a_pid]),
        (&[("ProcPath", "s", "/bin/a")], &[c_pid, a_pid]),
        (&[("ProcPath", "s", "/bin/")], &[]),
        (&[("EventType", "s", "socket")], &[c_pid]),
        (&[("EventType", "s", "bind")], &[]),
        (&[("NetFamily", "s", "inet6")], &[d_pid]),
        (&[("NetFamily", "s", "inet")], &[c_pid, b_pid, a_pid]),
        (&[("DstHost", "s", "127.0.0.1")], &[b_pid, a_pid]),
        (&[("DstHost", "s", "0:0:0:0:0:0:0:1")], &[d_pid]),
        (&[("DstPort", "q", "443")], &[b_pid]),
        (&[("Unit", "s", "x.service")], &[]),
        (&[("Since", "t", &since)], &[b_pid]),
        (&[("UID", "u", "1"), ("EventType", "s", "connect")], &[a_pid]),
        (&[("Limit", "u", "2")], &[d_pid, c_pid]),
        (&[("Limit", "u", "1000"), ("UID", "u", "2")], &[b_pid]),
    ];
    for (query, expected) in table {
        assert_eq!(pids(&root.find(query).unwrap().0), *expected, "{query:?}");
    }
}

#[test]
fn a_wrong_query_is_refused_and_named() {
    let Some(world) = World::start("") else { return };
    let table: [(&[Key], &str); 27] = [
        (&[("Pidd", "u", "1")], "Pidd"),
        (&[("pid", "u", "1")], "pid"),
        (&[("", "u", "1")], "\"\""),
        (&[("Pid", "s", "1")], "Pid"),
        (&[("Pid", "i", "1")], "Pid"),
        (&[("PPid", "t", "1")], "PPid"),
        (&[("UID", "q", "1")], "UID"),
        (&[("ProcPath", "u", "1")], "ProcPath"),
        (&[("EventType", "s", "listen")], "EventType"),
        (&[("EventType", "u", "1")], "EventType"),
        (&[("NetFamily", "u", "2")], "NetFamily"),
        (&[("DstHost", "s", "localhost")], "DstHost"),
        (&[("DstHost", "s", "192.0.2.0/33")], "DstHost"),
        (&[("DstHost", "s", "2001:db8::/129")], "DstHost"),
        (&[("DstHost", "s", "192.0.2.0/x")], "DstHost"),
        (&[("NetFamily", "s", "ipv4")], "NetFamily"),
        (&[("Outcome", "s", "done")], "Outcome"),
        (&[("Until", "u", "1")], "Until"),
        (&[("AuditUid", "s", "root")], "AuditUid"),
        (&[("Protocol", "u", "6")], "Protocol"),
        (&[("App", "u", "6")], "App"),
        (&[("DstPort", "u", "80")], "DstPort"),
        (&[("Since", "u", "1")], "Since"),
        (&[("Limit", "u", "0")], "Limit"),
        (&[("Limit", "u", "1001")], "Limit"),
        (&[("Cursor", "u", "1")], "Cursor"),
        (&[("UID", "u", "1"), ("Limit", "t", "10")], "Limit"),
    ];
    for (query, named) in table {
        for user in [User::Root, User::Alice] {
            let CallError { name, message } = world.client(user).find(query).unwrap_err();
            assert_eq!(name, INVALID, "{query:?}: {message}");
            assert!(message.contains(named), "{query:?}: {message}");
        }
    }
}

#[test]
fn pages_follow_each_other_to_the_end() {
    let Some(mut world) = World::start("") else { return };
    let all: Vec<Records> = (0..30).map(|_| Records::connect(1)).collect();
    world.auditd.send(all.iter().map(Records::text).collect::<String>());
    let root = world.root();
    root.wait_for_counter("EventsCached", 30);
    let expected: Vec<u64> = all.iter().rev().map(|records| u64::from(records.pid)).collect();
    assert_eq!(pids(&root.events()), expected);
    for limit in [1, 7, 10, 29, 30, 31, 1000] {
        let (mut found, mut cursor, mut pages) = (Vec::new(), 0, 0);
        loop {
            let (limit, cursor_text) = (limit.to_string(), cursor.to_string());
            let (rows, next) = root.find(&[("Limit", "u", &limit), ("Cursor", "t", &cursor_text)]).unwrap();
            assert!(!rows.is_empty() && (rows.len() as u64) <= limit.parse().unwrap());
            found.extend(pids(&rows));
            (cursor, pages) = (next, pages + 1);
            if cursor == 0 {
                break;
            }
            if limit == "7" && pages == 2 {
                // What comes in between belongs to no page of this walk.
                world.auditd.send(Records::connect(1).pid(all[0].pid - 1).text());
                root.wait_for_event_of(all[0].pid - 1);
            }
        }
        found.retain(|pid| *pid != u64::from(all[0].pid - 1));
        assert_eq!(found, expected, "{limit}");
        assert!(limit == 1000 || pages >= 30_usize.div_ceil(limit), "{limit}");
    }
}

#[test]
fn each_user_sees_own_rows_and_the_group_all() {
    let Some(mut world) = World::start("") else { return };
    let of = |user: User| Records::connect(1).uid(user.uid());
    let [root_s, alice_s, bob_s, member_s] = [User::Root, User::Alice, User::Bob, User::Member].map(of);
    let all = [&root_s, &alice_s, &bob_s, &member_s];
    for records in all {
        world.auditd.send(records.text());
    }
    world.root().wait_for_event_of(member_s.pid);
    let every: Vec<u64> = all.iter().rev().map(|records| u64::from(records.pid)).collect();
    let table = [
        (User::Root, every.clone()),
        (User::Member, every),
        (User::Alice, vec![u64::from(alice_s.pid)]),
        (User::Bob, vec![u64::from(bob_s.pid)]),
    ];
    for (user, expected) in table {
        let client = world.client(user);
        assert_eq!(pids(&client.events()), expected, "{user:?}");
        assert_eq!(pids(&client.find(&[]).unwrap().0), expected, "{user:?}");
        for records in all {
            let answer = client.event_of(records.pid);
            if expected.contains(&u64::from(records.pid)) {
                assert_eq!(answer.unwrap()["Pid"], records.pid, "{user:?}");
            } else {
                // As if it were not there.
                let there = answer.unwrap_err();
                let not_there = client.event_of(4_999_999).unwrap_err();
                assert_eq!(there.name, NOT_FOUND, "{user:?}");
                let about = |error: &CallError, pid: u32| error.message.replace(&pid.to_string(), "PID");
                assert_eq!(about(&there, records.pid), about(&not_there, 4_999_999), "{user:?}");
            }
        }
        // A query is no way around it: neither for rows nor for the cursor.
        let bobs = client.find(&[("UID", "u", &User::Bob.uid().to_string()), ("Limit", "u", "1")]).unwrap();
        assert_eq!(bobs.0.len(), usize::from(user != User::Alice), "{user:?}");
        assert_eq!(bobs.1, 0, "{user:?}");
        assert_eq!(client.event_of(4_999_999).unwrap_err().name, NOT_FOUND);
        assert_eq!(client.property("Connected"), true);
    }
}

#[test]
fn a_call_that_does_not_exist_is_refused() {
    let Some(world) = World::start("") else { return };
    let root = world.root();
    let name = |method: &str, arguments: &[&str]| root.call(method, arguments).unwrap_err().name;
    assert_eq!(name("GetEventsByPid", &["u", "1"]), "org.freedesktop.DBus.Error.UnknownMethod");
    assert_eq!(name("GetEventByPid", &["s", "1"]), INVALID);
    assert_eq!(name("GetEventByPid", &[]), INVALID);
    assert_eq!(name("FindEvents", &["a{ss}", "0"]), INVALID);
}

#[test]
fn statistics_have_the_names_of_the_contract() {
    let Some(world) = World::start("") else { return };
    let statistics = world.root().property("Statistics");
    for name in [
        "LinesRead",
        "LinesMalformed",
        "LinesTorn",
        "RecordsParsed",
        "EventsAssembled",
        "EventsIncomplete",
        "EventsMatched",
        "EventsCached",
        "EventsEvicted",
        "EventsRemembered",
        "EventsForgotten",
        "OldestEvent",
        "EventsRecalled",
        "JournalSent",
        "JournalLost",
        "SignalsSent",
        "SignalsCoalesced",
        "SignalsLost",
        "Reconnects",
        "SerialGaps",
        "EventsUnsaved",
        "MulticastOverruns",
        "Since",
        "LastLoss",
        "KernelLostSince",
    ] {
        assert!(statistics[name].is_u64(), "{name}");
    }
    // The kernel may not tell its own.
    assert_eq!(statistics.get("KernelLost").is_some(), statistics.get("KernelBacklog").is_some());
    assert_eq!(world.root().property("Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(world.root().property("Source"), "audisp");
}

#[test]
fn a_reply_stays_small_and_the_cursor_leads_to_the_rest() {
    let Some(mut world) = World::start("") else { return };
    // Arguments of 4 kB are a row of 8 kB and more: as arguments and as command line.
    const EVENTS: u64 = 1500;
    let argument = "x".repeat(4000);
    let all: Vec<Records> = (0..EVENTS).map(|_| Records::execve(&[&argument])).collect();
    for records in &all {
        world.auditd.send(records.text());
    }
    let root = world.root();
    root.wait_for_counter("EventsMatched", EVENTS);
    assert_eq!((root.counter("EventsCached"), root.counter("EventsEvicted")), (EVENTS, 0));
    let first = root.events();
    assert!((700..EVENTS as usize).contains(&first.len()), "{}", first.len());
    assert_eq!(first[0]["Args"][0], argument);
    let found = pids(&root.walk(&[], 1000, || ()));
    assert_eq!(found, all.iter().rev().map(|records| u64::from(records.pid)).collect::<Vec<_>>());
}
