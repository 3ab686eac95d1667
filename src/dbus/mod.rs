//! The face on the bus: `org.opensnitch.Audit`. Thin: every answer comes from the store, every decision from a value.
//!
//! No method acts before its caller was checked, and the check is by bus name. None holds a lock while it waits.

mod caller;
mod connection;
mod delivery;
mod error;
mod front;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod interface;
mod query;
mod seen;
mod signals;
mod state;
mod subscriptions;
mod tasks;
mod turns;
mod unread;
pub mod wire;

use std::sync::Arc;

pub use delivery::deliver;
pub use error::Error;
pub use front::answer_refused;
pub use signals::Limits;
pub use state::{Setup, State};
pub use tasks::{Told, forget_departed, send_signals, tell_changes};
pub use unread::{ask_for_unread, identify_strangers};

use opensnitch_audit_client::PATH;
use tokio::sync::mpsc::Receiver;
use zbus::connection::Builder;
use zbus::message::Message;
use zbus::{Address, Connection};

use front::Front;
use interface::Audit;

/// The bus itself: as a sender, as the one that is asked, and its interface.
const BUS: &str = "org.freedesktop.DBus";

/// The object of the bus itself.
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// Connects to the system bus and answers from this state there. Calls that are not let in come out of the receiver, for
/// [`answer_refused`].
///
/// # Errors
/// Where there is no bus.
pub async fn connect(state: Arc<State>) -> zbus::Result<(Connection, Receiver<Message>)> {
    let (front, refused) = Front::connect(&Address::system()?, state.clone()).await?;
    let audit = gate::Gate::new(Audit::new(state), &Audit::PROPERTIES);
    // The signals that one subscriber alone receives.
    let subscription = gate::Gate::new(delivery::Subscription, &[]);
    let connection = Builder::socket(front).serve_at(PATH, audit).serve_at(PATH, subscription).build().await?;
    gate::guard_properties(connection.object_server()).await?;
    Ok((connection, refused))
}
