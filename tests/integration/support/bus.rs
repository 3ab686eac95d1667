//! A system bus of the test's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::{Client, Namespace, POLKIT_BUS_POLICY, User};

/// A real `dbus-daemon` with our policy, and a folder that every user can look into.
pub(crate) struct PrivateBus {
    daemon: Child,
    folder: TempDir,
    namespace: Namespace,
}

const CONFIG: &str = r#"<busconfig><type>system</type><listen>unix:path=DIR/bus</listen><auth>EXTERNAL</auth>
 <policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
  <allow send_destination="org.freedesktop.DBus"/></policy>
 <includedir>DIR/conf</includedir></busconfig>"#;

impl PrivateBus {
    /// A bus with our policy.
    pub(crate) fn start() -> Self {
        Self::new(&[])
    }

    /// A bus with our policy and polkit's, on which calls that change the kernel's rules may be allowed: so whatever runs
    /// there has no power over those of the machine.
    pub(crate) fn with_polkit() -> Self {
        Self::new(&[POLKIT_BUS_POLICY])
    }

    fn new(policies: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let conf = folder.path().join("conf");
        fs::create_dir(&conf).unwrap();
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/dbus/org.opensnitch.Audit.conf");
        for policy in policies.iter().chain(&[ours]) {
            fs::copy(policy, conf.join(Path::new(policy).file_name().unwrap())).unwrap();
        }
        let config = folder.path().join("bus.conf");
        fs::write(&config, CONFIG.replace("DIR", folder.path().to_str().unwrap())).unwrap();

        let namespace = Namespace::new(folder.path());
        let namespace = if policies.is_empty() { namespace } else { namespace.powerless() };
        Self { daemon: start_daemon(&namespace, &config), folder, namespace }
    }

    /// What `DBUS_SYSTEM_BUS_ADDRESS` is for its clients.
    pub(crate) fn address(&self) -> String {
        format!("unix:path={}/bus", self.folder.path().display())
    }

    /// A folder of the test's own, gone with the bus.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its users and groups are known.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// More files of the test's own, for what is started from now on.
    pub(crate) fn set_namespace(&mut self, more: impl FnOnce(&Path, Namespace) -> Namespace) {
        self.namespace = more(self.folder.path(), std::mem::take(&mut self.namespace));
    }

    /// The bus goes away.
    pub(crate) fn kill(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }

    /// And is back, at the same address.
    pub(crate) fn restart(&mut self) {
        self.kill();
        fs::remove_file(self.folder.path().join("bus")).unwrap();
        self.daemon = start_daemon(&self.namespace, &self.folder.path().join("bus.conf"));
    }

    /// Somebody who calls over this bus.
    pub(crate) fn client(&self, user: User) -> Client {
        Client::new(self.address(), user)
    }
}

/// Starts a bus, and waits until it listens.
fn start_daemon(namespace: &Namespace, config: &Path) -> Child {
    let mut daemon = namespace
        .command("dbus-daemon")
        .arg(format!("--config-file={}", config.display()))
        .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It says its address once it listens there.
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("unix:path="), "dbus-daemon did not start");
    daemon
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.kill();
    }
}
