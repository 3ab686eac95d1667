//! Users and groups by the system's name service.

use std::sync::{LazyLock, Mutex, PoisonError};

use uzers::{Users, UsersCache};

use crate::event::Bytes;

/// Names asked for once: a name service may be slow, and a user's name does not change while a machine is up.
static USERS: LazyLock<Mutex<UsersCache>> = LazyLock::new(|| Mutex::new(UsersCache::new()));

/// The name of a user. May wait for the name service: never called by the reader.
#[must_use]
pub fn user_name(uid: u32) -> Option<Bytes> {
    let users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
    let user = users.get_user_by_uid(uid)?;
    Some(user.name().as_encoded_bytes().into())
}

/// The number of a group, asked anew each time: groups are made while the service runs.
#[must_use]
pub fn group_id(name: &str) -> Option<u32> {
    uzers::get_group_by_name(name).map(|group| group.gid())
}
