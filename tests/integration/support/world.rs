//! All that one test of the service needs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Client, Daemon, FakeAuditd, Kind, Namespace, PrivateBus, Process, Records, User, available, eventually};

/// auditd's socket, our service connected to it, and a bus. Dropped in this order.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) auditd: FakeAuditd,
    pub(crate) bus: PrivateBus,
}

impl World {
    /// A service with these lines of configuration, connected. `None` where a component is missing.
    pub(crate) fn start(config: &str) -> Option<Self> {
        Self::start_where(config, |_, namespace| namespace)
    }

    /// The same, where more files of the test's own stand in place of the machine's; they are made in the folder.
    pub(crate) fn start_where(config: &str, more: impl FnOnce(&Path, Namespace) -> Namespace) -> Option<Self> {
        if !available(&[]) {
            return None;
        }
        let mut bus = PrivateBus::start();
        bus.set_namespace(more);
        Some(Self::on(bus, config))
    }

    /// The same on a bus of this kind.
    pub(crate) fn start_on(kind: Kind, config: &str) -> Self {
        Self::on(PrivateBus::of(kind), config)
    }

    /// The same on this bus.
    pub(crate) fn on(bus: PrivateBus, config: &str) -> Self {
        Self::on_logging_to(bus, config, Stdio::piped())
    }

    /// The same, where the service's log goes there.
    pub(crate) fn on_logging_to(bus: PrivateBus, config: &str, log: Stdio) -> Self {
        let mut auditd = FakeAuditd::at(&socket(&bus));
        auditd.start();
        Self::connected(bus, auditd, config, log)
    }

    /// The service ended, and is started again.
    pub(crate) fn start_again(self) -> Self {
        let Self { daemon, auditd, bus } = self;
        drop(daemon);
        Self::connected(bus, auditd, "", Stdio::piped())
    }

    fn connected(bus: PrivateBus, mut auditd: FakeAuditd, config: &str, log: Stdio) -> Self {
        let config = format!("socket = '{}'\n{config}", socket(&bus).display());
        let daemon = Daemon::start_logging_to(&bus, &config, log);
        auditd.accept();
        Self { daemon, auditd, bus }
    }

    /// Sends a process's event whose arguments nothing tells but `/proc`, until they are read: on a busy machine reading them
    /// may take too long, and of one process it is not tried again.
    #[track_caller]
    pub(crate) fn reads_arguments(&mut self) {
        let root = self.root();
        eventually("arguments that are read", || {
            let process = Process::start();
            self.auditd.send(Records::connect(1).pid(process.pid()).without("PROCTITLE").text());
            let event = eventually("a visit", || {
                root.event_of(process.pid()).ok().filter(|event| event.get("StartTime").is_some())
            });
            (event.get("Args")? == &serde_json::json!(["sleep", "1000"])).then_some(())
        });
    }

    /// Root's client.
    pub(crate) fn root(&self) -> Client {
        self.bus.client(User::Root)
    }

    /// Another user's.
    pub(crate) fn client(&self, user: User) -> Client {
        self.bus.client(user)
    }
}

fn socket(bus: &PrivateBus) -> PathBuf {
    bus.folder().join("audispd_events")
}
