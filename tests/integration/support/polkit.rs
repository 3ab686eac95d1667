//! The real polkitd, and somebody in front of its prompts.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::runtime::Runtime;
use zbus::{Connection, OwnedVariant};
use zbus_polkit::policykit1::{AuthorityProxy, Identity, Subject};

use super::client::reply;
use super::process::{go_on, hang};
use super::{CallError, Client, PrivateBus, User, eventually};

/// polkit's own policy of the bus.
pub(crate) const POLKIT_BUS_POLICY: &str = "/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf";

/// The real polkitd with our actions and rules of the test's own, and no others.
pub(crate) struct Polkit {
    daemon: Child,
}

impl Polkit {
    /// On this bus, with these rules (JavaScript).
    pub(crate) fn start(bus: &PrivateBus, rules: &str) -> Self {
        let folder = |name: &str| {
            let folder = bus.folder().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let (actions, rules_folder, none) = (folder("actions"), folder("rules"), folder("no-rules"));
        let policy = "org.opensnitch.audit.policy";
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("polkit").join(policy);
        let readable = |path: PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::copy(ours, actions.join(policy)).unwrap();
        readable(actions.join(policy));
        fs::write(rules_folder.join("50-test.rules"), rules).unwrap();
        readable(rules_folder.join("50-test.rules"));
        let daemon = bus
            .namespace()
            .clone()
            .with(&actions, "/usr/share/polkit-1/actions")
            .with(&rules_folder, "/etc/polkit-1/rules.d")
            .with(&none, "/usr/share/polkit-1/rules.d")
            .command("/usr/lib/polkit-1/polkitd")
            .arg("--no-debug")
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let polkit = Self { daemon };
        let root = bus.client(User::Root);
        eventually("polkit on the bus", || root.owner_pid("org.freedesktop.PolicyKit1"));
        polkit
    }

    /// It hangs from now on.
    pub(crate) fn hang(&self) {
        hang(&self.daemon);
    }

    /// It goes on.
    pub(crate) fn go_on(&self) {
        go_on(&self.daemon);
    }
}

impl Drop for Polkit {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// What the person in front of a prompt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Person {
    /// Authenticates.
    Grants,
    /// Gives a wrong password, until it is too often.
    Refuses,
    /// Closes the prompt.
    Dismisses,
    /// Is away; and the agent itself answers nothing any more.
    Hangs,
}

/// An authentication agent that shows no prompt: it knows what the person does.
pub(crate) struct Agent {
    runtime: Runtime,
    connection: Connection,
    prompts: Arc<Prompts>,
}

#[derive(Default)]
struct Prompts {
    /// Actions and messages.
    begun: Mutex<Vec<(String, String)>>,
    /// The cookies of those that polkit took away: it does so twice.
    cancelled: Mutex<BTreeSet<String>>,
}

const AGENT: &str = "/test/Agent";

impl Agent {
    /// One for each prompt that a [`Waiting`] caller causes.
    pub(crate) fn new(bus: &PrivateBus, person: Person) -> Self {
        let runtime = Runtime::new().unwrap();
        let prompts = Arc::new(Prompts::default());
        let answers = Answers { person, prompts: prompts.clone() };
        let address = bus.address();
        let connection = runtime.block_on(async {
            let builder = zbus::connection::Builder::address(&*address);
            builder.serve_at(AGENT, answers).build().await.unwrap()
        });
        Self { runtime, connection, prompts }
    }

    /// Serves this process.
    pub(crate) fn serve(&self, caller: &Waiting) {
        self.runtime.block_on(async {
            let authority = AuthorityProxy::new(&self.connection).await.unwrap();
            let subject = Subject::new_for_pid(caller.child.id(), None, None).unwrap();
            authority.register_authentication_agent(&subject, "C", AGENT).await.unwrap();
        });
    }

    /// The actions of the prompts so far, and what they said.
    pub(crate) fn prompts(&self) -> Vec<(String, String)> {
        self.prompts.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many prompts were taken away.
    pub(crate) fn cancelled(&self) -> usize {
        self.prompts.cancelled.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

struct Answers {
    person: Person,
    prompts: Arc<Prompts>,
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.PolicyKit1.Error")]
enum AgentError {
    #[zbus(error)]
    ZBus(zbus::Error),
    Cancelled(String),
}

#[zbus::interface(name = "org.freedesktop.PolicyKit1.AuthenticationAgent")]
impl Answers {
    #[allow(clippy::too_many_arguments, reason = "polkit's interface")]
    async fn begin_authentication(
        &self,
        action: String,
        message: String,
        _icon: String,
        _details: HashMap<String, String>,
        cookie: String,
        identities: Vec<(String, HashMap<String, OwnedVariant>)>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), AgentError> {
        self.prompts.begun.lock().unwrap_or_else(PoisonError::into_inner).push((action, message));
        match self.person {
            Person::Grants => {
                let (kind, details) = &identities[0];
                let details = details.iter().map(|(key, value)| (&**key, (**value).clone())).collect();
                let identity = Identity { identity_kind: kind, identity_details: &details };
                let authority = AuthorityProxy::new(connection).await?;
                Ok(authority.authentication_agent_response2(0, &cookie, &identity).await?)
            }
            // It ends without a word to polkit.
            Person::Refuses => Ok(()),
            Person::Dismisses => Err(AgentError::Cancelled("dismissed".to_owned())),
            Person::Hangs => std::future::pending().await,
        }
    }

    async fn cancel_authentication(&self, cookie: String) {
        self.prompts.cancelled.lock().unwrap_or_else(PoisonError::into_inner).insert(cookie);
        if self.person == Person::Hangs {
            std::future::pending().await
        }
    }
}

/// A caller that has not called yet, so that an agent can be there for it first.
pub(crate) struct Waiting {
    child: Child,
}

impl Waiting {
    /// Will call this method of ours, and let itself be asked for a password or not.
    pub(crate) fn new(client: &Client, interactive: bool, method: &str, arguments: &[&str]) -> Self {
        let interactive = format!("--allow-interactive-authorization={}", if interactive { "yes" } else { "no" });
        let name = "org.opensnitch.Audit";
        // The process stays the same when it becomes another program, so that an agent for it is one for busctl.
        let mut command = client.command("sh");
        command.args(["-c", "read -r go && exec busctl --json=short --timeout=150 \"$@\"", "sh", &interactive]);
        command.args(["call", name, "/org/opensnitch/Audit", name, method]).args(arguments);
        command.env("SYSTEMD_LOG_LEVEL", "debug").env("SYSTEMD_LOG_TARGET", "console");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child }
    }

    /// Calls.
    pub(crate) fn go(mut self) -> Calling {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        Calling { child: self.child }
    }

    /// Calls, and waits for the answer.
    pub(crate) fn call(self) -> Result<Value, CallError> {
        self.go().wait()
    }
}

/// A call under way.
pub(crate) struct Calling {
    child: Child,
}

impl Calling {
    /// Waits for the answer.
    pub(crate) fn wait(self) -> Result<Value, CallError> {
        reply(&self.child.wait_with_output().unwrap()).map(|reply| reply["data"].clone())
    }

    /// Whether there is no answer yet.
    pub(crate) fn is_under_way(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The caller is gone.
    pub(crate) fn leave(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
