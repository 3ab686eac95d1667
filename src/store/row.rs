//! What is kept of one event.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use audit_records::{Address, Arch, Args, Event, EventId, EventType, Family, File, Outcome, Protocol, Subject};
use serde::{Deserialize, Serialize};

use super::shared::Origin;
use super::shares::Owner;
use crate::process::{Parents, Process};

/// One event as the store keeps it. What it shares with others of its process is held once.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its place in the order of arrival; grows by one with each event.
    pub sequence: u64,
    /// When it happened, and the kernel's number of it.
    pub id: EventId,
    /// When it arrived, in microseconds since the epoch.
    pub seen_us: u64,
    /// Which way it came.
    pub source: Source,
    /// What was done; `None` for a system call that is none of [`EventType`].
    pub event_type: Option<EventType>,
    /// The architecture the process called the kernel with.
    pub arch: Option<Arch>,
    /// The number of the system call on that architecture.
    pub syscall: Option<u32>,
    /// Whether it succeeded.
    pub success: Option<bool>,
    /// What it returned: a descriptor, 0, or a negative error number.
    pub exit: Option<i64>,
    /// The descriptor: of socket and accept the new one, else the one used.
    pub fd: Option<i32>,
    /// Type and protocol, from the socket call that made the descriptor.
    pub socket: Option<Protocol>,
    /// The socket's address family.
    pub family: Option<Family>,
    /// The address it was connected, bound or sent to.
    pub address: Option<Address>,
    /// Who did it, as the records say.
    pub origin: Arc<Origin>,
    /// Who did it, as `/proc` says.
    pub whose: Whose,
    /// What few events have.
    pub extra: Option<Arc<Extra>>,
}

/// Which way an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Through auditd's socket.
    Audisp,
    /// From the kernel's multicast.
    Netlink,
    /// From auditd's log, written before the service began.
    Log,
}

impl Source {
    /// The word of the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audisp => "audisp",
            Self::Netlink => "netlink",
            Self::Log => "log",
        }
    }
}

/// What few events have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Extra {
    /// PATH item 0: of execve the program's file, of a local socket its file.
    pub file: Option<File>,
    /// The arguments of execve.
    pub args: Option<Args>,
    /// The records as received, one a line.
    pub raw: Option<Box<[u8]>>,
}

/// The process behind an event, as far as `/proc` told.
#[derive(Clone, Debug, Default)]
pub enum Whose {
    /// Nobody has looked yet.
    #[default]
    Pending,
    /// That one.
    Process(Arc<Process>),
    /// One that had ended before anybody looked. Its ancestors may be known.
    Gone {
        /// When somebody looked, in milliseconds since the epoch: all it did was done by then.
        at_ms: u64,
        /// Its ancestors, the nearest first.
        parents: Parents,
    },
    /// Nothing is known and nothing will be: `/proc` has another process, hung, or it is another machine's.
    Nothing,
}

impl Row {
    /// Of an event that arrived now. Its process is not known yet.
    pub(super) fn new(event: &Event<'_>, source: Source, sequence: u64, seen_us: u64, origin: Arc<Origin>) -> Self {
        let extra = Extra { file: event.file(), args: event.args(), raw: event.raw().map(Box::from) };
        let sockaddr = event.sockaddr();
        let whose = if origin.is_local { Whose::Pending } else { Whose::Nothing };
        Self {
            sequence,
            id: event.id(),
            seen_us,
            source,
            event_type: event.event_type(),
            arch: event.arch(),
            syscall: event.syscall(),
            success: event.success(),
            exit: event.exit(),
            fd: event.fd(),
            socket: event.protocol(),
            family: sockaddr.as_ref().map(|sockaddr| sockaddr.family).or_else(|| event.family()),
            address: sockaddr.and_then(|sockaddr| sockaddr.address),
            origin,
            whose,
            extra: (extra.file.is_some() || extra.args.is_some() || extra.raw.is_some()).then(|| Arc::new(extra)),
        }
    }

