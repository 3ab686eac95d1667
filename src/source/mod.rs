//! Where bytes come from.
//!
//! A source connects, drains, and connects again; what it brings is cut into lines by [`audit_records::Framer`]. Its
//! [`Status`] is what others may know of it.

mod audisp;
mod status;

pub use audisp::{Audisp, Happening, KNOWN_SOCKETS, Stop};
pub use status::{Link, Status};
