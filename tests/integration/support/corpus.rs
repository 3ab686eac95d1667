//! The recorded streams.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// All logs, in order.
pub(crate) fn logs() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let folders = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> = folders
        .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    assert!(logs.len() >= 40, "the corpus is not whole");
    logs
}

/// One log by its name in Debian 12's folder.
pub(crate) fn log(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/debian12-auditd-3.0.9").join(name)
}

/// What `opensnitch-auditctl decode --json` makes of a stream, an object an event, and what it says beside.
pub(crate) fn decode(stream: &[u8], key: &str) -> (Vec<Value>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_opensnitch-auditctl"))
        .args(["decode", "--json", "--key", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(stream).unwrap());
        child.wait_with_output().unwrap()
    });
    // 3: there was no such event.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (events, String::from_utf8(output.stderr).unwrap())
}

/// A stream without auditd's interpretations.
pub(crate) fn without_interpretations(stream: &[u8]) -> Vec<u8> {
    let lines = stream.split_inclusive(|&byte| byte == b'\n');
    lines
        .flat_map(|line| line.split(|&byte| byte == 0x1D || byte == b'\n').next().unwrap().iter().chain(b"\n"))
        .copied()
        .collect()
}
