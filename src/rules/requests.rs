//! What is asked of the kernel's audit (`kernel/audit.c`, `include/uapi/linux/audit.h`).

use std::ops::ControlFlow::{Break, Continue};

use rustix::io::Errno;

use super::error::Error;
use crate::netlink::{Answer, Ask, Family, Socket};

/// `AUDIT_GET` and `AUDIT_LIST_RULES`.
const GET: u16 = 1000;
const LIST_RULES: u16 = 1013;

/// A change of the kernel's list or of its status: `AUDIT_SET`, `AUDIT_ADD_RULE`, `AUDIT_DEL_RULE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Set = 1001,
    Add = 1011,
    Delete = 1012,
}

/// The way to the kernel's audit.
#[derive(Debug)]
pub(super) struct Requests(Socket);

impl Requests {
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self(Socket::open(Family::Audit)?))
    }

    /// The kernel's status, as it is sent (`struct audit_status`).
    pub(super) fn status(&mut self) -> Result<Vec<u8>, Error> {
        let mut status = Vec::new();
        self.0.request(GET, Ask::Plain, &[], |answer| match answer {
            Answer::Payload(bytes) => {
                status = bytes.to_vec();
                Ok(Break(()))
            }
            Answer::Errno(errno) => Err(Error::of_transport(errno)),
            Answer::Done => Err(Error::Garbled),
        })?;
        Ok(status)
    }

    /// All rules, in the order of the kernel's lists. What does not fit into a datagram has long paths, and is not ours:
    /// it is cut.
    pub(super) fn list(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let mut rules = Vec::new();
        // It ends as a dump does, but is none: the kernel starts a thread for it.
        self.0.request(LIST_RULES, Ask::Plain, &[], |answer| match answer {
            Answer::Payload(bytes) => {
                rules.push(bytes.to_vec());
                Ok(Continue(()))
            }
            Answer::Done => Ok(Break(())),
            Answer::Errno(errno) => Err(Error::of_transport(errno)),
        })?;
        Ok(rules)
    }

    /// Adds or deletes a rule, or sets the status. The inner result is the kernel's answer; the outer error says that there was none, and
    /// then the change may have been made or not.
    pub(super) fn change(&mut self, change: Change, payload: &[u8]) -> Result<Result<(), Errno>, Error> {
        let mut result = Ok(());
        self.0.request(change as u16, Ask::Acknowledged, payload, |answer| match answer {
            Answer::Done => Ok(Break(())),
            Answer::Errno(errno) => {
                result = Err(errno);
                Ok(Break(()))
            }
            Answer::Payload(_) => Err(Error::Garbled),
        })?;
        Ok(result)
    }
}
