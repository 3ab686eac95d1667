//! The crate from outside: hostile cases, recorded streams, what holds for every input.

mod cases;
mod streams;
mod support;
