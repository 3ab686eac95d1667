//! A user's desktop: a session bus, a notification server that remembers what it was told, and our applet.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use zbus::OwnedVariant;
use zbus::object_server::SignalEmitter;

use super::bus::daemon;
use super::{Namespace, PrivateBus, User, eventually};

/// A bus as each login session has one; root, who is this test, may be on it too.
const CONFIG: &str = r#"<busconfig><type>session</type><listen>unix:path=DIR/session</listen><auth>EXTERNAL</auth>
 <policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
 </policy></busconfig>"#;

/// The user's folders and session bus.
pub(crate) struct Desktop {
    folder: PathBuf,
    /// Where the user is known.
    namespace: Namespace,
    bus: Child,
}

impl Desktop {
    /// In the folder of the system bus.
    pub(crate) fn start(system: &PrivateBus) -> Self {
        let folder = system.folder().join("desktop");
        for part in ["", "config", "run", "data/applications"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        for part in ["config", "run"] {
            fs::set_permissions(folder.join(part), fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::write(folder.join("bus.conf"), CONFIG.replace("DIR", folder.to_str().unwrap())).unwrap();
        let namespace = system.namespace().clone();
        let bus = daemon(&namespace, &folder.join("bus.conf"));
        Self { folder, namespace, bus }
    }

    /// The session bus goes, and another one is there.
    pub(crate) fn restart_bus(&mut self) {
        self.kill();
        fs::remove_file(self.folder.join("session")).unwrap();
        self.bus = daemon(&self.namespace, &self.folder.join("bus.conf"));
    }

    /// What `DBUS_SESSION_BUS_ADDRESS` is for its clients.
    pub(crate) fn address(&self) -> String {
        format!("unix:path={}/session", self.folder.display())
    }

    /// A file of the user's.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.join(below)
    }

    /// A program of the user's with all that a session gives it.
    pub(crate) fn command(&self, system: &PrivateBus, user: User, program: impl AsRef<Path>) -> Command {
        let mut command = system.namespace().command("setpriv");
        let uid = user.uid().to_string();
        command.args(["--pdeathsig", "KILL", "--reuid", &uid, "--regid", &uid, "--clear-groups"]).arg(program.as_ref());
        command
            .env("DBUS_SYSTEM_BUS_ADDRESS", system.address())
            .env("DBUS_SESSION_BUS_ADDRESS", self.address())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_DATA_DIRS", self.path("data"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("LANGUAGE", "en");
        command
    }

    fn kill(&mut self) {
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a server was told.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The notification in whose place it came; 0 for a new one.
    pub(crate) replaces: u32,
    pub(crate) id: u32,
    pub(crate) icon: String,
    pub(crate) title: String,
    pub(crate) body: String,
    /// The names of its buttons.
    pub(crate) buttons: Vec<String>,
}

/// A server of notifications that a test drives.
pub(crate) struct Notifications {
    connection: zbus::Connection,
    runtime: Runtime,
    shown: Arc<Mutex<Vec<Shown>>>,
    hangs: Arc<AtomicBool>,
}

struct Server {
    can: Vec<String>,
    last_id: AtomicU32,
    shown: Arc<Mutex<Vec<Shown>>>,
    hangs: Arc<AtomicBool>,
}

const PATH: &str = "/org/freedesktop/Notifications";

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Server {
    fn get_capabilities(&self) -> Vec<String> {
        self.can.clone()
    }

    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    async fn notify(
        &self,
        _sender: String,
        replaces: u32,
        icon: String,
        title: String,
        body: String,
        actions: Vec<String>,
        _hints: HashMap<String, OwnedVariant>,
        _milliseconds: i32,
    ) -> u32 {
        while self.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let id = if replaces == 0 { self.last_id.fetch_add(1, Ordering::Relaxed) + 1 } else { replaces };
        let buttons = actions.into_iter().step_by(2).collect();
        // Marks that only keep the directions of texts apart.
        let [title, body] = [title, body].map(|text| text.replace(['\u{2068}', '\u{2069}'], ""));
        let shown = Shown { replaces, id, icon, title, body, buttons };
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).push(shown);
        id
    }

    #[zbus(signal)]
    async fn action_invoked(emitter: &SignalEmitter<'_>, id: u32, button: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn notification_closed(emitter: &SignalEmitter<'_>, id: u32, reason: u32) -> zbus::Result<()>;
}

impl Notifications {
    /// One that can do all that the applet asks for.
    pub(crate) fn start(desktop: &Desktop) -> Self {
        Self::start_with(desktop, &["body", "body-markup", "actions"])
    }

    pub(crate) fn start_with(desktop: &Desktop, can: &[&str]) -> Self {
        let (shown, hangs) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let server = Server {
            can: can.iter().map(|one| (*one).to_owned()).collect(),
            last_id: AtomicU32::new(0),
            shown: shown.clone(),
            hangs: hangs.clone(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let connection = runtime.block_on(async {
            let builder = zbus::connection::Builder::address(desktop.address().as_str()).serve_at(PATH, server);
            builder.name("org.freedesktop.Notifications").build().await.unwrap()
        });
        Self { connection, runtime, shown, hangs }
    }

    /// All that it was told so far.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first one, from the one numbered so on, of which this is true; waited for.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, is_meant: impl Fn(&Shown) -> bool) -> Shown {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || self.shown().into_iter().find(&is_meant))
        }));
        found.unwrap_or_else(|_| panic!("{what} is not among {:#?}", self.shown()))
    }

    /// It answers no call until it is told to.
    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Relaxed);
    }

    /// Somebody presses a button, and the notification goes, as servers do it.
    pub(crate) fn press(&self, id: u32, button: &str) {
        self.runtime.block_on(async {
            let emitter = SignalEmitter::new(&self.connection, PATH).unwrap();
            Server::action_invoked(&emitter, id, button).await.unwrap();
            Server::notification_closed(&emitter, id, 2).await.unwrap();
        });
    }
}

/// `opensnitch-audit-notify`, run by a user. What it said is shown when the test fails.
pub(crate) struct Applet {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Applet {
    /// The program. Its package builds it, in the same folder as the service's.
    pub(crate) fn program() -> PathBuf {
        let program = Path::new(env!("CARGO_BIN_EXE_opensnitch-auditd")).with_file_name("opensnitch-audit-notify");
        assert!(program.exists(), "first: cargo build --package opensnitch-audit-notify");
        program
    }

    pub(crate) fn start(desktop: &Desktop, system: &PrivateBus, user: User) -> Self {
        let mut command = desktop.command(system, user, Self::program());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (kept, stderr) = (said.clone(), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut said = kept.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self { child, said }
    }

    /// What it does for a command.
    pub(crate) fn run(desktop: &Desktop, system: &PrivateBus, arguments: &[&str]) -> Output {
        desktop.command(system, User::Alice, Self::program()).args(arguments).output().unwrap()
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the end of the applet", || self.child.try_wait().unwrap())
    }
}

impl Drop for Applet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the applet said:\n{}", self.said());
        }
    }
}
