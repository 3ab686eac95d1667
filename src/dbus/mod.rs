//! The face on the bus: `org.opensnitch.Audit`. Thin: every answer comes from the store, every decision from a value.
//!
//! No method acts before its caller was checked, and the check is by bus name. None holds a lock while it waits.

mod caller;
mod connection;
mod error;
mod gate;
mod interface;
mod query;
mod signals;
mod state;
mod tasks;
pub mod wire;

use std::sync::Arc;

pub use error::Error;
pub use gate::guard_properties;
pub use signals::Limits;
pub use state::{Setup, State};
pub use tasks::{Told, send_signals, tell_changes};

use interface::Audit;

/// The interface that answers from this state.
#[must_use]
pub fn interface(state: Arc<State>) -> impl zbus::object_server::Interface {
    gate::Gate::new(Audit::new(state), &Audit::PROPERTIES)
}
