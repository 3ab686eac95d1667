//! Writes events to the journal, where the configuration says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::time::timeout;
use tracing::warn;

use crate::dbus::{State, wire};
use crate::journal::{SOCKET, entry};
use crate::queue::Queue;
use crate::store::{Answer, Row};

/// Events that wait to be written: a second of the most that auditd carries.
const MAX_ROWS: usize = 16 * 1024;

/// What they may hold together, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Events on their way to the journal. Whoever brings them does not wait: what finds no place is counted.
#[derive(Debug)]
pub(super) struct Journal {
    is_on: AtomicBool,
    rows: Queue<Row>,
}

impl Journal {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on: is_on.into(), rows: Queue::new(MAX_ROWS, MAX_BYTES) }
    }

    /// Whether events are wanted.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(super) fn switch(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Takes rows, each with its size in bytes. Returns how many found no place.
    pub(super) fn push(&self, rows: impl IntoIterator<Item = (Row, usize)>) -> u64 {
        self.rows.push(rows)
    }
}

/// Writes what comes, for ever. A journald that takes nothing keeps only this task waiting.
pub(super) async fn write(state: Arc<State>, journal: Arc<Journal>) {
    let mut is_well = true;
    loop {
        let rows = journal.rows.pop_all().await;
        is_well = write_all(&state, rows, is_well).await;
    }
}

/// Writes what is there already, and waits no longer than that for journald.
pub(super) async fn write_rest(state: Arc<State>, journal: Arc<Journal>, limit: Duration) {
    let rows = timeout(Duration::ZERO, journal.rows.pop_all()).await.unwrap_or_default();
    let _ = timeout(limit, write_all(&state, rows, true)).await;
}

/// Returns whether journald took the last one. That it does not is told once.
async fn write_all(state: &Arc<State>, rows: VecDeque<Row>, mut is_well: bool) -> bool {
    let counters = &state.store.statistics;
    // A new one each time: what is wrong with the last one is over with it.
    let socket = UnixDatagram::unbound();
    for row in rows {
        let Some(event) = wire::event_of(state, Answer::single(row)).await else { return is_well };
        let sent = match &socket {
            Ok(socket) => socket.send_to(&entry(&event), SOCKET).await.map(drop).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match &sent {
            Ok(()) => counters.journal_sent.add(1),
            Err(error) => {
                counters.journal_lost.add(1);
                if is_well {
                    warn!("events do not reach the journal ({SOCKET}: {error}). JournalLost counts them");
                }
            }
        }
        is_well = sent.is_ok();
    }
    is_well
}
