//! What happened before the service began.

use std::collections::VecDeque;
use std::time::Duration;

use audit_records::{Event, EventId};

use super::newest::Newest;
use super::row::{Source, Whose};
use super::{Inner, Store};

/// Processes of the past whose sockets are remembered, to tell the protocol of what they connect.
const PROCESSES: usize = 4096;

/// Events at the end of the past that are recognised when they come again: auditd may pass on what it wrote just before, and
/// what came during a restart of the service waits in the multicast's socket, half a second of it or some more.
const MAX_REPEATED: usize = 32 * 1024;

/// Fills the history of a store with events from auditd's log, the oldest first, before those that arrive.
///
/// Their processes may have ended long ago, and their pids may be others' by now: nobody looks for them in `/proc`. They are
/// no news, so they are not among the newest, and no signal tells of them.
#[derive(Debug)]
pub struct Past<'a> {
    store: &'a Store,
    newest: Newest,
    last: VecDeque<EventId>,
}

impl<'a> Past<'a> {
    /// The past of this store, in which nothing has arrived yet.
    #[must_use]
    pub fn of(store: &'a Store) -> Self {
        Self { store, newest: Newest::new(PROCESSES), last: VecDeque::new() }
    }

    /// Adds the next event.
    pub fn insert(&mut self, event: &Event<'_>) {
        let store = self.store;
        let mut inner = store.write();
        let mut row = inner.next_row(event, Source::Log, 0, &store.node);
        row.seen_us = row.timestamp_us();
        row.whose = Whose::Nothing;
        self.newest.insert(&mut row, Duration::ZERO);
        let Inner { shared, history, .. } = &mut *inner;
        history.push(row, shared);
        drop(inner);
        store.statistics.events_recalled.add(1);
        if self.last.len() == MAX_REPEATED {
            self.last.pop_front();
        }
        self.last.push_back(event.id());
    }

    /// The last of them: every event that arrives is looked for among them.
    #[must_use]
    pub fn last(self) -> Vec<EventId> {
        self.last.into()
    }
}
