//! Somebody who calls: the real `busctl`.

use std::process::{Command, Output};

use serde_json::Value;

use super::{AUDIT_GROUP, eventually};

/// Who somebody is on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    /// An ordinary user.
    Alice,
    /// Another one.
    Bob,
    /// A member of the group `opensnitch-audit`.
    Member,
}

impl User {
    /// All but root.
    pub(crate) const ALL: [Self; 3] = [Self::Alice, Self::Bob, Self::Member];

    pub(crate) fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Alice => 60_001,
            Self::Bob => 60_002,
            Self::Member => 60_003,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Alice => "alice",
            Self::Bob => "bob",
            Self::Member => "member",
        }
    }

    /// A program run by this user. It ends with the test.
    pub(crate) fn command(self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if self != Self::Root {
            let uid = self.uid().to_string();
            command.args(["--reuid", &uid, "--regid", &uid]);
            match self {
                Self::Member => command.arg(format!("--groups={AUDIT_GROUP}")),
                _ => command.arg("--clear-groups"),
            };
        }
        command.arg(program);
        command
    }
}

/// An error reply: its name on the wire and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    pub(crate) name: String,
    pub(crate) message: String,
}

/// The name of the error where there is nothing, or nothing that may be seen.
pub(crate) const NOT_FOUND: &str = "org.opensnitch.Audit.Error.NotFound";
/// The name of the error where an argument makes no sense.
pub(crate) const INVALID: &str = "org.freedesktop.DBus.Error.InvalidArgs";

/// A key of a query, the type of its value, and the value.
pub(crate) type Key<'a> = (&'a str, &'a str, &'a str);

/// A user on a bus.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: String,
    user: User,
}

const SERVICE: &str = "org.opensnitch.Audit";
const OBJECT: &str = "/org/opensnitch/Audit";

impl Client {
    pub(crate) fn new(address: String, user: User) -> Self {
        Self { address, user }
    }

    /// A program run by this user, with this bus as the system's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.user.command(program);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.address);
        command
    }

    /// `busctl` with its debugging log, which has the names of errors.
    pub(crate) fn busctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("busctl");
        // What may not be seen is not found; polkit would be asked first where a person could be.
        command.args([&format!("--address={}", self.address), "--allow-interactive-authorization=no", "--json=short"]);
        command.args(arguments);
        command.env("SYSTEMD_LOG_LEVEL", "debug").env("SYSTEMD_LOG_TARGET", "console");
        command
    }

    /// What a call of busctl comes to.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Value, CallError> {
        reply(&self.busctl(arguments).output().unwrap())
    }

    /// Calls a method of ours: `call("GetEventByPid", &["u", "1"])`. The answer is an array of the out arguments.
    pub(crate) fn call(&self, method: &str, arguments: &[&str]) -> Result<Value, CallError> {
        let call = ["call", SERVICE, OBJECT, SERVICE, method];
        self.run(&[&call, arguments].concat()).map(|reply| reply["data"].clone())
    }

    /// The newest event of a process.
    pub(crate) fn event_of(&self, pid: u32) -> Result<Value, CallError> {
        self.call("GetEventByPid", &["u", &pid.to_string()]).map(|reply| plain(&reply[0]))
    }

    /// The newest event of a process, waited for.
    #[track_caller]
    pub(crate) fn wait_for_event_of(&self, pid: u32) -> Value {
        eventually(&format!("an event of process {pid}"), || self.event_of(pid).ok())
    }

    /// All events.
    pub(crate) fn events(&self) -> Vec<Value> {
        rows(&self.call("GetEvents", &[]).unwrap()[0])
    }

    /// Those that match keys, types and values: `find(&[("Pid", "u", "1")])`; and the cursor.
    pub(crate) fn find(&self, query: &[Key<'_>]) -> Result<(Vec<Value>, u64), CallError> {
        let count = query.len().to_string();
        let mut arguments = vec!["a{sv}", &*count];
        for (key, signature, value) in query {
            arguments.extend([*key, *signature, *value]);
        }
        self.call("FindEvents", &arguments).map(|reply| (rows(&reply[0]), reply[1].as_u64().unwrap()))
    }

    /// All rows that match, page by page; between two pages something happens.
    pub(crate) fn walk(&self, query: &[Key<'_>], limit: usize, mut between: impl FnMut()) -> Vec<Value> {
        let limit = limit.to_string();
        let (mut found, mut cursor) = (Vec::new(), 0);
        loop {
            let cursor_text = cursor.to_string();
            let page = [query, &[("Limit", "u", &limit), ("Cursor", "t", &cursor_text)]].concat();
            let (rows, next) = self.find(&page).unwrap();
            found.extend(rows);
            if next == 0 {
                return found;
            }
            cursor = next;
            between();
        }
    }

    /// A property of ours.
    pub(crate) fn property(&self, name: &str) -> Value {
        self.run(&["get-property", SERVICE, OBJECT, SERVICE, name]).unwrap()["data"].clone()
    }

    /// A counter of `Statistics`.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.property("Statistics")[name].as_u64().unwrap_or_else(|| panic!("there is no counter {name}"))
    }

    /// Waits until a counter has this value.
    #[track_caller]
    pub(crate) fn wait_for_counter(&self, name: &str, value: u64) {
        let mut last = 0;
        let reached = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&format!("{name} = {value}"), || {
                last = self.counter(name);
                (last == value).then_some(())
            });
        }));
        assert!(reached.is_ok(), "{name} is {last}, and never became {value}");
    }

    /// Waits until a property has this value.
    #[track_caller]
    pub(crate) fn wait_for_property(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        eventually(&format!("{name} = {value}"), || (self.property(name) == value).then_some(()));
    }

    /// The process that owns a name; `None` where nobody does.
    pub(crate) fn owner_pid(&self, name: &str) -> Option<u32> {
        self.ask_bus(&["GetConnectionUnixProcessID", "s", name]).ok()?["data"][0].as_u64()?.try_into().ok()
    }

    /// The unique name of the service.
    pub(crate) fn owner_name(&self) -> String {
        self.ask_bus(&["GetNameOwner", "s", SERVICE]).unwrap()["data"][0].as_str().unwrap().to_owned()
    }

    /// Calls a method of the bus itself.
    pub(super) fn ask_bus(&self, method: &[&str]) -> Result<Value, CallError> {
        let bus = "org.freedesktop.DBus";
        self.run(&[&["call", bus, "/org/freedesktop/DBus", bus], method].concat())
    }

    /// What the service says of itself.
    pub(crate) fn introspect(&self) -> String {
        let call = ["call", SERVICE, OBJECT, "org.freedesktop.DBus.Introspectable", "Introspect"];
        self.run(&call).unwrap()["data"][0].as_str().unwrap().to_owned()
    }
}

/// What a call of busctl came to.
pub(super) fn reply(output: &Output) -> Result<Value, CallError> {
    let log = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
    }
    let field = |name: &str| log.rsplit_once(name).map(|(_, rest)| rest.lines().next().unwrap_or_default());
    let name = field("error-name=").and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned();
    // What busctl prints itself are words of its own for well-known errors.
    let message = field("error-message=").map_or_else(|| log.clone().into_owned(), str::to_owned);
    Err(CallError { name, message })
}

fn rows(rows: &Value) -> Vec<Value> {
    rows.as_array().unwrap().iter().map(plain).collect()
}

/// An event without the types of its values.
pub(crate) fn plain(row: &Value) -> Value {
    row.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value["data"].clone())).collect()
}
