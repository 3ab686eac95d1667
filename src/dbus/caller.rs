//! Who calls, and what that one may see.

use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;

use super::Error;
use crate::event::Event;
use crate::process::group_id;

/// The members of this group may read every event and receive the signals.
pub const GROUP: &str = "opensnitch-audit";

/// Which rows a caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// All.
    All,
    /// Those of the user with this real uid.
    Own(u32),
}

impl Sight {
    /// By the credentials the bus has of the sender; never by way of a pid, which could be another's by now.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] where the bus does not tell who it is.
    pub(super) async fn of(connection: &Connection, header: &Header<'_>) -> Result<Self, Error> {
        let unknown = || Error::AccessDenied("the bus does not tell who calls: call over the system bus".to_owned());
        let sender = header.sender().ok_or_else(unknown)?.to_owned();
        let bus = DBusProxy::new(connection).await.map_err(|_| unknown())?;
        let credentials = bus.get_connection_credentials(sender.into()).await.map_err(|_| unknown())?;
        let uid = credentials.unix_user_id().ok_or_else(unknown)?;
        if uid == 0 {
            return Ok(Self::All);
        }
        // The name service may take its time.
        let group = tokio::task::spawn_blocking(|| group_id(GROUP)).await.ok().flatten();
        let is_member =
            group.is_some_and(|group| credentials.unix_group_ids().is_some_and(|groups| groups.contains(&group)));
        Ok(if is_member { Self::All } else { Self::Own(uid) })
    }

    pub(super) fn allows(self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Own(uid) => event.subject.uid == Some(uid),
        }
    }
}
