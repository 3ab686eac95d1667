//! The reader's thread, and what becomes of events on their way to the bus.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use audit_records::EventType;
use event_listener::Event as Notifier;

use super::journal::Journal;
use super::kept::Bookmark;
use super::reader::{Reader, Remains};
use crate::config::Config;
use crate::dbus::State;
use crate::process::{Request, Visit, Visitor};
use crate::source::{Audisp, Sources, Stop};
use crate::store::{Found, Row, Whose};

/// What may wait for a visit to `/proc`, in bytes; beside the visitor's own bound in events.
pub(super) const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// What the reader fills.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    /// Has the store, the connection to tell of, and the clock.
    pub(super) state: Arc<State>,
    pub(super) visitor: Arc<Visitor<Row>>,
    pub(super) journal: Arc<Journal>,
    /// What waits for the visitor, in bytes.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Notified when the stream says that somebody changed a rule of ours, and when auditd is back, whose start flushes them.
    pub(super) rules_touched: Arc<Notifier>,
    /// Grows as long as the reader lives.
    pub(super) heartbeat: Arc<AtomicU64>,
}

impl Sink {
    /// Has these rows visited, which take so many bytes, and then told. Those that find no place are counted, and so are
    /// `lost` ones.
    pub(super) fn hand_on(&self, rows: Vec<(Request, Row)>, bytes: usize, mut lost: u64) {
        if !rows.is_empty() {
            self.waiting.fetch_add(bytes, Ordering::Relaxed);
            let refused = self.visitor.push(rows);
            self.waiting.fetch_sub(refused.iter().map(|(_, row)| row.size()).sum(), Ordering::Relaxed);
            lost += refused.len() as u64;
        }
        let statistics = &self.state.store.statistics;
        statistics.visits_lost.add(lost);
        statistics.signals_lost.add(lost);
        if self.journal.is_on() {
            statistics.journal_lost.add(lost);
        }
    }

    /// Rows that a process before this one did not come to have visited.
    pub(super) fn hand_on_pending(&self, pending: Vec<Row>) {
        let (mut rows, mut bytes, mut lost) = (Vec::new(), 0, 0);
        for row in pending {
            let size = row.size();
            if bytes + size <= MAX_WAITING_BYTES {
                bytes += size;
                rows.push((request(&row), row));
            } else {
                lost += 1;
            }
        }
        self.hand_on(rows, bytes, lost);
    }
}

/// Reads until it is stopped.
pub(super) struct Pipeline {
    stop: Stop,
    reader: JoinHandle<Remains>,
}

impl Pipeline {
    /// Goes on where another reader was, of this process or of one before it: by this `connection` then, if it is there still.
    pub(super) fn start(
        config: &Config,
        sink: Sink,
        bookmark: Bookmark,
        from: Remains,
        connection: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let audisp = config.source.reads_audisp().then(|| Audisp::new(super::sockets(config)));
        let (sources, stop) = Sources::new(audisp, None)?;
        let mut reader = Reader::new(sources, config, sink, bookmark);
        reader.take_over(config, from, connection);
        let reader = thread::Builder::new().name("reader".to_owned()).spawn(move || reader.run())?;
        Ok(Self { stop, reader })
    }

    pub(super) fn stop(self) -> Remains {
        self.stop.stop();
        // A reader that panicked took the service with it.
        self.reader.join().unwrap_or_default()
    }
}

/// What the visitor found: tells the store, and passes the events on.
pub(super) fn visited(state: &State, journal: &Journal, waiting: &AtomicUsize, mut visits: Vec<(Row, Visit)>) {
    let mut found = Vec::new();
    for (row, visit) in &mut visits {
        let whose = match std::mem::replace(visit, Visit::Hidden) {
            Visit::Found(process) => Whose::Process(process),
            Visit::Gone { at_ms, parents } => Whose::Gone { at_ms, parents },
            Visit::Foreign => Whose::Nothing,
            // As if nobody had looked yet.
            Visit::Hidden => continue,
        };
        if let Some(pid) = row.origin.pid
            && is_news(&row.whose, &whose)
        {
            // Of a process that was known, there is something new: since this event it runs another program, say.
            let since = if matches!(row.whose, Whose::Process(_)) { row.sequence } else { u64::MAX };
            found.push(Found { pid, since, whose: whose.clone() });
        }
        row.whose = whose;
    }
    state.store.attach(&found);
    if journal.is_on() {
        let rows = visits.iter().map(|(row, _)| (row.clone(), row.size()));
        state.store.statistics.journal_lost.add(journal.push(rows));
    }
    waiting.fetch_sub(visits.iter().map(|(row, _)| row.size()).sum(), Ordering::Relaxed);
    state.see(visits.into_iter().map(|(row, _)| row).collect());
}

/// Whether the store has to be told what was found for a row. Mostly it knew, and gave it to the row when that came.
fn is_news(known: &Whose, found: &Whose) -> bool {
    match (known, found) {
        (Whose::Process(known), Whose::Process(found)) => !Arc::ptr_eq(known, found),
        // Whose process was not there has none: only a process that was found changes that.
        (Whose::Gone { .. } | Whose::Nothing, found) => matches!(found, Whose::Process(_)),
        (Whose::Pending | Whose::Process(_), _) => true,
    }
}

/// What to ask about the process of a new row.
pub(super) fn request(row: &Row) -> Request {
    let who = row.origin.who();
    let args = row.extra.as_deref().and_then(|extra| extra.args.as_ref());
    Request {
        // No process has pid 0, and nobody is found.
        pid: row.origin.pid.unwrap_or(0),
        ppid: who.ppid(),
        uid: row.origin.uid,
        event_ms: row.id.milliseconds,
        title_is_whole: args.is_some_and(|args| args.whole),
        program: row.origin.program,
        starts_program: row.event_type == Some(EventType::Execve) && row.success == Some(true),
        other_machine: !row.origin.is_local,
    }
}

/// Now, in microseconds since the epoch.
pub(super) fn realtime_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn the_store_is_told_what_it_does_not_know() {
        let process = |start| Arc::new(Process::new(7, 1000, start, 0));
        let [one, other] = [process(1), process(2)].map(Whose::Process);
        let gone = |at_ms| Whose::Gone { at_ms, parents: Arc::default() };
        for found in [one.clone(), gone(1), Whose::Nothing] {
            assert!(is_news(&Whose::Pending, &found));
        }
        for known in [gone(1), Whose::Nothing] {
            assert!(is_news(&known, &one) && !is_news(&known, &gone(2)) && !is_news(&known, &Whose::Nothing));
        }
        assert!(!is_news(&one, &one.clone()));
        assert!(is_news(&one, &other) && is_news(&one, &gone(1)) && is_news(&one, &Whose::Nothing));
    }
}
