//! The composition root: starts the reader, serves the bus, stops in order.
//!
//! ```text
//! reader's thread ─▶ cache        visitor's thread ─▶ cache        bus's tasks ◀─ cache
//!        └──── bounded queue ───────────▲ └──── bounded queue ──────────▲
//! ```
//!
//! The reader never waits for anybody: what does not fit into its queue is counted as lost.

mod pipeline;
mod tasks;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::Signal;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};
use zbus::Connection;

use self::pipeline::Pipeline;
use crate::config::{self, Config, Socket};
use crate::dbus::{Audit, Limits, NAME, PATH, Setup, State};
use crate::rules::{RuleSet, Scope, running_machine};
use crate::stream::KNOWN_SOCKETS;

/// How long the bus may take to let us go, and the kernel to take our rules back.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why the service ended though nobody asked it to.
#[derive(Debug)]
pub enum Error {
    /// The configuration cannot be used.
    Config(config::Error),
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
            Self::Config(error) => write!(f, "{error}"),
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

/// Runs until `shutdown` is done; each `reload` reads the configuration again.
///
/// # Errors
/// Where the configuration cannot be used, or the bus is not there, or goes away.
pub async fn run(path: Option<PathBuf>, mut reload: Signal, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let config = Config::load(path.as_deref()).map_err(Error::Config)?;
    let state = Arc::new(State::new(config.max_events, setup(&config), rule_set(&config)));
    let connection = zbus::connection::Builder::system()
        .serve_at(PATH, Audit::new(state.clone()))
        .name(NAME)
        .allow_name_replacements(false)
        .replace_existing_names(false)
        .build()
        .await?;
    info!("{NAME} {} is on the bus", env!("CARGO_PKG_VERSION"));
    notify(&[NotifyState::Ready]);
    let mut service = Service { path, config, state, pipeline: None, tasks: Vec::new() };
    service.start(&connection).await?;
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
    // Nothing here may wait long: rules are taken back first, since they cost every program something.
    service.stop(result.is_ok()).await;
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
    pipeline: Option<Pipeline>,
    tasks: Vec<JoinHandle<()>>,
}

impl Service {
    async fn start(&mut self, connection: &Connection) -> Result<(), Error> {
        let state = &self.state;
        let pipeline = Pipeline::start(&self.config, state).map_err(Error::System)?;
        self.pipeline = Some(pipeline);
        let interface = connection.object_server().interface::<_, Audit>(PATH).await?;
        self.tasks = vec![
            tokio::spawn(tasks::send_signals(state.clone(), interface.clone())),
            tokio::spawn(tasks::tell_changes(state.clone(), interface)),
            tokio::spawn(tasks::verify_rules(state.clone())),
            tokio::spawn(tasks::sweep(state.clone())),
            tokio::spawn(tasks::feed_watchdog(state.clone(), connection.clone())),
        ];
        self.load_rules().await;
        Ok(())
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
            Err(_) => error!("loading the audit rules panicked"),
        }
        self.state.changed.notify(usize::MAX);
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
        self.state.cache().set_max_events(config.max_events);
        self.state.set_setup(setup(config));
        let reads = |config: &Config| (config.socket.clone(), config.key.clone(), config.keep_raw);
        if reads(&old) != reads(config) {
            if let Some(pipeline) = self.pipeline.take() {
                spawn_blocking(move || pipeline.stop()).await.unwrap_or_default();
            }
            match Pipeline::start(config, &self.state) {
                Ok(pipeline) => self.pipeline = Some(pipeline),
                Err(error) => error!(%error, "the reader could not be started again: restart the service"),
            }
        }
        let rules =
            |config: &Config| (config.manage_rules, config.key.clone(), config.local, config.execve, config.sends);
        if rules(&old) != rules(config) {
            let (state, set) = (self.state.clone(), rule_set(config));
            if let Ok(Err(error)) = spawn_blocking(move || state.keeper.replace(set)).await {
                error!("the old audit rules could not be removed: {error}. They stay");
            } else {
                self.load_rules().await;
            }
        }
        self.state.changed.notify(usize::MAX);
        info!("the configuration was read again");
    }

    /// `for_good`: somebody asked for it, and nobody restarts us.
    async fn stop(self, for_good: bool) {
        if for_good && self.config.manage_rules {
            let state = self.state.clone();
            match timeout(FAREWELL, spawn_blocking(move || state.keeper.delete())).await {
                Ok(Ok(Ok(deleted))) => info!(deleted, "our audit rules were removed"),
                Ok(Ok(Err(error))) => warn!("our audit rules could not be removed: {error}"),
                Ok(Err(_)) | Err(_) => warn!("our audit rules could not be removed in time"),
            }
        }
        for task in &self.tasks {
            task.abort();
        }
        if let Some(pipeline) = self.pipeline {
            let _ = timeout(FAREWELL, spawn_blocking(move || pipeline.stop())).await;
        }
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
        key: config.key.to_string(),
        manages_rules: config.manage_rules,
        watches_sends: config.sends,
        sockets: match &config.socket {
            Socket::Auto => KNOWN_SOCKETS.map(PathBuf::from).to_vec(),
            Socket::Path(path) => vec![path.clone()],
        },
    }
}

/// The rules that this machine needs; `None` for one whose system calls we do not know.
fn rule_set(config: &Config) -> Option<RuleSet> {
    let scope = Scope { local: config.local, execve: config.execve, sends: config.sends };
    Some(RuleSet::wanted(running_machine()?, config.key.clone(), scope, std::process::id()))
}

/// Tells systemd, where it is there to be told.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd could not be notified");
    }
}
