//! Who calls, and what that one may see.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;

use super::Error;
use crate::event::Event;
use crate::process::group_id;

/// The members of this group may read every event and receive the signals.
pub const GROUP: &str = "opensnitch-audit";

/// Calls under way at the same time; each is a task of zbus's.
const MAX_CALLS: usize = 256;

/// Those of one user, so that nobody keeps others out. Root has no such limit.
const MAX_CALLS_OF_USER: usize = 32;

/// Calls under way.
#[derive(Debug)]
pub(super) struct Calls {
    all: Semaphore,
    by_user: Mutex<HashMap<u32, usize>>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { all: Semaphore::new(MAX_CALLS), by_user: Mutex::new(HashMap::new()) }
    }
}

/// A caller that was told from others, and its place among the calls under way.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    pub(super) uid: u32,
    /// Of the group that receives the signals.
    pub(super) is_member: bool,
    pub(super) sight: Sight,
    _place: SemaphorePermit<'a>,
    of_user: Option<(&'a Calls, u32)>,
}

/// Which rows a caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// All.
    All,
    /// Those of the user with this real uid.
    Own(u32),
}

impl Sight {
    pub(super) fn allows(self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Own(uid) => event.subject.uid == Some(uid),
        }
    }
}

impl Calls {
    /// By the credentials the bus has of the sender; never by way of a pid, which could be another's by now.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] where the bus does not tell who it is, [`Error::LimitsExceeded`] where it has called too
    /// often.
    pub(super) async fn enter(&self, connection: &Connection, header: &Header<'_>) -> Result<Caller<'_>, Error> {
        let full = |calls| Error::LimitsExceeded(format!("{calls} calls are being answered: call again when one was"));
        let unknown = || Error::AccessDenied("the bus does not tell who calls: call over the system bus".to_owned());
        let place = self.all.try_acquire().map_err(|_| full(MAX_CALLS))?;
        let sender = header.sender().ok_or_else(unknown)?.to_owned();
        let bus = DBusProxy::new(connection).await.map_err(|_| unknown())?;
        let credentials = bus.get_connection_credentials(sender.into()).await.map_err(|_| unknown())?;
        let uid = credentials.unix_user_id().ok_or_else(unknown)?;
        if uid != 0 && !self.count(uid) {
            return Err(full(MAX_CALLS_OF_USER));
        }
        let of_user = (uid != 0).then_some((self, uid));
        let mut caller = Caller { uid, is_member: false, sight: Sight::Own(uid), _place: place, of_user };
        // The name service may take its time.
        let group = tokio::task::spawn_blocking(|| group_id(GROUP)).await.ok().flatten();
        let groups = credentials.unix_group_ids();
        caller.is_member = group.is_some_and(|group| groups.is_some_and(|groups| groups.contains(&group)));
        if uid == 0 || caller.is_member {
            caller.sight = Sight::All;
        }
        Ok(caller)
    }

    fn count(&self, uid: u32) -> bool {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = by_user.entry(uid).or_default();
        let fits = *calls < MAX_CALLS_OF_USER;
        *calls += usize::from(fits);
        fits
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let Some((calls, uid)) = self.of_user else { return };
        let mut by_user = calls.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = by_user.get_mut(&uid) {
            *calls -= 1;
            if *calls == 0 {
                by_user.remove(&uid);
            }
        }
    }
}