    /// Who did it, decoded.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        self.origin.who().subject()
    }

    /// The program's path: from the record, else from `/proc`.
    #[must_use]
    pub fn exe(&self) -> Option<Cow<'_, [u8]>> {
        self.origin.who().exe().or_else(|| self.program()?.exe.as_deref().map(Cow::Borrowed))
    }

    /// It happened before the service began.
    #[must_use]
    pub fn is_recalled(&self) -> bool {
        self.source == Source::Log
    }

    /// What `/proc` knew of its process.
    #[must_use]
    pub fn process(&self) -> Option<&Arc<Process>> {
        match &self.whose {
            Whose::Process(process) => Some(process),
            _ => None,
        }
    }

    /// What `/proc` knew of its process, where it is of the program that the event is of: by the time of the visit the process
    /// may have started another one.
    #[must_use]
    pub fn program(&self) -> Option<&Process> {
        let process = self.process()?;
        let is_its_own = match self.origin.who().exe() {
            Some(exe) => process.runs(&exe),
            None => process.ran_program_at(self.id.milliseconds),
        };
        let is_another_file = self.started_file().is_some_and(|(device, inode)| process.is_another_file(device, inode));
        (is_its_own && !is_another_file).then_some(&**process)
    }

    /// Of `execve`, the device (major and minor number) and inode of the file that was started, as the record has them.
    fn started_file(&self) -> Option<((u32, u32), u64)> {
        let file = self.extra.as_ref()?.file.as_ref().filter(|_| self.event_type == Some(EventType::Execve))?;
        let (major, minor) = str::from_utf8(file.dev.as_deref()?).ok()?.split_once(':')?;
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        Some(((number(major)?, number(minor)?), file.inode?))
    }

    /// Its ancestors, the nearest first; `None` where nobody knows.
    #[must_use]
    pub fn parents(&self) -> Option<&Parents> {
        match &self.whose {
            Whose::Process(process) => Some(&process.parents),
            Whose::Gone { parents, .. } => Some(parents),
            Whose::Pending | Whose::Nothing => None,
        }
    }

    /// How it ended, as far as the records tell.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        Some(Outcome::of(self.success?, self.exit))
    }

    /// Whether both are of one process, as far as that is known.
    #[must_use]
    pub fn is_of_same_process(&self, other: &Self) -> bool {
        if self.origin.pid != other.origin.pid {
            return false;
        }
        let (older, newer) = if self.sequence < other.sequence { (self, other) } else { (other, self) };
        match (&older.whose, &newer.whose) {
            (Whose::Process(one), Whose::Process(other)) => one.start_time_us == other.start_time_us,
            // All that a process did that was gone when somebody looked was done by then.
            (Whose::Gone { at_ms, .. }, _) => newer.id.milliseconds <= *at_ms,
            (Whose::Process(_), Whose::Gone { .. }) => false,
            // Of a row from the log nobody will ever be told whose it is.
            (_, Whose::Process(process)) if older.source == Source::Log => process.lived_at(older.id.milliseconds),
            _ => true,
        }
    }

    /// The address's host, in its own form: an IPv4 address that is mapped into IPv6 is IPv4.
    #[must_use]
    pub fn host(&self) -> Option<IpAddr> {
        Some(self.address.as_ref()?.ip()?.0.to_canonical())
    }

    /// When it happened, in microseconds since the epoch.
    #[must_use]
    pub fn timestamp_us(&self) -> u64 {
        self.id.milliseconds.saturating_mul(1000)
    }

    /// Whose event it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.origin.owner
    }

    /// What only this row holds in memory, in bytes: not what it shares.
    #[must_use]
    pub fn size(&self) -> usize {
        let address = match &self.address {
            Some(Address::Path(name) | Address::Abstract(name)) => name.len(),
            _ => 0,
        };
        let extra = self.extra.as_deref().map_or(0, |extra| {
            let bytes = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
            let file = extra.file.as_ref().map_or(0, |file| bytes(&file.dev) + bytes(&file.mode));
            size_of::<Extra>()
                + file
                + extra.args.as_ref().map_or(0, Args::size)
                + extra.raw.as_deref().map_or(0, <[u8]>::len)
        });
        size_of::<Self>() + address + extra
    }
}

/// How a call ended, in a word of the contract.
#[must_use]
pub const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => OUTCOMES[0],
        Outcome::InProgress => OUTCOMES[1],
        Outcome::Failure(_) => OUTCOMES[2],
    }
}

/// All of these words.
pub const OUTCOMES: [&str; 3] = ["success", "in-progress", "failure"];
