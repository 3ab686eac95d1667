//! The composition root: starts the reader, serves the bus, stops in order.
//!
//! ```text
//! reader's thread ─▶ cache        visitor's thread ─▶ cache        bus's tasks ◀─ cache
//!        └──── bounded queue ───────────▲ └──── bounded queue ──────────▲
//! ```
//!
//! The reader never waits for anybody: what does not fit into its queue is counted as lost.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use event_listener::listener;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, error, info, warn};
use zbus::Connection;
use zbus::object_server::InterfaceRef;

use crate::config::{Config, Socket};
use crate::dbus::{Audit, AuditSignals, Limits, NAME, Outgoing, PATH, Seen, Signals, State, realtime_us};
use crate::event::{Assembler, Event};
use crate::process::{Visitor, user_name};
use crate::queue::Queue;
use crate::statistics::Counter;
use crate::stream::{Audisp, Happening, KNOWN_SOCKETS, Stop};

/// Events that wait for a visit to `/proc`, and signals that wait to be sent: a second of the most that auditd carries.
const MAX_QUEUED: usize = 16 * 1024;

/// What each of these queues may hold in bytes: events of execve can be long.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;

/// How often entries of ended processes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5 * 60);

/// How long the bus may take to let us go.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why the service ended though nobody asked it to.
#[derive(Debug)]
pub enum Error {
    /// There is no bus, or it let us go.
    Bus(zbus::Error),
    /// The name is another's.
    NameTaken,
    /// A thread or a file descriptor could not be had.
    System(io::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bus(error) => write!(f, "the system bus cannot be used: {error}"),
            Self::NameTaken => write!(f, "{NAME} has an owner already: is the service running?"),
            Self::System(error) => write!(f, "the system has no resources left to start: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::NameTaken => Self::NameTaken,
            other => Self::Bus(other),
        }
    }
}

/// Runs until `shutdown` is done.
///
/// # Errors
/// Where the bus is not there, or goes away.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let state = Arc::new(State::new(config.max_events));
    let limits = Limits { per_second: config.signals_per_second, coalesce: config.coalesce };
    let connection = zbus::connection::Builder::system()
        .serve_at(PATH, Audit::new(state.clone()))
        .name(NAME)
        .allow_name_replacements(false)
        .replace_existing_names(false)
        .build()
        .await?;
    info!("{NAME} is on the bus");
    let pipeline = Pipeline::start(&config, &state).map_err(Error::System)?;
    let interface = connection.object_server().interface::<_, Audit>(PATH).await?;
    let tasks = [
        tokio::spawn(send_signals(state.clone(), pipeline.seen.clone(), limits, interface.clone())),
        tokio::spawn(tell_changes(state.clone(), interface)),
        tokio::spawn(sweep(state.clone())),
    ];
    let result = tokio::select! {
        () = shutdown => Ok(()),
        () = connection.closed() => Err(Error::Bus(zbus::Error::Failure("the bus closed the connection".to_owned()))),
    };
    pipeline.stop();
    for task in &tasks {
        task.abort();
    }
    if result.is_ok() {
        let _ = timeout(FAREWELL, farewell(connection)).await;
        info!("stopped");
    }
    result
}

/// Gives the name back, so that nobody calls into the void, and sends what is left.
async fn farewell(connection: Connection) {
    if let Err(error) = connection.release_name(NAME).await {
        debug!(%error, "the name could not be released");
    }
    connection.graceful_shutdown().await;
}

/// The two threads and their queues.
struct Pipeline {
    stop: Stop,
    read: Arc<Queue<Seen>>,
    seen: Arc<Queue<Seen>>,
    threads: [JoinHandle<()>; 2],
}

impl Pipeline {
    fn start(config: &Config, state: &Arc<State>) -> io::Result<Self> {
        let sockets = match &config.socket {
            Socket::Auto => KNOWN_SOCKETS.map(PathBuf::from).to_vec(),
            Socket::Path(path) => vec![path.clone()],
        };
        let (audisp, stop) = Audisp::new(sockets)?;
        let read = Arc::new(Queue::new(MAX_QUEUED, MAX_QUEUED_BYTES));
        let seen = Arc::new(Queue::new(MAX_QUEUED, MAX_QUEUED_BYTES));
        let assembler = Assembler::new(&config.key, config.keep_raw);
        let reader = Reader { audisp, assembler, connections: 0, state: state.clone(), read: read.clone() };
        let visit = {
            let (state, read, seen) = (state.clone(), read.clone(), seen.clone());
            move || visit(&state, &read, &seen)
        };
        let threads = [
            thread::Builder::new().name("reader".to_owned()).spawn(move || reader.run())?,
            thread::Builder::new().name("visitor".to_owned()).spawn(visit)?,
        ];
        Ok(Self { stop, read, seen, threads })
    }

