//! What the bus holds of ours because nobody has read it yet.
//!
//! dbus-daemon takes nothing more from a service of whose messages it holds 127 MiB, and tells nobody: calls, answers and the
//! watchdog's question wait until whoever does not read reads. It is asked before it comes to that. dbus-broker cuts off who
//! does not read, and is asked for the sake of its memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use zbus::fdo::{DBusProxy, StatsProxy};
use zbus::names::{BusName, OwnedUniqueName, UniqueName};
use zbus::{Connection, OwnedVariant};

use super::front::{Replies, Verdict};
use super::{BUS, BUS_PATH, State};
use crate::diagnose::Listener;

/// Signals stop where so many bytes of them were not read, ...
const STOP: u64 = 16 * 1024 * 1024;

/// ... and go on below.
const GO_ON: u64 = 4 * 1024 * 1024;

/// The bus is asked after so many bytes of signals; and so often while they are stopped.
const ASK_AFTER: u64 = 1024 * 1024;
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long the bus may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How long it is left alone then.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the bus tells nothing, what was sent within this time counts as unread.
const BLIND: Duration = Duration::from_secs(60);

/// Connections that are looked at to find the one that does not read.
const MAX_SUSPECTS: usize = 1024;

/// The part of dbus-broker's statistics that has a row for each connection.
const PEERS: &str = "org.bus1.DBus.Debug.Stats.PeerAccounting";

/// How a bus tells what was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// dbus-daemon: for one connection.
    Daemon,
    /// dbus-broker: for all at once.
    Broker,
    /// Not at all: a dbus-daemon that was built without statistics.
    Silent,
}

/// A row of dbus-broker's: unique name, credentials, numbers.
type Peer = (String, HashMap<String, OwnedVariant>, HashMap<String, u32>);

/// What is on its way. The lock is std's, held for one look.
#[derive(Debug, Default)]
pub(super) struct Unread {
    replies: Mutex<Replies>,
    /// Notified when the bus is to be asked for replies.
    is_due: Notify,
    /// Notified when it is to be asked whose a connection is.
    has_strangers: Notify,
    kind: OnceLock<Kind>,
    /// Bytes of signals since the beginning, and as of the last time that all of them counted as read.
    signals: AtomicU64,
    signals_read: AtomicU64,
    /// Who does not read, while signals are stopped.
    listener: Mutex<Option<Listener>>,
}

impl Unread {
    /// Whether no more replies are sent to that caller.
    pub(super) fn is_full(&self, caller: &OwnedUniqueName, uid: Option<u32>) -> bool {
        let mut replies = self.lock();
        let is_full = replies.is_full(caller, uid);
        if is_full {
            replies.ask_for_all();
            self.is_due.notify_one();
        }
        is_full
    }

    /// What becomes of a reply of so many bytes.
    pub(super) fn judge(&self, caller: &OwnedUniqueName, uid: Option<u32>, bytes: usize) -> Verdict {
        let verdict = self.lock().judge(caller, uid, bytes);
        self.is_due.notify_one();
        if uid.is_none() {
            self.has_strangers.notify_one();
        }
        verdict
    }

    /// A signal of so many bytes was sent.
    pub(super) fn signalled(&self, bytes: usize) {
        self.signals.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// That connection is gone for good.
    pub(super) fn forget(&self, name: &UniqueName<'_>) {
        self.lock().forget(name.as_str());
    }

    /// Who keeps signals from being sent.
    pub(super) fn listener(&self) -> Option<Listener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_listener(&self, listener: Option<Listener>) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }

    fn lock(&self) -> MutexGuard<'_, Replies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the bus what of our replies was read, whenever it is worth to know.
pub async fn ask_for_unread(state: Arc<State>, connection: Connection) {
    loop {
        if kind(&state.unread, &connection).await == Kind::Silent {
            sleep(BLIND).await;
            state.unread.lock().clear();
            let all = state.unread.signals.load(Ordering::Relaxed);
            state.unread.signals_read.store(all, Ordering::Relaxed);
            continue;
        }
        state.unread.is_due.notified().await;
        ask_for_replies(&state, &connection).await;
        sleep(PAUSE).await;
    }
}

/// Asks the bus whose a connection is that was sent a reply before anybody did. What zbus answers by itself asks for nobody:
/// whoever calls `Introspect` again and again, as browsers of the bus do, would soon have what a stranger gets.
pub async fn identify_strangers(state: Arc<State>, connection: Connection) {
    loop {
        state.unread.has_strangers.notified().await;
        let strangers = state.unread.lock().take_strangers();
        for stranger in strangers {
            state.callers.identify(&connection, &stranger).await;
        }
    }
}

async fn ask_for_replies(state: &State, connection: &Connection) {
    let due = state.unread.lock().take_due();
    if due.is_empty() {
        return;
    }
    let is_broker = kind(&state.unread, connection).await == Kind::Broker;
    let peers = if is_broker { peers(connection).await } else { None };
    for (caller, counted) in due {
        state.callers.identify(connection, &caller).await;
        let held = match &peers {
            Some(peers) => Some(peers.get(caller.as_str()).copied().unwrap_or(0)),
            None if is_broker => None,
            None => held_for(connection, &caller).await,
        };
        // Where the bus does not answer, our own count stands.
        if let Some(held) = held {
            state.unread.lock().told(&caller, counted, held);
        }
    }
}

/// What kind of bus it is. It is asked once.
async fn kind(unread: &Unread, connection: &Connection) -> Kind {
    if let Some(kind) = unread.kind.get() {
        return *kind;
    }
    let kind = if own_unread(connection).await.is_some() {
        Kind::Daemon
    } else if peers(connection).await.is_some() {
        Kind::Broker
    } else {
        warn!(
            "the bus does not tell what of ours was not read: what was sent in the last minute counts as unread. dbus-daemon \
             tells where it was built with statistics"
        );
        Kind::Silent
    };
    *unread.kind.get_or_init(|| kind)
}

/// Bytes that dbus-daemon holds for that connection; `None` where it does not answer.
async fn held_for(connection: &Connection, name: &OwnedUniqueName) -> Option<u32> {
    let stats = StatsProxy::new(connection).await.ok()?;
    let answer = timeout(ANSWER, stats.get_connection_stats(BusName::Unique(name.as_ref()))).await.ok()?;
    // An error: it is gone.
    Some(answer.ok().and_then(|stats| stats.outgoing_bytes()).unwrap_or(0))
}

/// Bytes that dbus-broker holds for each connection.
async fn peers(connection: &Connection) -> Option<HashMap<String, u32>> {
    let interface = "org.freedesktop.DBus.Debug.Stats";
    let call = connection.call_method(Some(BUS), BUS_PATH, Some(interface), "GetStats", &());
    let answer = timeout(ANSWER, call).await.ok()?.ok()?;
    let mut stats: HashMap<String, OwnedVariant> = answer.body().deserialize().ok()?;
    let peers: Vec<Peer> = stats.remove(PEERS)?.try_into().ok()?;
    let held = |(name, _, numbers): Peer| (name, numbers.get("OutgoingBytes").copied().unwrap_or(0));
    Some(peers.into_iter().map(held).collect())
}

/// Bytes of ours that the bus of the first kind holds, for whomever.
async fn own_unread(connection: &Connection) -> Option<u64> {
    let stats = StatsProxy::new(connection).await.ok()?;
    let name = BusName::Unique(connection.unique_name()?.as_ref());
    let answer = timeout(ANSWER, stats.get_connection_stats(name)).await.ok()?.ok()?;
    answer.incoming_bytes().map(u64::from)
}

/// Whether signals may be sent: not while somebody does not read them.
#[derive(Debug, Default)]
pub(super) struct Pace {
    is_stopped: bool,
    /// When the bus was asked, and how many bytes of signals there were by then.
    asked_at: Duration,
    asked: u64,
}

impl Pace {
    /// When the bus is asked again though nothing is sent.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.is_stopped.then(|| self.asked_at + ASK_EVERY)
    }

