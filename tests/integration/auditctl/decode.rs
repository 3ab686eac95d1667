//! Logs, whatever they are packed in.

use std::fs;
use std::process::{Command, Stdio};

use super::Run;
use crate::support::{Records, corpus};

fn decode(arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opensnitch-auditctl"));
    Run::of(command.args(["--json", "decode"]).args(arguments).stdin(Stdio::null()))
}

#[test]
fn several_files_are_read_as_one_and_compressed_ones_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let event = Records::connect(443);
    let lines = event.lines();
    // A log that was rotated in the middle of an event.
    fs::write(path("1"), format!("{}\n", lines[0])).unwrap();
    fs::write(path("2"), format!("{}\n", lines[1..].join("\n"))).unwrap();
    let plain = decode(&[&path("1"), &path("2")]).objects();
    assert!(plain.len() == 1 && plain[0]["DstPort"] == 443 && plain[0]["Pid"] == event.pid, "{plain:?}");
    for program in ["gzip", "xz", "zstd"] {
        let packed = Command::new(program).arg("-c").arg(path("1")).output().unwrap();
        fs::write(path(program), packed.stdout).unwrap();
        assert_eq!(decode(&[&path(program), &path("2")]).objects(), plain, "{program}");
        let whole = fs::read(path(program)).unwrap();
        fs::write(path("half"), &whole[..whole.len() / 2]).unwrap();
        let half = decode(&[&path("half")]);
        assert!(half.code != Some(0) && half.said.contains("half"), "{program}: {half:?}");
    }
}

#[test]
fn the_journals_records_are_the_same_records() {
    let stream = Records::connect(443);
    let entry = |line: &String| {
        let (kind, rest) = line.strip_prefix("type=").unwrap().split_once(' ').unwrap();
        let text = rest.split_once("): ").map_or("", |(_, text)| text);
        let number = match kind {
            "SYSCALL" => 1300,
            "SOCKADDR" => 1306,
            "CWD" => 1307,
            "PROCTITLE" => 1327,
            _ => 1320,
        };
        serde_json::json!({
            "_TRANSPORT": "audit", "_AUDIT_TYPE": number.to_string(), "_AUDIT_TYPE_NAME": kind,
            "_AUDIT_ID": stream.serial.to_string(),
            "_SOURCE_REALTIME_TIMESTAMP": (stream.time * 1000).to_string(), "MESSAGE": format!("{kind} {text}"),
        })
    };
    let journal: String = stream.lines().iter().map(|line| format!("{}\n", entry(line))).collect();
    let (events, said) = corpus::decode(journal.as_bytes(), "opensnitch");
    assert_eq!((&events, said.as_str()), (&corpus::decode(stream.text().as_bytes(), "opensnitch").0, ""));
    assert_eq!(events.len(), 1);
}

#[test]
fn what_holds_no_record_is_said_and_fails() {
    for (file, code, said) in [
        ("/etc/passwd", 8, "/etc/passwd holds no audit record"),
        ("/dev/null", 8, "/dev/null holds no audit record"),
        ("-", 8, "standard input holds no audit record"),
    ] {
        let run = decode(&[file]);
        assert!(run.code == Some(code) && run.said.contains(said) && run.text.is_empty(), "{run:?}");
    }
    let log = corpus::log("RAW-bind.log");
    let run = decode(&["--key", "no-such-key", log.to_str().unwrap()]);
    assert!(run.code == Some(3) && run.said.contains("--key '' shows them"), "{run:?}");
}
