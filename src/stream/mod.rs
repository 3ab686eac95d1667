//! Where bytes come from, and where a record begins and ends.
//!
//! A **line** is the text of one record without its newline, whatever this auditd did to it on its way. This module
//! guarantees that it holds a bounded number of bytes, that the lines it finds do not hang on how the bytes were
//! split into reads, and that what it throws away is counted.

mod audisp;
mod framing;

pub use audisp::{Audisp, Happening, KNOWN_SOCKETS, Stop};
pub use framing::{Counts, Framer, MAX_LINE};
