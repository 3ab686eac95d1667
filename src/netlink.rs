//! Requests to the kernel and their answers, and what it sends to a [`Group`], over netlink (netlink(7), `net/netlink/af_netlink.c`).
//!
//! A **message** is a header of 16 bytes and a payload. A **datagram** holds messages. A request has a **sequence
//! number**, and every message that answers it has the same. A **dump** is an answer of many messages with an end of
//! its own.
//!
//! An answer is believed only if the kernel sent it and it belongs to our request. Each request ends within
//! [`ANSWER_TIMEOUT`], and no length in a message makes us read or allocate beyond what was received.

#[cfg(fuzzing)]
pub mod fuzzing;
mod group;

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, recvfrom, sendto,
    socket_with, sockopt,
};

pub use group::{Group, Received};

/// The kernel answers while it takes the request, or starts a thread that does: milliseconds. Five seconds are for a
/// machine that swaps, and stay below the 25 seconds that a D-Bus client waits.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a datagram. The kernel makes those of a dump no longer than what the reader offers; an audit rule has 1,040
/// bytes and its texts, and ours have one short text. Whatever is longer is cut.
const DATAGRAM_MAX: usize = 16 * 1024;

/// Bytes of all datagrams that answer one request: a list of some 30,000 audit rules, or 400,000 sockets. No machine
/// could work under so many rules, and lists of sockets are asked for by port.
const ANSWER_MAX: usize = 32 * 1024 * 1024;

const HEADER: usize = 16;
/// Messages begin at multiples of this in a datagram (`NLMSG_ALIGNTO`).
const ALIGNMENT: usize = 4;
/// `NLMSG_ERROR`: an error number, zero for done.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a list, with an error number if it was a dump.
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// `NLM_F_ROOT | NLM_F_MATCH`.
const NLM_F_DUMP: u16 = 0x300;
/// The largest error number that the kernel passes out (`MAX_ERRNO` in `include/linux/err.h`).
const ERRNO_MAX: i32 = 4095;

const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// The part of the kernel at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `NETLINK_AUDIT`: audit's rules and status.
    Audit,
    /// `NETLINK_SOCK_DIAG`: the sockets of the network namespace in which the netlink socket was made (sock_diag(7)).
    SockDiag,
}

impl Family {
    fn protocol(self) -> Protocol {
        match self {
            Self::Audit => netlink::AUDIT,
            Self::SockDiag => netlink::SOCK_DIAG,
        }
    }
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// With payloads, or an error number.
    Plain,
    /// Also when there is nothing to say (`NLM_F_ACK`).
    Acknowledged,
    /// With a list and its end (`NLM_F_DUMP`). The answer is read to its end whatever the receiver of its messages says,
    /// because the kernel refuses a second dump before that.
    Dump,
}

impl Ask {
    fn flags(self) -> u16 {
        match self {
            Self::Plain => NLM_F_REQUEST,
            Self::Acknowledged => NLM_F_REQUEST | NLM_F_ACK,
            Self::Dump => NLM_F_REQUEST | NLM_F_DUMP,
        }
    }
}

/// What one message of the kernel says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// What was asked for, or one piece of it; cut where it is longer than a datagram may be.
    Payload(&'a [u8]),
    /// Done, or the end of a list.
    Done,
    /// The kernel refuses.
    Errno(Errno),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The descriptor that was handed over is something else.
    #[error("the descriptor is no netlink socket of the kind that is needed")]
    Foreign,
    /// The kernel did not answer in time.
    #[error("the kernel does not answer")]
    TimedOut,
    /// The kernel's answer makes no sense, or is far too large.
    #[error("the kernel answers with something that makes no sense")]
    Garbled,
    /// A system call failed.
    #[error("netlink failed: {0}")]
    Io(Errno),
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    datagram: Vec<u8>,
    /// A dump was begun and its end was not seen.
    unfinished: bool,
}

