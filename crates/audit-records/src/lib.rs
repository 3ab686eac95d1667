//! The Linux audit stream, from bytes to events: who opened which connection, who started which program.
//!
//! The kernel writes what programs do as **records**, lines of text that auditd passes on through its af_unix plugin and
//! writes to `audit.log`. Several records make one **event**. This crate goes the whole way:
//!
//! ```text
//! bytes ── Framer ──▶ lines ── Assembler ──▶ events: Event, and Who did it
//!                       └───── parse ──────▶ one record
//! ```
//!
//! The kernel's own messages, as it sends them to a netlink group, need no framing: see [`Assembler::push_message`] and
//! [`parse_message`].
//!
//! It does no I/O and has no clock: you read the bytes, and you say what time it is.
//!
//! ```
//! use std::time::Duration;
//!
//! use audit_records::{Assembler, EventType, Framer};
//!
//! let stream = b"type=SYSCALL msg=audit(1795344942.320:71): arch=c000003e syscall=42 success=no exit=-111 a0=3 \
//! a1=7fff74306800 a2=10 a3=0 items=0 ppid=322 pid=367 auid=1000 uid=1000 gid=1000 euid=1000 suid=1000 fsuid=1000 \
//! egid=1000 sgid=1000 fsgid=1000 tty=pts0 ses=3 comm=\"curl\" exe=\"/usr/bin/curl\" subj=unconfined key=\"net\"
//! type=SOCKADDR msg=audit(1795344942.320:71): saddr=020001BBC00002010000000000000000
//! type=EOE msg=audit(1795344942.320:71):
//! ";
//! let mut framer = Framer::default();
//! let mut assembler = Assembler::new("net", false);
//! let mut seen = Vec::new();
//!
//! framer.space()[..stream.len()].copy_from_slice(stream); // in a program: socket.read(framer.space())
//! framer.filled(stream.len());
//! let now = Duration::ZERO; // in a program: by a clock that never goes back
//! while let Some(line) = framer.line() {
//!     assembler.push(line, now, &mut |event| {
//!         let who = event.who().subject();
//!         let (host, port) = event.address().unwrap().ip().unwrap();
//!         assert_eq!(event.event_type(), Some(EventType::Connect));
//!         seen.push(format!("{} → {host}:{port}", String::from_utf8_lossy(&who.exe.unwrap())));
//!     });
//! }
//! assert_eq!(seen, ["/usr/bin/curl → 192.0.2.1:443"]);
//! ```
//!
//! # Where to look
//!
//! - [`Framer`]: lines out of bytes, as every auditd from 2.x to 4.x writes them, text and binary.
//! - [`parse`], [`Record`], [`Value`]: one line, its fields, and what they mean. For any type of record.
//! - [`Assembler`]: puts the records of an event together, and picks the events of the rules under one key.
//! - [`Event`]: what was done, and how it ended. It is borrowed, holds the records as they came, and decodes what it is asked
//!   for. [`Who`] is all it says of the process: equal for a thousand connections of one process, so that a store can
//!   keep it once, as [`WhoBuf`].
//! - [`Arch`], [`EventType`], [`SocketType`], [`Protocol`], [`Family`], [`error_name`]: the kernel's numbers and their names,
//!   for eight architectures.
//!
//! # Going on in another process
//!
//! A reader that is restarted need not lose what it has read: [`Framer::state`] is a half-read line, [`Assembler::state`] the
//! events under way, and `resume` of either goes on from there. With the feature `serde` both can be written down, and so
//! can what is kept of an event. What is read back is looked at with the same care as a stream.
//!
//! # What holds for every input
//!
//! - **Nothing panics, and nothing is sized by a number that was read.** A stream may hold anything. What an [`Assembler`]
//!   keeps is bounded by [`MAX_OPEN_EVENTS`], [`MAX_EVENT_BYTES`] and [`MAX_OPEN_BYTES`], a line by [`MAX_LINE`], the
//!   arguments of one event by [`MAX_ARGS_BYTES`].
//! - **No text of a program is read as a record, a field or a key.** Names and arguments are escaped by the kernel, but the
//!   names of nft tables, security labels, messages of programs and auditd's interpretations are not. A record never
//!   begins inside a line; a label sets no field; of a call only its own last `key` counts.
//! - **What is lost is counted**: see [`FramingCounts`] and [`AssemblyCounts`].
//! - **Nothing is made up.** What the records do not tell is `None`. An argument of which a part is missing is left out.

mod args;
mod assembler;
mod event;
mod framing;
mod line;
mod near;
mod record;
mod serial;
mod sockaddr;
mod tables;
mod value;
mod who;

pub use args::{Args, MAX_ARGS_BYTES, MAX_TITLE};
pub use assembler::{
    Assembler, AssemblerState, AssemblyCounts, MAX_AGE, MAX_EVENT_BYTES, MAX_OPEN_BYTES, MAX_OPEN_EVENTS, MAX_RECORDS,
    MAX_REPEATED_BYTES,
};
pub use event::{Event, File, Outcome, RuleChange};
pub use framing::{Framer, FramerState, FramingCounts, MAX_LINE};
pub use line::Line;
pub use record::{EventId, Fields, Kind, Malformed, Record, parse, parse_message};
pub use sockaddr::{Address, ByteOrder, Family, Sockaddr};
pub use tables::{Arch, EventType, MSG_FASTOPEN, Protocol, SocketType, error_name, socketcall, uring_op};
pub use value::Value;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use who::assert_fast_is_slow;
pub use who::{Bytes, Subject, Who, WhoBuf};

/// The example of the README runs with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
