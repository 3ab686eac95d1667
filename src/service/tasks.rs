//! What the bus side does on its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use event_listener::listener;
use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use tracing::{error, warn};
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::object_server::InterfaceRef;

use super::notify;
use crate::dbus::{Audit, AuditSignals, Outgoing, Signals, State};
use crate::statistics::Counter;

/// How often entries of ended processes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5 * 60);

/// How often the rules are looked at though nobody said that they changed: while auditd is away nobody can.
const VERIFY_EVERY: Duration = Duration::from_secs(30);

/// The one task that sends signals: a send is never cancelled half way.
pub(super) async fn send_signals(state: Arc<State>, interface: InterfaceRef<Audit>) {
    let mut signals = Signals::new(state.limits());
    loop {
        let wait = signals.deadline().map(|deadline| deadline.saturating_sub(state.now()));
        tokio::select! {
            next = state.seen.pop() => match next {
                Some(seen) => signals.push(seen, state.now()),
                None => return,
            },
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
        signals.set_limits(state.limits());
        while let Some(signal) = signals.next(state.now()) {
            let sent = match signal {
                Outgoing::EventSeen(event_type, exe, row) => {
                    state.statistics.add(Counter::SignalsSent, 1);
                    interface.event_seen(event_type, &exe, row).await
                }
                Outgoing::EventsLost(count) => interface.events_lost(count).await,
            };
            if let Err(error) = sent {
                warn!(%error, "a signal could not be sent");
            }
        }
        let (dropped, coalesced) = signals.take_counts();
        state.statistics.add(Counter::SignalsCoalesced, coalesced);
        state.statistics.add(Counter::SignalsLost, dropped);
        // What was lost on the way here is told too.
        signals.set_lost(state.statistics.get(Counter::SignalsLost));
    }
}

/// Tells the bus and systemd when the connection to auditd, or our rules, come and go.
pub(super) async fn tell_changes(state: Arc<State>, interface: InterfaceRef<Audit>) {
    let mut told = ("", false);
    notify(&[NotifyState::Status(&status(&state))]);
    loop {
        listener!(state.changed => changed);
        let now = (state.source(), state.keeper.is_loaded());
        if now == told {
            changed.await;
            continue;
        }
        notify(&[NotifyState::Status(&status(&state))]);
        let audit = interface.get().await;
        let emitter = interface.signal_emitter();
        let sent = async {
            if now.0 != told.0 {
                audit.source_changed(emitter).await?;
                audit.connected_changed(emitter).await?;
            }
            if now.1 != told.1 {
                audit.rules_loaded_changed(emitter).await?;
            }
            zbus::Result::Ok(())
        };
        if let Err(error) = sent.await {
            warn!(%error, "a change could not be told");
        }
        told = now;
    }
}

/// What the service is doing, in one line.
fn status(state: &State) -> String {
    let connection = if state.source().is_empty() { "waiting for auditd" } else { "reading auditd's events" };
    let rules = if state.keeper.is_loaded() { "our audit rules are loaded" } else { "our audit rules are not loaded" };
    format!("{connection}; {rules}")
}

/// Notices when our rules vanish. They are not put back: whoever removed them meant it.
pub(super) async fn verify_rules(state: Arc<State>) {
    loop {
        listener!(state.rules_touched => touched);
        let _ = timeout(VERIFY_EVERY, touched).await;
        let before = state.keeper.is_loaded();
        let verify = {
            let state = state.clone();
            spawn_blocking(move || {
                state.remember_lost();
                state.keeper.verify()
            })
        };
        match verify.await {
            Ok(Ok(loaded)) => {
                if before && !loaded {
                    warn!("our audit rules are not all in the kernel any more: connections go unseen");
                }
                state.changed.notify(usize::MAX);
            }
            // Who cannot ask did not load any, and was told so.
            Ok(Err(_)) => {}
            Err(_) => error!("verifying the audit rules panicked"),
        }
    }
}

pub(super) async fn sweep(state: Arc<State>) {
    let mut ticks = interval_at(Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let state = state.clone();
        if spawn_blocking(move || state.sweep()).await.is_err() {
            error!("the sweep of the cache panicked");
        }
    }
}

/// Says that all is well, to a systemd that asked for it, as long as the bus answers and the reader lives.
pub(super) async fn feed_watchdog(state: Arc<State>, connection: Connection) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let Ok(bus) = DBusProxy::new(&connection).await else { return };
    let mut ticks = interval(limit / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        let heartbeat = state.heartbeat.load(Ordering::Relaxed);
        let alive = last != Some(heartbeat);
        let answers = matches!(timeout(limit / 3, bus.get_id()).await, Ok(Ok(_)));
        if alive && answers {
            last = Some(heartbeat);
            notify(&[NotifyState::Watchdog]);
        }
    }
}
