//! The composition root: starts the reader, serves the bus, stops in order.
//!
//! ```text
//! reader's thread ─▶ store ◀─ visitor's thread ─▶ bounded queue ─▶ the bus's tasks ─▶ signals
//!        │                          ▲                  ▲               └─▶ answers, from the store
//!        └───── bounded queue ──────┘ └─ known process ┘
//! ```
//!
//! The reader never waits for anybody: what does not fit into a queue is counted as lost. A part that panics takes the
//! service with it, and systemd starts it again.

mod feed;
mod journal;
mod kept;
mod multicast;
mod past;
mod pipeline;
mod reader;
mod systemd;
mod tasks;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_listener::Event as Notifier;
use opensnitch_audit_client::{NAME, PATH};
use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};
use zbus::Connection;
use zbus::fdo::RequestNameFlags;
use zbus::message::Message;
use zbus::object_server::SignalEmitter;

use self::journal::Journal;
use self::kept::{Bookmark, Left, Passed, Place, Snapshots};
use self::pipeline::{Pipeline, Sink};
use self::reader::Remains;
use crate::config::{self, Config, Socket};
use crate::dbus::{self, Limits, Setup, State};
use crate::process::{Accounts, Visitor};
use crate::rules::{Keeper, Key, RuleSet, Scope, running_machine};
use crate::socket::{PASSED_AS, SockDiag};
use crate::source::{HandedOn, KNOWN_SOCKETS, MAX_HANDED_ON, Reserve, Status};
use crate::store::{Restored, Row, Store};

/// How long the whole history may take to be kept for the next start.
const KEEP_WITHIN: Duration = Duration::from_secs(5);

/// How long systemd may take to say whether it starts us again: mostly a moment, on a busy machine seconds. What happens between two
/// processes is seen only where the rules stay. Until then events are still read.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long the bus may take to let us go.
const FAREWELL: Duration = Duration::from_millis(500);

/// How long the kernel may take to take our rules back, and to switch audit off. That is done in a moment, but on a machine that is
/// busy; and rules that stay cost every program something.
const KERNEL_FAREWELL: Duration = Duration::from_secs(5);

/// Why the service ended though nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(config::Error),
    /// There is no bus, or it let us go.
    #[error("the system bus cannot be used: {0}")]
    Bus(zbus::Error),
    /// The name is another's.
    #[error("{NAME} has an owner already: is the service running?")]
    NameTaken,
    /// A thread or a file descriptor could not be had.
    #[error("the system has no resources left to start: {0}")]
    System(io::Error),
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::NameTaken => Self::NameTaken,
            other => Self::Bus(other),
        }
    }
}

/// Runs until `shutdown` is done; each `reload` reads the configuration again.
///
/// # Errors
/// Where the configuration cannot be used, or the bus is not there, or goes away.
pub async fn run(path: Option<PathBuf>, mut reload: Signal, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let config = Config::load(path.as_deref()).map_err(Error::Config)?;
    let mut passed = Passed::get();
    let mut left = left(&config, &mut passed);
    let (store, pending) = match left.store.take() {
        Some(Restored { store, pending }) => (store, Some(pending)),
        None => (new_store(&config), None),
    };
    let store = Arc::new(store);
    let source = Arc::new(Status::default());
    let state = Arc::new(State::new(
        store,
        source,
        Arc::new(Keeper::new(rule_set(&config))),
        Arc::new(Accounts::default()),
        sock_diag(&mut passed),
        setup(&config),
    ));
    let (connection, refused) = dbus::connect(state.clone()).await?;
    connection.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE).await?;
    info!("{NAME} {} is on the bus", env!("CARGO_PKG_VERSION"));
    notify(&[NotifyState::Ready]);
    let mut service = Service::start(path, config, state, &connection, refused, pending, left).await?;
    tokio::pin!(shutdown);
    let result = loop {
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            () = connection.closed() => {
                break Err(Error::Bus(zbus::Error::Failure("the bus closed the connection".to_owned())));
            }
            Some(()) = reload.recv() => service.reload().await,
        }
    };
    notify(&[NotifyState::Stopping]);
    // Rules are taken back first, since they cost every program something. Only systemd's answer is waited for.
    let restarts = result.is_err() || systemd::restarts_us(&connection, ANSWER_WITHIN).await;
    service.stop(restarts).await;
    if result.is_ok() {
        let _ = timeout(FAREWELL, farewell(connection)).await;
        info!("stopped");
    }
    result
}