impl Socket {
    /// Makes a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Io`], where the kernel has no such family or refuses it.
    pub fn open(family: Family) -> Result<Self, Error> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(family.protocol()));
        Ok(Self::new(fd.map_err(Error::Io)?))
    }

    /// Takes a socket that was made by somebody else: systemd makes it in the machine's own network namespace. What
    /// waits in it, answers to an earlier owner, is thrown away.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Io`].
    pub fn from_fd(fd: OwnedFd, family: Family) -> Result<Self, Error> {
        take_over(&fd, family)?;
        let mut socket = Self::new(fd);
        socket.drain()?;
        Ok(socket)
    }

    fn new(fd: OwnedFd) -> Self {
        Self { fd, sequence: 0, datagram: vec![0; DATAGRAM_MAX], unfinished: false }
    }

    /// Sends a request and hands each answer to `each` until that breaks or fails. The answers must have the request's
    /// `kind`.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Garbled`], [`Error::Io`], and those of `each`. After an error the kernel may have
    /// done what was asked, or not.
    pub fn request<E: From<Error>>(
        &mut self,
        kind: u16,
        ask: Ask,
        payload: &[u8],
        mut each: impl FnMut(Answer<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        if self.unfinished {
            self.drain()?;
        }
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        self.sequence = self.sequence.wrapping_add(1);
        self.send(&message(kind, ask.flags(), self.sequence, payload)?)?;
        self.unfinished = ask == Ask::Dump;
        let mut size = 0;
        let mut end = None;
        loop {
            let received = self.receive(deadline)?;
            size += received;
            if size > ANSWER_MAX {
                return Err(Error::Garbled.into());
            }
            let sequence = self.sequence;
            // Others answer requests that were given up earlier.
            let ours = |message: &Message<'_>| message.sequence == sequence;
            for message in Messages(self.datagram.get(..received).unwrap_or_default()).filter(ours) {
                let answer = message.answer(kind)?;
                self.unfinished &= matches!(answer, Answer::Payload(_));
                if end.is_none() {
                    end = match each(answer) {
                        Ok(ControlFlow::Continue(())) => None,
                        Ok(ControlFlow::Break(())) => Some(Ok(())),
                        Err(error) => Some(Err(error)),
                    };
                }
            }
            match end {
                Some(end) if !self.unfinished => return end,
                // The end of the list, and `each` still waits.
                None if ask == Ask::Dump && !self.unfinished => return Ok(()),
                _ => {}
            }
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), Error> {
        loop {
            match sendto(&self.fd, message, SendFlags::empty(), &KERNEL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Io(errno)),
            }
        }
    }

    /// Throws away what waits, to the end of a dump that was not read.
    fn drain(&mut self) -> Result<(), Error> {
        let mut size = 0;
        while size <= ANSWER_MAX {
            match recvfrom(&self.fd, self.datagram.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((received, ..)) => size += received.max(1),
                // The kernel says once that it threw answers away.
                Err(Errno::INTR | Errno::NOBUFS) => size += 1,
                Err(Errno::AGAIN) => {
                    self.unfinished = false;
                    return Ok(());
                }
                Err(errno) => return Err(Error::Io(errno)),
            }
        }
        Err(Error::Garbled)
    }

    /// The length of the next datagram that the kernel sent.
    fn receive(&mut self, deadline: Instant) -> Result<usize, Error> {
        loop {
            match recvfrom(&self.fd, self.datagram.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((received, _, sender)) if is_kernel(sender.clone()) => return Ok(received),
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(deadline)?,
                Err(errno) => return Err(Error::Io(errno)),
            }
            if Instant::now() >= deadline {
                return Err(Error::TimedOut);
            }
        }
    }

    /// Until there is something to read, or the deadline.
    fn wait(&self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Error::TimedOut)?;
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::Io(errno)),
        }
    }
}

/// Makes sure that a descriptor that was passed is a socket of that family.
fn take_over(fd: &OwnedFd, family: Family) -> Result<(), Error> {
    let domain = sockopt::socket_domain(fd).map_err(|_| Error::Foreign)?;
    let protocol = sockopt::socket_protocol(fd).map_err(|_| Error::Foreign)?;
    if domain != AddressFamily::NETLINK || protocol != Some(family.protocol()) {
        return Err(Error::Foreign);
    }
    // Whoever passes a descriptor on leaves it open for programs that are started later.
    fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(Error::Io)
}

/// Whether the kernel sent it. Processes may write to each other over netlink; only the kernel's port is 0.
fn is_kernel(sender: Option<SocketAddrAny>) -> bool {
    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
    sender.is_some_and(|sender| sender.pid() == KERNEL.pid())
}

