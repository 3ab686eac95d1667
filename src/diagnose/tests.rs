//! Facts and what is found in them; remedies, run on files of the test's own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;

use super::plugin::Wanted;
use super::*;
use crate::rules::{Enabled, Key, Machine, Needs, Rule, RuleSet, Scope, State, Status};
use crate::testing::may;

const SOCKETS: [&str; 3] = ["/run/audit/audispd_events", "/run/audispd_events", "/var/run/audispd_events"];

/// As Debian 12 ships it, but active.
const BUILTIN: &str = "\
# A comment.

active = yes
direction = out
path = builtin_af_unix
type = builtin\x20
args = 0640 /var/run/audispd_events
format = string
";

fn sockets() -> Vec<PathBuf> {
    SOCKETS.map(PathBuf::from).to_vec()
}

fn plugin(text: &str) -> Plugin {
    Plugin::parse("/etc/audit/plugins.d/af_unix.conf".into(), text).unwrap()
}

fn set() -> RuleSet {
    RuleSet::wanted(Machine::X86_64, "opensnitch".parse::<Key>().unwrap(), Scope::default(), 1)
}

fn rules_that_need(what: Needs) -> Vec<Rule> {
    set().rules().iter().filter(|rule| rule.needs() == Some(what)).cloned().collect()
}

/// A machine on which all is well, asked by root.
fn well() -> Facts {
    let status = Status {
        enabled: Enabled::On,
        failure: 1,
        pid: 77,
        rate_limit: 0,
        backlog_limit: 8192,
        lost: 5,
        backlog: 0,
        features: 0x7f,
        backlog_wait_time: Some(15_000),
    };
    Facts {
        link: Link {
            sockets: sockets(),
            connected: Some((Duration::from_secs(3600), 1000)),
            assembled: 1000,
            late: 2,
            ..Link::default()
        },
        kernel: Ok(Report { status, state: State::All, unsupported: Vec::new(), silenced: false }),
        lost_before: Some((5, Duration::from_secs(60))),
        files: Files {
            installed: true,
            version: Some(Version(3, 0, 9)),
            program: None,
            folder: "/etc/audit/plugins.d".into(),
            plugins: vec![plugin(BUILTIN)],
            readable: true,
            daemon: Some("auditd".to_owned()),
            off_at_boot: false,
            x32_at_boot: false,
            io_uring_disabled: Some(2),
            known_machine: true,
        },
        key: "opensnitch".to_owned(),
        manages_rules: true,
        watches_sends: true,
        watches_local: true,
        switched_on: false,
        finds_sockets: true,
        listener: None,
        caller: Caller { uid: 0, name: Some("root".to_owned()), is_member: false },
        polkit: true,
    }
}

fn report(facts: &mut Facts) -> &mut Report {
    facts.kernel.as_mut().unwrap()
}

fn refused(facts: &mut Facts, kinds: [ErrorKind; 3]) {
    facts.link.connected = None;
    facts.link.refused = sockets().into_iter().zip(kinds).collect();
}

const NONE: [ErrorKind; 3] = [ErrorKind::NotFound; 3];

/// A change of the facts, and what is found then: severity and id, and something that the message or the remedy says.
type Case = (fn(&mut Facts), &'static [&'static str], &'static str);

