//! What the bus side does on its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use event_listener::listener;
use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use tracing::{error, info, warn};
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::object_server::InterfaceRef;

use super::notify;
use crate::dbus::{Audit, AuditSignals, Outgoing, Signals, State};
use crate::rules;
use crate::statistics::Counter;

/// How often entries of ended processes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5 * 60);

/// How often the rules are looked at though nobody said that they changed: while auditd is away nobody can.
const VERIFY_EVERY: Duration = Duration::from_secs(30);

/// How long after auditd's start our rules are put back: loading the machine's own takes a second or two, more on a slow one.
const FLUSH_WITHIN: Duration = Duration::from_secs(15);

/// How often that is tried while auditd's own rules are being loaded.
const RESTORE_EVERY: Duration = Duration::from_secs(1);

/// How long after the first sign of a change the rules are looked at.
const SETTLE: Duration = Duration::from_millis(200);

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

/// Notices when our rules vanish. Whoever removed them meant it, and they are not put back; but for auditd: its start
/// flushes all rules that are not in its own files (`augenrules --load`, audit-rules.service), and ours are not.
pub(super) async fn verify_rules(state: Arc<State>) {
    loop {
        // Before the look: what happens while it is taken wakes the next one.
        listener!(state.rules_touched => touched);
        let was_loaded = state.keeper.is_loaded();
        let checked = {
            let state = state.clone();
            spawn_blocking(move || verify(&state))
        };
        let wait = match checked.await {
            Ok(Verified::Restored(added)) => {
                info!(added, "auditd's start had flushed our audit rules: they are loaded again");
                VERIFY_EVERY
            }
            Ok(Verified::NotYet(error)) => {
                warn!("auditd's start has flushed our audit rules, and they could not be loaded again yet: {error}");
                RESTORE_EVERY
            }
            Ok(Verified::Vanished) if was_loaded => {
                warn!(
                    "our audit rules are not all in the kernel any more: connections go unseen. They are not put back: \
                     'opensnitch-auditctl rules add' does that"
                );
                VERIFY_EVERY
            }
            // Who cannot ask did not load any, and was told so.
            Ok(Verified::AsBefore | Verified::Vanished) => VERIFY_EVERY,
            Err(_) => {
                error!("verifying the audit rules panicked");
                VERIFY_EVERY
            }
        };
        state.changed.notify(usize::MAX);
        if timeout(wait, touched).await.is_ok() {
            // Rules are removed one by one: all of them at once are told once.
            sleep(SETTLE).await;
        }
    }
}

enum Verified {
    AsBefore,
    Vanished,
    Restored(u32),
    NotYet(rules::Error),
}

fn verify(state: &State) -> Verified {
    state.remember_lost();
    match state.keeper.verify() {
        Ok(false) if state.keeper.is_expected() => {}
        _ => return Verified::AsBefore,
    }
    let restarted = state.link().connected.is_some_and(|(since, _)| since < FLUSH_WITHIN);
    if !(restarted && state.setup().manages_rules) {
        return Verified::Vanished;
    }
    match state.keeper.add() {
        Ok(added) => Verified::Restored(added),
        Err(error) => Verified::NotYet(error),
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
