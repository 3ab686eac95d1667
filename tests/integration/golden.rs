//! Every recorded stream and the events it holds: `NAME.log` and `NAME.events.jsonl`.
//!
//! `UPDATE_GOLDEN=1 cargo test golden` writes the second anew; read the difference before you keep it.

use std::fs;

use serde_json::Value;

use crate::support::corpus::{decode, log, logs, without_interpretations};

/// The name of a login user whom the stream does not name is the machine's to tell.
fn forget_user_names(events: &mut [Value]) {
    for event in events {
        event.as_object_mut().unwrap().remove("UserName");
    }
}

#[test]
fn every_stream_holds_the_events_beside_it() {
    for path in logs() {
        let stream = fs::read(&path).unwrap();
        let (mut events, anomalies) = decode(&stream, "opensnitch");
        if !stream.contains(&0x1D) {
            forget_user_names(&mut events);
        }
        // These two have arguments of 100 kB and more.
        let is_long = path.to_string_lossy().contains("bigarg") || path.to_string_lossy().contains("longargs");
        assert_eq!(anomalies.is_empty(), !is_long, "{}: {anomalies}", path.display());
        let found: String = events.iter().map(|event| format!("{event}\n")).collect();
        let golden = path.with_extension("events.jsonl");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        let differ = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
        if let Some((found, expected)) = differ {
            let beginning = |line: &str| line.chars().take(2000).collect::<String>();
            panic!("{}:\n found    {}\n expected {}", golden.display(), beginning(found), beginning(expected));
        }
        assert_eq!(found.lines().count(), expected.lines().count(), "{}", golden.display());
    }
}

#[test]
fn interpretations_tell_nothing_but_the_login_users_name() {
    let is_enriched = |stream: &Vec<u8>| stream.contains(&0x1D);
    let streams: Vec<Vec<u8>> = logs().iter().map(|path| fs::read(path).unwrap()).filter(is_enriched).collect();
    assert!(streams.len() >= 20);
    for stream in streams {
        let [mut enriched, mut raw] = [&stream, &without_interpretations(&stream)].map(|stream| decode(stream, "").0);
        forget_user_names(&mut enriched);
        forget_user_names(&mut raw);
        assert_eq!(enriched, raw);
    }
}

#[test]
fn a_rule_with_two_keys_is_found_under_either() {
    for name in ["RAW-bind.log", "ENRICHED-bind.log"] {
        let stream = fs::read(log(name)).unwrap();
        let both = serde_json::json!(["other", "opensnitch"]);
        let is_bind = |event: &&Value| event["EventType"] == "bind";
        let (other, _) = decode(&stream, "other");
        assert!(other.len() == 2 && other.iter().all(|event| event["Keys"] == both && is_bind(&event)), "{other:?}");
        let (ours, _) = decode(&stream, "opensnitch");
        // Only under ours are the sockets seen that tell type and protocol.
        let serials = |events: &[Value]| events.iter().map(|event| event["Serial"].clone()).collect::<Vec<_>>();
        let ours: Vec<Value> = ours.iter().filter(is_bind).cloned().collect();
        assert_eq!(serials(&ours), serials(&other));
        assert!(ours.iter().all(|event| event["SocketType"] == "stream"), "{ours:?}");
        assert!(decode(&stream, "open").0.is_empty(), "a key is no prefix");
    }
}

#[test]
fn of_long_arguments_the_beginning_is_kept_and_said_to_be_cut() {
    for name in ["RAW-bigarg.log", "ENRICHED-bigarg.log", "RAW-longargs.log", "ENRICHED-longargs.log"] {
        let (events, anomalies) = decode(&fs::read(log(name)).unwrap(), "opensnitch");
        let cut: Vec<_> = events.iter().filter(|event| event["ArgsCut"] == true).collect();
        assert!(!cut.is_empty() && anomalies.contains("beyond a bound"), "{name}: {anomalies}");
        for event in cut {
            let bytes: usize =
                event["Args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().len() + 1).sum();
            assert!((3000..=4096).contains(&bytes), "{name}: {bytes}");
        }
    }
}

#[test]
fn a_log_without_ends_holds_the_same_events() {
    // audit.log on disk never has EOE.
    for name in ["RAW-net.log", "ENRICHED-useradd.log", "RAW-bigarg.log"] {
        let stream = fs::read(log(name)).unwrap();
        let lines = stream.split_inclusive(|&byte| byte == b'\n');
        let on_disk: Vec<u8> = lines.filter(|line| !line.starts_with(b"type=EOE")).flatten().copied().collect();
        assert!(on_disk.len() < stream.len());
        assert_eq!(decode(&on_disk, "opensnitch").0, decode(&stream, "opensnitch").0, "{name}");
    }
}
