//! Events as they are seen, for this connection alone.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use zbus::message::Message;
use zbus::proxy::{OwnerChangedStream, SignalStream};

use crate::{AuditProxy, Event, Query};

/// The signals that a subscriber receives; a [`Subscription`] is a stream of them.
///
/// The macro makes [`SubscriptionProxy`] of this.
#[zbus::proxy(
    interface = "org.opensnitch.Audit.Subscription",
    default_service = "org.opensnitch.Audit",
    default_path = "/org/opensnitch/Audit"
)]
pub trait Subscription {
    /// An event was seen that the subscriber may see and that its query finds.
    #[zbus(signal)]
    fn event_seen(&self, event_type: String, exe: String, event: Event) -> zbus::Result<()>;

    /// So many events were not told since the last of these. The service has not lost them: ask for them.
    #[zbus(signal)]
    fn events_lost(&self, count: u64) -> zbus::Result<()>;
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// An event, with its [`count`](Event::count) where several alike became one.
    Event(Box<Event>),
    /// So many events were too many to be told. `find_events` has them.
    Lost(u64),
}

/// The events of a [query](AuditProxy::follow) from now on. It ends when the service leaves the bus: subscribe again when it is
/// back.
pub struct Subscription {
    signals: SignalStream<'static>,
    owners: OwnerChangedStream<'static>,
}

impl AuditProxy<'_> {
    /// Follows the events that match and that the caller may see. A connection follows one query: the last.
    ///
    /// Read the stream without pause, as every stream of zbus's. The service asks the connection now and then whether it
    /// reads; this makes the connection answer. Drop the stream and call [`unsubscribe`](AuditProxy::unsubscribe), or close
    /// the connection, to end it.
    ///
    /// # Errors
    /// As of [`subscribe`](AuditProxy::subscribe).
    pub async fn follow(&self, query: &Query) -> zbus::Result<Subscription> {
        let connection = self.inner().connection();
        let proxy = SubscriptionProxy::new(connection).await?;
        // Before the call, so that nothing is missed.
        let owners = proxy.inner().receive_owner_changed().await?;
        let signals = proxy.inner().receive_all_signals().await?;
        // It answers the service's `Ping`.
        let _ = connection.object_server();
        self.subscribe(query).await?;
        Ok(Subscription { signals, owners })
    }
}

impl Stream for Subscription {
    type Item = zbus::Result<Seen>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while let Poll::Ready(message) = Pin::new(&mut this.signals).poll_next(context) {
            let Some(message) = message else { return Poll::Ready(None) };
            if let Some(seen) = Seen::from_message(&message) {
                return Poll::Ready(Some(seen));
            }
        }
        Pin::new(&mut this.owners).poll_next(context).map(|_| None)
    }
}

impl Seen {
    /// Reads a signal; `None` where it is another one. Whose it is the caller has to look at: anybody may send anything.
    #[must_use]
    pub fn from_message(message: &Message) -> Option<zbus::Result<Self>> {
        if let Some(seen) = EventSeen::from_message(message.clone()) {
            return Some(seen.args().map(|args| Self::Event(Box::new(args.event))));
        }
        let lost = EventsLost::from_message(message.clone())?;
        Some(lost.args().map(|args| Self::Lost(args.count)))
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