#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    fn answer(&self, request: u16) -> Result<Answer<'a>, Error> {
        match self.kind {
            // That of a list of audit rules has no number.
            NLMSG_DONE if self.payload.is_empty() => Ok(Answer::Done),
            NLMSG_ERROR | NLMSG_DONE => match word(self.payload, 0).map(u32::cast_signed).and_then(i32::checked_neg) {
                Some(0) => Ok(Answer::Done),
                Some(errno @ 1..=ERRNO_MAX) => Ok(Answer::Errno(Errno::from_raw_os_error(errno))),
                _ => Err(Error::Garbled),
            },
            kind if kind == request => Ok(Answer::Payload(self.payload)),
            _ => Err(Error::Garbled),
        }
    }
}

/// The messages of a datagram. It ends where a header is cut or too short to be one; a payload that is cut is given
/// as far as it was received.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let (header, _) = self.0.split_at_checked(HEADER)?;
        let length = usize::try_from(word(header, 0)?).ok()?;
        let payload = self.0.get(HEADER..length.min(self.0.len()))?;
        let kind = u16::from_ne_bytes(*header.get(4..)?.first_chunk()?);
        let sequence = word(header, 2)?;
        self.0 = self.0.get(length.checked_next_multiple_of(ALIGNMENT)?..).unwrap_or_default();
        Some(Message { kind, sequence, payload })
    }
}

/// The bytes of a request (`struct nlmsghdr`, then the payload).
fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let length = u32::try_from(HEADER + payload.len()).map_err(|_| Error::Garbled)?;
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    // The sender's port: the kernel knows it.
    message.extend(0_u32.to_ne_bytes());
    message.extend_from_slice(payload);
    Ok(message)
}