    /// Whether signals are stopped now. Asks the bus where it is time to.
    pub(super) async fn is_stopped(&mut self, state: &State, connection: &Connection, now: Duration) -> bool {
        let sent = state.unread.signals.load(Ordering::Relaxed);
        let is_due = if self.is_stopped { now >= self.asked_at + ASK_EVERY } else { sent - self.asked >= ASK_AFTER };
        if !is_due {
            return self.is_stopped;
        }
        (self.asked_at, self.asked) = (now, sent);
        let unread = unread_signals(state, connection).await;
        let was_stopped = self.is_stopped;
        self.is_stopped = stops(was_stopped, unread);
        if self.is_stopped && !was_stopped {
            let listener = slowest_listener(&state.unread, connection).await;
            let who = listener.as_ref().map_or_else(|| "a listener".to_owned(), ToString::to_string);
            warn!(
                "signals are stopped: {who} has not read {unread} bytes of them. They go on when it has; SignalsLost counts"
            );
            state.unread.set_listener(listener);
        } else if was_stopped && !self.is_stopped {
            info!("signals go on: what was sent has been read");
            state.unread.set_listener(None);
        }
        self.is_stopped
    }
}

/// Whether signals are stopped where so many bytes of them were not read.
fn stops(is_stopped: bool, unread: u64) -> bool {
    if is_stopped { unread >= GO_ON } else { unread >= STOP }
}

/// Bytes of signals that nobody has read. Where the bus does not answer, no more are sent.
async fn unread_signals(state: &State, connection: &Connection) -> u64 {
    match kind(&state.unread, connection).await {
        Kind::Broker => 0,
        Kind::Silent => {
            let read = state.unread.signals_read.load(Ordering::Relaxed);
            state.unread.signals.load(Ordering::Relaxed).saturating_sub(read)
        }
        Kind::Daemon => {
            let Some(all) = own_unread(connection).await else { return STOP };
            if all < GO_ON {
                return all;
            }
            // Replies are among them. What is counted of those may have been read.
            state.unread.lock().ask_for_all();
            ask_for_replies(state, connection).await;
            all.saturating_sub(state.unread.lock().total() as u64)
        }
    }
}

/// The connection for which the bus holds most, but for our replies.
async fn slowest_listener(unread: &Unread, connection: &Connection) -> Option<Listener> {
    let bus = DBusProxy::new(connection).await.ok()?;
    let names = bus.list_names().await.ok()?;
    let mut slowest: Option<(usize, OwnedUniqueName)> = None;
    let unique = names.iter().filter_map(|name| match &**name {
        BusName::Unique(name) => Some(OwnedUniqueName::from(name.to_owned())),
        BusName::WellKnown(_) => None,
    });
    for name in unique.take(MAX_SUSPECTS) {
        let held = held_for(connection, &name).await.unwrap_or(0) as usize;
        let held = held.saturating_sub(unread.lock().of(&name));
        if slowest.as_ref().is_none_or(|(most, _)| held > *most) {
            slowest = Some((held, name));
        }
    }
    let (_, name) = slowest?;
    let pid = bus.get_connection_unix_process_id(name.as_ref().into()).await.ok()?;
    let uid = bus.get_connection_unix_user(name.as_ref().into()).await.ok()?;
    Some(Listener { name: name.to_string(), pid, uid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_stop_above_one_bound_and_go_on_below_another() {
        let mut is_stopped = false;
        for (unread, expected) in [
            (0, false),
            (STOP - 1, false),
            (STOP, true),
            (STOP - 1, true),
            (GO_ON, true),
            (GO_ON - 1, false),
            (GO_ON, false),
        ] {
            is_stopped = stops(is_stopped, unread);
            assert_eq!(is_stopped, expected, "{unread}");
        }
    }
}
