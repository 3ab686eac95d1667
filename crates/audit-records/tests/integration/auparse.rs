//! auditd's own library reads the same fields (`tests/auparse.c`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use audit_records::{Value, parse};

use crate::generated;
use crate::support::logs;

/// Names and values, in their order.
type Fields = Vec<(String, String)>;

/// By event, type of record, and how many of that type came before.
type Records = BTreeMap<(u32, String, usize), Fields>;

/// libauparse's program under this name; none where it cannot be built.
fn program(name: &str) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/auparse.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let built = Command::new("gcc").args(["-O2", "-o"]).arg(&program).arg(source).arg("-lauparse").output();
    if built.is_ok_and(|built| built.status.success()) {
        return Some(program);
    }
    assert!(std::env::var_os("OPENSNITCH_AUDIT_TEST_REQUIRE_ALL").is_none(), "gcc and libauparse-dev are needed");
    eprintln!("SKIPPED: gcc and libauparse-dev are needed");
    None
}

fn add(records: &mut Records, serial: u32, name: &str, fields: Fields) {
    let nth = (0..).find(|&nth| !records.contains_key(&(serial, name.to_owned(), nth))).unwrap();
    records.insert((serial, name.to_owned(), nth), fields);
}

fn theirs(program: &Path, log: &Path) -> Records {
    let output = Command::new(program).arg("fields").arg(log).output().unwrap();
    let mut records = Records::new();
    let mut record: Option<(u32, String, Fields)> = None;
    for line in output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line);
        let words: Vec<&str> = line.splitn(4, '\t').collect();
        let (serial, name, value) = (words[0], words[2], words[3]);
        if name == "type" {
            if let Some((serial, name, fields)) = record.take() {
                add(&mut records, serial, &name, fields);
            }
            record = Some((serial.parse().unwrap(), value.to_owned(), Vec::new()));
        } else if name != "node" {
            record.as_mut().unwrap().2.push((name.to_owned(), value.to_owned()));
        }
    }
    if let Some((serial, name, fields)) = record {
        add(&mut records, serial, &name, fields);
    }
    records
}

fn ours(log: &Path) -> Records {
    let mut records = Records::new();
    for line in fs::read(log).unwrap().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let record = parse(line).unwrap();
        let line = String::from_utf8_lossy(line);
        let name = line.split("type=").nth(1).unwrap().split(' ').next().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = record.fields().map(|(name, value)| (text(name), text(value.written()))).collect();
        add(&mut records, record.id.serial, name, fields);
    }
    records
}

/// What libauparse reads otherwise, each time in the last fields of a record.
fn is_known(ours: &[(String, String)], theirs: &[(String, String)]) -> bool {
    let same = ours.iter().zip(theirs).take_while(|(one, other)| one == other).count();
    let [(name, value)] = &ours[same..] else { return false };
    let theirs = &theirs[same..];
    match &**name {
        // Several keys of one rule: it makes a field of each. Both are right: ours is what the kernel wrote, and
        // `Who::keys` takes it apart.
        "key" => {
            let keys: Vec<&str> = theirs.iter().map(|(_, key)| key.trim_matches('"')).collect();
            theirs.iter().all(|(name, _)| name == "key")
                && Value::new(value.as_bytes()).text().as_deref() == Some(keys.join("\x01").as_bytes())
        }
        // The message of a program: it makes fields of the words in it. Ours is right: they are the program's claims, and
        // no fields of the kernel's.
        "msg" => theirs.iter().all(|(name, word)| value.contains(&format!("{name}={word}"))),
        _ => false,
    }
}

/// Compares all that libauparse reads; how many fields those were.
fn compare(program: &Path, log: &Path) -> usize {
    let ours = ours(log);
    let mut compared = 0;
    for (place, theirs) in theirs(program, log) {
        let ours = ours.get(&place).unwrap_or_else(|| panic!("{place:?} in {}", log.display()));
        assert!(*ours == theirs || is_known(ours, &theirs), "{place:?}:\n{ours:?}\n{theirs:?}");
        compared += ours.len();
    }
    compared
}

#[test]
fn auditds_own_library_reads_the_same() {
    let Some(program) = program("auparse") else { return };
    let compared: usize = logs().iter().map(|log| compare(&program, log)).sum();
    assert!(compared > 20_000, "{compared}");
}

#[test]
fn auditds_own_library_reads_generated_streams_the_same() {
    let Some(program) = program("auparse-generated") else { return };
    let log = program.with_extension("log");
    let mut compared = 0;
    for seed in 1..=10 {
        fs::write(&log, generated::stream(seed)).unwrap();
        compared += compare(&program, &log);
    }
    assert!(compared > 100_000, "{compared}");
}