    fn stop(self) {
        self.stop.stop();
        self.read.close();
        self.seen.close();
        let [reader, visitor] = self.threads;
        if reader.join().is_err() {
            error!("the reader had panicked");
        }
        // The visitor may hang in a name service: it is left to the end of the process.
        drop(visitor);
    }
}

/// Reads the stream into the cache.
struct Reader {
    audisp: Audisp,
    assembler: Assembler,
    connections: u64,
    state: Arc<State>,
    read: Arc<Queue<Seen>>,
}

impl Reader {
    fn run(mut self) {
        loop {
            let limit = self.assembler.deadline().map(|deadline| deadline.saturating_sub(self.state.now()));
            let happening = match self.audisp.wait(limit) {
                Ok(happening) => happening,
                Err(error) => {
                    warn!(%error, "the kernel would not let the reader wait");
                    thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            if matches!(happening, Happening::Stopped) {
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
        let (stream, events) = (audisp.counts(), assembler.counts());
        let statistics = &state.statistics;
        statistics.set(Counter::LinesRead, stream.lines);
        statistics.set(Counter::LinesMalformed, stream.oversized + events.malformed);
        statistics.set(Counter::LinesTorn, stream.torn);
        statistics.set(Counter::RecordsParsed, events.parsed);
        statistics.set(Counter::RecordsLate, events.late);
        statistics.set(Counter::RecordsCut, events.cut);
        statistics.set(Counter::EventsAssembled, events.assembled);
        statistics.set(Counter::EventsIncomplete, events.incomplete);
        statistics.set(Counter::EventsMatched, events.matched);
        statistics.set(Counter::SerialGaps, events.serial_gaps);
    }

    fn tell(&mut self, happening: &Happening) {
        match happening {
            Happening::Connected(socket) => {
                info!(socket = %socket.display(), "connected to auditd");
                self.state.statistics.set(Counter::Reconnects, self.connections);
                self.connections += 1;
                self.state.set_source("audisp");
            }
            Happening::Disconnected(reason) => {
                match reason {
                    Ok(()) => warn!("auditd closed the connection; waiting for it to come back"),
                    Err(error) => warn!(%error, "the connection to auditd broke; waiting for it to come back"),
                }
                self.state.set_source("");
            }
            Happening::Unreachable(refused) => {
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
fn visit(state: &State, read: &Queue<Seen>, out: &Queue<Seen>) {
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
        if out.push(seen, bytes).is_err() {
            state.statistics.add(Counter::SignalsLost, 1);
        }
    }
}

/// The one task that sends signals: a send is never cancelled half way.
async fn send_signals(state: Arc<State>, seen: Arc<Queue<Seen>>, limits: Limits, interface: InterfaceRef<Audit>) {
    let mut signals = Signals::new(limits);
    loop {
        let wait = signals.deadline().map(|deadline| deadline.saturating_sub(state.now()));
        tokio::select! {
            next = seen.pop() => match next {
                Some(seen) => signals.push(seen, state.now()),
                None => return,
            },
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
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

/// Tells the bus when the connection to auditd comes and goes.
async fn tell_changes(state: Arc<State>, interface: InterfaceRef<Audit>) {
    let mut told = "";
    loop {
        listener!(state.changed => changed);
        let source = state.source();
        if source == told {
            changed.await;
            continue;
        }
        told = source;
        let audit = interface.get().await;
        let emitter = interface.signal_emitter();
        let sent = async {
            audit.source_changed(emitter).await?;
            audit.connected_changed(emitter).await
        };
        if let Err(error) = sent.await {
            warn!(%error, "a change could not be told");
        }
    }
}

async fn sweep(state: Arc<State>) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let state = state.clone();
        if tokio::task::spawn_blocking(move || state.sweep()).await.is_err() {
            error!("the sweep of the cache panicked");
        }
    }
}