/// What runs, and the configuration it runs by.
struct Service {
    path: Option<PathBuf>,
    config: Config,
    state: Arc<State>,
    sink: Sink,
    pipeline: Option<Pipeline>,
    bookmark: Bookmark,
    snapshots: Arc<Mutex<Snapshots>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Service {
    async fn start(
        path: Option<PathBuf>,
        config: Config,
        state: Arc<State>,
        connection: &Connection,
        refused: Receiver<Message>,
        pending: Option<Vec<Row>>,
        left: Left,
    ) -> Result<Self, Error> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let journal = Arc::new(Journal::new(config.journal));
        let visitor = {
            let (state, waiting, journal) = (state.clone(), waiting.clone(), journal.clone());
            Visitor::start(move |visits| pipeline::visited(&state, &journal, &waiting, visits))
                .map_err(Error::System)?
        };
        let sink = Sink {
            state: state.clone(),
            visitor: Arc::new(visitor),
            waiting,
            journal: journal.clone(),
            rules_touched: Arc::new(Notifier::new()),
            heartbeat: Arc::default(),
        };
        let snapshots = Arc::new(Mutex::new(left.keeper()));
        let mut handed_on = HandedOn::default();
        handed_on.extend(match pending {
            Some(pending) => {
                sink.hand_on_pending(pending);
                state.store.last_ids(MAX_HANDED_ON)
            }
            None => {
                let (store, key, keep_raw) = (state.store.clone(), config.key.clone(), config.keep_raw);
                let recall = move || past::recall(&store, key.as_str(), keep_raw, pipeline::realtime_us());
                // Before anything arrives: the history is in order. Our rules are not loaded yet, so nothing is missed
                // meanwhile.
                spawn_blocking(recall).await.unwrap_or_default()
            }
        });
        let bookmark = left.bookmark.clone();
        let passed = multicast::of_systemd(left.multicast);
        let multicast = multicast::wanted(&config, passed, &state).await;
        let reserve = Reserve::without(left.place.as_ref().and_then(Place::drained));
        state.switch.goes_on(left.place.as_ref().and_then(|place| place.switched));
        let from = Remains { multicast, handed_on, reserve, place: left.place };
        let pipeline =
            Pipeline::start(&config, sink.clone(), bookmark.clone(), from, left.connection).map_err(Error::System)?;
        let emitter = SignalEmitter::new(connection, PATH)?.into_owned();
        let signals = Arc::new(AtomicU64::new(0));
        let parts = {
            let (reader, visitor, signals) = (sink.heartbeat.clone(), sink.visitor.clone(), signals.clone());
            move || [reader.load(Ordering::Relaxed), visitor.heartbeat(), signals.load(Ordering::Relaxed)]
        };
        let tell = |told: &dbus::Told| notify(&[NotifyState::Status(&status(told))]);
        let departed = dbus::forget_departed(state.clone(), connection).await?;
        let tasks = vec![
            tokio::spawn(departed),
            tokio::spawn(dbus::ask_for_unread(state.clone(), connection.clone())),
            tokio::spawn(dbus::identify_strangers(state.clone(), connection.clone())),
            tokio::spawn(dbus::answer_refused(connection.clone(), refused)),
            tokio::spawn(dbus::deliver(state.clone(), connection.clone())),
            tokio::spawn(dbus::send_signals(state.clone(), emitter.clone(), signals)),
            tokio::spawn(dbus::tell_changes(state.clone(), emitter, tell)),
            tokio::spawn(tasks::verify_rules(state.clone(), sink.rules_touched.clone())),
            tokio::spawn(tasks::expire(state.clone())),
            tokio::spawn(tasks::keep_store(state.clone(), snapshots.clone())),
            tokio::spawn(journal::write(state.clone(), journal)),
            tokio::spawn(tasks::feed_watchdog(connection.clone(), parts)),
        ];
        let service = Self { path, config, state, sink, pipeline: Some(pipeline), bookmark, snapshots, tasks };
        service.load_rules().await;
        service.switch_on().await;
        Ok(service)
    }

