//! What the service does on its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_listener::{Event as Notifier, listener};
use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use tracing::{info, warn};
use zbus::Connection;
use zbus::fdo::DBusProxy;

use super::kept::{Snapshots, is_kept};
use super::notify;
use super::pipeline::realtime_us;
use crate::dbus::State;
use crate::rules::{self, Status as KernelStatus};
use crate::store::Statistics;

/// How often what is old is dropped. No answer has it any more by then: this only gives its memory back.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);

/// How often the rules are looked at though nobody said that they changed: while auditd is away nobody can.
const VERIFY_EVERY: Duration = Duration::from_secs(30);

/// How long after auditd's start our rules are put back: loading the machine's own takes a second or two, twenty on an emulated
/// machine.
const FLUSH_WITHIN: Duration = Duration::from_secs(30);

/// How often that is tried while auditd's own rules are being loaded.
const RESTORE_EVERY: Duration = Duration::from_secs(1);

/// How long after the first sign of a change the rules are looked at.
const SETTLE: Duration = Duration::from_millis(200);

/// Notices when our rules vanish. Whoever removed them meant it, and they are not put back; but for auditd: its start
/// flushes all rules that are not in its own files (`augenrules --load`, audit-rules.service), and ours are not.
pub(super) async fn verify_rules(state: Arc<State>, touched: Arc<Notifier>) {
    let mut auditd = Auditd::default();
    let mut vanished = None;
    loop {
        // Before the look: what happens while it is taken wakes the next one.
        listener!(touched => again);
        let was_loaded = state.keeper.is_loaded();
        let checked = {
            let state = state.clone();
            spawn_blocking(move || {
                // Not one of a second ago: an auditd that has just come flushes at once.
                let status = state.keeper.status().ok();
                auditd.note(status.map(|status| status.pid), state.now());
                (verify(&state, auditd.started_within(FLUSH_WITHIN, state.now())), status, auditd)
            })
        };
        // None where the service is stopping.
        let Ok((verified, status, known)) = checked.await else { return };
        auditd = known;
        note_kernel_losses(&state.store.statistics, &mut state.store.kernel_lost(), status.as_ref());
        let wait = match verified {
            Verified::Restored(added) => {
                info!(added, "auditd's start had flushed our audit rules: they are loaded again");
                VERIFY_EVERY
            }
            Verified::NotYet(error) => {
                warn!("auditd's start has flushed our audit rules, and they could not be loaded again yet: {error}");
                RESTORE_EVERY
            }
            Verified::Vanished if was_loaded => {
                warn!(
                    "our audit rules are not all in the kernel any more: connections go unseen. Where auditd's start has \
                     flushed them they are loaded again; else 'opensnitch-auditctl rules add' does that"
                );
                vanished = Some(state.now());
                RESTORE_EVERY
            }
            // Debian 13 flushes them before auditd starts.
            Verified::Vanished if vanished.is_some_and(|at| state.now().saturating_sub(at) < FLUSH_WITHIN) => {
                RESTORE_EVERY
            }
            // Who cannot ask did not load any, and was told so.
            Verified::AsBefore | Verified::Vanished => VERIFY_EVERY,
        };
        state.rules_changed.notify(usize::MAX);
        if timeout(wait, again).await.is_ok() {
            // Rules are removed one by one: all of them at once are told once.
            sleep(SETTLE).await;
        }
    }
}

/// Adds what the kernel's count of lost records grew by since it was `known`, to this process or the one before it. The first
/// look is where counting begins: the kernel counts from the boot on. Somebody may set its count back (`auditctl --reset-lost`).
///
/// Without an auditd the kernel also counts what it could not keep for one, though the multicast had it: then serials alone
/// tell what is missing.
fn note_kernel_losses(statistics: &Statistics, known: &mut Option<u32>, status: Option<&KernelStatus>) {
    let Some(&KernelStatus { lost, pid, .. }) = status else { return };
    if pid == 0 {
        *known = None;
        return;
    }
    let more = known.replace(lost).map_or(0, |known| lost.saturating_sub(known));
    if more > 0 {
        statistics.kernel_lost_since.add(more.into());
        statistics.last_loss.set(realtime_us());
    }
}

enum Verified {
    AsBefore,
    Vanished,
    Restored(u32),
    NotYet(rules::Error),
}

/// The auditd that the kernel knows, and since when as far as it was seen to come.
#[derive(Clone, Copy, Debug, Default)]
struct Auditd {
    /// 0 for none; `None` before the first look.
    pid: Option<u32>,
    since: Option<Duration>,
}

