//! Where records come from.
//!
//! - [`Audisp`] connects to auditd's socket, drains it, and connects again; what it brings is cut into lines by
//!   [`audit_records::Framer`].
//! - [`Multicast`] listens to the kernel itself: a message is a record.
//! - [`Sources`] waits for both. [`Choice`] decides which one serves, a [`Reserve`] keeps what the other one brought, and
//!   [`HandedOn`] drops what both bring. In a [`Storm`] records are read by the batch.
//!
//! [`Status`] is what others may know of all this. What happened before the service began is in auditd's [`Log`].

mod audisp;
mod choice;
mod handed;
mod log;
mod multicast;
mod reserve;
mod sources;
mod status;
mod storm;

pub use audisp::{Audisp, Happening, KNOWN_SOCKETS};
pub use choice::{Choice, Seen, Serving, Why};
pub use handed::{HandedOn, MAX_HANDED_ON};
pub use log::{LINE, LOG_PATH, Log, LogError, MAX_LOG_BYTES};
pub use multicast::{MULTICAST_PASSED_AS, Message, Multicast};
pub use reserve::{MAX_RESERVE, MAX_RESERVE_BYTES, Reserve};
pub use sources::{Sources, Stop, Woken};
pub use status::{Link, Status};
pub use storm::Storm;