    async fn load_rules(&self) {
        if !self.config.manage_rules {
            return;
        }
        let state = self.state.clone();
        match spawn_blocking(move || state.keeper.add()).await {
            Ok(Ok(added)) => info!(added, "the kernel has our audit rules"),
            Ok(Err(error)) => error!(
                "our audit rules could not be loaded: {error}. Without them no event arrives; \
                 'opensnitch-auditctl diagnose' says what to do"
            ),
            // The service is stopping.
            Err(_) => {}
        }
        self.state.rules_changed.notify(usize::MAX);
    }

    /// Where nobody else does it: an auditd switches the kernel's audit on when it starts.
    async fn switch_on(&self) {
        if !self.config.source.reads_multicast() {
            return;
        }
        let state = self.state.clone();
        match spawn_blocking(move || state.switch.on()).await {
            Ok(Ok(true)) => info!(
                "the kernel's audit was off and is switched on, as long as this service runs. Programs that started before \
                 audit was on for the first time since boot are seen when they are started again"
            ),
            Ok(Err(error)) => warn!("the kernel's audit could not be switched on: {error}"),
            Ok(Ok(false)) | Err(_) => {}
        }
    }

    /// Takes a new configuration; a bad one changes nothing.
    async fn reload(&mut self) {
        let config = match Config::load(self.path.as_deref()) {
            Ok(config) => config,
            Err(error) => {
                error!("{error}. The configuration stays as it was");
                return;
            }
        };
        let old = std::mem::replace(&mut self.config, config);
        let config = &self.config;
        self.state.store.set_limits(config.history, config.max_events);
        self.state.set_setup(setup(config));
        self.sink.journal.switch(config.journal);
        let reads = |config: &Config| (config.source, config.socket.clone(), config.key.clone(), config.keep_raw);
        if reads(&old) != reads(config) {
            let mut from = Remains::default();
            if let Some(pipeline) = self.pipeline.take() {
                from = spawn_blocking(move || pipeline.stop()).await.unwrap_or_default();
            }
            from.multicast = multicast::wanted(config, from.multicast, &self.state).await;
            match Pipeline::start(config, self.sink.clone(), self.bookmark.clone(), from, None) {
                Ok(pipeline) => self.pipeline = Some(pipeline),
                Err(error) => error!(%error, "the reader could not be started again: restart the service"),
            }
        }
        if rules_of(&old) != rules_of(config) {
            let (state, set) = (self.state.clone(), rule_set(config));
            if let Ok(Err(error)) = spawn_blocking(move || state.keeper.replace(set)).await {
                error!("the old audit rules could not be removed: {error}. They stay");
            } else {
                self.load_rules().await;
            }
        }
        self.switch_on().await;
        self.state.rules_changed.notify(usize::MAX);
        info!("the configuration was read again");
    }

    /// Whether whoever is started next wants the same rules.
    fn keeps_rules(&self) -> bool {
        Config::load(self.path.as_deref()).is_ok_and(|next| rules_of(&next) == rules_of(&self.config))
    }

    /// `restarts`: somebody will be started in our place at once. Then our rules stay, and audit is on, so that nothing goes unseen
    /// meanwhile.
    async fn stop(self, restarts: bool) {
        if self.config.manage_rules && !(restarts && self.keeps_rules()) {
            let state = self.state.clone();
            match timeout(KERNEL_FAREWELL, spawn_blocking(move || state.keeper.delete())).await {
                Ok(Ok(Ok(deleted))) => info!(deleted, "our audit rules were removed"),
                Ok(Ok(Err(error))) => warn!("our audit rules could not be removed: {error}"),
                Ok(Err(_)) | Err(_) => warn!("our audit rules could not be removed in time"),
            }
        }
        if !restarts {
            let state = self.state.clone();
            match timeout(KERNEL_FAREWELL, spawn_blocking(move || state.switch.back())).await {
                Ok(Ok(Ok(true))) => info!("the kernel's audit is switched off again"),
                Ok(Ok(Ok(false))) => {}
                Ok(Ok(Err(error))) => warn!("the kernel's audit could not be switched off again: {error}"),
                Ok(Err(_)) | Err(_) => warn!("the kernel's audit could not be switched off again in time"),
            }
        }
        for task in &self.tasks {
            task.abort();
        }
        if let Some(pipeline) = self.pipeline {
            let _ = timeout(FAREWELL, spawn_blocking(move || pipeline.stop())).await;
        }
        if kept::is_kept() && timeout(KEEP_WITHIN, tasks::keep_now(&self.state, &self.snapshots, true)).await.is_err() {
            warn!("the history could not be kept for the next start in time: it has what was kept before");
        }
        journal::write_rest(self.state, self.sink.journal, FAREWELL).await;
    }
}

