//! Whether events can arrive, for whoever asks.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event as Notifier;

/// The connection to auditd, and what became of attempts at one. Written by the reader, read by everybody else.
#[derive(Debug, Default)]
pub struct Status {
    inner: Mutex<Inner>,
    /// Notified when a connection comes or goes.
    pub changed: Notifier,
}

#[derive(Debug, Default)]
struct Inner {
    /// Since when, and how many lines had been read before.
    connected: Option<(Instant, u64)>,
    connections: u64,
    refused: Vec<(PathBuf, ErrorKind)>,
    dismissed: u32,
    newline_less: bool,
}

/// The connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
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
    /// Where events come from: `audisp`, or nothing while there is no connection.
    #[must_use]
    pub fn source(&self) -> &'static str {
        if self.lock().connected.is_some() { "audisp" } else { "" }
    }

    /// The connection as it is now.
    #[must_use]
    pub fn link(&self) -> Link {
        let inner = self.lock();
        Link {
            connected: inner.connected.map(|(since, before)| (since.elapsed(), before)),
            refused: inner.refused.clone(),
            dismissed: inner.dismissed,
            newline_less: inner.newline_less,
        }
    }

    /// There was a connection before the service was restarted, and it may be there still, after so many lines.
    pub fn goes_on(&self, lines_read: u64, is_connected: bool) {
        let mut inner = self.lock();
        inner.connections = 1;
        inner.connected = is_connected.then(|| (Instant::now(), lines_read));
        drop(inner);
        self.changed.notify(usize::MAX);
    }

    /// There is a connection, after so many lines. Returns how many there were before it.
    pub fn connected(&self, lines_read: u64) -> u64 {
        let mut inner = self.lock();
        let before = inner.connections;
        inner.connections += 1;
        inner.connected = Some((Instant::now(), lines_read));
        inner.refused.clear();
        drop(inner);
        self.changed.notify(usize::MAX);
        before
    }

    /// There is no connection any more, after so many lines.
    pub fn disconnected(&self, lines_read: u64) {
        let mut inner = self.lock();
        if let Some((_, before)) = inner.connected.take() {
            inner.dismissed = if lines_read > before { 0 } else { inner.dismissed.saturating_add(1) };
        }
        drop(inner);
        self.changed.notify(usize::MAX);
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
