//! Which process opened that connection? The D-Bus service `org.opensnitch.Audit` knows, and this crate asks it.
//!
//! The service follows the kernel's audit events and remembers every connection with the process that opened it. Its
//! answers are for firewalls, desktop applets, monitors and scripts. This crate has its contract as types: an [`Event`], a
//! [`Query`], the [proxy](AuditProxy) that calls and listens, and every name that is part of the contract.
//!
//! # Whose connection is this?
//!
//! A firewall that holds a packet has its addresses, and [`AuditProxy::owner`] takes them:
//!
//! ```no_run
//! use opensnitch_audit_client::{AuditProxy, Protocol};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! zbus::block_on(async {
//!     let audit = AuditProxy::new(&zbus::Connection::system().await?).await?;
//!     let owner = audit.owner(Protocol::Tcp, "192.0.2.7:51234".parse()?, "198.51.100.1:443".parse()?).await?;
//!     match owner {
//!         Some(event) => println!("{:?}, pid {:?}", event.program(), event.pid),
//!         None => println!("nobody's, or hidden from you"),
//!     }
//!     Ok(())
//! })
//! # }
//! ```
//!
//! The example `firewall` does this with every packet of an nftables queue.
//!
//! # What has happened?
//!
//! [`find_events`](AuditProxy::find_events) looks through the whole history, the newest event first, a page at a time:
//!
//! ```no_run
//! # use opensnitch_audit_client::{AuditProxy, Query};
//! # async fn example(audit: AuditProxy<'_>) -> zbus::Result<()> {
//! let mut query = Query::new().event_type("connect").dst_host("198.51.100.0/24").limit(1000u32);
//! loop {
//!     let (events, next) = audit.find_events(&query).await?;
//!     for event in events {
//!         println!("{:?} → {:?}", event.program(), event.dst_host);
//!     }
//!     if next == 0 {
//!         break Ok(());
//!     }
//!     query = query.cursor(next);
//! }
//! # }
//! ```
//!
//! # What happens now?
//!
//! Everyone can [follow](AuditProxy::follow) the events that they may see:
//!
//! ```no_run
//! # use opensnitch_audit_client::{AuditProxy, Query, Seen};
//! # async fn example(audit: AuditProxy<'_>) -> zbus::Result<()> {
//! use futures_util::StreamExt;
//!
//! let mut subscription = audit.follow(&Query::new().event_type("connect")).await?;
//! while let Some(seen) = subscription.next().await {
//!     match seen? {
//!         Seen::Event(event) => println!("{:?} connected to {:?}", event.program(), event.dst_host),
//!         Seen::Lost(count) => println!("{count} more were too many to be told"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Root and the members of the group [`opensnitch-audit`](GROUP) also receive the signals that go to all of them. Let the
//! bus choose what you need, and read the stream without pause: while 64 messages wait in it, the connection's other
//! answers wait too.
//!
//! ```no_run
//! # use opensnitch_audit_client::AuditProxy;
//! # async fn example(audit: AuditProxy<'_>) -> zbus::Result<()> {
//! use futures_util::StreamExt;
//!
//! let mut seen = audit.receive_event_seen_with_args(&[(0, "connect"), (1, "/usr/bin/curl")]).await?;
//! while let Some(signal) = seen.next().await {
//!     let event = signal.args()?.event;
//!     println!("{:?} connected to {:?}", event.pid, event.dst_host);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Who sees what
//!
//! Everyone sees the events of processes with their own real user id. Root, the members of the group and whoever polkit
//! allows [`READ_ALL_EVENTS`](action::READ_ALL_EVENTS) see all. What you may not see is as if it were not there.
//!
//! # With and without a runtime
//!
//! zbus is asynchronous; a program without a runtime puts its calls into `zbus::block_on`. By default connections run on a
//! thread of zbus's own. A program on Tokio turns the feature `tokio` on, and `default-features` off to be rid of that
//! thread.

mod dictionary;
pub mod error;
mod event;
mod finding;
mod list;
mod loss;
mod printable;
mod protocol;
mod proxy;
mod query;
mod subscription;

pub use dictionary::Word;
pub use event::{Event, text};
pub use finding::Finding;
pub use list::EventList;
pub use loss::Loss;
pub use printable::{is_unprintable, printable};
pub use protocol::{Protocol, UnknownProtocol};
pub use proxy::{AuditProxy, EventSeen, EventSeenArgs, EventSeenStream, EventsLost, EventsLostArgs, EventsLostStream};
pub use query::{InvalidQuery, Query};
pub use subscription::{Seen, Subscription, SubscriptionProxy};

/// The service's name on the system bus.
pub const NAME: &str = "org.opensnitch.Audit";

/// The interface, which has the name of the service.
pub const INTERFACE: &str = NAME;

/// The interface of the signals that a [subscriber](AuditProxy::follow) receives.
pub const SUBSCRIPTION: &str = "org.opensnitch.Audit.Subscription";

/// The one object.
pub const PATH: &str = "/org/opensnitch/Audit";

/// The group whose members see all events, and receive the signals that tell of them.
pub const GROUP: &str = "opensnitch-audit";

/// What the service counted since its start: `LinesRead`, `EventsMatched`, `SignalsLost`, …
pub type Statistics = std::collections::BTreeMap<String, u64>;

/// The polkit actions that the service asks for.
pub mod action {
    /// Sees the events of other users' processes.
    pub const READ_ALL_EVENTS: &str = "org.opensnitch.audit.read-all-events";
    /// Loads the service's kernel rules.
    pub const ADD_RULES: &str = "org.opensnitch.audit.add-rules";
    /// Removes the service's kernel rules.
    pub const DELETE_RULES: &str = "org.opensnitch.audit.delete-rules";
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
