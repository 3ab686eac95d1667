//! Records that share an event id become one [`Event`].
//!
//! This module is pure: it does no I/O and has no clock, `now` is a parameter. It guarantees bounds on what it
//! holds, and that every record that did not make it into an event is counted.

mod assemble;
mod build;
mod serial;
mod syscall;

use crate::record::{Address, EventId, Family};

pub use assemble::{Assembler, Counts, MAX_AGE, MAX_EVENT_BYTES, MAX_OPEN_BYTES, MAX_OPEN_EVENTS, MAX_RECORDS};
pub use build::{MAX_ARGS, MAX_ARGS_BYTES};
pub use syscall::{Arch, EventType, error_name};

/// Bytes as the kernel reported them; they need not be UTF-8.
pub type Bytes = Box<[u8]>;

/// What one process did, from all records of one audit event. Absent means unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, and the kernel's number of it.
    pub id: EventId,
    /// The machine, where auditd names it.
    pub node: Option<Bytes>,
    /// What was done; `None` for a system call that is none of [`EventType`].
    pub event_type: Option<EventType>,
    /// The architecture the process called the kernel with.
    pub arch: Option<Arch>,
    /// The number of the system call on that architecture.
    pub syscall: Option<u32>,
    /// How it ended; of an io_uring operation its own result, not that of the call that submitted it.
    pub success: Option<bool>,
    /// What it returned: a file descriptor, 0, or a negative error number.
    pub exit: Option<i64>,
    /// Who did it.
    pub subject: Subject,
    /// The working directory.
    pub cwd: Option<Bytes>,
    /// The arguments the program was started with, as far as the event tells.
    pub args: Option<Args>,
    /// PATH item 0: of execve the program's file, of a local socket its file.
    pub file: Option<File>,
    /// The socket's address family.
    pub family: Option<Family>,
    /// The address it was connected or bound to.
    pub address: Option<Address>,
    /// The keys of the rule that asked for the event.
    pub keys: Vec<Bytes>,
    /// The records as received, one a line, where the assembler was told to keep them.
    pub raw: Option<Bytes>,
}

/// A rule under our key was added or removed (CONFIG_CHANGE).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleChange {
    /// What was done: `add_rule`, `remove_rule`.
    pub op: Option<Bytes>,
    /// By whom, as far as the event tells.
    pub subject: Subject,
}

/// The process and its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The process: of a thread its thread group, the name of `/proc/PID`.
    pub pid: Option<u32>,
    /// Its parent.
    pub ppid: Option<u32>,
    /// The real user.
    pub uid: Option<u32>,
    /// The real group.
    pub gid: Option<u32>,
    /// The effective user.
    pub euid: Option<u32>,
    /// The effective group.
    pub egid: Option<u32>,
    /// The user who logged in; unset for services.
    pub auid: Option<u32>,
    /// The login user's name, where auditd wrote it.
    pub auid_name: Option<Bytes>,
    /// The login session; unset for services.
    pub session: Option<u32>,
    /// The terminal.
    pub tty: Option<Bytes>,
    /// The name of the thread that called, at most 15 bytes.
    pub comm: Option<Bytes>,
    /// The program's file; the kernel appends ` (deleted)` where it is gone.
    pub exe: Option<Bytes>,
}

/// The file of PATH item 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Inode number.
    pub inode: Option<u64>,
    /// Device, `major:minor` in hexadecimal as written.
    pub dev: Option<Bytes>,
    /// Type and permissions, octal as written.
    pub mode: Option<Bytes>,
    /// Owner.
    pub ouid: Option<u32>,
    /// Group.
    pub ogid: Option<u32>,
}

/// An argument vector in one piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Each argument with a NUL behind it, as in `/proc/PID/cmdline`; an argument itself holds none.
    joined: Bytes,
    /// Whether they are the whole vector; else the first 128 bytes of the process's title.
    pub whole: bool,
}

