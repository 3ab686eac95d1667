//! The service as its users meet it: real programs, a real bus, and in auditd's place a socket.

#![recursion_limit = "256"]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that goes wrong says so"
)]

mod answers;
mod applet;
mod attacks;
mod auditctl;
mod bounds;
mod connections;
mod contract;
mod diagnose;
mod documents;
mod events;
mod faults;
mod golden;
mod history;
mod journal;
mod layers;
mod lifecycle;
mod multicast;
mod past;
mod peers;
mod polkit;
mod processes;
mod programs;
mod properties;
mod restart;
mod service;
mod signals;
mod soak;
mod stream;
mod subscriptions;
mod support;
