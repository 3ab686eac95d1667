//! The rules of the kernel that the test runs on, against what auditctl(8) says of them.
//!
//! They change real rules, so they run only where `OPENSNITCH_AUDIT_TEST_KERNEL=1` says that the machine is there for
//! it, and say loudly when they do not. The test binary of the library is all that such a machine needs, with the filter
//! `rules::live`, as root, with auditctl in its path. `OPENSNITCH_AUDIT_TEST_LOCK=1` permits the one that makes the rules
//! immutable, after which no other test works until the next boot.

use std::{
    env,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::io::Errno;

use super::*;
use crate::testing::say;

const KEY: &str = "osntest";
const ALL: Scope = Scope { local: false, execve: true, sends: true };
/// Pids beyond the kernel's largest (`PID_MAX_LIMIT`), so that the rules leave nobody out.
const NOW: u32 = 5_000_000;
const EARLIER: u32 = 5_000_001;

/// There is one kernel.
static TURN: Mutex<()> = Mutex::new(());

/// The kernel for one test, without rules of ours before and after.
struct Bench {
    kernel: Kernel,
    foreign: Vec<Vec<&'static str>>,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new(test: &str) -> Option<Self> {
        if env::var("OPENSNITCH_AUDIT_TEST_KERNEL").as_deref() != Ok("1") {
            say(&format!("SKIPPED {test}: needs OPENSNITCH_AUDIT_TEST_KERNEL=1 and a machine to spare"));
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bench = Self { kernel: Kernel::open().unwrap(), foreign: Vec::new(), _turn: turn };
        assert_eq!(bench.kernel.unload(&wanted(NOW)), Ok(0), "rules of an earlier test");
        Some(bench)
    }

    /// Adds a rule of somebody else's until the test ends; whether this kernel and auditctl can have it.
    fn foreign(&mut self, rule: &'static str) -> bool {
        let words: Vec<&str> = rule.split(' ').collect();
        let added = Command::new("auditctl").args(&words).output().unwrap().status.success();
        if added {
            self.foreign.push(words);
        }
        added
    }

    /// The set, as far as this kernel supports it.
    fn supported(&mut self, set: RuleSet) -> RuleSet {
        let loaded = self.kernel.load(&set).unwrap();
        self.kernel.unload(&set).unwrap();
        set.without(&loaded.unsupported)
    }

    fn listed(&mut self) -> Vec<Vec<u8>> {
        self.kernel.list().unwrap().iter().map(|listed| listed.bytes().to_vec()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for mut words in self.foreign.drain(..) {
            words[0] = if words[0] == "-w" { "-W" } else { "-d" };
            let _ = Command::new("auditctl").args(words).output();
        }
        let _ = self.kernel.unload(&wanted(NOW));
    }
}

fn wanted(pid: u32) -> RuleSet {
    wanted_in(ALL, pid)
}

fn wanted_in(scope: Scope, pid: u32) -> RuleSet {
    RuleSet::wanted(running_machine().unwrap(), KEY.parse().unwrap(), scope, pid)
}

fn encoded(set: &RuleSet) -> Vec<Vec<u8>> {
    set.rules().iter().map(Rule::encode).collect()
}

fn count(rules: &[Rule]) -> u32 {
    u32::try_from(rules.len()).unwrap()
}

fn auditctl(words: &[&str]) -> String {
    let output = Command::new("auditctl").args(words).output().unwrap();
    assert!(output.status.success(), "auditctl {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What this auditctl knows of the io_uring list.
#[derive(Clone, Copy)]
struct Words {
    /// The list: since 3.1.
    list: bool,
    /// The operation sendmsg_zc: 4.0.2 does not, and leaves it out where it lists a rule.
    sendmsg_zc: bool,
}

impl Words {
    fn of(bench: &mut Bench) -> Self {
        Self {
            list: bench.foreign("-a never,io_uring -S openat2 -k osnprobe"),
            // 4.0.2 says that it adds this rule, too.
            sendmsg_zc: bench.foreign("-a never,io_uring -S sendmsg_zc -k osnprobe")
                && auditctl(&["-l"]).contains("-S sendmsg_zc"),
        }
    }

    /// As it lists the rule, if it does.
    fn listed(self, rule: &Rule) -> Option<String> {
        let text = rule.to_string();
        match (rule.needs(), self.sendmsg_zc) {
            (Some(Needs::IoUring), _) if !self.list => None,
            (Some(Needs::IoUring), false) => Some(text.replace(",sendmsg_zc", "")),
            _ => Some(text),
        }
    }
}

#[test]
fn auditctl_lists_our_rules_as_we_write_them() {
    let Some(mut bench) = Bench::new("auditctl_lists_our_rules_as_we_write_them") else { return };
    let words = Words::of(&mut bench);
    for local in [false, true] {
        let set = bench.supported(wanted_in(Scope { local, ..ALL }, NOW));
        bench.kernel.load(&set).unwrap();
        let ours: Vec<String> = set.rules().iter().filter_map(|rule| words.listed(rule)).collect();
        let listing = auditctl(&["-l"]);
        let key = format!(" -F key={KEY}");
        let known = |line: &&str| line.ends_with(&key) && (words.list || line.starts_with("-a always,exit"));
        assert_eq!(listing.lines().filter(known).collect::<Vec<_>>(), ours);
        // So that the next set stands in its own order.
        bench.kernel.unload(&set).unwrap();
    }
}

#[test]
fn auditctl_adds_the_same_bytes() {
    let Some(mut bench) = Bench::new("auditctl_adds_the_same_bytes") else { return };
    let words = Words::of(&mut bench);
    for local in [false, true] {
        let set = bench.supported(wanted_in(Scope { local, ..ALL }, NOW));
        let known = |rule: &&Rule| words.listed(rule) == Some(rule.to_string());
        let rules: Vec<Rule> = set.rules().iter().filter(known).cloned().collect();
        for rule in &rules {
            auditctl(&rule.to_string().split(' ').collect::<Vec<_>>());
            assert!(bench.listed().contains(&rule.encode()), "{rule}");
        }
        let missing = set.rules().len() - rules.len();
        assert_eq!(bench.kernel.load(&set).unwrap().added, u32::try_from(missing).unwrap());
        assert_eq!(bench.kernel.unload(&set), Ok(count(set.rules())));
    }
}

#[test]
fn load_and_unload_say_what_they_did() {
    let Some(mut bench) = Bench::new("load_and_unload_say_what_they_did") else { return };
    let set = wanted(NOW);
    assert_eq!(bench.kernel.state(&set), Ok(State::None));

    let first = bench.kernel.load(&set).unwrap();
    let set = set.without(&first.unsupported);
    assert_eq!((first.added, first.replaced), (count(set.rules()), 0));
    assert_eq!(bench.kernel.state(&set), Ok(State::All));
    let again = bench.kernel.load(&set);
    assert_eq!(again, Ok(Loaded { added: 0, replaced: 0, unsupported: Vec::new() }));

    // Somebody takes two away.
    let (gone, rest) = set.rules().split_at(2);
    for rule in gone {
        let delete = rule.to_string().replacen("-a", "-d", 1);
        auditctl(&delete.split(' ').collect::<Vec<_>>());
    }
    assert_eq!(bench.kernel.state(&set), Ok(State::Partly { missing: gone.to_vec() }));
    assert_eq!(bench.kernel.load(&set).unwrap().added, count(gone));
    assert_eq!(bench.kernel.state(&set.clone().without(rest)), Ok(State::All));

    assert_eq!(bench.kernel.unload(&set), Ok(count(set.rules())));
    assert_eq!(bench.kernel.unload(&set), Ok(0));
    assert_eq!(bench.kernel.state(&set), Ok(State::None));
}

#[test]
fn rules_of_an_earlier_run_are_replaced() {
    let Some(mut bench) = Bench::new("rules_of_an_earlier_run_are_replaced") else { return };
    let earlier = bench.supported(wanted_in(Scope { local: true, ..ALL }, EARLIER));
    let set = bench.supported(wanted_in(Scope::default(), NOW));
    bench.kernel.load(&earlier).unwrap();
    let loaded = bench.kernel.load(&set).unwrap();
    assert_eq!((loaded.added, loaded.replaced), (count(set.rules()), count(earlier.rules())));
    assert_eq!(bench.kernel.state(&set), Ok(State::All));
    assert_eq!(bench.kernel.unload(&set), Ok(count(set.rules())));
}

#[test]
fn foreign_rules_survive_everything() {
    let Some(mut bench) = Bench::new("foreign_rules_survive_everything") else { return };
    // Narrowed so that nobody feels them.
    let rules = [
        "-a always,exit -F arch=b64 -S socket -F a0=2 -F exe=/nonexistent -F key=osntestd",
        "-a always,exit -F arch=b64 -S socket -F a0=2 -F exe=/nonexistent -F key=osntest2",
        "-a always,exit -F arch=b64 -S socket -F a0=2 -F exe=/nonexistent -F key=sntest",
        "-a always,exit -F arch=b64 -S socket -F a0=2 -F exe=/nonexistent -F key=osntest",
        "-a always,exit -F arch=b64 -S bind -F exe=/nonexistent -F key=osntest",
        "-a always,exit -F arch=b64 -S bind -F exe=/nonexistent -k osntest -k more",
        "-a always,exit -F arch=b64 -S bind -F exe=/nonexistent -k more -k osntest",
        "-a always,exit -F arch=b64 -S bind -F exe=/nonexistent",
        "-a always,exit -F arch=b64 -S bind -F sessionid=4000000 -F key=osntest",
        "-a always,exit -F arch=b64 -S bind -F exe=/nonexistent -F subj_user=nobody_u -F key=osntest",
        "-a always,exit -F arch=b64 -S bind -F exe=/nonexistent -F obj_lev_low=s0 -F key=osntest",
        "-a always,exit -F arch=b64 -S bind -F exe=/nonexistent -C uid!=obj_uid -F key=osntest",
        "-a always,exclude -F msgtype=1999 -F pid=5000000",
        "-w /nonexistent -p wa -k osntest",
    ];
    for rule in rules {
        if !bench.foreign(rule) {
            say(&format!("PASSED OVER, this auditctl or kernel refuses it: {rule}"));
        }
    }
    assert!(bench.foreign.len() >= 10, "{:?}", bench.foreign);
    let foreign = bench.listed();
    assert!(foreign.len() >= bench.foreign.len());
    let survive = |bench: &mut Bench, ours: &RuleSet, after: &str| {
        let mut listed = bench.listed();
        let ours = encoded(ours);
        listed.retain(|rule| !ours.contains(rule));
        assert_eq!(listed, foreign, "after {after}");
    };

    let (set, earlier) = (wanted(NOW), wanted(EARLIER));
    bench.kernel.load(&earlier).unwrap();
    survive(&mut bench, &earlier, "load");
    bench.kernel.load(&set.clone().with_a_refused_rule(None).0).unwrap_err();
    survive(&mut bench, &earlier, "a refused load");
    bench.kernel.load(&set).unwrap();
    survive(&mut bench, &set, "a replacing load");
    bench.kernel.unload(&set).unwrap();
    assert_eq!(bench.listed(), foreign, "after unload");
}

#[test]
fn after_a_refusal_in_the_middle_the_rules_are_as_before() {
    let Some(mut bench) = Bench::new("after_a_refusal_in_the_middle_the_rules_are_as_before") else { return };
    let (refused, rule) = wanted(NOW).with_a_refused_rule(None);
    let expected = Err(Error::Refused { rule: rule.to_string(), errno: Errno::INVAL });
    let nothing = bench.listed();
    assert_eq!(bench.kernel.load(&refused), expected);
    assert_eq!(bench.listed(), nothing);

    bench.kernel.load(&wanted(EARLIER)).unwrap();
    let before = bench.listed();
    assert_eq!(bench.kernel.load(&refused), expected);
    assert_eq!(bench.listed(), before);
}

#[test]
fn what_the_kernel_does_not_support_is_left_out() {
    let Some(mut bench) = Bench::new("what_the_kernel_does_not_support_is_left_out") else { return };
    for needs in [Needs::SaddrFam, Needs::IoUring] {
        let (set, rule) = wanted(NOW).with_a_refused_rule(Some(needs));
        let loaded = bench.kernel.load(&set).unwrap();
        assert!(loaded.unsupported.contains(&rule));
        assert_eq!(loaded.added + count(&loaded.unsupported), count(set.rules()));
        assert_eq!(bench.kernel.state(&set), Ok(State::Partly { missing: loaded.unsupported.clone() }));
        let rest = set.without(&loaded.unsupported);
        assert_eq!(bench.kernel.state(&rest), Ok(State::All));
        assert_eq!(bench.kernel.unload(&rest), Ok(loaded.added));
    }
}

#[test]
fn status_is_what_auditctl_says() {
    let Some(mut bench) = Bench::new("status_is_what_auditctl_says") else { return };
    let status = bench.kernel.status().unwrap();
    let said = auditctl(&["-s"]);
    let said = |name: &str| {
        let mut lines = said.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.find(|words| words[0] == name).map(|words| words[1].parse::<u32>().unwrap())
    };
    assert_eq!(said("enabled").map(|enabled| enabled == 0), Some(status.enabled == Enabled::Off));
    assert_eq!(said("failure"), Some(status.failure));
    assert_eq!(said("pid"), Some(status.pid));
    assert_eq!(said("rate_limit"), Some(status.rate_limit));
    assert_eq!(said("backlog_limit"), Some(status.backlog_limit));
    // Both grow while we look.
    assert!(said("lost") >= Some(status.lost));
    assert!(status.features > 0);
}

#[test]
fn a_rule_that_silences_everything_is_found() {
    let Some(mut bench) = Bench::new("a_rule_that_silences_everything_is_found") else { return };
    let silenced = |bench: &mut Bench| bench.kernel.list().unwrap().iter().any(Listed::silences_everything);
    assert!(!silenced(&mut bench));
    assert!(bench.foreign("-a never,task -F auid=4000000"));
    assert!(!silenced(&mut bench), "one with a condition");
    assert!(bench.foreign("-a never,task"));
    assert!(silenced(&mut bench));
}

#[test]
fn immutable_rules_stay() {
    const LOCK: &str = "OPENSNITCH_AUDIT_TEST_LOCK";
    if env::var(LOCK).as_deref() != Ok("1") {
        say(&format!("SKIPPED immutable_rules_stay: needs {LOCK}=1; the machine is locked until the next boot"));
        return;
    }
    let Some(mut bench) = Bench::new("immutable_rules_stay") else { return };
    let set = bench.supported(wanted(NOW));
    bench.kernel.load(&set).unwrap();
    let before = bench.listed();
    auditctl(&["-e", "2"]);
    assert_eq!(bench.kernel.status().unwrap().enabled, Enabled::Locked);
    assert_eq!(bench.kernel.load(&wanted(EARLIER)), Err(Error::Locked));
    assert_eq!(bench.kernel.unload(&set), Err(Error::Locked));
    assert_eq!(bench.listed(), before);
    assert_eq!(bench.kernel.load(&set).map(|loaded| loaded.added), Ok(0), "there is nothing to change");
    assert_eq!(bench.kernel.state(&set), Ok(State::All));
}
