//! The reader's thread, and what becomes of events on their way to the bus.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use audit_records::{Assembler, AssemblyCounts, EventId, EventType, FramingCounts, RuleChange};
use event_listener::Event as Notifier;
use tracing::{info, warn};

use super::journal::Journal;
use super::kept::{self, Bookmark, Place, Records};
use crate::config::Config;
use crate::dbus::State;
use crate::process::{Request, Visit, Visitor};
use crate::queue::Queue;
use crate::source::{Audisp, Happening, Stop};
use crate::store::{Row, Store, Whose};
use crate::text::text;

/// Signals that wait to be sent: a second of the most that auditd carries.
pub(super) const MAX_SEEN: usize = 16 * 1024;

/// What they may hold together, in bytes.
pub(super) const MAX_SEEN_BYTES: usize = 16 * 1024 * 1024;

/// What may wait for a visit to `/proc`, in bytes; beside the visitor's own bound in events.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// How often a reader with nothing to read says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

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
    fn hand_on(&self, rows: Vec<(Request, Row)>, bytes: usize, mut lost: u64) {
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
    reader: JoinHandle<()>,
}

impl Pipeline {
    /// `past` are events that the store has already, and that may arrive once more, in order. Goes on where another process
    /// was, if it left something.
    pub(super) fn start(
        config: &Config,
        sink: Sink,
        past: Vec<EventId>,
        bookmark: Bookmark,
        place: Option<Place>,
        connection: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let (audisp, stop) = Audisp::new(super::sockets(config))?;
        let mut reader = Reader {
            audisp,
            assembler: Assembler::new(config.key.as_str(), config.keep_raw),
            sequence: sink.state.store.sequence(),
            bookmark,
            sink,
            past,
            framing: FramingCounts::default(),
            assembly: AssemblyCounts::default(),
            blamed: None,
            absent: false,
        };
        if let Some(place) = place {
            reader.take_over(config, place, connection);
        }
        let reader = thread::Builder::new().name("reader".to_owned()).spawn(move || reader.run())?;
        Ok(Self { stop, reader })
    }

    pub(super) fn stop(self) {
        self.stop.stop();
        // A reader that panicked took the service with it.
        let _ = self.reader.join();
    }
}

/// What the visitor found: tells the store, and passes the events on.
pub(super) fn visited(
    store: &Store,
    seen: &Queue<Row>,
    journal: &Journal,
    waiting: &AtomicUsize,
    visits: Vec<(Row, Visit)>,
) {
    let rows = visits.into_iter().map(|(mut row, visit)| {
        let whose = match visit {
            Visit::Found(process) => Whose::Process(process),
            Visit::Gone { at_ms, parents } => Whose::Gone { at_ms, parents },
            Visit::Foreign => Whose::Nothing,
            // As if nobody had looked yet.
            Visit::Hidden => row.whose.clone(),
        };
        let is_known = match (&row.whose, &whose) {
            (Whose::Process(known), Whose::Process(found)) => Arc::ptr_eq(known, found),
            _ => false,
        };
        if let Some(pid) = row.origin.pid
            && !is_known
            && !matches!(whose, Whose::Pending)
        {
            // Of a process that was known, there is something new: since this event it runs another program, say.
            let since = if matches!(row.whose, Whose::Process(_)) { row.sequence } else { u64::MAX };
            store.attach(pid, since, &whose);
        }
        row.whose = whose;
        let bytes = row.size();
        waiting.fetch_sub(bytes, Ordering::Relaxed);
        (row, bytes)
    });
    let rows: Vec<(Row, usize)> = rows.collect();
    if journal.is_on() {
        store.statistics.journal_lost.add(journal.push(rows.iter().cloned()));
    }
    store.statistics.signals_lost.add(seen.push(rows));
}

/// Reads the stream into the store.
struct Reader {
    audisp: Audisp,
    assembler: Assembler,
    sink: Sink,
    /// The last row of the store.
    sequence: u64,
    bookmark: Bookmark,
    /// The last events that the history has from the log: they are not taken once more.
    past: Vec<EventId>,
    /// As counted when last looked.
    framing: FramingCounts,
    assembly: AssemblyCounts,
    /// The process that was last named for removing a rule.
    blamed: Option<u32>,
    /// It was told that auditd is not there.
    absent: bool,
}