/// The word of 32 bits at this place, counted in words, in the machine's byte order.
pub(crate) fn word(bytes: &[u8], place: usize) -> Option<u32> {
    let word = bytes.get(place.checked_mul(size_of::<u32>())?..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use proptest::prelude::*;

    use super::*;

    const LIST: u16 = 1013;
    const STATUS: u16 = 1000;
    /// `SOCK_DIAG_BY_FAMILY`.
    const BY_FAMILY: u16 = 20;

    fn errno(number: i32) -> Vec<u8> {
        number.to_ne_bytes().to_vec()
    }

    #[test]
    fn messages_of_a_datagram_are_told_apart() {
        let mut datagram = message(LIST, 2, 7, b"odd").unwrap();
        datagram.push(0);
        datagram.extend(message(NLMSG_DONE, 2, 7, b"").unwrap());
        let messages: Vec<_> = Messages(&datagram).collect();
        assert_eq!(messages[0], Message { kind: LIST, sequence: 7, payload: b"odd" });
        assert_eq!(messages[1], Message { kind: NLMSG_DONE, sequence: 7, payload: b"" });
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn a_cut_payload_is_given_as_far_as_it_goes() {
        let datagram = message(LIST, 2, 7, b"whole").unwrap();
        let payloads = |cut| Messages(&datagram[..cut]).map(|message| message.payload.to_vec()).collect::<Vec<_>>();
        assert_eq!(payloads(21), [b"whole".to_vec()]);
        assert_eq!(payloads(18), [b"wh".to_vec()]);
        assert_eq!(payloads(16), [b"".to_vec()]);
        assert!(payloads(15).is_empty());
    }

    #[test]
    fn lengths_that_lie_end_the_datagram() {
        for length in [0_u32, 1, 15, u32::MAX] {
            let mut datagram = message(LIST, 2, 7, b"payload").unwrap();
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(Messages(&datagram).count() <= 1, "{length}");
        }
    }

    #[test]
    fn answers_mean_what_the_kernel_means() {
        let cases = [
            (NLMSG_DONE, vec![], Ok(Answer::Done)),
            (NLMSG_DONE, errno(0), Ok(Answer::Done)),
            (NLMSG_DONE, errno(-2), Ok(Answer::Errno(Errno::NOENT))),
            (NLMSG_ERROR, errno(0), Ok(Answer::Done)),
            (NLMSG_ERROR, errno(-17), Ok(Answer::Errno(Errno::EXIST))),
            (NLMSG_ERROR, errno(17), Err(Error::Garbled)),
            (NLMSG_ERROR, errno(i32::MIN), Err(Error::Garbled)),
            (NLMSG_ERROR, errno(-4096), Err(Error::Garbled)),
            (NLMSG_ERROR, vec![0; 3], Err(Error::Garbled)),
            (NLMSG_ERROR, vec![], Err(Error::Garbled)),
            (LIST, vec![1], Ok(Answer::Payload(&[1]))),
            (STATUS, vec![1], Err(Error::Garbled)),
        ];
        for (kind, payload, expected) in cases {
            let message = Message { kind, sequence: 1, payload: &payload };
            assert_eq!(message.answer(LIST), expected, "{kind} {payload:?}");
        }
    }

    /// All TCP sockets, or UDP sockets, of IPv4.
    fn all(protocol: u8) -> Vec<u8> {
        let mut payload = vec![2, protocol, 0, 0, 0xff, 0xff, 0xff, 0xff];
        payload.extend([0; 48]);
        payload
    }

    fn dump(socket: &mut Socket, protocol: u8) -> Result<usize, Error> {
        let mut count = 0;
        socket.request(BY_FAMILY, Ask::Dump, &all(protocol), |answer| match answer {
            Answer::Payload(_) => {
                count += 1;
                Ok(ControlFlow::Continue(()))
            }
            Answer::Done => Ok(ControlFlow::Break(())),
            Answer::Errno(errno) => Err(Error::Io(errno)),
        })?;
        Ok(count)
    }

    #[test]
    fn a_dump_that_nobody_wants_any_more_does_not_stop_the_next() {
        let listeners: Vec<_> = (0..300).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut socket = Socket::open(Family::SockDiag).unwrap();
        assert!(dump(&mut socket, 6).unwrap() >= listeners.len(), "more than one datagram");
        let mut first = 0;
        let given_up = socket.request(BY_FAMILY, Ask::Dump, &all(6), |_| {
            first += 1;
            Err::<ControlFlow<()>, _>(Error::Garbled)
        });
        assert_eq!((given_up, first), (Err(Error::Garbled), 1));
        assert!(dump(&mut socket, 6).unwrap() >= listeners.len());
        // As if a deadline had come.
        socket.send(&message(BY_FAMILY, Ask::Dump.flags(), 0, &all(6)).unwrap()).unwrap();
        assert_eq!(dump(&mut socket, 6), Err(Error::Io(Errno::BUSY)), "what this is about");
        socket.unfinished = true;
        assert!(dump(&mut socket, 6).unwrap() >= listeners.len());
    }

    #[test]
    fn a_passed_socket_forgets_what_its_last_owner_asked() {
        let _listeners: Vec<_> = (0..300).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let owner = Socket::open(Family::SockDiag).unwrap();
        let fd = owner.fd.as_fd().try_clone_to_owned().unwrap();
        owner.send(&message(BY_FAMILY, Ask::Dump.flags(), 1, &all(6)).unwrap()).unwrap();
        drop(owner);
        let mut socket = Socket::from_fd(fd, Family::SockDiag).unwrap();
        dump(&mut socket, 17).unwrap();
    }

    #[test]
    fn only_a_socket_of_the_right_kind_is_taken() {
        let audit = || Socket::open(Family::Audit).unwrap().fd;
        assert!(Socket::from_fd(audit(), Family::Audit).is_ok());
        assert_eq!(Socket::from_fd(audit(), Family::SockDiag).err(), Some(Error::Foreign));
        let inet = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(Socket::from_fd(inet.into(), Family::SockDiag).err(), Some(Error::Foreign));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Socket::from_fd(file.into(), Family::SockDiag).err(), Some(Error::Foreign));
    }

    proptest! {
        #[test]
        fn no_datagram_panics_or_loops(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            for message in Messages(&bytes) {
                let _ = message.answer(STATUS);
            }
        }

        /// Plausible headers, so that the random bytes get further.
        #[test]
        fn no_length_panics_or_loops(length in 0_u32..64, kind in 0_u16..5, rest in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = message(kind, 0, 1, &rest).unwrap();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let total: usize = Messages(&bytes).map(|message| message.payload.len()).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
