//! Linux audit streams: bytes become lines, lines become records, records become events.

mod args;
mod assembler;
mod event;
mod framing;
mod record;
mod serial;
mod sockaddr;
mod tables;
mod value;
mod who;

pub use args::{Args, MAX_ARGS_BYTES, MAX_TITLE};
pub use assembler::{
    Assembler, AssemblyCounts, MAX_AGE, MAX_EVENT_BYTES, MAX_OPEN_BYTES, MAX_OPEN_EVENTS, MAX_RECORDS,
    MAX_REPEATED_BYTES,
};
pub use event::{Event, File, Outcome, RuleChange};
pub use framing::{Framer, FramingCounts, MAX_LINE};
pub use record::{EventId, Fields, Kind, Malformed, Record, parse};
pub use sockaddr::{Address, ByteOrder, Family, Sockaddr};
pub use tables::{Arch, EventType, Protocol, SocketType, error_name, socketcall, uring_op};
pub use value::Value;
pub use who::{Bytes, Subject, Who, WhoBuf};
