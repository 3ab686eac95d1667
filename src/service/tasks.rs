//! What the service does on its own.

use std::sync::Arc;
use std::time::Duration;

use event_listener::{Event as Notifier, listener};
use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use tracing::{info, warn};
use zbus::Connection;
use zbus::fdo::DBusProxy;

use super::notify;
use crate::dbus::State;
use crate::rules;

/// How often what is old is dropped. No answer has it any more by then: this only gives its memory back.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);

/// How often the rules are looked at though nobody said that they changed: while auditd is away nobody can.
const VERIFY_EVERY: Duration = Duration::from_secs(30);

/// How long after auditd's start our rules are put back: loading the machine's own takes a second or two, more on a slow one.
const FLUSH_WITHIN: Duration = Duration::from_secs(15);

/// How often that is tried while auditd's own rules are being loaded.
const RESTORE_EVERY: Duration = Duration::from_secs(1);

/// How long after the first sign of a change the rules are looked at.
const SETTLE: Duration = Duration::from_millis(200);

/// Notices when our rules vanish. Whoever removed them meant it, and they are not put back; but for auditd: its start
/// flushes all rules that are not in its own files (`augenrules --load`, audit-rules.service), and ours are not.
pub(super) async fn verify_rules(state: Arc<State>, touched: Arc<Notifier>) {
    loop {
        // Before the look: what happens while it is taken wakes the next one.
        listener!(touched => again);
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
            // The service is stopping.
            Err(_) => return,
        };
        state.rules_changed.notify(usize::MAX);
        if timeout(wait, again).await.is_ok() {
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
    let restarted = state.source.link().connected.is_some_and(|(since, _)| since < FLUSH_WITHIN);
    if !(restarted && state.setup().manages_rules) {
        return Verified::Vanished;
    }
    match state.keeper.add() {
        Ok(added) => Verified::Restored(added),
        Err(error) => Verified::NotYet(error),
    }
}

pub(super) async fn expire(state: Arc<State>) {
    let mut ticks = interval_at(Instant::now() + EXPIRE_EVERY, EXPIRE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let state = state.clone();
        // Away from the bus's threads: there may be much of it.
        let _ = spawn_blocking(move || state.store.expire(state.now())).await;
    }
}

/// Says that all is well, to a systemd that asked for it, as long as the bus answers and every part lives: each adds to its
/// own number.
pub(super) async fn feed_watchdog(connection: Connection, parts: impl Fn() -> [u64; 3]) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let Ok(bus) = DBusProxy::new(&connection).await else { return };
    let mut ticks = interval(limit / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        let now = parts();
        let all_live = last.is_none_or(|last: [u64; 3]| now.iter().zip(last).all(|(now, last)| *now != last));
        let answers = matches!(timeout(limit / 3, bus.get_id()).await, Ok(Ok(_)));
        if all_live && answers {
            last = Some(now);
            notify(&[NotifyState::Watchdog]);
        }
    }
}
