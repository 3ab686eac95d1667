//! A system bus of the test's own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use tempfile::TempDir;

use super::process::{go_on, hang};
use super::{Client, Namespace, POLKIT_BUS_POLICY, User, available};

/// The programs that are a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Daemon,
    Broker,
}

impl Kind {
    /// Those that are here; both where both must be.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let is_here = |kind: &Self| match kind {
            Self::Daemon => available(&[]),
            Self::Broker => available(&["dbus-broker-launch", "systemd-socket-activate"]),
        };
        [Self::Daemon, Self::Broker].into_iter().filter(is_here)
    }
}

/// A real bus with our policy, and a folder that every user can look into.
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
 <servicedir>DIR/services</servicedir><includedir>DIR/conf</includedir></busconfig>"#;

impl PrivateBus {
    /// A bus with our policy.
    pub(crate) fn start() -> Self {
        Self::new(&[], Kind::Daemon)
    }

    /// The same, of this kind.
    pub(crate) fn of(kind: Kind) -> Self {
        Self::new(&[], kind)
    }

    /// A bus with our policy and polkit's, on which calls that change the kernel's rules may be allowed: so whatever runs
    /// there has no power over those of the machine.
    pub(crate) fn with_polkit() -> Self {
        Self::new(&[POLKIT_BUS_POLICY], Kind::Daemon)
    }

    /// A bus with our policy, on which somebody may be systemd. Its programs cannot change the kernel's rules.
    pub(crate) fn with_systemd() -> Self {
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/support/org.freedesktop.systemd1.conf");
        Self::new(&[policy], Kind::Daemon)
    }

    fn new(policies: &[&str], kind: Kind) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let conf = folder.path().join("conf");
        fs::create_dir(&conf).unwrap();
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/dbus/org.opensnitch.Audit.conf");
        for policy in policies.iter().chain(&[ours]) {
            fs::copy(policy, conf.join(Path::new(policy).file_name().unwrap())).unwrap();
        }
        fs::create_dir(folder.path().join("services")).unwrap();
        let config = folder.path().join("bus.conf");
        fs::write(&config, CONFIG.replace("DIR", folder.path().to_str().unwrap())).unwrap();

        let namespace = Namespace::new(folder.path());
        let namespace = if policies.is_empty() { namespace } else { namespace.powerless() };
        let daemon = match kind {
            Kind::Daemon => daemon(&namespace, &config),
            Kind::Broker => broker(&namespace, folder.path(), &config),
        };
        Self { daemon, folder, namespace }
    }

    /// From now on the bus starts this when somebody calls it, and waits for it: it is there when somebody takes the name.
    pub(crate) fn starts(&self, name: &str) {
        let program = format!("[D-BUS Service]\nName={name}\nExec=/bin/sleep 1000\nUser=root\n");
        fs::write(self.folder.path().join("services").join(format!("{name}.service")), program).unwrap();
        self.client(User::Root).ask_bus(&["ReloadConfig"]).unwrap();
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

    /// It hangs from now on; of a dbus-daemon.
    pub(crate) fn hang(&self) {
        hang(&self.daemon);
    }

    /// It goes on.
    pub(crate) fn go_on(&self) {
        go_on(&self.daemon);
    }

    /// And is back, at the same address.
    pub(crate) fn restart(&mut self) {
        self.kill();
        fs::remove_file(self.folder.path().join("bus")).unwrap();
        self.daemon = daemon(&self.namespace, &self.folder.path().join("bus.conf"));
    }

    /// Somebody who calls over this bus.
    pub(crate) fn client(&self, user: User) -> Client {
        Client::new(self.address(), user)
    }
}

/// Starts a bus, and waits until it listens.
pub(crate) fn daemon(namespace: &Namespace, config: &Path) -> Child {
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

/// A dbus-broker, which wants its socket passed in, and a journal to write to: so there is one, in a `/run` of its own.
fn broker(namespace: &Namespace, folder: &Path, config: &Path) -> Child {
    let run = folder.join("run");
    let journal = run.join("systemd/journal");
    fs::create_dir_all(&journal).unwrap();
    let journal = UnixDatagram::bind(journal.join("socket")).unwrap();
    thread::spawn(move || while journal.recv(&mut [0; 64 * 1024]).is_ok() {});
    let address = format!("{}/bus", folder.display());
    let mut broker = namespace
        .clone()
        .with(&run, "/run")
        .command("systemd-socket-activate")
        .args(["-l", &address, "-E", &format!("DBUS_SYSTEM_BUS_ADDRESS=unix:path={address}")])
        .args(["dbus-broker-launch", "--scope", "system", "--config-file"])
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(broker.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("Listening on"), "dbus-broker did not start: {line}");
    thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
    fs::set_permissions(&address, fs::Permissions::from_mode(0o666)).unwrap();
    broker
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.kill();
    }
}