impl Reader {
    fn run(mut self) {
        loop {
            self.sink.heartbeat.fetch_add(1, Ordering::Relaxed);
            let deadline = self.assembler.deadline().map(|deadline| deadline.saturating_sub(self.now()));
            let limit = deadline.map_or(HEARTBEAT, |deadline| deadline.min(HEARTBEAT));
            self.mark(false);
            let bookmark = &self.bookmark;
            let happening = match self.audisp.wait(Some(limit), || bookmark.reading()) {
                Ok(happening) => happening,
                Err(error) => {
                    warn!(%error, "the kernel would not let the reader wait");
                    thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            if matches!(happening, Happening::Stopped) {
                self.mark(true);
                self.sink.state.source.disconnected(self.sink.state.store.statistics.lines_read.get());
                return;
            }
            self.tell(&happening);
            self.take_lines();
        }
    }

    fn now(&self) -> Duration {
        self.sink.state.now()
    }

    /// Goes on where another process was.
    fn take_over(&mut self, config: &Config, place: Place, connection: Option<OwnedFd>) {
        let (key, now) = (config.key.as_str(), self.now());
        self.assembler = match place.records {
            Records::Lost(serial) => Assembler::after(key, config.keep_raw, serial),
            Records::Kept(state) => Assembler::resume(key, config.keep_raw, *state, now)
                .unwrap_or_else(|| Assembler::new(key, config.keep_raw)),
        };
        let taken = connection.map(|connection| self.audisp.take_over(connection, place.framer));
        let lines = self.sink.state.store.statistics.lines_read.get();
        self.sink.state.source.goes_on(lines, matches!(taken, Some(Ok(_))));
        match taken {
            None => {}
            Some(Ok(socket)) => info!(socket = %socket.display(), "the connection to auditd was kept over the restart"),
            Some(Err(error)) => {
                warn!(
                    "the connection to auditd that was kept over the restart cannot be used: {error}. Connecting anew"
                );
                kept::forget_connection();
            }
        }
    }

    /// Writes down where it is; with all that is under way, where it ends in order.
    fn mark(&self, ends: bool) {
        let Self { audisp, assembler, sequence, .. } = self;
        self.bookmark.set(|| {
            let (under_way, framer, records) = match ends {
                true => (0, audisp.place(), Records::Kept(assembler.state().into())),
                false => {
                    let records = Records::Lost(assembler.highest_serial());
                    (assembler.under_way() as u64, audisp.place().without_rest(), records)
                }
            };
            Place { sequence: *sequence, under_way, framer, records }
        });
    }

    fn take_lines(&mut self) {
        let now = self.now();
        let Self { audisp, assembler, sink, past, sequence, .. } = self;
        let store = &sink.state.store;
        let seen_us = realtime_us();
        let mut rows = Vec::new();
        let (mut bytes, mut lost, mut repeated) = (0, 0, 0);
        let room = MAX_WAITING_BYTES.saturating_sub(sink.waiting.load(Ordering::Relaxed));
        let mut keep = |event: audit_records::Event<'_>| {
            if past.binary_search(&event.id()).is_ok() {
                repeated += 1;
                return;
            }
            let row = store.insert(&event, now, seen_us);
            *sequence = row.sequence;
            let size = row.size();
            if bytes + size <= room {
                bytes += size;
                rows.push((request(&row), row));
            } else {
                lost += 1;
            }
        };
        while let Some(line) = audisp.line() {
            assembler.push(line, now, &mut keep);
        }
        assembler.expire(now, &mut keep);
        sink.hand_on(rows, bytes, lost);
        self.count(repeated);
    }

    /// Adds what was counted since the last time; of the events so many were had before.
    fn count(&mut self, repeated: u64) {
        let statistics = &self.sink.state.store.statistics;
        let (framing, assembly) = (self.audisp.counts(), self.assembler.counts());
        let (before, was) = (self.framing, self.assembly);
        statistics.lines_read.add(framing.lines - before.lines);
        statistics.lines_torn.add(framing.torn - before.torn);
        let malformed = framing.oversized - before.oversized + assembly.malformed - was.malformed;
        statistics.lines_malformed.add(malformed);
        statistics.records_parsed.add(assembly.parsed - was.parsed);
        statistics.records_late.add(assembly.late - was.late);
        statistics.records_cut.add(assembly.cut - was.cut);
        statistics.events_assembled.add(assembly.assembled - was.assembled);
        statistics.events_incomplete.add(assembly.incomplete - was.incomplete);
        statistics.events_matched.add((assembly.matched - was.matched).saturating_sub(repeated));
        statistics.serial_gaps.add(assembly.serial_gaps - was.serial_gaps);
        if assembly.rule_changes > was.rule_changes {
            self.sink.rules_touched.notify(usize::MAX);
        }
        let losses = |framing: FramingCounts, assembly: AssemblyCounts| {
            framing.torn + assembly.incomplete + assembly.serial_gaps
        };
        if losses(framing, assembly) > losses(before, was) {
            statistics.last_loss.set(realtime_us());
        }
        (self.framing, self.assembly) = (framing, assembly);
        self.sink.state.source.set_newline_less(self.audisp.is_newline_less());
        if let Some(change) = self.assembler.take_rule_change() {
            self.blame(&change);
        }
    }

    /// Names who removed a rule of ours; once for each process, since there are many rules.
    fn blame(&mut self, change: &RuleChange) {
        let subject = &change.subject;
        let removed = change.op.as_deref() == Some(b"remove_rule");
        if !removed || subject.pid == Some(std::process::id()) || (subject.pid.is_some() && subject.pid == self.blamed)
        {
            return;
        }
        self.blamed = subject.pid;
        let exe = subject.exe.as_deref().map_or("unknown".to_owned(), |exe| text(exe).0);
        warn!(auid = subject.auid, pid = subject.pid, exe, "somebody removed an audit rule of ours");
    }

    fn tell(&mut self, happening: &Happening) {
        let Sink { state, rules_touched, .. } = &self.sink;
        let (store, source) = (&state.store, &state.source);
        let lines = store.statistics.lines_read.get();
        match happening {
            Happening::Connected(socket) => {
                self.mark(false);
                self.audisp.connection().map(kept::keep_connection);
                info!(socket = %socket.display(), "connected to auditd");
                self.absent = false;
                store.statistics.reconnects.add(u64::from(source.connected(lines) > 0));
                // Debian's auditd flushes all rules when it starts.
                rules_touched.notify(usize::MAX);
            }
            Happening::Disconnected(reason) => {
                kept::forget_connection();
                match reason {
                    Ok(()) => warn!("auditd closed the connection; waiting for it to come back"),
                    Err(error) => warn!(%error, "the connection to auditd broke; waiting for it to come back"),
                }
                source.disconnected(lines);
            }
            Happening::Unreachable(refused) => {
                source.refused(refused.iter().map(|(socket, error)| (socket.clone(), error.kind())).collect());
                // A restart of auditd has both: it makes no difference whether its socket is there while nobody listens.
                let is_absent =
                    |error: &io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
                let absent = refused.iter().all(|(_, error)| is_absent(error));
                if std::mem::replace(&mut self.absent, absent) && absent {
                    return;
                }
                let reasons: Vec<String> =
                    refused.iter().map(|(socket, error)| format!("{}: {error}", socket.display())).collect();
                warn!(
                    "no connection to auditd ({}). Check that auditd runs and that its af_unix plugin is active \
                     (/etc/audit/plugins.d/af_unix.conf: active = yes, then restart auditd). Retrying",
                    reasons.join("; ")
                );
            }
            Happening::Data | Happening::Silent | Happening::Stopped => {}
        }
    }
}

/// What to ask about the process of a new row.
fn request(row: &Row) -> Request {
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