/// Gives the name back, so that nobody calls into the void, and sends what is left.
async fn farewell(connection: Connection) {
    if let Err(error) = connection.release_name(NAME).await {
        debug!(%error, "the name could not be released");
    }
    connection.graceful_shutdown().await;
}

fn setup(config: &Config) -> Setup {
    Setup {
        limits: Limits { per_second: config.signals_per_second, coalesce: config.coalesce },
        key: config.key.as_str().to_owned(),
        manages_rules: config.manage_rules,
        sends: config.sends,
        local: config.local,
        sockets: sockets(config),
    }
}

/// Where auditd's socket is looked for; nowhere, where it is not wanted.
fn sockets(config: &Config) -> Vec<PathBuf> {
    match &config.socket {
        _ if !config.source.reads_audisp() => Vec::new(),
        Socket::Auto => KNOWN_SOCKETS.map(PathBuf::from).to_vec(),
        Socket::Path(path) => vec![path.clone()],
    }
}

/// The rules that this machine needs; `None` for one whose system calls we do not know.
fn rule_set(config: &Config) -> Option<RuleSet> {
    Some(RuleSet::wanted(running_machine()?, config.key.clone(), config.scope(), std::process::id()))
}

/// What makes a difference for our rules.
fn rules_of(config: &Config) -> (bool, Key, Scope) {
    (config.manage_rules, config.key.clone(), config.scope())
}

/// What the last process left, if systemd kept it.
fn left(config: &Config, passed: &mut Passed) -> Left {
    let (now, node) = (State::clock(), rustix::system::uname());
    let left = Left::take(passed, |bytes| {
        Store::restore(bytes, config.history, config.max_events, node.nodename().to_bytes(), now)
    });
    if let Some(Restored { store, pending }) = &left.store {
        let (reached, under_way) = left.place.as_ref().map_or((0, 0), |place| (place.sequence, place.under_way));
        let unsaved = store.goes_on(reached, under_way, pending.len());
        let knew_of_more = left.place.as_ref().is_some_and(|place| store.statistics.knew_of(&place.losses));
        if unsaved > 0 || knew_of_more {
            store.statistics.last_loss.set(pipeline::realtime_us());
        }
        if unsaved > 0 {
            warn!(
                unsaved,
                "the last process ended before it could save the newest events: they are not in the history. \
                 EventsUnsaved counts them"
            );
        }
        info!(events = store.sequence(), "the history was kept over the restart");
    }
    left
}

fn new_store(config: &Config) -> Store {
    let node = rustix::system::uname();
    let store = Store::new(config.history, config.max_events, node.nodename().to_bytes());
    store.statistics.since.set(pipeline::realtime_us());
    store
}

/// The way to the kernel's sockets: passed by systemd, else opened in the service's own network namespace.
fn sock_diag(passed: &mut Passed) -> Option<SockDiag> {
    let opened = match passed.take(PASSED_AS) {
        Some(fd) => SockDiag::from_fd(fd),
        None => SockDiag::open(),
    };
    let failed =
        |error: &_| warn!("the kernel does not tell whose sockets are: {error}. Owners are answered from the history");
    opened.inspect_err(failed).ok()
}

/// What the service is doing, in one line.
fn status(told: &dbus::Told) -> String {
    let connection = match told.source {
        "" => "no source of events: 'opensnitch-auditctl diagnose' says why",
        "netlink" => "reading the kernel's multicast",
        _ => "reading auditd's events",
    };
    let rules = if told.rules_loaded { "our audit rules are loaded" } else { "our audit rules are not loaded" };
    format!("{connection}; {rules}")
}

/// Tells systemd, where it is there to be told.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd could not be notified");
    }
}
