//! Events in their wire form, and nothing else is: `a{sv}` with the keys of the contract.

use serde::ser::{Serialize, SerializeMap, Serializer};
use zbus::wire::Signature;
use zbus::{Type, Variant};

use crate::event::{Args, Event, Outcome, error_name};
use crate::process::{Entry, Process, user_name};
use crate::record::{Address, Family};

/// The keys and their types, in the order in which they are sent and shown.
pub const KEYS: [(&str, &str); 48] = [
    ("Timestamp", "t"),
    ("Serial", "u"),
    ("EventType", "s"),
    ("Pid", "u"),
    ("PPid", "u"),
    ("UID", "u"),
    ("Gid", "u"),
    ("EUid", "u"),
    ("EGid", "u"),
    ("OUid", "u"),
    ("OGid", "u"),
    ("UserName", "s"),
    ("ProcName", "s"),
    ("ProcPath", "s"),
    ("ProcPathRaw", "ay"),
    ("ProcCmdLine", "s"),
    ("ProcDir", "s"),
    ("ProcDirRaw", "ay"),
    ("ProcMode", "s"),
    ("TTY", "s"),
    ("NetFamily", "s"),
    ("DstHost", "s"),
    ("DstPort", "q"),
    ("DstPath", "s"),
    ("DstPathRaw", "ay"),
    ("DstScope", "u"),
    ("Success", "b"),
    ("Exit", "x"),
    ("Outcome", "s"),
    ("Error", "s"),
    ("Syscall", "u"),
    ("SyscallName", "s"),
    ("Arch", "s"),
    ("INode", "t"),
    ("Dev", "s"),
    ("Args", "as"),
    ("AuditUid", "u"),
    ("SessionId", "u"),
    ("Keys", "as"),
    ("Node", "s"),
    ("RawEvent", "s"),
    ("StartTime", "t"),
    ("Running", "b"),
    ("Unit", "s"),
    ("CGroup", "s"),
    ("Count", "t"),
    ("LastSeen", "t"),
    ("Sequence", "t"),
];

/// One event on the wire. Keys that are not there are unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(Vec<(&'static str, Variant<'static>)>);

impl Type for Row {
    const SIGNATURE: &'static Signature = <std::collections::HashMap<String, Variant<'static>>>::SIGNATURE;
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// An entry of the cache on its way into a list. It becomes a [`Row`] when the list is written, one at a time: thousands of
/// them as rows take ten times the memory of their entries.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The entry.
    pub entry: Entry,
    /// Whether its process still runs.
    pub running: Option<bool>,
}

impl Listed {
    /// Its wire form.
    #[must_use]
    pub fn row(&self) -> Row {
        Row::new(&self.entry.event, Context::of(&self.entry, self.running))
    }
}

impl Type for Listed {
    const SIGNATURE: &'static Signature = Row::SIGNATURE;
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.row().serialize(serializer)
    }
}

/// What the service knows of an event beyond its records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// What `/proc` knew.
    pub process: Option<&'a Process>,
    /// Whether that very process still runs.
    pub running: Option<bool>,
    /// How many events this one stands for.
    pub count: Option<u64>,
    /// When it came, in microseconds since the epoch.
    pub last_seen_us: Option<u64>,
    /// Its place in the order of all events.
    pub sequence: Option<u64>,
}

impl<'a> Context<'a> {
    /// Of an entry of the cache.
    #[must_use]
    pub fn of(entry: &'a Entry, running: Option<bool>) -> Self {
        Self {
            process: entry.process.as_deref(),
            running,
            count: Some(entry.count),
            last_seen_us: Some(entry.last_seen_us),
            sequence: Some(entry.sequence),
        }
    }
}

impl Row {
    /// The wire form of an event. May ask the system for a user's name.
    #[must_use]
    pub fn new(event: &Event, context: Context<'_>) -> Self {
        let mut row = Self(Vec::with_capacity(KEYS.len()));
        row.add_subject(event, context.process);
        row.add_call(event);
        row.add_destination(event);
        row.add_context(event, context);
        let place = |key: &str| KEYS.iter().position(|(name, _)| *name == key);
        row.0.sort_by_key(|(key, _)| place(key));
        row
    }

