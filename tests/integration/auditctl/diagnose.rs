//! `diagnose` where there is no service to ask.

use std::fs;

use super::{Run, run};
use crate::support::{PrivateBus, Units, User, available};

/// The findings, by their ids, with what they say.
fn findings(bus: &PrivateBus, user: User) -> (Run, Vec<(String, String)>) {
    let run = run(bus, user, &["--json", "diagnose"]);
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = run.objects().iter().map(|one| (text(one, "Id"), text(one, "Message"))).collect();
    (run, findings)
}

fn message<'a>(findings: &'a [(String, String)], id: &str) -> Option<&'a str> {
    findings.iter().find(|(is, _)| is == id).map(|(_, message)| &**message)
}

#[test]
fn it_says_what_systemd_says_of_the_service() {
    if !available(&[]) {
        return;
    }
    let bus = PrivateBus::with_systemd();
    let table = [
        ("loaded", "failed", "exit-code", 1, "service-failed", "its process ended with 1"),
        ("loaded", "inactive", "success", 0, "service-stopped", "the service does not run"),
        ("not-found", "inactive", "", 0, "service-not-installed", "is not installed"),
    ];
    for (load, active, result, status, id, expected) in table {
        let _units = Units::start(&bus, load, active, result, status);
        for user in [User::Root, User::Alice] {
            let (run, findings) = findings(&bus, user);
            assert_eq!(run.code, Some(7), "{run:?}");
            assert!(message(&findings, id).is_some_and(|message| message.contains(expected)), "{run:?}");
        }
    }
}

#[test]
fn it_says_what_can_be_seen_without_the_service() {
    if !available(&["auditd"]) {
        return;
    }
    let mut bus = PrivateBus::with_systemd();
    let plugins = bus.folder().join("plugins.d");
    fs::create_dir(&plugins).unwrap();
    fs::write(plugins.join("af_unix.conf"), "active = no\ndirection = out\npath = builtin_af_unix\ntype = builtin\n")
        .unwrap();
    bus.set_namespace(|_, namespace| namespace.with(&plugins, "/etc/audit/plugins.d"));
    // No systemd either. The kernel tells root nothing here, and an ordinary user nothing anywhere.
    let (run, all) = findings(&bus, User::Root);
    for id in ["service-stopped", "source-netlink", "polkit-missing", "audit-unavailable"] {
        assert!(message(&all, id).is_some(), "{id}: {run:?}");
    }
    // No harm, since the kernel itself is read.
    assert!(message(&all, "source-netlink").is_some_and(|why| why.contains("plugin") && why.contains("not active")));
    let (run, all) = findings(&bus, User::Alice);
    for id in ["service-stopped", "kernel-unseen", "caller-not-in-group"] {
        assert!(message(&all, id).is_some(), "{id}: {run:?}");
    }
    assert!(message(&all, "audit-unavailable").is_none(), "{run:?}");

    bus.kill();
    let (run, all) = findings(&bus, User::Root);
    let why = message(&all, "bus-missing").unwrap_or_else(|| panic!("{run:?}"));
    assert!(run.code == Some(7) && why.contains("the system bus cannot be reached"), "{run:?}");
    assert!(message(&all, "polkit-missing").is_none(), "{run:?}");
}