const CASES: &[Case] = &[
    (|_| {}, &[], ""),
    // The kernel.
    (|f| f.kernel = Err(Error::Unavailable { errno: Errno::PERM }), &["error audit-unavailable"], "CAP_AUDIT_CONTROL"),
    (
        |f| {
            f.kernel = Err(Error::Unavailable { errno: Errno::CONNREFUSED });
            f.files.off_at_boot = true;
        },
        &["error audit-unavailable"],
        "audit=0",
    ),
    (|f| f.kernel = Err(Error::TimedOut), &["error audit-unavailable"], "does not answer"),
    (|f| report(f).status.enabled = Enabled::Off, &["error audit-off"], "auditctl -e 1"),
    (|f| report(f).status.enabled = Enabled::Locked, &["info rules-locked"], "ours are loaded"),
    (
        |f| {
            report(f).status.enabled = Enabled::Locked;
            report(f).state = State::None;
        },
        &["error rules-locked"],
        "not all loaded",
    ),
    (|f| report(f).silenced = true, &["error rule-task-never"], "auditctl -d task,never"),
    // Our rules.
    (|f| report(f).state = State::None, &["error rules-missing"], "opensnitch-auditctl rules add"),
    (
        |f| {
            report(f).state = State::None;
            f.manages_rules = false;
        },
        &["warning rules-missing"],
        "manage_rules",
    ),
    (
        |f| report(f).state = State::Partly { missing: set().rules()[..5].to_vec() },
        &["warning rules-partly"],
        "and 2 more",
    ),
    (
        |f| {
            report(f).state = State::None;
            f.files.known_machine = false;
        },
        &["error rules-unknown-machine"],
        "-F key=opensnitch",
    ),
    (
        |f| report(f).unsupported = rules_that_need(Needs::SaddrFam),
        &["error rules-unsupported-saddr-fam"],
        "local = true",
    ),
    (|f| report(f).unsupported = rules_that_need(Needs::IoUring), &["info rules-unsupported-io-uring"], "5.16"),
    // What they do not see.
    (|f| f.watches_sends = false, &["info datagrams-unseen"], "echo 'sends = true'"),
    (|f| f.watches_local = false, &["info families-unseen"], "echo 'local = true'"),
    (|f| f.files.io_uring_disabled = Some(1), &["info io-uring-unseen"], "io_uring_disabled = 2"),
    (|f| f.files.io_uring_disabled = None, &["info io-uring-unseen"], "io_uring_disabled = 2"),
    (
        |f| {
            f.files.io_uring_disabled = None;
            report(f).unsupported = rules_that_need(Needs::IoUring);
        },
        &["info rules-unsupported-io-uring"],
        "",
    ),
    (|f| f.files.x32_at_boot = true, &["info x32-unseen"], "no audit rule"),
    (
        |f| {
            f.watches_sends = false;
            report(f).state = State::None;
            f.files.known_machine = false;
        },
        &["error rules-unknown-machine"],
        "",
    ),
    (
        |f| f.listener = Some(Listener { name: ":1.7".to_owned(), pid: 1234, uid: 1000 }),
        &["warning listener-never-reads"],
        "process 1234 of user 1000 (:1.7 on the bus) does not read",
    ),
    (|f| f.finds_sockets = false, &["warning sock-diag-missing"], "from history only"),
    // What the kernel could not hand on.
    (|f| report(f).status.lost = 9, &["warning kernel-loses"], "lost 4 audit messages in the last 60 seconds"),
    (|f| report(f).status.lost = 4, &[], ""),
    (
        |f| {
            report(f).status.lost = 9;
            report(f).status.rate_limit = 100;
        },
        &["warning kernel-loses"],
        "auditctl -r 0",
    ),
    (
        |f| {
            report(f).status.lost = 9;
            report(f).status.backlog_limit = 64;
        },
        &["warning kernel-loses"],
        "auditctl -b 8192",
    ),
    (
        |f| {
            report(f).status.lost = 9;
            report(f).status.backlog_limit = u32::MAX;
        },
        &["warning kernel-loses"],
        "auditctl -b 4294967295",
    ),
    (
        |f| {
            report(f).status.lost = 9;
            report(f).status.backlog_limit = 0;
        },
        &["warning kernel-loses"],
        "service auditd restart",
    ),
    (|f| report(f).status.backlog_limit = 64, &["info backlog-small"], "only 64 messages"),
    (|f| report(f).status.backlog_limit = 0, &[], ""),
    // auditd.
    (
        |f| {
            report(f).status.pid = 0;
            f.files.daemon = None;
            refused(f, NONE);
        },
        &["error auditd-missing"],
        "systemctl enable --now auditd",
    ),
    (
        |f| {
            report(f).status.pid = 0;
            report(f).status.lost = 9;
            f.files = Files { known_machine: true, io_uring_disabled: Some(2), ..Files::default() };
            refused(f, NONE);
        },
        &["error auditd-missing"],
        "not installed",
    ),
    (
        |f| {
            f.files.daemon = Some("go-audit".to_owned());
            refused(f, NONE);
        },
        &["error auditd-missing"],
        "go-audit (pid 77)",
    ),
    // Its plugin.
    (
        |f| {
            f.files.plugins = vec![plugin(&BUILTIN.replace("yes", "no"))];
            refused(f, NONE);
        },
        &["error plugin-inactive"],
        "/etc/audit/plugins.d/af_unix.conf",
    ),
    (
        |f| {
            f.files.plugins = Vec::new();
            refused(f, NONE);
        },
        &["error plugin-missing"],
        "'args = 0640 /var/run/audispd_events'",
    ),
    // auditd 4.0.4 and 4.0.5, which have to be told from the text itself.
    (
        |f| {
            f.link.without_newlines = true;
            f.link.connected = Some((Duration::from_secs(1), 0));
            f.files.version = Some(Version(4, 0, 5));
        },
        &["error stream-without-newlines"],
        "args = 0640 /var/run/audispd_events binary",
    ),
    (
        |f| {
            f.link.without_newlines = true;
            refused(f, NONE);
            f.files.version = None;
            f.files.plugins = Vec::new();
        },
        &["error stream-without-newlines"],
        "'format = binary'",
    ),
    // It may be switched off for the time after the next restart: that is somebody's plan.
    (|f| f.files.plugins = vec![plugin(&BUILTIN.replace("yes", "no"))], &[], ""),
    (
        |f| {
            f.files.version = Some(Version(4, 0, 2));
            f.files.program = Some("/sbin/audisp-af_unix".into());
            refused(f, NONE);
        },
        &["error plugin-wrong"],
        "'path = /sbin/audisp-af_unix'",
    ),
    (
        |f| {
            f.files.plugins.push(Plugin::parse("/etc/audit/plugins.d/copy.conf".into(), BUILTIN).unwrap());
        },
        &["warning records-twice"],
        "/etc/audit/plugins.d/copy.conf",
    ),
    // Its socket.
    (|f| refused(f, NONE), &["error socket-missing"], "/run/audit/audispd_events nor /run/audispd_events"),
    (
        |f| refused(f, [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::PermissionDenied]),
        &["error socket-forbidden"],
        "chown root /run/audispd_events",
    ),
    (
        |f| refused(f, [ErrorKind::ConnectionRefused, ErrorKind::NotFound, ErrorKind::NotFound]),
        &["error socket-stale"],
        "rm -f /run/audit/audispd_events",
    ),
    (
        |f| refused(f, [ErrorKind::NotFound, ErrorKind::WouldBlock, ErrorKind::WouldBlock]),
        &["error socket-held"],
        "takes no more",
    ),
    (
        |f| refused(f, [ErrorKind::NotFound, ErrorKind::Other, ErrorKind::Other]),
        &["error socket-foreign"],
        "rm -f /run/audispd_events",
    ),
    (
        |f| {
            refused(f, NONE);
            f.link.dismissed = 3;
        },
        &["error socket-held"],
        "the last 3 connections",
    ),
    (
        |f| {
            f.link.connected = Some((Duration::from_millis(1), 0));
            f.link.dismissed = 3;
        },
        &["error socket-held"],
        "the last 3 connections",
    ),
    (
        |f| {
            f.link.connected = Some((Duration::from_millis(1), 1));
            f.link.dismissed = 3;
        },
        &[],
        "",
    ),
    // Just started, or between two attempts.
    (
        |f| {
            f.link.connected = None;
            f.link.dismissed = 2;
        },
        &[],
        "",
    ),
    (|f| f.link.connected = Some((Duration::from_secs(29), 0)), &[], ""),
    (|f| f.link.connected = Some((Duration::from_secs(30), 0)), &["warning socket-held"], "for 30 seconds"),
    // Nothing can arrive, and that is no other client's fault.
    (
        |f| {
            f.link.connected = Some((Duration::from_secs(30), 0));
            report(f).status.enabled = Enabled::Off;
        },
        &["error audit-off"],
        "",
    ),
    (
        |f| {
            f.link.connected = Some((Duration::from_secs(30), 0));
            f.files.plugins =
                vec![plugin(&BUILTIN.replace("builtin_af_unix", "/sbin/audisp-af_unix").replace("builtin ", "always"))];
            f.files.version = Some(Version(4, 1, 1));
            f.files.program = Some("/sbin/audisp-af_unix".into());
        },
        &["error plugin-wrong"],
        "'args = 0640 /var/run/audispd_events string', 'format = binary'",
    ),
    // The multicast serves: what is wrong with auditd is why, and no harm.
    (
        |f| {
            f.link.by_multicast = Some("a reason");
            f.link.connected = None;
            report(f).status.pid = 0;
        },
        &["info source-netlink"],
        "not through auditd: auditd does not run",
    ),
    (
        |f| {
            f.link.by_multicast = Some("a reason");
            f.link.connected = None;
            f.files.plugins = vec![plugin(&BUILTIN.replace("yes", "no"))];
        },
        &["info source-netlink"],
        "af_unix plugin",
    ),
    (|f| f.link.by_multicast = Some("a reason"), &["info source-netlink"], "through auditd: a reason"),
    (
        |f| {
            f.link = Link { by_multicast: Some("it is configured"), without_audisp: true, ..Link::default() };
            report(f).status.pid = 0;
            f.switched_on = true;
        },
        &["info source-netlink", "info audit-switched-on"],
        "source *=",
    ),
    // An auditd has come since, and has audit on for itself.
    (|f| f.switched_on = true, &[], ""),
    (|f| f.link.no_multicast = Some("no CAP".to_owned()), &["warning multicast-missing"], "itself: no CAP"),
    (
        |f| {
            f.link = Link { no_multicast: Some("no CAP".to_owned()), without_audisp: true, ..Link::default() };
        },
        &["error multicast-missing"],
        "no event arrives",
    ),
    // Every record twice, whoever does it.
    (|f| f.link.late = 500, &["warning records-twice"], "500 records"),
    (
        |f| {
            f.link.assembled = 50;
            f.link.late = 50;
        },
        &[],
        "",
    ),
    // Who asks.
    (
        |f| f.caller = Caller { uid: 1000, name: Some("alice".to_owned()), is_member: false },
        &["info caller-not-in-group"],
        "usermod --append --groups opensnitch-audit alice",
    ),
    (
        |f| f.caller = Caller { uid: 1000, name: Some("a $(b) 'c'".to_owned()), is_member: false },
        &["info caller-not-in-group"],
        r"opensnitch-audit 'a $(b) '\''c'\'''",
    ),
    (
        |f| f.caller = Caller { uid: 1000, name: None, is_member: false },
        &["info caller-not-in-group"],
        "\"$(id -nu 1000)\"",
    ),
    (|f| f.caller = Caller { uid: 1000, name: None, is_member: true }, &[], ""),
    (|f| f.polkit = false, &["warning polkit-missing"], "polkitd"),
    // The worst first.
    (
        |f| {
            f.polkit = false;
            f.caller.uid = 1000;
            report(f).silenced = true;
            report(f).status.enabled = Enabled::Off;
        },
        &["error audit-off", "error rule-task-never", "warning polkit-missing", "info caller-not-in-group"],
        "",
    ),
];

