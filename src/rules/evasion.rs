//! What our rules see, and what they do not: the table in SECURITY.md, row by row, with the kernel's own audit.
//!
//! `evasion/evade.c` is the program of all rows. The rules are narrowed to that program, and the kernel's records come through
//! its multicast: whatever else runs on the machine, auditd too, is left alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use audit_records::{Address, Assembler, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::requests::{Change, Requests};
use super::*;
use crate::netlink::{Family, Group, Received};
use crate::testing::{may, say};

const TABLE: &str = include_str!("../../SECURITY.md");

/// A row of the table: the way, and what is seen of it under each set of rules.
struct Row {
    way: &'static str,
    seen: [&'static str; 3],
}

/// By default, and by each option of the configuration that asks for more; the columns of the table.
const SCOPES: [Scope; 3] = [
    Scope { local: false, execve: false, sends: false },
    Scope { local: false, execve: false, sends: true },
    Scope { local: true, execve: false, sends: false },
];

/// The rows that have a way of `evade`. An empty cell is as the first one.
fn rows() -> Vec<Row> {
    let rows = TABLE.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [_, way, default, sends, local] = cells[..] else { return None };
        let way = way.strip_prefix('`')?.strip_suffix('`')?;
        let or_default = |cell: &'static str| if cell.is_empty() { default } else { cell };
        Some(Row { way, seen: [default, or_default(sends), or_default(local)] })
    });
    rows.collect()
}

/// Nobody waits that long for what the kernel writes at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// `AUDIT_NLGRP_READLOG`: all records, for whoever may read them.
const READLOG: u32 = 1;

/// Bytes: what the machine does beside the test waits there, too.
const BUFFER: usize = 16 << 20;

/// The exit status of `evade` where a way does not exist here.
const ABSENT: i32 = 3;

/// The program, the rules that are narrowed to it, and what the kernel says of it.
struct Kernel {
    requests: Requests,
    records: Group,
    program: PathBuf,
    loaded: Vec<Vec<u8>>,
    /// The kernel's audit was off before.
    was_off: bool,
    _folder: tempfile::TempDir,
    /// One test at a time switches the kernel's audit on and off, whatever process it is of.
    _turn: File,
}

impl Kernel {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("evade");
        let built = match std::env::var("OPENSNITCH_AUDIT_TEST_PROGRAMS") {
            Ok(programs) => fs::copy(PathBuf::from(programs).join("evade"), &program).is_ok(),
            Err(_) => compile(&program),
        };
        if !may("root, cc and auditctl", rustix::process::geteuid().is_root() && built && auditctl("-s").is_some()) {
            return None;
        }
        let turn = File::create("/run/opensnitch-audit-test.lock").unwrap();
        turn.lock().unwrap();
        let mut requests = Requests::open().unwrap();
        // A container has no audit of its own: booted machines run this test too.
        let Ok(status) = requests.status() else {
            say("SKIPPED the table of evasions: the kernel's audit is not for this process");
            return None;
        };
        let records = Group::join(Family::Audit, READLOG, BUFFER).unwrap();
        let was_off = crate::netlink::word(&status, 1) == Some(0);
        Some(Self { requests, records, program, loaded: Vec::new(), was_off, _folder: folder, _turn: turn })
    }

    /// Has the rules of this scope in the kernel, for this program alone.
    fn load(&mut self, scope: Scope) {
        self.unload();
        let set = RuleSet::wanted(running_machine().unwrap(), key(), scope, u32::MAX);
        for rule in set.rules() {
            let bytes = rule.encode_for(self.program.to_str().unwrap());
            assert_eq!(self.requests.change(Change::Add, &bytes), Ok(Ok(())), "{rule}");
            self.loaded.push(bytes);
        }
        auditctl("-e 1");
    }

    fn unload(&mut self) {
        for bytes in self.loaded.drain(..) {
            let _ = self.requests.change(Change::Delete, &bytes);
        }
    }

    /// Goes that way, as an ordinary user where one can. The process in question; `None` where there is no such way here.
    fn go(&self, way: &str) -> Result<u32, String> {
        let mut why = String::new();
        for user in [&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"][..], &["env"]] {
            let mut command = Command::new(user[0]);
            let output = command.args(&user[1..]).arg(&self.program).arg(way).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            match output.status.code() {
                Some(0) => return Ok(said.lines().last().unwrap().parse().unwrap()),
                Some(ABSENT) => {}
                _ => panic!("evade {way}: {output:?}"),
            }
        }
        Err(why)
    }

    /// What the kernel said of each process until this one's connect; none where somebody switched its audit off.
    fn seen_until(&mut self, last: u32) -> Option<BTreeMap<u32, Vec<String>>> {
        let mut assembler = Assembler::new(key().as_str(), false);
        let mut seen: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        let start = Instant::now();
        while !seen.get(&last).is_some_and(|seen| seen.iter().any(|one| one.starts_with("connect"))) {
            assert!(start.elapsed() < PATIENCE, "the kernel's records did not come; so far {seen:?}");
            let mut note = |event: Event<'_>| {
                let of_process = seen.entry(event.who().subject().pid.unwrap()).or_default();
                of_process.push(words(&event));
            };
            if !self.wait() && self.is_off() {
                return None;
            }
            match self.records.receive().unwrap() {
                Received::Message(number, text) => assembler.push_message(number, text, start.elapsed(), &mut note),
                Received::Nothing => {}
                other => panic!("the kernel's records: {other:?}"),
            }
        }
        Some(seen)
    }

    fn is_off(&mut self) -> bool {
        self.requests.status().is_ok_and(|status| crate::netlink::word(&status, 1) == Some(0))
    }

    /// Whether a record came within a while.
    fn wait(&self) -> bool {
        let mut ready = [PollFd::new(&self.records, PollFlags::IN)];
        poll(&mut ready, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) != Ok(0)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.unload();
        // An auditd that came meanwhile wants it on.
        let has_auditd = self.requests.status().is_ok_and(|status| crate::netlink::word(&status, 3) != Some(0));
        if self.was_off && !has_auditd {
            auditctl("-e 0");
        }
    }
}

