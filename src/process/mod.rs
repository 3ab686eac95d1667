//! What is known of the process behind an event: who it is, who started it, which application it belongs to.
//!
//! A process is a pid and a start time, never a pid alone: pids come again. What no record tells comes from `/proc`, by a
//! **visit** that happens after the event is in the store and never in the reader's way. It is attached only to events of
//! the same user.

mod accounts;
mod cgroup;
mod known;
mod registry;
#[cfg(test)]
mod tests;
mod titles;
mod visits;

pub use accounts::Accounts;
pub use cgroup::Cgroup;
pub use known::{Ancestor, MAX_PARENTS, MAX_PROGRAM_BYTES, Parents, Process, Revived, WrittenProcess, size_of_parents};
pub use visits::{Counts, MAX_WAITING, MAX_WATCHED, Request, Visit, Visitor, look, program_id};