#[test]
fn facts_and_findings() {
    for (number, (change, expected, says)) in CASES.iter().enumerate() {
        let mut facts = well();
        change(&mut facts);
        let findings = diagnose(&facts);
        let found: Vec<String> = findings.iter().map(|one| format!("{} {}", one.severity.name(), one.id)).collect();
        assert_eq!(found, *expected, "case {number}");
        let text: String = findings.iter().map(|one| format!("{} => {}\n", one.message, one.remedy)).collect();
        assert!(text.contains(says), "case {number}: {says:?} is not in {text}");
    }
}

#[test]
fn every_remedy_is_a_line_of_shell() {
    for (change, ..) in CASES {
        let mut facts = well();
        change(&mut facts);
        for finding in diagnose(&facts) {
            let remedy = &finding.remedy;
            assert!(!remedy.contains('\n') && !finding.message.contains('\n'), "{finding:?}");
            let output = Command::new("sh").args(["-n", "-c", remedy]).output().unwrap();
            assert!(output.status.success(), "{remedy}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

const PROGRAM: &str = "/sbin/audisp-af_unix";

/// A version, a file that is wrong for it, and what its finding is.
const WRONG: &[(Version, &str, &str)] = &[
    (
        Version(3, 0, 9),
        "active = no\npath = builtin_af_unix\ntype = builtin\nargs = 0640 /var/run/audispd_events\n",
        "plugin-inactive",
    ),
    (
        Version(3, 0, 9),
        "path = builtin_af_unix\ntype = builtin\nargs = 0640 /var/run/audispd_events\n",
        "plugin-inactive",
    ),
    (
        Version(3, 0, 9),
        "active=yes\npath = builtin_af_unix\ntype = builtin\nargs = 0640 /run/audispd_events\n",
        "plugin-wrong",
    ),
    (Version(3, 0, 9), "what is this\nactive = no\npath = builtin_af_unix\n", "plugin-wrong"),
    (Version(3, 0, 9), "active = yes\r\npath = builtin_af_unix\r\n", "plugin-inactive"),
    (
        Version(3, 0, 9),
        "active = yes\npath = /sbin/audisp-af_unix\ntype = always\nargs = 0640 /run/audispd_events\n",
        "plugin-wrong",
    ),
    (
        Version(3, 0, 9),
        "active = yes\npath = builtin_af_unix\ntype = builtin\nargs = 0440 /run/audispd_events\n",
        "plugin-wrong",
    ),
    (
        Version(3, 0, 9),
        "active = yes\npath = builtin_af_unix\ntype = builtin\nargs = 0640 /run/elsewhere\n",
        "plugin-wrong",
    ),
    (Version(3, 0, 9), "active = yes\npath = builtin_af_unix\ntype = builtin\n", "plugin-wrong"),
    (Version(4, 0, 2), BUILTIN, "plugin-wrong"),
    (
        Version(4, 0, 3),
        "active = yes\npath = /sbin/audisp-af_unix\ntype = always\nargs = 0640 /var/run/audispd_events\nformat = string\n",
        "plugin-wrong",
    ),
    (
        Version(4, 0, 4),
        "active = yes\npath = /sbin/audisp-af_unix\ntype = always\nargs = 0640 /run/audispd_events string\nformat = binary\n",
        "plugin-wrong",
    ),
    (
        Version(4, 1, 1),
        "active = yes\npath = /sbin/audisp-af_unix\ntype = always\nargs = 0640 /run/audispd_events string\nformat = string\n",
        "plugin-wrong",
    ),
    (Version(4, 1, 2), "", "plugin-inactive"),
];

/// A version, and a file with which it works.
const RIGHT: &[(Version, &str)] = &[
    (Version(3, 0, 9), BUILTIN),
    (
        Version(4, 0, 2),
        "active = YES\npath = /usr/sbin/audisp-af_unix\ntype = always\nargs = /run/audispd_events 0640\nformat = binary\n",
    ),
    (
        Version(4, 0, 5),
        "active = yes\npath = /sbin/audisp-af_unix\ntype = always\nargs = 0640 /var/run/audispd_events binary\nformat = binary\n",
    ),
    (
        Version(4, 1, 0),
        "active = yes\npath = /sbin/audisp-af_unix\ntype = always\nargs = 0640 /var/run/audispd_events\nformat = string\n",
    ),
    (
        Version(4, 1, 2),
        "active = yes\npath = /sbin/audisp-af_unix\ntype = always\nargs = 0640 /run/audit/audispd_events string 2048\nformat = binary\n",
    ),
];

#[test]
fn a_plugin_that_works_is_not_found_fault_with() {
    for (version, text) in RIGHT {
        let wanted = Wanted::of(Some(*version), Some(Path::new(PROGRAM)));
        assert_eq!(plugin(text).finding(&wanted, &sockets()), None, "{version:?} {text}");
    }
}

/// Runs a remedy in which nothing is restarted.
fn run(remedy: &str) {
    let output = Command::new("sh").args(["-c", &format!("service() {{ :; }}; {remedy}")]).output().unwrap();
    assert!(output.status.success(), "{remedy}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_plugin_that_does_not_work_does_after_the_remedy() {
    for (version, text, id) in WRONG {
        for sockets in [sockets(), vec!["/run/own".into()]] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("af_unix.conf");
            fs::write(&file, text).unwrap();
            let read = || Plugin::parse(file.clone(), &fs::read_to_string(&file).unwrap()).unwrap();
            let wanted = Wanted::of(Some(*version), Some(Path::new(PROGRAM)));
            let finding = read().finding(&wanted, &sockets).unwrap();
            assert_eq!(finding.id, *id, "{text}");
            run(&finding.remedy);
            let left = fs::read_to_string(&file).unwrap();
            assert_eq!(read().finding(&wanted, &sockets), None, "{}\nleft {left}", finding.remedy);
            assert!(read().is_active(), "{left}");
        }
    }
}

#[test]
fn a_stream_without_newlines_is_framed_after_the_remedy() {
    for version in [Some(Version(4, 0, 5)), Some(Version(4, 0, 9)), None] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("af_unix.conf");
        fs::write(&file, BUILTIN).unwrap();
        let read = || Plugin::parse(file.clone(), &fs::read_to_string(&file).unwrap()).unwrap();
        let files = Files { version, plugins: vec![read()], ..Files::default() };
        run(&files.newline_finding(&sockets()).remedy);
        let left = fs::read_to_string(&file).unwrap();
        assert!(left.contains("\nargs = 0640 /var/run/audispd_events binary\n"), "{left}");
        assert!(left.contains("\nformat = binary\n") && read().is_active(), "{left}");
    }
}

#[test]
fn a_second_plugin_is_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a copy.conf");
    fs::write(&file, BUILTIN).unwrap();
    let read = || Plugin::parse(file.clone(), &fs::read_to_string(&file).unwrap()).unwrap();
    run(&read().switch_off());
    assert!(!read().is_active());
}

/// A folder like a machine's, with these files.
fn machine(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

#[test]
fn files_of_machines() {
    let debian12 = machine(&[
        ("usr/sbin/auditd", b"\x7fELF\0audit version = %s\n\x003.0.9\x004.33.1.2\0"),
        ("etc/audit/plugins.d/af_unix.conf", BUILTIN.as_bytes()),
        ("etc/audit/plugins.d/af_unix.conf.dpkg-old", BUILTIN.as_bytes()),
        ("etc/audit/plugins.d/.hidden", BUILTIN.as_bytes()),
        ("etc/audit/plugins.d/syslog.conf", b"active = yes\npath = /sbin/audisp-syslog\ntype = always\n"),
        ("proc/77/comm", b"auditd\n"),
        ("proc/cmdline", b"root=/dev/vda audit=1 quiet syscall.x32=y\n"),
        ("proc/sys/kernel/io_uring_disabled", b"1\n"),
    ]);
    let files = Files::read(debian12.path(), 77);
    assert!(files.installed && files.readable && !files.off_at_boot && files.x32_at_boot);
    assert_eq!(files.io_uring_disabled, Some(1));
    assert_eq!(files.version, Some(Version(3, 0, 9)));
    assert_eq!(files.program, None);
    assert_eq!(files.daemon.as_deref(), Some("auditd"));
    assert_eq!(files.plugins, [plugin(BUILTIN)]);
    assert_eq!(files.plugin_finding(&sockets()), None);

    let fedora = machine(&[
        ("usr/bin/auditd", b"\x7fELF\x004.1.1\0"),
        ("usr/bin/audisp-af_unix", b""),
        ("etc/audit/plugins.d/other.conf", b"active = no\npath = /sbin/audisp-af_unix\n"),
        ("proc/cmdline", b"audit=off"),
    ]);
    let files = Files::read(fedora.path(), 0);
    assert!(files.installed && files.off_at_boot && !files.x32_at_boot && files.io_uring_disabled.is_none());
    assert_eq!(files.version, Some(Version(4, 1, 1)));
    assert_eq!(files.program, Some("/usr/bin/audisp-af_unix".into()));
    assert_eq!(files.daemon, None);
    let finding = files.plugin_finding(&sockets()).unwrap();
    assert!(finding.remedy.contains("/etc/audit/plugins.d/other.conf"), "{finding:?}");

    let old =
        machine(&[("usr/sbin/auditd", b"\x002.8.5\0"), ("etc/audisp/plugins.d/af_unix.conf", BUILTIN.as_bytes())]);
    assert_eq!(Files::read(old.path(), 0).plugins[0].file, Path::new("/etc/audisp/plugins.d/af_unix.conf"));

    let bare = Files::read(machine(&[]).path(), 0);
    assert!(!bare.installed && !bare.readable && bare.plugins.is_empty());
    assert_eq!(bare.plugin_finding(&sockets()), None);
}

#[test]
fn hostile_files_are_read_to_a_bound() {
    let endless = "active = yes\n".repeat(1_000_000);
    let root = machine(&[
        ("usr/sbin/auditd", &vec![b'1'; 8 * 1024 * 1024]),
        ("etc/audit/plugins.d/af_unix.conf", endless.as_bytes()),
        ("etc/audit/plugins.d/noise.conf", &[0xff; 1000]),
    ]);
    let files = Files::read(root.path(), 0);
    assert_eq!(files.version, None);
    assert_eq!(files.plugins.len(), 1);
}

#[test]
fn versions() {
    let table = [
        ("3.0.9", Some(Version(3, 0, 9))),
        ("4.2", Some(Version(4, 2, 0))),
        ("4", None),
        ("", None),
        ("4.2.", None),
        ("4.0.3.1", None),
        ("4..3", None),
        ("99999.1.1", None),
        ("4.0b", None),
    ];
    for (text, expected) in table {
        assert_eq!(Version::parse(text), expected, "{text}");
    }
}

/// Of the machine the test runs on, where it has auditd.
#[test]
fn the_files_of_this_machine() {
    let files = Files::read(Path::new("/"), 1);
    if !may("auditd", files.installed) {
        return;
    }
    assert!(files.version.is_some(), "{files:?}");
    assert!(files.daemon.is_some());
}
