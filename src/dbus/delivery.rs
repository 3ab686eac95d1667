//! Sends each subscriber what it subscribed to, as fast as it reads.
//!
//! The bus keeps what a connection does not read, and takes nothing more from a service of which it keeps too much. So after
//! some bytes a subscriber is asked to answer: `Ping` of `org.freedesktop.DBus.Peer`, which libraries answer by themselves.
//! Until it did, nothing is sent to it, and what does not fit into its room is lost and counted.

use std::sync::Arc;
use std::time::Duration;

use event_listener::listener;
use opensnitch_audit_client::{Event, PATH};
use tokio::time::sleep;
use tracing::warn;
use zbus::fdo::DBusProxy;
use zbus::names::OwnedUniqueName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, interface};

use super::signals::Outgoing;
use super::subscriptions::Subscription as Subscriber;
use super::{State, wire};
use crate::quota::Place;

/// How long nothing is looked at where nothing waits. Whatever happens ends it.
const IDLE: Duration = Duration::from_secs(60);

/// What an `EventsLost` counts for, in bytes.
const LOST_BYTES: usize = 128;

/// `org.opensnitch.Audit.Subscription`: signals that one connection alone receives.
#[derive(Debug)]
pub(super) struct Subscription;

#[interface(name = "org.opensnitch.Audit.Subscription", introspection_docs = false)]
impl Subscription {
    #[zbus(signal)]
    async fn event_seen(emitter: &SignalEmitter<'_>, event_type: &str, exe: &str, event: &Event) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn events_lost(emitter: &SignalEmitter<'_>, count: u64) -> zbus::Result<()>;
}

/// Whether that connection is on the bus.
pub(super) async fn is_there(connection: &Connection, name: &OwnedUniqueName) -> bool {
    match DBusProxy::new(connection).await {
        Ok(bus) => bus.name_has_owner(name.as_ref().into()).await == Ok(true),
        Err(_) => false,
    }
}

/// Sends to all subscribers. It is the only task that does, one signal for each in turn.
pub async fn deliver(state: Arc<State>, connection: Connection) {
    loop {
        listener!(state.subscriptions.changed => changed);
        let mut is_idle = true;
        let mut deadline = state.now() + IDLE;
        for subscriber in state.subscriptions.all() {
            let signal = subscriber.next(state.limits(), state.now());
            state.store.statistics.subscriptions_lost.add(subscriber.take_lost());
            if let Some(signal) = signal {
                is_idle = false;
                match send(&state, &connection, &subscriber, signal).await {
                    Ok(bytes) => {
                        if let Some(place) = subscriber.sent(bytes) {
                            ask(&state, &connection, subscriber, place);
                        }
                    }
                    Err(error) => warn!(%error, "a subscriber could not be told"),
                }
            } else if let Some(due) = subscriber.deadline() {
                deadline = deadline.min(due);
            }
        }
        if is_idle {
            tokio::select! {
                () = changed => {}
                () = sleep(deadline.saturating_sub(state.now())) => {}
            }
        }
    }
}

/// Returns about how many bytes that was.
async fn send(
    state: &Arc<State>,
    connection: &Connection,
    subscriber: &Subscriber,
    signal: Outgoing,
) -> zbus::Result<usize> {
    let emitter = SignalEmitter::new(connection, PATH)?.set_destination(subscriber.name.as_ref().into());
    match signal {
        Outgoing::EventSeen(answer) => {
            let (event_type, exe, event) = wire::seen(state, answer).await?;
            Subscription::event_seen(&emitter, event_type, &exe, &event).await?;
            Ok(event.size())
        }
        Outgoing::EventsLost(count) => {
            Subscription::events_lost(&emitter, count).await?;
            Ok(LOST_BYTES)
        }
    }
}

/// Asks a subscriber to answer. The question is never dropped, since the bus counts it until there is an answer or nobody to
/// give one; so it holds the subscriber's place until then.
fn ask(state: &Arc<State>, connection: &Connection, subscriber: Arc<Subscriber>, place: Arc<Place>) {
    let (state, connection) = (state.clone(), connection.clone());
    tokio::spawn(async move {
        let peer = "org.freedesktop.DBus.Peer";
        let answer = connection.call_method(Some(subscriber.name.as_ref()), PATH, Some(peer), "Ping", &()).await;
        drop(place);
        match answer {
            Ok(_) => subscriber.answered(),
            // Whoever refuses has read the question.
            Err(zbus::Error::MethodError(_, _, reply))
                if reply.header().sender().is_some_and(|sender| *sender == subscriber.name) =>
            {
                subscriber.answered();
            }
            // It left; or the bus refuses, whose policy is not the one that comes with the service.
            Err(error) => {
                if is_there(&connection, &subscriber.name).await {
                    warn!(%error, "a subscriber could not be asked whether it reads, and hears of nothing more");
                }
                state.subscriptions.end(&subscriber);
            }
        }
        state.subscriptions.changed.notify(usize::MAX);
    });
}
