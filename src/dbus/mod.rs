//! The face on the bus: `org.opensnitch.Audit`. Thin: every answer comes from the cache, every decision from a value.
//!
//! No method acts before its caller was checked, and the check is by bus name. None holds a lock while it waits.

mod caller;
mod error;
mod interface;
pub mod json;
mod proxy;
mod query;
mod signals;
mod state;
pub mod wire;

pub use caller::GROUP;
pub use error::Error;
pub use interface::{Audit, AuditSignals};
pub use proxy::AuditProxy;
pub use query::Query;
pub use signals::{Limits, Outgoing, Seen, Signals};
pub use state::{Setup, State, realtime_us};

/// The name on the system bus, and the interface.
pub const NAME: &str = "org.opensnitch.Audit";

/// The one object.
pub const PATH: &str = "/org/opensnitch/Audit";
