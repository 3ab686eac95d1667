//! What can go wrong between us and the kernel's audit. A message names the rule in auditctl's notation.

use rustix::io::Errno;

use crate::netlink;

/// Why the kernel's audit did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Rules are immutable until the next boot.
    #[error("the kernel's audit rules are immutable until the next boot")]
    Locked,
    /// The kernel has no audit, or refuses it to this process: no `CAP_AUDIT_CONTROL`, or not in the initial user and pid
    /// namespaces.
    #[error("the kernel's audit is off or refuses this process: {errno}")]
    Unavailable {
        /// The kernel's word for it.
        errno: Errno,
    },
    /// The system calls of this machine are not known here: there are no rules for it.
    #[error("there are no audit rules for this machine's architecture")]
    UnknownMachine,
    /// The kernel refused a rule.
    #[error("the kernel refuses the rule {rule}: {errno}")]
    Refused {
        /// In auditctl's notation.
        rule: String,
        /// Why.
        errno: Errno,
    },
    /// Another program changed our rules at the same time: this one is not as it was left.
    #[error("another program changed our audit rules meanwhile: {rule}")]
    Changed {
        /// In auditctl's notation.
        rule: String,
    },
    /// A change failed, and the rules could not be put back as they were.
    #[error("{cause}; and these rules could not be put back as they were: {}", rules.join(" | "))]
    NotRestored {
        /// Why the change failed.
        cause: Box<Error>,
        /// The rules that may be there now and were not, or the other way round, in auditctl's notation.
        rules: Vec<String>,
    },
    /// The kernel did not answer in time.
    #[error("the kernel's audit does not answer")]
    TimedOut,
    /// The kernel's answer makes no sense, or is far too large.
    #[error("the kernel's audit answers with something that makes no sense")]
    Garbled,
    /// The way to the kernel failed.
    #[error("netlink to the kernel's audit failed: {0}")]
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

impl From<netlink::Error> for Error {
    fn from(error: netlink::Error) -> Self {
        match error {
            netlink::Error::TimedOut => Self::TimedOut,
            // We make our socket ourselves: it cannot be a foreign one.
            netlink::Error::Garbled | netlink::Error::Foreign => Self::Garbled,
            netlink::Error::Io(errno) => Self::of_transport(errno),
        }
    }
}
