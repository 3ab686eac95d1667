//! The kernel's audit events of processes that open connections, on D-Bus.

pub mod rules;
