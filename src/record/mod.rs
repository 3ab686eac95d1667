//! One line of the audit stream becomes one typed record.
//!
//! A **record** is one line: `type=NAME msg=audit(SECONDS.MILLIS:SERIAL): FIELDS`, before it perhaps
//! `node=NAME `, behind it perhaps the byte 0x1D and auditd's interpretations. Those are for
//! reading and are passed over, but for the name of the login user. A **field** is `name=value`.
//!
//! This module guarantees that no byte sequence panics, allocates by a number it read, or takes more than
//! one pass; it does no I/O. Values stay as they were written until somebody asks for them.

mod parse;
mod sockaddr;
mod value;

pub use parse::{Chunk, ConfigChange, Data, EventId, Execve, Kind, Malformed, Path, Record, Syscall, parse};
pub use sockaddr::{Address, ByteOrder, Family, Sockaddr};
pub use value::Value;
