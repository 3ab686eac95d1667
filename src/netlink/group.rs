//! What the kernel sends to everybody who listens: a multicast group.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, getsockname, recvfrom, socket_with, sockopt,
};

use super::{Error, Family, Messages, is_kernel, take_over, word};

/// Bytes of a datagram. The kernel's audit texts have 8,970 at the most (`MAX_AUDIT_MESSAGE_LENGTH`); what does not fit
/// into this is cut.
const DATAGRAM_MAX: usize = 32 * 1024;

/// What a look into the socket brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A message: the number of its type, and its payload. The payload is the message's own to its last byte: nothing inside
    /// of it begins another one.
    Message(u16, &'a [u8]),
    /// Something that is no message of the kernel's: another sender, or lengths that make no sense.
    Garbage,
    /// The buffer was full, and the kernel threw messages away.
    Overrun,
    /// There is nothing more for now.
    Nothing,
}

/// A netlink socket that is a member of one group. The kernel sends a datagram for each message.
#[derive(Debug)]
pub struct Group {
    fd: OwnedFd,
    datagram: Vec<u8>,
}

impl Group {
    /// Joins a group, by its number from 1 to 32, in the network namespace of the calling thread, with a buffer of so many
    /// bytes as far as this process may have them.
    ///
    /// # Errors
    /// [`Error::Io`], where the kernel has no such family, or refuses the group.
    pub fn join(family: Family, number: u32, buffer: usize) -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(family.protocol()));
        let fd = fd.map_err(Error::Io)?;
        // The first takes CAP_NET_ADMIN; the second ends at net.core.rmem_max.
        sockopt::set_socket_recv_buffer_size_force(&fd, buffer)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&fd, buffer))
            .map_err(Error::Io)?;
        bind(&fd, &SocketAddrNetlink::new(0, mask(number))).map_err(Error::Io)?;
        Ok(Self::new(fd))
    }

    /// Takes a socket that was made by somebody else, with what waits in it.
    ///
    /// # Errors
    /// [`Error::Foreign`] where it is another kind of socket, or no member of the group; [`Error::Io`].
    pub fn from_fd(fd: OwnedFd, family: Family, number: u32) -> Result<Self, Error> {
        take_over(&fd, family)?;
        let address = getsockname(&fd).map_err(Error::Io)?;
        let address = SocketAddrNetlink::try_from(address).map_err(|_| Error::Foreign)?;
        if address.groups() & mask(number) == 0 {
            return Err(Error::Foreign);
        }
        Ok(Self::new(fd))
    }

    fn new(fd: OwnedFd) -> Self {
        Self { fd, datagram: vec![0; DATAGRAM_MAX] }
    }

    /// The size of the socket's buffer in bytes, as the kernel counts: it doubles what is asked for, since each message costs
    /// more than its text.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn buffer(&self) -> Result<usize, Error> {
        sockopt::socket_recv_buffer_size(&self.fd).map_err(Error::Io)
    }

    /// The next message, without waiting.
    ///
    /// # Errors
    /// [`Error::Io`], where the socket is of no more use.
    pub fn receive(&mut self) -> Result<Received<'_>, Error> {
        let received = loop {
            match recvfrom(&self.fd, self.datagram.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((received, _, sender)) => break if is_kernel(sender) { received } else { 0 },
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(Errno::NOBUFS) => return Ok(Received::Overrun),
                Err(errno) => return Err(Error::Io(errno)),
            }
        };
        Ok(only_message(self.datagram.get(..received).unwrap_or_default()))
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// In the mask of groups that an address has.
const fn mask(number: u32) -> u32 {
    1_u32.wrapping_shl(number.wrapping_sub(1))
}

/// The one message that a datagram is, by its own length.
fn only_message(datagram: &[u8]) -> Received<'_> {
    let is_whole = |length: u32| usize::try_from(length) == Ok(datagram.len());
    match Messages(datagram).next() {
        Some(message) if word(datagram, 0).is_some_and(is_whole) => Received::Message(message.kind, message.payload),
        _ => Received::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use rustix::net::{SendFlags, sendto};

    use super::super::message;
    use super::*;
    use crate::testing::say;

    const EOE: u16 = 1320;

    #[test]
    fn a_datagram_is_one_message_or_nothing() {
        let text = b"audit(1.000:1): a\n\x1Dtype=EOE msg=audit(1.000:2): ";
        let whole = message(EOE, 0, 0, text).unwrap();
        assert_eq!(only_message(&whole), Received::Message(EOE, text));
        assert_eq!(only_message(&message(EOE, 0, 0, b"").unwrap()), Received::Message(EOE, b""));
        for cut in 0..whole.len() {
            assert_eq!(only_message(&whole[..cut]), Received::Garbage, "{cut}");
        }
        let two = [whole.clone(), vec![0; 3], whole.clone()].concat();
        assert_eq!(only_message(&two), Received::Garbage);
        for length in [0_u32, 1, 15, 16, 17, u32::MAX] {
            let mut lies = whole.clone();
            lies[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(only_message(&lies), Received::Garbage, "{length}");
        }
    }

    #[test]
    fn another_group_is_another_bit() {
        assert_eq!([1, 2, 32].map(mask), [1, 2, 1 << 31]);
    }

    #[test]
    fn a_passed_socket_of_another_kind_is_refused() {
        let datagrams = |family: Family| {
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(family.protocol())).unwrap()
        };
        let (unix, _) = std::os::unix::net::UnixStream::pair().unwrap();
        for fd in [unix.into(), datagrams(Family::SockDiag), datagrams(Family::Audit)] {
            assert_eq!(Group::from_fd(fd, Family::Audit, 1).unwrap_err(), Error::Foreign);
        }
    }

    #[test]
    fn what_another_than_the_kernel_sends_is_garbage() {
        let Ok(mut group) = Group::join(Family::Audit, 1, 1 << 20) else {
            return say("SKIPPED what another than the kernel sends: this machine has no audit for this process");
        };
        let address = SocketAddrNetlink::try_from(getsockname(&group).unwrap()).unwrap();
        let protocol = Some(Family::Audit.protocol());
        let other = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol).unwrap();
        let forged = message(EOE, 0, 0, b"audit(1.000:1): ").unwrap();
        // Root may; the kernel refuses everybody else.
        sendto(&other, &forged, SendFlags::empty(), &SocketAddrNetlink::new(address.pid(), 0)).unwrap();
        let mut garbage = 0;
        loop {
            match group.receive().unwrap() {
                Received::Garbage => garbage += 1,
                Received::Nothing => break,
                Received::Message(_, text) => assert_ne!(text, b"audit(1.000:1): "),
                Received::Overrun => {}
            }
        }
        assert_eq!(garbage, 1);
    }

    proptest! {
        #[test]
        fn any_datagram_has_an_answer(kind: u16, text in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = only_message(&text);
            let datagram = message(kind, 0, 0, &text).unwrap();
            prop_assert_eq!(only_message(&datagram), Received::Message(kind, &text));
        }
    }
}
