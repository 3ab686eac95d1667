//! Whether events can arrive, for whoever asks.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event as Notifier;

use super::Serving;

/// Who serves, the connection to auditd, and what became of attempts at one. Written by the reader, read by everybody else.
#[derive(Debug, Default)]
pub struct Status {
    inner: Mutex<Inner>,
    /// Notified when another source serves, or none.
    pub changed: Notifier,
}

#[derive(Debug, Default)]
struct Inner {
    serving: Serving,
    /// Why the multicast cannot be had, though it is wanted.
    no_multicast: Option<String>,
    /// Since when, and how many lines had been read before.
    connected: Option<(Instant, u64)>,
    /// Of the connection to auditd, or of the last one.
    socket: PathBuf,
    connections: u64,
    refused: Vec<(PathBuf, ErrorKind)>,
    dismissed: u32,
    newline_less: bool,
}

/// The sources at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who serves.
    pub serving: Serving,
    /// Why the multicast cannot be had, though it is wanted.
    pub no_multicast: Option<String>,
    /// How long there has been one, and how many lines had been read before.
    pub connected: Option<(Duration, u64)>,
    /// Why each socket could not be reached when last tried.
    pub refused: Vec<(PathBuf, ErrorKind)>,
    /// Connections in a row that ended before a line came: another client is served.
    pub dismissed: u32,
    /// The stream has no newlines, and is not read.
    pub newline_less: bool,
}

impl Status {
    /// Where events come from: `audisp`, `netlink`, or nothing while nothing can be read.
    #[must_use]
    pub fn source(&self) -> &'static str {
        self.lock().serving.name()
    }

    /// The same, and the path of auditd's socket where that is what they come through.
    #[must_use]
    pub fn source_and_socket(&self) -> (&'static str, Option<PathBuf>) {
        let inner = self.lock();
        let is_through_auditd = inner.serving == Serving::Audisp;
        (inner.serving.name(), is_through_auditd.then(|| inner.socket.clone()))
    }

    /// Who serves from now on.
    pub fn set_serving(&self, serving: Serving) {
        let before = std::mem::replace(&mut self.lock().serving, serving);
        if before.name() != serving.name() {
            self.changed.notify(usize::MAX);
        }
    }

    /// Why the multicast cannot be had, if it is wanted and cannot.
    pub fn set_no_multicast(&self, why: Option<String>) {
        self.lock().no_multicast = why;
    }

    /// The sources as they are now.
    #[must_use]
    pub fn link(&self) -> Link {
        let inner = self.lock();
        Link {
            serving: inner.serving,
            no_multicast: inner.no_multicast.clone(),
            connected: inner.connected.map(|(since, before)| (since.elapsed(), before)),
            refused: inner.refused.clone(),
            dismissed: inner.dismissed,
            newline_less: inner.newline_less,
        }
    }

    /// There was a connection before the service was restarted, and it may be there still, through this socket, after so many
    /// lines.
    pub fn goes_on(&self, lines_read: u64, socket: Option<&Path>) {
        let mut inner = self.lock();
        inner.connections = 1;
        inner.connected = socket.map(|_| (Instant::now(), lines_read));
        inner.socket = socket.map(Path::to_owned).unwrap_or_default();
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    /// There is a connection, through this socket, after so many lines. Returns how many there were before it.
    pub fn connected(&self, lines_read: u64, socket: &Path) -> u64 {
        let mut inner = self.lock();
        let before = inner.connections;
        inner.connections += 1;
        inner.connected = Some((Instant::now(), lines_read));
        socket.clone_into(&mut inner.socket);
        inner.refused.clear();
        before
    }

    /// There is no connection any more, after so many lines.
    pub fn disconnected(&self, lines_read: u64) {
        let mut inner = self.lock();
        if let Some((_, before)) = inner.connected.take() {
            inner.dismissed = if lines_read > before { 0 } else { inner.dismissed.saturating_add(1) };
        }
    }

    /// The sockets could not be reached, for these reasons.
    pub fn refused(&self, refused: Vec<(PathBuf, ErrorKind)>) {
        self.lock().refused = refused;
    }

    /// Whether the stream has no newlines.
    pub fn set_newline_less(&self, newline_less: bool) {
        self.lock().newline_less = newline_less;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
