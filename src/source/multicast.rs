//! The kernel's own audit records, as it sends them to a netlink group (`AUDIT_NLGRP_READLOG`,
//! `kauditd_send_multicast_skb` in kernel/audit.c).
//!
//! They come beside auditd, or without it. Each is one message with its type in the header, so nothing that stands in it can
//! look like another one. The kernel never waits for who listens here: what does not fit into the socket's buffer it
//! throws away, and says so once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::netlink::{Error, Family, Group, Received};

/// The name by which systemd passes the socket.
pub const MULTICAST_PASSED_AS: &str = "audit-multicast";

/// `AUDIT_NLGRP_READLOG`.
const READLOG: u32 = 1;

/// Bytes that are asked for, of which the kernel makes twice as many: a second of 20,000 connects and more. Each is four or
/// five records, and each of these takes 1,280 to 2,304 bytes of it. systemd's socket unit asks for the same.
const BUFFER: usize = 128 * 1024 * 1024;

/// The first number of audit's own (`AUDIT_GET`); below are netlink's. Some records have the numbers of commands, as those of a
/// login and of `auditctl -m` (1006 and 1005); answers to commands go to nobody but who asked.
const FIRST_RECORD: u16 = 1000;

/// A member of the kernel's group.
#[derive(Debug)]
pub struct Multicast(Group);

/// What a look brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A record: the number of its type, and its text.
    Record(u16, &'a [u8]),
    /// What is no record.
    Other,
    /// Records were thrown away: more came than the buffer holds.
    Overrun,
}

impl Multicast {
    /// Joins the group: takes `CAP_AUDIT_READ` and the machine's own network namespace, since the kernel sends it nowhere
    /// else.
    ///
    /// # Errors
    /// Where the kernel has no audit, or refuses.
    pub fn open() -> Result<Self, Error> {
        Group::join(Family::Audit, READLOG, BUFFER).map(Self)
    }

    /// Takes the socket that systemd made (`ListenNetlink=audit 1`).
    ///
    /// # Errors
    /// Where it is no such socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        Group::from_fd(fd, Family::Audit, READLOG).map(Self)
    }

    /// Whether the buffer is smaller than it should be: in bytes, as the kernel counts.
    #[must_use]
    pub fn small_buffer(&self) -> Option<usize> {
        self.0.buffer().ok().filter(|&bytes| bytes < BUFFER)
    }

    /// What came next; `None` where nothing waits.
    ///
    /// # Errors
    /// Where the socket is of no more use.
    pub fn receive(&mut self) -> Result<Option<Message<'_>>, Error> {
        Ok(match self.0.receive()? {
            Received::Message(number @ FIRST_RECORD.., text) => Some(Message::Record(number, text)),
            Received::Message(..) | Received::Garbage => Some(Message::Other),
            Received::Overrun => Some(Message::Overrun),
            Received::Nothing => None,
        })
    }
}

impl AsFd for Multicast {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::testing::assert_passed;

    #[test]
    fn the_unit_passes_the_group_with_its_buffer_under_the_name_that_is_looked_for() {
        let lines = [
            format!("FileDescriptorName={MULTICAST_PASSED_AS}"),
            format!("ListenNetlink=audit {READLOG}"),
            format!("ReceiveBuffer={}M", BUFFER >> 20),
        ];
        assert_passed("opensnitch-audit-multicast.socket", &lines);
    }
}
