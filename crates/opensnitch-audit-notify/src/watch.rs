//! Follows the service on the system bus, for as long as this process lives.
//!
//! Guarantee: the stream is always read. What nobody takes is counted; when the bus or the service goes, it is followed again
//! as soon as it is back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use opensnitch_audit_client::{AuditProxy, Event, Query, Seen, error};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::herald::Link;
use crate::lookups::Lookups;
use crate::program::Connection;
use crate::say;

/// Connections that wait to be taken, of at most 20 kB each and seldom more than one: those of ten seconds in which a
/// notification server hangs, at the rate of a busy desktop.
const ROOM: usize = 256;
/// Before the bus is tried again, doubled with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// And at the most.
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Errors that say that the service is not there.
const ABSENT: [&str; 2] = ["org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"];

/// Whether events arrive, and how many connections were not told in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health {
    pub(crate) link: Link,
    pub(crate) lost: u64,
}

/// Where connections come out.
pub(crate) struct Watched {
    pub(crate) connections: mpsc::Receiver<Connection>,
    pub(crate) health: watch::Receiver<Health>,
}

/// Where they go in.
pub(crate) struct Watcher {
    connections: mpsc::Sender<Connection>,
    health: watch::Sender<Health>,
    lookups: Arc<Lookups>,
}

pub(crate) fn channel(lookups: Arc<Lookups>) -> (Watcher, Watched) {
    let (put, connections) = mpsc::channel(ROOM);
    let (tell, health) = watch::channel(Health { link: Link::Gone, lost: 0 });
    (Watcher { connections: put, health: tell, lookups }, Watched { connections, health })
}

impl Watcher {
    /// Follows the service, again and again.
    pub(crate) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.follow().await {
                // It was there, and went.
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    say(&format!("the service cannot be followed: {error}; another try in {pause:?}"));
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
            self.link(Link::Gone);
            sleep(pause).await;
        }
    }

    /// Follows it until it goes, on a connection of its own: none that went wrong is used again.
    async fn follow(&self) -> zbus::Result<()> {
        let bus = zbus::Connection::system().await?;
        let audit = AuditProxy::new(&bus).await?;
        let mut owners = audit.inner().receive_owner_changed().await?;
        let query = Query::new().event_type("connect").event_type("send");
        let mut seen = loop {
            match audit.follow(&query).await {
                Ok(seen) => break seen,
                Err(absent) if ABSENT.iter().any(|name| error::is(&absent, name)) => {
                    if owners.next().await.is_none() {
                        return Ok(());
                    }
                }
                Err(other) => return Err(other),
            }
        };
        let mut changes = audit.receive_connected_changed().await;
        self.arrive(audit.connected().await?);
        loop {
            tokio::select! {
                seen = seen.next() => match seen {
                    None => return Ok(()),
                    Some(Ok(Seen::Event(event))) => self.take(&event),
                    Some(Ok(Seen::Lost(count))) => self.lost(count),
                    Some(Err(error)) => {
                        say(&format!("an event cannot be read: {error}"));
                        self.lost(1);
                    }
                },
                Some(change) = changes.next() => self.arrive(change.get().await?),
            }
        }
    }

    fn take(&self, event: &Event) {
        let Some(connection) = Connection::of(event, |address| self.lookups.name(address)) else { return };
        let count = connection.count;
        if self.connections.try_send(connection).is_err() {
            self.lost(count);
        }
    }

    fn lost(&self, count: u64) {
        self.health.send_modify(|health| health.lost = health.lost.saturating_add(count));
    }

    fn arrive(&self, is_so: bool) {
        self.link(if is_so { Link::Watching } else { Link::Silent });
    }

    fn link(&self, link: Link) {
        self.health.send_if_modified(|health| std::mem::replace(&mut health.link, link) != link);
    }
}
