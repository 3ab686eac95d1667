//! Where bytes come from.
//!
//! A source connects, drains, and connects again; what it brings is cut into lines by [`audit_records::Framer`]. Its
//! [`Status`] is what others may know of it. What happened before the service began is in auditd's [`Log`].

mod audisp;
mod log;
mod status;

pub use audisp::{Audisp, Happening, KNOWN_SOCKETS, Stop};
pub use log::{LINE, LOG_PATH, Log, LogError, MAX_LOG_BYTES};
pub use status::{Link, Status};
