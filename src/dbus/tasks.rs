//! What the bus is told without being asked.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use event_listener::listener;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use opensnitch_audit_client::INTERFACE;
use tokio::time::sleep;
use tracing::warn;
use zbus::fdo::Properties;
use zbus::message::Type;
use zbus::names::{BusName, InterfaceName};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, MatchRule, MessageStream, Variant};

use super::interface::Audit;
use super::signals::Outgoing;
use super::unread::Pace;
use super::{BUS, State, wire};
use crate::store::Owner;
use crate::text::text;

/// How often a task with nothing to send says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often the journal says whose events were not signalled.
const LOSSES_EVERY: Duration = Duration::from_secs(60);

/// Sends the signals `EventSeen` and `EventsLost`. It is the only task that does: a send is never cancelled half way. Adds to
/// `heartbeat` as long as it lives.
pub async fn send_signals(state: Arc<State>, emitter: SignalEmitter<'static>, heartbeat: Arc<AtomicU64>) {
    let mut pace = Pace::default();
    let mut losses_told: Option<Duration> = None;
    loop {
        heartbeat.fetch_add(1, Ordering::Relaxed);
        listener!(state.seen.changed => changed);
        let deadline = state.seen.lock().deadline().into_iter().chain(pace.deadline()).min();
        let wait = deadline.map_or(HEARTBEAT, |deadline| deadline.saturating_sub(state.now()).min(HEARTBEAT));
        tokio::select! {
            () = changed => {}
            () = sleep(wait) => {}
        }
        state.seen.lock().set_limits(state.limits());
        loop {
            let is_stopped = pace.is_stopped(&state, emitter.connection(), state.now()).await;
            state.seen.lock().set_stopped(is_stopped);
            let Some(signal) = state.seen.next(state.now()) else { break };
            if let Err(error) = send(&state, &emitter, signal).await {
                warn!(%error, "a signal could not be sent");
            }
        }
        let told = state.seen.lock().take_told();
        let statistics = &state.store.statistics;
        statistics.signals_sent.add(told.sent);
        statistics.signals_coalesced.add(told.coalesced);
        statistics.signals_lost.add(told.lost);
        let now = state.now();
        if losses_told.is_none_or(|told| now >= told + LOSSES_EVERY)
            && let Some(losses) = losses(&state.seen.lock().take_losses())
        {
            losses_told = Some(now);
            warn!("events were not signalled, but are kept: {losses}. Diagnose, or signals_per_second, says why");
        }
        // What was lost on the way here is told too.
        state.seen.lock().set_lost(statistics.signals_lost.get());
    }
}

/// Who lost how many, if anybody did.
fn losses(losses: &BTreeMap<Option<Owner>, u64>) -> Option<String> {
    let one = |(owner, lost): (&Option<Owner>, &u64)| match owner {
        Some(owner) => format!("{lost} of {owner}"),
        None => format!("{lost} of others"),
    };
    let all: Vec<String> = losses.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

async fn send(state: &Arc<State>, emitter: &SignalEmitter<'static>, signal: Outgoing) -> zbus::Result<()> {
    match signal {
        Outgoing::EventSeen(answer) => {
            let (event_type, exe, event) = wire::seen(state, answer).await?;
            Audit::event_seen(emitter, event_type, &exe, &event).await
        }
        Outgoing::EventsLost(count) => Audit::events_lost(emitter, count).await,
    }
}

/// Forgets whoever leaves the bus, as long as the future it returns is polled. There is no moment at which somebody can leave
/// unseen once it has returned.
///
/// # Errors
/// Where the bus does not tell.
pub async fn forget_departed(
    state: Arc<State>,
    connection: &Connection,
) -> zbus::Result<impl Future<Output = ()> + Send + use<>> {
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(BUS)
        .interface(BUS)
        .member("NameOwnerChanged")
        // The new owner: there is none.
        .arg(2, "")
        .build()?;
    let mut departures = MessageStream::for_match_rule(rule, connection, None).await?;
    Ok(async move {
        while let Some(departure) = departures.next().await {
            let Ok(departure) = departure else { continue };
            let body = departure.body();
            if let Ok((name, _, _)) = body.deserialize::<(BusName<'_>, &str, &str)>()
                && let BusName::Unique(name) = name
            {
                state.callers.forget(&name);
                state.unread.forget(&name);
                state.subscriptions.close(&name);
            }
        }
    })
}

/// What the properties that change say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `Source`; `Connected` follows from it.
    pub source: &'static str,
    /// `Socket`.
    pub socket: String,
    /// `RulesLoaded`.
    pub rules_loaded: bool,
}

/// Tells the bus when the connection to auditd, or our rules, come and go: what changes together in one signal. Hands each
/// change to `tell`, too.
pub async fn tell_changes(state: Arc<State>, emitter: SignalEmitter<'static>, tell: impl Fn(&Told)) {
    let now = || {
        let (source, socket) = source_and_socket(&state);
        Told { source, socket, rules_loaded: state.keeper.is_loaded() }
    };
    let mut told = Told::default();
    tell(&told);
    loop {
        listener!(state.source.changed => source_changed);
        listener!(state.rules_changed => rules_changed);
        let is = now();
        if is == told {
            match select(source_changed, rules_changed).await {
                Either::Left(_) | Either::Right(_) => continue,
            }
        }
        tell(&is);
        let mut changed = HashMap::new();
        if is.source != told.source {
            changed.insert("Source", Variant::from(is.source));
            changed.insert("Connected", Variant::from(!is.source.is_empty()));
        }
        if is.socket != told.socket {
            changed.insert("Socket", Variant::from(is.socket.clone()));
        }
        if is.rules_loaded != told.rules_loaded {
            changed.insert("RulesLoaded", Variant::from(is.rules_loaded));
        }
        let interface = InterfaceName::from_static_str_unchecked(INTERFACE);
        let sent = Properties::properties_changed(&emitter, interface, changed, Cow::Borrowed(&[])).await;
        if let Err(error) = sent {
            warn!(%error, "a change could not be told");
        }
        told = is;
    }
}

/// Where events come from, and the path of auditd's socket where that is it, else nothing.
pub(super) fn source_and_socket(state: &State) -> (&'static str, String) {
    let (source, socket) = state.source.source_and_socket();
    (source, socket.map(|socket| text(socket.as_os_str().as_bytes()).0).unwrap_or_default())
}
