//! In auditd's place: a socket.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::eventually;

/// Listens as auditd's af_unix plugin does, and sends what it is told to.
pub(crate) struct FakeAuditd {
    path: PathBuf,
    listener: Option<UnixListener>,
    client: Option<UnixStream>,
}

impl FakeAuditd {
    /// Not running yet.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), listener: None, client: None }
    }

    /// Listens.
    pub(crate) fn start(&mut self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.listener = Some(listener);
    }

    /// The service connects.
    #[track_caller]
    pub(crate) fn accept(&mut self) {
        self.client = Some(eventually("a connection to auditd's socket", || self.try_accept()));
    }

    /// The next connection, where there is one.
    pub(crate) fn try_accept(&self) -> Option<UnixStream> {
        match self.listener.as_ref().unwrap().accept() {
            Ok((client, _)) => {
                client.set_nonblocking(false).unwrap();
                Some(client)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends; waits while the service does not read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.as_mut().unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends; `false` where the service is gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.client.as_mut().unwrap().write_all(bytes.as_ref()).is_ok()
    }

    /// Whether the service has closed the connection.
    pub(crate) fn is_alone(&mut self) -> bool {
        let client = self.client.as_mut().unwrap();
        client.set_nonblocking(true).unwrap();
        matches!(client.read(&mut [0]), Ok(0))
    }

    /// Closes the connection and goes on listening.
    pub(crate) fn hang_up(&mut self) {
        self.client = None;
    }

    /// Ends: the connection and the socket go.
    pub(crate) fn stop(&mut self) {
        // In this order: whoever tries again in between finds nothing.
        fs::remove_file(&self.path).unwrap();
        self.listener = None;
        self.client = None;
    }

    /// Ends and starts again.
    pub(crate) fn restart(&mut self) {
        self.restart_quietly();
        self.accept();
    }

    /// Ends and starts again; nobody has connected yet.
    pub(crate) fn restart_quietly(&mut self) {
        self.stop();
        self.start();
    }
}