fn key() -> Key {
    "osnevade".parse().unwrap()
}

fn compile(program: &std::path::Path) -> bool {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/rules/evasion/evade.c");
    let flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-o"];
    Command::new("cc").args(flags).arg(program).arg(source).status().is_ok_and(|status| status.success())
}

fn auditctl(words: &str) -> Option<()> {
    let output = Command::new("auditctl").args(words.split(' ')).output().ok()?;
    output.status.success().then_some(())
}

/// An event in the words of the table.
fn words(event: &Event<'_>) -> String {
    let name = event.event_type().map_or("?", audit_records::EventType::name);
    match event.address() {
        Some(Address::Inet(host, 7007)) if host.octets() == [127, 0, 0, 77] => format!("{name} to it"),
        Some(_) => format!("{name} to another"),
        None => name.to_owned(),
    }
}

/// All that was seen of a process, each once. One without a destination says nothing beside the same with one.
fn summary(seen: &[String]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for one in seen {
        let is_told = seen.iter().any(|other| other.strip_prefix(one).is_some_and(|rest| rest.starts_with(" to ")));
        if !is_told && !words.contains(&one.as_str()) {
            words.push(one);
        }
    }
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

#[test]
fn the_table_of_evasions_is_what_the_kernel_says() {
    let Some(mut kernel) = Kernel::new() else { return };
    let rows = rows();
    let mut wrong = Vec::new();
    for (scope, column) in SCOPES.into_iter().zip(0..) {
        let (gone, seen) = loop {
            kernel.load(scope);
            let gone: Vec<_> = rows.iter().map(|row| (row, kernel.go(row.way))).collect();
            let last = kernel.go("connect").unwrap();
            if let Some(seen) = kernel.seen_until(last) {
                break (gone, seen);
            }
        };
        for (row, pid) in gone {
            let pid = match pid {
                Ok(pid) => pid,
                Err(why) => {
                    say(&format!("PASSED OVER, this machine cannot: {} ({why})", row.way));
                    continue;
                }
            };
            let found = summary(seen.get(&pid).map_or(&[], Vec::as_slice));
            // Kernels differ: a cell may name several.
            if !row.seen[column].split(" or ").any(|expected| expected == found) {
                wrong.push(format!("{} {scope:?}: {found}; the table says {}", row.way, row.seen[column]));
            }
        }
    }
    assert!(wrong.is_empty() && rows.len() > 30, "{} rows\n{}", rows.len(), wrong.join("\n"));
}
