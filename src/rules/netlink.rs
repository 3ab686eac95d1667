//! Requests to the kernel's audit and their answers, over `NETLINK_AUDIT` (netlink(7), `kernel/audit.c`).
//!
//! A **message** is a header of 16 bytes and a payload. A **datagram** holds messages. A request has a **sequence number**,
//! and all messages that answer it bear the same.
//!
//! Guarantee: an answer comes from the kernel and belongs to our request, each request ends within [`ANSWER_TIMEOUT`],
//! and no length in a message makes us read or allocate beyond what was received.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{self, SocketAddrNetlink},
        recvfrom, sendto, socket_with,
    },
};

use super::{error::Error, wire::word};

/// `AUDIT_GET` and its relatives in `include/uapi/linux/audit.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Status = 1000,
    Add = 1011,
    Delete = 1012,
    List = 1013,
}

/// The kernel answers while it takes the request, or starts a thread that lists the rules: milliseconds. Five seconds
/// are for a machine that swaps, and stay below the 25 seconds that a D-Bus client waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a datagram. A rule has 1,040 and its texts; ours have one text, the key. What is longer is a foreign rule with
/// long paths: it is cut, and is foreign still.
const DATAGRAM_MAX: usize = 16 * 1024;

/// Bytes of one whole answer: a list of some 30,000 rules. No machine could work under so many, since each call passes by
/// all of them.
const ANSWER_MAX: usize = 32 * 1024 * 1024;

