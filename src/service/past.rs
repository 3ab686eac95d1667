//! Fills the history with what auditd wrote to disk before the service began.

use std::path::Path;
use std::time::Duration;

use audit_records::{Assembler, Event, EventId};
use tracing::{info, warn};

use crate::source::{LINE, LOG_PATH, Log, LogError, MAX_LOG_BYTES};
use crate::store::{Past, Store};

/// How far back the history begins.
const SPAN_MS: u64 = 60 * 60 * 1000;

/// Takes the last hour of auditd's log into the store, under this key. Returns the ids of the last events, which may
/// arrive once more. Reads files: tens of milliseconds, half a second at the most.
pub(super) fn recall(store: &Store, key: &str, keep_raw: bool, now_us: u64) -> Vec<EventId> {
    let since_ms = (now_us / 1000).saturating_sub(SPAN_MS);
    let (log, error) = Log::find(Path::new(LOG_PATH), since_ms, MAX_LOG_BYTES);
    complain(error);
    let mut past = Past::of(store);
    let mut assembler = Assembler::new(key, keep_raw);
    let mut now = Duration::ZERO;
    let mut keep = |event: Event<'_>| {
        // What is older may stand between, and comes with the file's block.
        if event.id().milliseconds >= since_ms {
            past.insert(&event);
        }
    };
    let read = log.read(|line| {
        now += LINE;
        assembler.expire(now, &mut keep);
        assembler.push(line, now, &mut keep);
    });
    assembler.finish_all(&mut keep);
    complain(read.err());
    let events = store.statistics.events_recalled.get();
    if events > 0 {
        info!(events, "the history begins with the last hour of {LOG_PATH}");
    }
    past.last()
}

fn complain(error: Option<LogError>) {
    match error {
        None => {}
        Some(error) if error.is_absent() => info!("there is no {LOG_PATH}: the history begins now"),
        Some(error) => warn!("{error}. The history begins later than it could; events to come are not affected"),
    }
}
