//! The reader's thread, the visitor's thread, and the queues behind them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing::{error, info, warn};

use crate::config::Config;
use crate::dbus::{Seen, State, realtime_us};
use crate::event::{Assembler, Event, RuleChange};
use crate::process::{Visitor, user_name};
use crate::queue::Queue;
use crate::statistics::Counter;
use crate::stream::{Audisp, Happening, Stop};

/// Events that wait for a visit to `/proc`: a second of the most that auditd carries.
const MAX_QUEUED: usize = 16 * 1024;

/// What they may hold together, in bytes: events of execve can be long.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;

/// How often a reader with nothing to read says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Reads until it is stopped.
pub(super) struct Pipeline {
    stop: Stop,
    read: Arc<Queue<Seen>>,
    reader: JoinHandle<()>,
}

impl Pipeline {
    pub(super) fn start(config: &Config, state: &Arc<State>) -> io::Result<Self> {
        let (audisp, stop) = Audisp::new(state.setup().sockets)?;
        let read = Arc::new(Queue::new(MAX_QUEUED, MAX_QUEUED_BYTES));
        let reader = Reader {
            audisp,
            assembler: Assembler::new(config.key.as_str(), config.keep_raw),
            state: state.clone(),
            read: read.clone(),
            rule_changes: 0,
            blamed: None,
            absent: false,
            before: Before::of(state),
        };
        let visit = {
            let (state, read) = (state.clone(), read.clone());
            move || visit(&state, &read)
        };
        // Nobody waits for the visitor's end: it may hang in a name service.
        thread::Builder::new().name("visitor".to_owned()).spawn(visit)?;
        let reader = thread::Builder::new().name("reader".to_owned()).spawn(move || reader.run())?;
        Ok(Self { stop, read, reader })
    }

    pub(super) fn stop(self) {
        self.stop.stop();
        if self.reader.join().is_err() {
            error!("the reader had panicked");
        }
        self.read.close();
    }
}

/// Reads the stream into the cache.
struct Reader {
    audisp: Audisp,
    assembler: Assembler,
    state: Arc<State>,
    read: Arc<Queue<Seen>>,
    /// How many changes of our rules were told.
    rule_changes: u64,
    /// The process that was last named for removing one.
    blamed: Option<u32>,
    /// It was told that auditd is not there.
    absent: bool,
    before: Before,
}

/// What an earlier reader of this run had counted: a new configuration starts another one.
struct Before([(Counter, u64); 10]);

impl Before {
    fn of(state: &State) -> Self {
        Self(
            [
                Counter::LinesRead,
                Counter::LinesMalformed,
                Counter::LinesTorn,
                Counter::RecordsParsed,
                Counter::RecordsLate,
                Counter::RecordsCut,
                Counter::EventsAssembled,
                Counter::EventsIncomplete,
                Counter::EventsMatched,
                Counter::SerialGaps,
            ]
            .map(|counter| (counter, state.statistics.get(counter))),
        )
    }
}

impl Reader {
    fn run(mut self) {
        loop {
            self.state.heartbeat.fetch_add(1, Ordering::Relaxed);
            let deadline = self.assembler.deadline().map(|deadline| deadline.saturating_sub(self.state.now()));
            let limit = deadline.map_or(HEARTBEAT, |deadline| deadline.min(HEARTBEAT));
            let happening = match self.audisp.wait(Some(limit)) {
                Ok(happening) => happening,
                Err(error) => {
                    warn!(%error, "the kernel would not let the reader wait");
                    thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            if matches!(happening, Happening::Stopped) {
                self.state.disconnected();
                return;
            }
            self.tell(&happening);
            self.take_lines();
        }
    }

    fn take_lines(&mut self) {
        let Self { audisp, assembler, state, read, .. } = self;
        let now = state.now();
        let mut keep = |event| keep(event, now, state, read);
        while let Some(line) = audisp.line() {
            assembler.push(line, now, &mut keep);
        }
        assembler.expire(now, &mut keep);
        let (stream, events) = (self.audisp.counts(), self.assembler.counts());
        let counts = [
            stream.lines,
            stream.oversized + events.malformed,
            stream.torn,
            events.parsed,
            events.late,
            events.cut,
            events.assembled,
            events.incomplete,
            events.matched,
            events.serial_gaps,
        ];
        for ((counter, before), count) in self.before.0.into_iter().zip(counts) {
            self.state.statistics.set(counter, before + count);
        }
        if events.rule_changes > self.rule_changes {
            self.rule_changes = events.rule_changes;
            self.state.rules_touched.notify(usize::MAX);
        }
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
        let exe = subject.exe.as_deref().map_or("unknown".to_owned(), |exe| crate::dbus::wire::text(exe).0);
        warn!(auid = subject.auid, pid = subject.pid, exe, "somebody removed an audit rule of ours");
    }

    fn tell(&mut self, happening: &Happening) {
        match happening {
            Happening::Connected(socket) => {
                info!(socket = %socket.display(), "connected to auditd");
                self.absent = false;
                self.state.connected();
            }
            Happening::Disconnected(reason) => {
                match reason {
                    Ok(()) => warn!("auditd closed the connection; waiting for it to come back"),
                    Err(error) => warn!(%error, "the connection to auditd broke; waiting for it to come back"),
                }
                self.state.disconnected();
            }
            Happening::Unreachable(refused) => {
                self.state.refused(refused.iter().map(|(socket, error)| (socket.clone(), error.kind())).collect());
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
                     (/etc/audit/plugins.d/af_unix.conf: active = yes, then restart auditd). Trying on",
                    reasons.join("; ")
                );
            }
            Happening::Data | Happening::Silent | Happening::Stopped => {}
        }
    }
}

fn keep(event: Event, now: Duration, state: &State, read: &Queue<Seen>) {
    let event = Arc::new(event);
    let last_seen_us = realtime_us();
    let sequence = state.cache().insert(event.clone(), now, last_seen_us);
    let seen = Seen { event, process: None, sequence, last_seen_us };
    let bytes = seen.size();
    if read.push(seen, bytes).is_err() {
        state.statistics.add(Counter::SignalsLost, 1);
    }
}

/// Finds out about the processes, away from the reader.
fn visit(state: &State, read: &Queue<Seen>) {
    let mut visitor = Visitor::default();
    while let Some(mut seen) = read.pop_blocking() {
        seen.process = visitor.visit(&seen.event);
        if let (Some(pid), Some(process)) = (seen.event.subject.pid, &seen.process) {
            state.cache().attach(pid, process);
        }
        // Asked here, where waiting for a name service is nobody's harm: then it is known when a row needs it.
        if let (Some(auid), None) = (seen.event.subject.auid, &seen.event.subject.auid_name) {
            let _ = user_name(auid);
        }
        let bytes = seen.size();
        if state.seen.push(seen, bytes).is_err() {
            state.statistics.add(Counter::SignalsLost, 1);
        }
    }
}
