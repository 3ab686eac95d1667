//! What can go wrong between us and the kernel's audit.
//!
//! Guarantee: an error says what the caller can do about it, and names the rule in auditctl's notation.

use std::fmt;

use rustix::io::Errno;

/// Why the kernel's audit did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Rules are immutable until the next boot.
    Locked,
    /// The kernel has no audit, or refuses it to this process: no `CAP_AUDIT_CONTROL`, or not in the initial user and pid
    /// namespaces.
    Unavailable {
        /// The kernel's word for it.
        errno: Errno,
    },
    /// The system calls of this machine are not known here: there are no rules for it.
    UnknownMachine,
    /// The kernel refused a rule.
    Refused {
        /// In auditctl's notation.
        rule: String,
        /// Why.
        errno: Errno,
    },
    /// Another program changed our rules at the same time: this one is not as it was left.
    Changed {
        /// In auditctl's notation.
        rule: String,
    },
    /// A change failed, and the rules could not be put back as they were.
    NotRestored {
        /// Why the change failed.
        cause: Box<Error>,
        /// The rules that may be there now and were not, or the other way round, in auditctl's notation.
        rules: Vec<String>,
    },
    /// The kernel did not answer in time.
    TimedOut,
    /// The kernel's answer makes no sense, or is far too large.
    Garbled,
    /// The way to the kernel failed.
    Io(Errno),
}

impl Error {
    /// What it means that a question could not be asked, or was refused whatever it was.
    pub(super) fn of_transport(errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS | Errno::CONNREFUSED | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                Self::Unavailable { errno }
            }
            errno => Self::Io(errno),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("the kernel's audit rules are immutable until the next boot"),
            Self::Unavailable { errno } => write!(f, "the kernel's audit is off or refuses this process: {errno}"),
            Self::UnknownMachine => f.write_str("there are no audit rules for this machine's architecture"),
            Self::Refused { rule, errno } => write!(f, "the kernel refuses the rule {rule}: {errno}"),
            Self::Changed { rule } => write!(f, "another program changed our audit rules meanwhile: {rule}"),
            Self::NotRestored { cause, rules } => {
                write!(f, "{cause}; and these rules could not be put back as they were: {}", rules.join(" | "))
            }
            Self::TimedOut => f.write_str("the kernel's audit does not answer"),
            Self::Garbled => f.write_str("the kernel's audit answers with something that makes no sense"),
            Self::Io(errno) => write!(f, "netlink to the kernel's audit failed: {errno}"),
        }
    }
}

impl std::error::Error for Error {}
