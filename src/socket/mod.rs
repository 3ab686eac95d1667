//! Whose connection is this? From a connection's addresses to its socket, and from the socket to the processes that
//! hold it.
//!
//! - A [`Tuple`] is what a packet shows: protocol, source and destination, seen from the machine that sent it.
//! - [`SockDiag::find`] asks the kernel which [`Socket`]s it can mean (sock_diag(7)). Mostly that is one. Several sockets
//!   may share a local address (multicast DNS, raw ICMP), and then the kernel does not know either.
//! - [`holders`] finds the processes that have such a socket among their descriptors: first those that the caller
//!   suspects, then their relatives, and only then all of `/proc`.
//!
//! Everything here blocks for microseconds, or up to [`SEARCH_TIME`] where all processes have to be looked at.

mod diag;
#[cfg(fuzzing)]
pub mod fuzzing;
mod holders;
mod lists;
#[cfg(test)]
mod live;
mod process;
mod tuple;
mod wire;

pub use diag::{PASSED_AS, SockDiag, is_machines_own};
pub use holders::{Candidate, Holder, Holders, SEARCH_TIME, holders};
pub use tuple::{Protocol, Tuple, TupleError};

use crate::netlink;

/// A socket that a process may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its number in the `socket:[…]` of `/proc/PID/fd`; never 0.
    pub inode: u64,
    /// The user that made it.
    pub uid: u32,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel's sockets cannot be asked for.
    #[error("the kernel's sockets cannot be looked up: {0}")]
    Netlink(#[from] netlink::Error),
    /// There are too many processes to find the one that holds a socket.
    #[error("no holder of the socket was found among {looked_at} processes in {} ms", SEARCH_TIME.as_millis())]
    GaveUp {
        /// So many were looked at.
        looked_at: u32,
    },
}
