//! The crate from outside: hostile cases, recorded streams, what holds for every input, another parser.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod auparse;
mod cases;
mod generated;
mod messages;
mod oracle;
mod properties;
mod streams;
mod support;
