//! What is wrong, as the service finds it, and what helps.
//!
//! The service here may not ask the kernel, which is a finding of its own; so no other depends on the machine's rules.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Client, Daemon, FakeAuditd, Polkit, PrivateBus, User, available, eventually, plain};

/// auditd's folder of plugins, and in it only one, which is not active.
const PLUGIN: &str = "active = no\ndirection = out\npath = builtin_af_unix\ntype = builtin\nargs = 0640 SOCKET\n";

/// A service that looks for auditd's socket in a folder of the test's own.
struct Machine {
    _daemon: Daemon,
    bus: PrivateBus,
    socket: PathBuf,
    plugin: PathBuf,
}

impl Machine {
    fn start() -> Option<Self> {
        if !available(&["auditd", "/etc/audit/plugins.d"]) {
            return None;
        }
        let mut bus = PrivateBus::with_polkit();
        let socket = bus.folder().join("audispd_events");
        let plugins = bus.folder().join("plugins.d");
        let plugin = plugins.join("af_unix.conf");
        fs::create_dir(&plugins).unwrap();
        fs::write(&plugin, PLUGIN.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        bus.set_namespace(|_, namespace| namespace.with(&plugins, "/etc/audit/plugins.d"));
        let daemon = Daemon::start(&bus, &format!("socket = '{}'\n", socket.display()));
        Some(Self { _daemon: daemon, bus, socket, plugin })
    }

    fn client(&self, user: User) -> Client {
        self.bus.client(user)
    }

    /// Waits until there is this finding, and returns its remedy.
    #[track_caller]
    fn remedy(&self, id: &str) -> String {
        let client = self.client(User::Root);
        eventually(id, || finding(&client, id).map(|found| found["Remedy"].as_str().unwrap().to_owned()))
    }

    /// Waits until there is no such finding.
    #[track_caller]
    fn is_gone(&self, id: &str) {
        let client = self.client(User::Root);
        eventually(&format!("the end of {id}"), || finding(&client, id).is_none().then_some(()));
    }

    /// Pastes a remedy, where there is no auditd to be restarted.
    fn paste(&self, remedy: &str) {
        let mut shell = self.bus.namespace().command("sh");
        let output = shell.args(["-c", &format!("service() {{ :; }}; {remedy}")]).output().unwrap();
        assert!(output.status.success(), "{remedy}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn findings(client: &Client) -> Vec<Value> {
    client.call("Diagnose", &[]).unwrap()[0].as_array().unwrap().iter().map(plain).collect()
}

pub(crate) fn finding(client: &Client, id: &str) -> Option<Value> {
    findings(client).into_iter().find(|finding| finding["Id"] == id)
}

#[test]
fn a_finding_is_gone_after_its_remedy() {
    let Some(machine) = Machine::start() else { return };
    let inactive = machine.remedy("plugin-inactive");
    assert!(inactive.contains("/etc/audit/plugins.d/af_unix.conf"), "{inactive}");
    machine.paste(&inactive);
    machine.is_gone("plugin-inactive");
    let text = fs::read_to_string(&machine.plugin).unwrap();
    assert!(text.starts_with("active = yes\n"), "{text}");

    // auditd has not read it yet.
    assert_eq!(machine.remedy("socket-missing"), "service auditd restart");

    // An earlier one left its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&machine.socket).unwrap());
    let stale = machine.remedy("socket-stale");
    machine.paste(&stale);
    assert!(!machine.socket.exists());

    let mut auditd = FakeAuditd::at(&machine.socket);
    auditd.start();
    auditd.accept();
    machine.is_gone("socket-missing");
    // The kernel connects it before the service has said so.
    machine.is_gone("socket-stale");
    let root: Vec<Value> = findings(&machine.client(User::Root)).iter().map(|found| found["Id"].clone()).collect();
    assert_eq!(root, ["audit-unavailable", "polkit-missing"]);
}

#[test]
fn a_socket_that_another_client_holds() {
    let Some(machine) = Machine::start() else { return };
    machine.paste(&machine.remedy("plugin-inactive"));
    let mut auditd = FakeAuditd::at(&machine.socket);
    auditd.start();
    // As auditd 3.1.1 to 4.0.2 does with a second client: accepted, and closed.
    let client = machine.client(User::Root);
    let found = eventually("a finding", || {
        while auditd.try_accept().is_some() {}
        finding(&client, "socket-held")
    });
    assert_eq!(found["Severity"], "error");
}

#[test]
fn findings_about_the_caller_and_polkit() {
    let Some(machine) = Machine::start() else { return };
    for (user, is_told) in [(User::Root, false), (User::Member, false), (User::Alice, true)] {
        let found = finding(&machine.client(user), "caller-not-in-group");
        assert_eq!(found.is_some(), is_told, "{user:?}");
        if let Some(found) = found {
            assert_eq!(found["Severity"], "info");
            assert!(found["Remedy"].as_str().unwrap().ends_with("opensnitch-audit alice"), "{found}");
        }
    }
    if available(&["polkitd"]) {
        machine.remedy("polkit-missing");
        let _polkit = Polkit::start(&machine.bus, "");
        machine.is_gone("polkit-missing");
    }
}
