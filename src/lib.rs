//! The kernel's audit events of processes that open connections, on D-Bus.
pub mod event;
pub mod process;
pub mod record;
pub mod rules;
pub mod stream;