const HEADER: usize = 16;
/// Messages begin at multiples of this in a datagram (`NLMSG_ALIGNTO`).
const ALIGNMENT: usize = 4;
/// `NLMSG_ERROR`: an error number, zero for done.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a list.
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST`, and `NLM_F_ACK`: answer even if there is no error.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// The largest error number that the kernel passes out (`MAX_ERRNO` in `include/linux/err.h`).
const ERRNO_MAX: i32 = 4095;

const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// A socket to the kernel's audit.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    datagram: Vec<u8>,
}

impl Socket {
    pub(super) fn open() -> Result<Self, Error> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::AUDIT));
        Ok(Self { fd: fd.map_err(Error::of_transport)?, sequence: 0, datagram: vec![0; DATAGRAM_MAX] })
    }

    /// The kernel's status, as it is sent (`struct audit_status`).
    pub(super) fn status(&mut self) -> Result<Vec<u8>, Error> {
        let mut status = Vec::new();
        self.request(Request::Status, &[], NLM_F_REQUEST, |answer| match answer {
            Answer::Payload(bytes) => {
                status = bytes.to_vec();
                Ok(true)
            }
            Answer::Errno(errno) => Err(Error::of_transport(errno)),
            Answer::Done => Err(Error::Garbled),
        })?;
        Ok(status)
    }

    /// All rules, in the order of the kernel's lists; those beyond [`DATAGRAM_MAX`] are cut.
    pub(super) fn list(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let mut rules = Vec::new();
        let mut size = 0;
        self.request(Request::List, &[], NLM_F_REQUEST, |answer| match answer {
            Answer::Payload(bytes) => {
                size += bytes.len();
                if size > ANSWER_MAX {
                    return Err(Error::Garbled);
                }
                rules.push(bytes.to_vec());
                Ok(false)
            }
            Answer::Done => Ok(true),
            Answer::Errno(errno) => Err(Error::of_transport(errno)),
        })?;
        Ok(rules)
    }

    /// Adds or deletes a rule. The inner result is the kernel's answer, the outer error says that there was none: then
    /// the change may have been made or not.
    pub(super) fn change(&mut self, request: Request, rule: &[u8]) -> Result<Result<(), Errno>, Error> {
        let mut result = Ok(());
        self.request(request, rule, NLM_F_REQUEST | NLM_F_ACK, |answer| match answer {
            Answer::Done => Ok(true),
            Answer::Errno(errno) => {
                result = Err(errno);
                Ok(true)
            }
            Answer::Payload(_) => Err(Error::Garbled),
        })?;
        Ok(result)
    }

    /// Sends a request and hands each answer to `each`, until that says that it was the last.
    fn request(
        &mut self,
        request: Request,
        payload: &[u8],
        flags: u16,
        mut each: impl FnMut(Answer<'_>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        self.sequence = self.sequence.wrapping_add(1);
        let message = message(request as u16, flags, self.sequence, payload)?;
        while let Err(errno) = sendto(&self.fd, &message, SendFlags::empty(), &KERNEL) {
            if errno != Errno::INTR {
                return Err(Error::of_transport(errno));
            }
        }
        loop {
            let received = self.receive(deadline)?;
            for message in Messages(self.datagram.get(..received).unwrap_or_default()) {
                // Answers to a request that was given up earlier.
                if message.sequence != self.sequence {
                    continue;
                }
                if each(message.answer(request)?)? {
                    return Ok(());
                }
            }
        }
    }

    /// The length of the next datagram that the kernel sent.
    fn receive(&mut self, deadline: Instant) -> Result<usize, Error> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut);
            }
            match recvfrom(&self.fd, self.datagram.as_mut_slice(), RecvFlags::DONTWAIT) {
                // Processes may write to each other over netlink; only the kernel's port is 0.
                Ok((received, _, sender)) => {
                    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                    if sender.is_some_and(|sender| sender.pid() == KERNEL.pid()) {
                        return Ok(received);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = Timespec::try_from(left).map_err(|_| Error::TimedOut)?;
                    match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&left)) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(errno) => return Err(Error::of_transport(errno)),
                    }
                }
                Err(errno) => return Err(Error::of_transport(errno)),
            }
        }
    }
}

/// What one message of the kernel says to a request.
#[derive(Debug, PartialEq, Eq)]
enum Answer<'a> {
    /// What was asked for, or one piece of it.
    Payload(&'a [u8]),
    /// Done, or the end of a list.
    Done,
    Errno(Errno),
}

#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    fn answer(&self, request: Request) -> Result<Answer<'a>, Error> {
        match self.kind {
            NLMSG_DONE => Ok(Answer::Done),
            NLMSG_ERROR => match word(self.payload, 0).map(u32::cast_signed).and_then(i32::checked_neg) {
                Some(0) => Ok(Answer::Done),
                Some(errno @ 1..=ERRNO_MAX) => Ok(Answer::Errno(Errno::from_raw_os_error(errno))),
                _ => Err(Error::Garbled),
            },
            kind if kind == request as u16 => Ok(Answer::Payload(self.payload)),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn errno(number: i32) -> Vec<u8> {
        number.to_ne_bytes().to_vec()
    }

    #[test]
    fn messages_of_a_datagram_are_told_apart() {
        let mut datagram = message(1013, 2, 7, b"odd").unwrap();
        datagram.push(0);
        datagram.extend(message(NLMSG_DONE, 2, 7, b"").unwrap());
        let messages: Vec<_> = Messages(&datagram).collect();
        assert_eq!(messages[0], Message { kind: 1013, sequence: 7, payload: b"odd" });
        assert_eq!(messages[1], Message { kind: NLMSG_DONE, sequence: 7, payload: b"" });
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn a_cut_payload_is_given_as_far_as_it_goes() {
        let datagram = message(1013, 2, 7, b"whole").unwrap();
        let payloads = |cut| Messages(&datagram[..cut]).map(|message| message.payload.to_vec()).collect::<Vec<_>>();
        assert_eq!(payloads(21), [b"whole".to_vec()]);
        assert_eq!(payloads(18), [b"wh".to_vec()]);
        assert_eq!(payloads(16), [b"".to_vec()]);
        assert!(payloads(15).is_empty());
    }

    #[test]
    fn lengths_that_lie_end_the_datagram() {
        for length in [0_u32, 1, 15, u32::MAX] {
            let mut datagram = message(1013, 2, 7, b"payload").unwrap();
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(Messages(&datagram).count() <= 1, "{length}");
        }
    }

    #[test]
    fn answers_mean_what_the_kernel_means() {
        let cases = [
            (NLMSG_DONE, vec![], Ok(Answer::Done)),
            (NLMSG_ERROR, errno(0), Ok(Answer::Done)),
            (NLMSG_ERROR, errno(-17), Ok(Answer::Errno(Errno::EXIST))),
            (NLMSG_ERROR, errno(17), Err(Error::Garbled)),
            (NLMSG_ERROR, errno(i32::MIN), Err(Error::Garbled)),
            (NLMSG_ERROR, errno(-4096), Err(Error::Garbled)),
            (NLMSG_ERROR, vec![0; 3], Err(Error::Garbled)),
            (1013, vec![1], Ok(Answer::Payload(&[1]))),
            (1000, vec![1], Err(Error::Garbled)),
        ];
        for (kind, payload, expected) in cases {
            let message = Message { kind, sequence: 1, payload: &payload };
            assert_eq!(message.answer(Request::List), expected, "{kind} {payload:?}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics_or_loops(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            for message in Messages(&bytes) {
                let _ = message.answer(Request::Status);
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