impl Args {
    /// From arguments each with a NUL behind it; the last one's may be missing.
    #[must_use]
    pub fn from_nul_terminated(mut joined: Vec<u8>, whole: bool) -> Option<Self> {
        if joined.is_empty() {
            return None;
        }
        if joined.last() != Some(&0) {
            joined.push(0);
        }
        Some(Self { joined: joined.into(), whole })
    }

    /// From a process's title, as audit or `/proc/PID/cmdline` has it. A program that changes its title fills the rest with
    /// NULs: more than one argument that is empty at the end is taken for that.
    #[must_use]
    pub fn from_title(mut title: Vec<u8>, whole: bool) -> Option<Self> {
        let length = title.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if title.len() > length + 2 {
            title.truncate(length);
        }
        Self::from_nul_terminated(title, whole)
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.joined.strip_suffix(b"\0").unwrap_or_default().split(|&byte| byte == 0)
    }

    /// Whether these are the beginning of the `whole` arguments, perhaps cut in the middle of one.
    #[must_use]
    pub fn are_beginning_of(&self, whole: &Self) -> bool {
        let own = self.joined.strip_suffix(b"\0").unwrap_or_default();
        whole.joined.starts_with(own)
    }

    /// Their size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.joined.len()
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Success,
    /// A non-blocking connect that is being made: `success=no exit=-115` is no failure.
    InProgress,
    /// Failed with this error number, where the record tells one.
    Failure(Option<i32>),
}

impl Event {
    /// How it ended, as far as the records tell.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let error = self.exit.filter(|exit| *exit < 0).and_then(|exit| i32::try_from(-exit).ok());
        match (self.success?, error) {
            (true, _) => Some(Outcome::Success),
            (false, Some(syscall::EINPROGRESS)) => Some(Outcome::InProgress),
            (false, error) => Some(Outcome::Failure(error)),
        }
    }

    /// The name of the system call.
    #[must_use]
    pub fn syscall_name(&self) -> Option<&'static str> {
        self.arch?.syscall_name(self.syscall?)
    }

    /// What it holds in memory, in bytes, but for the allocator's own.
    #[must_use]
    pub fn size(&self) -> usize {
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let Subject { auid_name, tty, comm, exe, .. } = &self.subject;
        let file = self.file.as_ref().map_or(0, |file| bytes(&file.dev) + bytes(&file.mode));
        let address = match &self.address {
            Some(Address::Path(name) | Address::Abstract(name)) => name.len(),
            _ => 0,
        };
        size_of::<Self>()
            + [&self.node, auid_name, tty, comm, exe, &self.cwd, &self.raw].into_iter().map(bytes).sum::<usize>()
            + file
            + address
            + self.args.as_ref().map_or(0, Args::size)
            + self.keys.iter().map(|key| size_of::<Bytes>() + key.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_of_a_title_is_no_argument() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("a\0b\0", Some(&["a", "b"])),
            ("a\0b", Some(&["a", "b"])),
            ("a\0\0", Some(&["a", ""])),
            ("a\0\0\0", Some(&["a"])),
            ("title of its own\0\0\0\0\0\0", Some(&["title of its own"])),
            ("\0\0\0\0", None),
            ("", None),
        ];
        for (title, expected) in table {
            let args = Args::from_title((*title).into(), true);
            let args =
                args.as_ref().map(|args| args.iter().map(|arg| str::from_utf8(arg).unwrap()).collect::<Vec<_>>());
            assert_eq!(args.as_deref(), *expected, "{title:?}");
        }
    }

    #[test]
    fn a_title_is_the_beginning_of_its_own_arguments_only() {
        let args = |joined: &str| Args::from_nul_terminated(joined.into(), false).unwrap();
        let whole = args("/bin/sh\0-c\0sleep 100\0");
        for (title, expected) in [
            ("/bin/sh\0-c\0sleep 100\0", true),
            ("/bin/sh\0-c\0sleep 100", true),
            ("/bin/sh\0-c\0sle", true),
            ("/bin/bash", false),
        ] {
            assert_eq!(args(title).are_beginning_of(&whole), expected, "{title:?}");
        }
    }
}
