//! The vocabulary of these tests.
//!
//! [`World`] is a [`PrivateBus`], a [`FakeAuditd`] and our [`Daemon`] between them, all of the one test's own;
//! [`Client`] is somebody who calls, [`Listener`] somebody who listens, [`Records`] what auditd says. No two tests
//! share anything, and nothing of the machine is changed; but for the one [`Kernel`], which they have in turn.

mod auditd;
mod bus;
mod client;
pub(crate) mod corpus;
mod daemon;
mod desktop;
pub(crate) mod golden;
mod kernel;
mod listener;
mod namespace;
mod network;
mod polkit;
mod process;
mod raw;
mod records;
mod require;
mod subscriber;
mod systemd;
mod terminal;
mod units;
mod wait;
mod world;

pub(crate) use auditd::FakeAuditd;
pub(crate) use bus::{Kind, PrivateBus};
pub(crate) use client::{CallError, Client, INVALID, Key, NOT_FOUND, User, plain};
pub(crate) use daemon::Daemon;
pub(crate) use desktop::{Applet, Desktop, Notifications, Shown};
pub(crate) use kernel::Kernel;
pub(crate) use listener::Listener;
pub(crate) use namespace::{AUDIT_GROUP, Namespace};
pub(crate) use network::Network;
pub(crate) use polkit::{Agent, Calling, POLKIT_BUS_POLICY, Person, Polkit, Waiting};
pub(crate) use process::{Process, memory};
pub(crate) use raw::{Raw, call as raw_call};
pub(crate) use records::Records;
pub(crate) use require::available;
pub(crate) use subscriber::Subscriber;
pub(crate) use systemd::Systemd;
pub(crate) use terminal::Terminal;
pub(crate) use units::Units;
pub(crate) use wait::eventually;
pub(crate) use world::World;
