//! The way in for fuzz targets (`fuzz/`); built only by cargo-fuzz.

use std::collections::HashMap;

use opensnitch_audit_client::Event;
use zbus::OwnedVariant;

pub use super::front::fuzzing as front;
use crate::store::{Answer, Query};

/// What `FindEvents` makes of these keys, or the message of its error.
pub fn query(keys: HashMap<String, OwnedVariant>) -> Result<Query, String> {
    super::query::query(keys).map_err(|error| error.to_string())
}

/// An event as it is sent, where every user has this name.
pub fn event(answer: &Answer, name: Option<&[u8]>) -> Event {
    super::wire::event(answer, |_| name.map(Into::into))
}
