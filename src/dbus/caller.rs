//! Who calls, and what that one may see.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opensnitch_audit_client::GROUP;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use zbus::message::Header;
use zbus::names::{OwnedUniqueName, UniqueName};
use zbus::{Connection, DeserializeDict, Type};

use super::{BUS, BUS_PATH, Error};
use crate::process::Accounts;
use crate::quota::{Place, Quota};
use crate::store::Sight;

/// Calls under way at the same time; each is a task of zbus's. Root has as many again.
const MAX_CALLS: usize = 256;

/// Those of one user, so that nobody keeps others out.
const MAX_CALLS_OF_USER: usize = 32;

/// Connections whose credentials are remembered. The oldest is forgotten, and asked for again.
const MAX_KNOWN: usize = 1024;

/// Tells callers apart.
#[derive(Debug)]
pub(super) struct Callers {
    quota: Arc<Quota>,
    accounts: Arc<Accounts>,
    known: Mutex<Known>,
}

/// Credentials by unique name, as long as it is on the bus. They hold for good: the bus never gives a unique name twice.
#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<OwnedUniqueName, Arc<Credentials>>,
    /// The oldest first.
    names: VecDeque<OwnedUniqueName>,
}

#[derive(Debug)]
struct Credentials {
    uid: u32,
    gids: Vec<u32>,
}

/// What is read of the bus's answer. zbus's own type wants the descriptor too, and we take none.
#[derive(Debug, DeserializeDict, Type)]
#[zbus(signature = "a{sv}")]
struct Told {
    #[zbus(rename = "UnixUserID")]
    uid: Option<u32>,
    #[zbus(rename = "UnixGroupIDs")]
    gids: Option<Vec<u32>>,
    #[zbus(rename = "ProcessFD")]
    _process: Option<ClosedFd>,
}

/// Where a descriptor was among those of its message.
#[derive(Debug, Deserialize, Type)]
#[zbus(signature = "h")]
struct ClosedFd(#[expect(dead_code, reason = "it has to be read to get past it")] u32);

/// An identified caller, and its place among the calls under way.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) uid: u32,
    /// Of the group that receives the signals.
    pub(super) is_member: bool,
    _place: Place,
}

impl Caller {
    /// Which rows it may see without asking polkit.
    pub(super) fn sight(&self) -> Sight {
        if self.uid == 0 || self.is_member { Sight::All } else { Sight::Own(self.uid) }
    }
}

impl Callers {
    pub(super) fn new(accounts: Arc<Accounts>) -> Self {
        Self { quota: Quota::new(MAX_CALLS, MAX_CALLS_OF_USER), accounts, known: Mutex::default() }
    }

    /// By the credentials the bus has of the sender; never by way of a pid, which could be another's by now.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] where the bus does not tell who it is, [`Error::LimitsExceeded`] where it has called too
    /// often.
    pub(super) async fn enter(&self, connection: &Connection, header: &Header<'_>) -> Result<Caller, Error> {
        let unknown = || Error::AccessDenied("the bus does not tell who calls: call over the system bus".to_owned());
        let sender: OwnedUniqueName = header.sender().ok_or_else(unknown)?.to_owned().into();
        let known = self.lock().by_name.get(&sender).cloned();
        let credentials = match known {
            Some(credentials) => credentials,
            None => self.ask(connection, sender).await.ok_or_else(unknown)?,
        };
        let uid = credentials.uid;
        let place = self.quota.take(uid).ok_or_else(|| {
            Error::LimitsExceeded(format!(
                "too many of your calls are being answered, at most {MAX_CALLS_OF_USER} at a time: call again when one was"
            ))
        })?;
        // Root needs no group, and must not wait for a name service.
        let group = if uid == 0 { None } else { self.group().await };
        let is_member = group.is_some_and(|group| credentials.gids.contains(&group));
        Ok(Caller { uid, is_member, _place: place })
    }

    /// Whose connection it is, if it is known.
    pub(super) fn uid(&self, sender: &OwnedUniqueName) -> Option<u32> {
        self.lock().by_name.get(sender).map(|credentials| credentials.uid)
    }

    /// Asks the bus whose connection it is, where it is not known.
    pub(super) async fn identify(&self, connection: &Connection, sender: &OwnedUniqueName) {
        if self.uid(sender).is_none() {
            self.ask(connection, sender.clone()).await;
        }
    }

    /// That connection is gone for good.
    pub(super) fn forget(&self, name: &UniqueName<'_>) {
        let mut known = self.lock();
        if known.by_name.remove(name.as_str()).is_some() {
            known.names.retain(|known| known != name);
        }
    }

    async fn group(&self) -> Option<u32> {
        if let Some(group) = self.accounts.peek_group(GROUP) {
            return group;
        }
        let accounts = self.accounts.clone();
        spawn_blocking(move || accounts.group(GROUP)).await.ok().flatten()
    }

    async fn ask(&self, connection: &Connection, sender: OwnedUniqueName) -> Option<Arc<Credentials>> {
        let ask = connection.call_method(Some(BUS), BUS_PATH, Some(BUS), "GetConnectionCredentials", &sender);
        let told = ask.await.ok()?;
        let told: Told = told.body().deserialize().ok()?;
        let credentials = Arc::new(Credentials { uid: told.uid?, gids: told.gids.unwrap_or_default() });
        let mut known = self.lock();
        if known.by_name.insert(sender.clone(), credentials.clone()).is_none() {
            known.names.push_back(sender);
        }
        while known.names.len() > MAX_KNOWN {
            let oldest = known.names.pop_front()?;
            known.by_name.remove(&oldest);
        }
        Some(credentials)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