impl Auditd {
    fn note(&mut self, pid: Option<u32>, now: Duration) {
        let Some(pid) = pid else { return };
        let was = self.pid.replace(pid);
        if was.is_some_and(|was| was != pid) {
            self.since = (pid != 0).then_some(now);
        }
    }

    fn started_within(self, limit: Duration, now: Duration) -> bool {
        self.since.is_some_and(|since| now.saturating_sub(since) < limit)
    }
}

/// `auditd_started`: a moment ago, as the kernel tells.
fn verify(state: &State, auditd_started: bool) -> Verified {
    state.remember_lost();
    match state.keeper.verify() {
        Ok(false) if state.keeper.is_expected() => {}
        _ => return Verified::AsBefore,
    }
    let restarted = auditd_started || state.source.link().connected.is_some_and(|(since, _)| since < FLUSH_WITHIN);
    if !(restarted && state.setup().manages_rules) {
        return Verified::Vanished;
    }
    match state.keeper.add() {
        Ok(added) => Verified::Restored(added),
        Err(error) => Verified::NotYet(error),
    }
}

/// How often the store is kept for the next process: at the most, and at the least while it changes.
const KEEP_EVERY: Duration = Duration::from_secs(3);
const KEEP_AT_LATEST: Duration = Duration::from_secs(15);

/// Between the two, keeping it takes one in so many parts of the time. 65,536 events of 1,000 processes are 4.6 MB, and take
/// 30 ms.
const KEEP_PART: u32 = 100;

/// Has systemd keep the store while it changes.
pub(super) async fn keep_store(state: Arc<State>, snapshots: Arc<Mutex<Snapshots>>) {
    if !is_kept() {
        return;
    }
    let mut kept = None;
    let mut is_well = true;
    loop {
        let changes = state.store.changes();
        let begun = Instant::now();
        if kept.replace(changes) != Some(changes) {
            is_well = keep_now(&state, &snapshots, is_well).await;
        }
        sleep((begun.elapsed() * KEEP_PART).clamp(KEEP_EVERY, KEEP_AT_LATEST)).await;
    }
}

/// Has systemd keep the store as it is. Whether it does; that it does not is told once.
pub(super) async fn keep_now(state: &Arc<State>, snapshots: &Arc<Mutex<Snapshots>>, was_well: bool) -> bool {
    let (state, snapshots) = (state.clone(), snapshots.clone());
    let kept = spawn_blocking(move || {
        let mut snapshots = snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        snapshots.keep(&state.store)
    });
    // Else the service is stopping.
    let Ok(Err(error)) = kept.await else { return true };
    if was_well {
        warn!("systemd cannot keep the history for the next start: {error}. A restart would lose it");
    }
    false
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Enabled;

    #[test]
    fn an_auditd_that_was_there_before_did_not_start() {
        let seconds = Duration::from_secs;
        let mut auditd = Auditd::default();
        for (now, pid, started) in [
            (0, Some(7), false),
            (1, Some(7), false),
            (2, Some(0), false),
            (3, None, false),
            (4, Some(8), true),
            (6, Some(8), true),
            (7, Some(8), false),
            (8, Some(9), true),
            (9, Some(0), false),
        ] {
            auditd.note(pid, seconds(now));
            assert_eq!(auditd.started_within(seconds(3), seconds(now)), started, "{now}");
        }
    }

    #[test]
    fn what_the_kernel_lost_since_the_first_look() {
        let statistics = Statistics::default();
        let mut known = None;
        let status = |pid, lost| KernelStatus {
            enabled: Enabled::On,
            failure: 1,
            pid,
            rate_limit: 0,
            backlog_limit: 64,
            lost,
            backlog: 0,
            features: 0,
            backlog_wait_time: None,
        };
        for (lost, since) in [
            (Some((7, 70)), 0),
            (None, 0),
            (Some((7, 70)), 0),
            (Some((7, 72)), 2),
            (Some((7, 0)), 2),
            (Some((7, 3)), 5),
            // No auditd, and then another one.
            (Some((0, 10)), 5),
            (Some((0, 20)), 5),
            (Some((8, 30)), 5),
            (Some((8, 31)), 6),
        ] {
            note_kernel_losses(&statistics, &mut known, lost.map(|(pid, lost)| status(pid, lost)).as_ref());
            assert_eq!(statistics.kernel_lost_since.get(), since, "{lost:?}");
            assert_eq!(statistics.last_loss.get() > 0, since > 0, "{lost:?}");
        }
    }
}
