//! The kernel's audit events of processes that open connections, on D-Bus.

pub mod config;
pub mod ctl;
pub mod dbus;
pub mod diagnose;
pub mod journal;
pub mod logging;
pub mod netlink;
pub mod options;
pub mod polkit;
mod proc;
pub mod process;
pub mod queue;
pub mod quota;
pub mod rules;
pub mod service;
pub mod socket;
pub mod source;
pub mod store;
pub mod text;

#[cfg(test)]
mod testing;
