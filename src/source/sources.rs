//! Waits for all sources at once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{Audisp, Happening, Multicast};

/// Ends the wait of [`Sources`] from another thread.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// Ends this wait and every later one.
    pub fn stop(&self) {
        // An eventfd that can take no more is one that was told already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// What a wait ended with. Whatever it is, the multicast may have records.
#[derive(Debug)]
pub enum Woken {
    /// Something happened to the connection to auditd.
    Audisp(Happening),
    /// The multicast has records.
    Multicast,
    /// Nothing happened in time.
    Silent,
    /// [`Stop::stop`] was called.
    Stopped,
}

/// The sources that are read, each of them where it is wanted and can be had.
#[derive(Debug)]
pub struct Sources {
    /// auditd's socket.
    pub audisp: Option<Audisp>,
    /// The kernel's group.
    pub multicast: Option<Multicast>,
    stop: Arc<OwnedFd>,
}

impl Sources {
    /// These.
    ///
    /// # Errors
    /// Where the kernel gives no eventfd.
    pub fn new(audisp: Option<Audisp>, multicast: Option<Multicast>) -> io::Result<(Self, Stop)> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok((Self { audisp, multicast, stop: stop.clone() }, Stop(stop)))
    }

    /// Waits until something happens, or for `limit` at the most. Every line must have been taken before. Calls `reads` before
    /// anything of auditd's is read.
    ///
    /// # Errors
    /// Where the kernel cannot wait: it is out of memory.
    pub fn wait(&mut self, limit: Duration, reads: impl Fn()) -> io::Result<Woken> {
        let deadline = Instant::now() + limit;
        let mut is_ready = Ready::default();
        loop {
            if is_ready.stop {
                return Ok(Woken::Stopped);
            }
            if let Some(happening) = self.audisp.as_mut().and_then(|audisp| audisp.go_on(is_ready.audisp, &reads)) {
                return Ok(Woken::Audisp(happening));
            }
            if is_ready.multicast {
                return Ok(Woken::Multicast);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Woken::Silent);
            }
            is_ready = self.poll(deadline - now)?;
        }
    }

    fn poll(&self, limit: Duration) -> io::Result<Ready> {
        let (audisp, next) = self.audisp.as_ref().map_or((None, None), Audisp::waits_for);
        let next = next.map(|next| next.saturating_duration_since(Instant::now()));
        let limit = next.map_or(limit, |next| next.min(limit));
        // What is not there is not waited for: the stop stands in its place.
        let stop = self.stop.as_fd();
        let multicast = self.multicast.as_ref().map(AsFd::as_fd);
        let fds = [stop, audisp.unwrap_or(stop), multicast.unwrap_or(stop)];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, Timespec::try_from(limit).ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [stop, audisp_ready, multicast_ready] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Ready { stop, audisp: audisp.is_some() && audisp_ready, multicast: multicast.is_some() && multicast_ready })
    }
}

/// What can be read.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    stop: bool,
    audisp: bool,
    multicast: bool,
}