    /// Its keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Variant<'static>)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// Not less than what it takes on the wire, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        // Behind a key, its length and NUL up to 7 bytes of padding, a signature, a length and padding again.
        const OVERHEAD: usize = 40;
        let value = |value: &Variant<'_>| match value {
            Variant::Str(text) => text.len(),
            Variant::Array(array) => {
                array.iter().map(|one| if let Variant::Str(text) = one { text.len() + 8 } else { 1 }).sum()
            }
            _ => 8,
        };
        8 + self.0.iter().map(|(key, one)| OVERHEAD + key.len() + value(one)).sum::<usize>()
    }

    fn add<T: Into<Variant<'static>>>(&mut self, key: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.0.push((key, value.into()));
        }
    }

    fn add_text(&mut self, key: &'static str, bytes: Option<&[u8]>) {
        self.add(key, bytes.map(|bytes| text(bytes).0));
    }

    /// Text, and where it is not text byte for byte beside it.
    fn add_path(&mut self, key: &'static str, raw_key: &'static str, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return };
        let (text, escaped) = text(bytes);
        self.add(key, Some(text));
        self.add(raw_key, escaped.then(|| bytes.to_vec()));
    }

    fn add_subject(&mut self, event: &Event, process: Option<&Process>) {
        let subject = &event.subject;
        self.add("Pid", subject.pid);
        self.add("PPid", subject.ppid);
        self.add("UID", subject.uid);
        self.add("Gid", subject.gid);
        self.add("EUid", subject.euid);
        self.add("EGid", subject.egid);
        let name = subject.auid_name.clone().or_else(|| subject.auid.and_then(user_name));
        self.add_text("UserName", name.as_deref());
        let comm = subject.comm.as_deref().or_else(|| process?.comm.as_deref());
        self.add_text("ProcName", comm);
        let exe = subject.exe.as_deref().or_else(|| process?.exe.as_deref());
        self.add_path("ProcPath", "ProcPathRaw", exe);
        let own = event.args.as_ref();
        // By the time of the visit the process may have started another program: then its title was another one.
        let same = |args: &&Args| own.is_none_or(|title| title.are_beginning_of(args));
        let args = own.filter(|args| args.whole).or_else(|| process?.args.as_ref().filter(same)).or(own);
        let args: Option<Vec<String>> = args.map(|args| args.iter().map(|arg| text(arg).0).collect());
        self.add("ProcCmdLine", args.as_ref().map(|args| args.join(" ")));
        self.add("Args", args);
        self.add_path("ProcDir", "ProcDirRaw", event.cwd.as_deref());
        self.add_text("TTY", subject.tty.as_deref());
        self.add("AuditUid", subject.auid);
        self.add("SessionId", subject.session);
    }

    fn add_call(&mut self, event: &Event) {
        self.add("Timestamp", Some(timestamp_us(event)));
        self.add("Serial", Some(event.id.serial));
        self.add("EventType", event.event_type.map(|one| one.name()));
        self.add("Syscall", event.syscall);
        self.add("SyscallName", event.syscall_name());
        self.add("Arch", event.arch.map(|arch| arch.name().map_or_else(|| format!("{:x}", arch.0), str::to_owned)));
        self.add("Success", event.success);
        self.add("Exit", event.exit);
        let (outcome, error) = match event.outcome() {
            None => (None, None),
            Some(Outcome::Success) => (Some("success"), None),
            Some(Outcome::InProgress) => (Some("in-progress"), None),
            Some(Outcome::Failure(error)) => (Some("failure"), error.and_then(error_name)),
        };
        self.add("Outcome", outcome);
        self.add("Error", error);
        if let Some(file) = &event.file {
            self.add("OUid", file.ouid);
            self.add("OGid", file.ogid);
            self.add("INode", file.inode);
            self.add_text("Dev", file.dev.as_deref());
            self.add_text("ProcMode", file.mode.as_deref());
        }
    }

    fn add_destination(&mut self, event: &Event) {
        self.add("NetFamily", event.family.map(family_name));
        match &event.address {
            None => {}
            Some(Address::Inet(host, port)) => {
                self.add("DstHost", Some(host.to_string()));
                self.add("DstPort", Some(*port));
            }
            Some(Address::Inet6(host, port, scope)) => {
                self.add("DstHost", Some(host.to_string()));
                self.add("DstPort", Some(*port));
                self.add("DstScope", *scope);
            }
            Some(Address::Path(path)) => self.add_path("DstPath", "DstPathRaw", Some(path)),
            Some(Address::Abstract(name)) => {
                let (text, escaped) = text(name);
                self.add("DstPath", Some(format!("@{text}")));
                // Byte for byte as the kernel has it: with the NUL that makes it abstract.
                self.add("DstPathRaw", escaped.then(|| [b"\0", &**name].concat()));
            }
        }
    }

    fn add_context(&mut self, event: &Event, context: Context<'_>) {
        let keys: Vec<String> = event.keys.iter().map(|key| text(key).0).collect();
        self.add("Keys", (!keys.is_empty()).then_some(keys));
        self.add_text("Node", event.node.as_deref());
        self.add_text("RawEvent", event.raw.as_deref());
        self.add("StartTime", context.process.map(|process| process.start_time));
        self.add("Running", context.running);
        self.add_text("Unit", context.process.and_then(|process| process.unit.as_deref()));
        self.add_text("CGroup", context.process.and_then(|process| process.cgroup.as_deref()));
        self.add("Count", context.count);
        self.add("LastSeen", context.last_seen_us);
        self.add("Sequence", context.sequence);
    }
}

/// When the event happened, in microseconds since the epoch.
#[must_use]
pub fn timestamp_us(event: &Event) -> u64 {
    event.id.milliseconds.saturating_mul(1000)
}

/// The family's name, or its number in decimal where it has none here.
#[must_use]
pub fn family_name(family: Family) -> String {
    family.name().map_or_else(|| family.0.to_string(), str::to_owned)
}

/// Bytes as text that D-Bus takes: what is not UTF-8, and NUL, as `\xHH`. Whether there was any.
#[must_use]
pub fn text(bytes: &[u8]) -> (String, bool) {
    if let Ok(text) = str::from_utf8(bytes)
        && !text.contains('\0')
    {
        return (text.to_owned(), false);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for (at, part) in chunk.valid().split('\0').enumerate() {
            if at > 0 {
                text.push_str("\\x00");
            }
            text.push_str(part);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    (text, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_escaped() {
        let table: &[(&[u8], &str, bool)] = &[
            (b"/usr/bin/x", "/usr/bin/x", false),
            ("/prögram".as_bytes(), "/prögram", false),
            (b"a\xffb\xc3", "a\\xffb\\xc3", true),
            (b"bin\0\x01\xff", "bin\\x00\u{1}\\xff", true),
            (b"", "", false),
            (b"\\xff", "\\xff", false),
        ];
        for (bytes, expected, escaped) in table {
            assert_eq!(text(bytes), ((*expected).to_owned(), *escaped));
        }
    }
}
