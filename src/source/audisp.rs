//! auditd's af_unix socket: connect, drain, connect again.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_records::{Framer, FramerState, FramingCounts};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getpeername, socket_with, sockopt};

/// Where auditd's af_unix plugin listens, the newest version first.
pub const KNOWN_SOCKETS: [&str; 3] = ["/run/audit/audispd_events", "/run/audispd_events", "/var/run/audispd_events"];

/// The first wait between two attempts to connect, and the longest.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Ends the wait of an [`Audisp`] from another thread.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// Ends this wait and every later one.
    pub fn stop(&self) {
        // An eventfd that can take no more is one that was told already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// What a wait ended with.
#[derive(Debug)]
pub enum Happening {
    /// There is a connection now, through this socket.
    Connected(PathBuf),
    /// Bytes arrived: take every line.
    Data,
    /// Nothing arrived in time.
    Silent,
    /// The connection is gone and will be tried again. There may be a last line.
    Disconnected(io::Result<()>),
    /// There is no connection, for these reasons. Told once for the same reasons.
    Unreachable(Vec<(PathBuf, io::Error)>),
    /// [`Stop::stop`] was called.
    Stopped,
}

/// A client of auditd's socket. It never gives up.
#[derive(Debug)]
pub struct Audisp {
    sockets: Vec<PathBuf>,
    stop: Arc<OwnedFd>,
    state: State,
    framer: Framer,
    /// The connection has ended, and its last line is not taken yet.
    has_ended: bool,
    /// This connection brought bytes.
    fruitful: bool,
    /// Why there was no connection, as told last.
    told: Vec<ErrorKind>,
    backoff: Duration,
}

#[derive(Debug)]
enum State {
    Connected(UnixStream),
    /// Tried again at that time, or when something happens in a folder of a socket.
    Waiting(Instant, Option<OwnedFd>),
}

impl Audisp {
    /// A client of the first of these `sockets` that can be reached.
    ///
    /// # Errors
    /// Where the kernel gives no eventfd.
    pub fn new(sockets: Vec<PathBuf>) -> io::Result<(Self, Stop)> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let audisp = Self {
            sockets,
            stop: stop.clone(),
            state: State::Waiting(Instant::now(), None),
            framer: Framer::default(),
            has_ended: false,
            fruitful: false,
            told: Vec::new(),
            backoff: MIN_BACKOFF,
        };
        Ok((audisp, Stop(stop)))
    }

    /// Goes on with a connection that another process had, from that place of its bytes. Returns its socket.
    ///
    /// # Errors
    /// Where it is no connection to one of the sockets, or that place makes no sense.
    pub fn take_over(&mut self, connection: OwnedFd, place: FramerState) -> io::Result<PathBuf> {
        let of_stream = sockopt::socket_domain(&connection)? == AddressFamily::UNIX
            && sockopt::socket_type(&connection)? == SocketType::STREAM;
        let address = SocketAddrUnix::try_from(getpeername(&connection)?.ok_or(ErrorKind::NotConnected)?)?;
        let path = address.path().map(|path| PathBuf::from(OsStr::from_bytes(path.to_bytes())));
        let path = path.filter(|path| of_stream && self.sockets.contains(path)).ok_or(ErrorKind::AddrNotAvailable)?;
        serves_as_root(&connection)?;
        self.framer = Framer::resume(place).ok_or(ErrorKind::InvalidData)?;
        let stream = UnixStream::from(connection);
        stream.set_nonblocking(true)?;
        self.state = State::Connected(stream);
        self.fruitful = true;
        Ok(path)
    }

    /// The connection, where there is one.
    #[must_use]
    pub fn connection(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Connected(stream) => Some(stream.as_fd()),
            State::Waiting(..) => None,
        }
    }

    /// Where in the bytes of its connection it is.
    #[must_use]
    pub fn place(&self) -> FramerState {
        self.framer.state()
    }

    /// What became of the bytes so far.
    #[must_use]
    pub fn counts(&self) -> FramingCounts {
        self.framer.counts()
    }

    /// Whether the stream has no newlines: nothing of it is read, see [`Framer::is_newline_less`].
    #[must_use]
    pub fn is_newline_less(&self) -> bool {
        self.framer.is_newline_less()
    }

    /// The next line of what the last [`wait`](Self::wait) brought.
    pub fn line(&mut self) -> Option<&[u8]> {
        if self.has_ended { self.framer.last_line() } else { self.framer.line() }
    }

    /// Waits until something happens, or for `limit` at the most. Every line must have been taken before. Calls `reads`
    /// before anything is read.
    ///
    /// # Errors
    /// Where the kernel cannot wait: it is out of memory.
    pub fn wait(&mut self, limit: Option<Duration>, reads: impl Fn()) -> io::Result<Happening> {
        self.has_ended = false;
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let happening = match &self.state {
                State::Connected(_) => self.wait_for_bytes(remaining, &reads)?,
                State::Waiting(next, _) if *next <= Instant::now() => self.try_all(),
                State::Waiting(next, _) => {
                    let next = next.saturating_duration_since(Instant::now());
                    self.wait_for_socket(remaining.map_or(next, |remaining| remaining.min(next)))?
                }
            };
            if let Some(happening) = happening {
                return Ok(happening);
            }
            if remaining.is_some_and(|remaining| remaining.is_zero()) {
                return Ok(Happening::Silent);
            }
        }
    }

    fn wait_for_bytes(&mut self, limit: Option<Duration>, reads: impl Fn()) -> io::Result<Option<Happening>> {
        let State::Connected(stream) = &mut self.state else { return Ok(None) };
        let Some([stopped, readable]) = poll_two(&self.stop, stream.as_fd(), limit)? else { return Ok(None) };
        if stopped {
            return Ok(Some(Happening::Stopped));
        }
        if !readable {
            return Ok(None);
        }
        reads();
        match stream.read(self.framer.space()) {
            Ok(0) => Ok(Some(self.disconnect(Ok(())))),
            Ok(bytes) => {
                self.framer.filled(bytes);
                self.fruitful = true;
                self.backoff = MIN_BACKOFF;
                Ok(Some(Happening::Data))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(None),
            Err(error) => Ok(Some(self.disconnect(Err(error)))),
        }
    }

    fn disconnect(&mut self, reason: io::Result<()>) -> Happening {
        self.has_ended = true;
        // A server that closes at once has another client (auditd 3.1.1 to 4.0.2): back off.
        self.state = if self.fruitful {
            State::Waiting(Instant::now(), None)
        } else {
            let watch = watch(&self.sockets).ok();
            State::Waiting(Instant::now() + self.next_backoff(), watch)
        };
        Happening::Disconnected(reason)
    }

    fn next_backoff(&mut self) -> Duration {
        let backoff = self.backoff;
        self.backoff = (backoff * 2).min(MAX_BACKOFF);
        backoff
    }

    /// Tries each socket once.
    fn try_all(&mut self) -> Option<Happening> {
        // Watched first: a socket that appears in between is not missed.
        let watch = watch(&self.sockets);
        let mut refused = Vec::new();
        for path in &self.sockets {
            match open(path) {
                Ok(stream) => {
                    let path = path.clone();
                    self.framer.reset();
                    self.told.clear();
                    self.fruitful = false;
                    self.state = State::Connected(stream);
                    return Some(Happening::Connected(path));
                }
                Err(error) => refused.push((path.clone(), error)),
            }
        }
        self.state = State::Waiting(Instant::now() + self.next_backoff(), watch.ok());
        let reasons: Vec<ErrorKind> = refused.iter().map(|(_, error)| error.kind()).collect();
        if reasons == self.told {
            return None;
        }
        self.told = reasons;
        Some(Happening::Unreachable(refused))
    }

    fn wait_for_socket(&mut self, limit: Duration) -> io::Result<Option<Happening>> {
        let State::Waiting(next, watch) = &mut self.state else { return Ok(None) };
        let other = watch.as_ref().map_or(self.stop.as_fd(), AsFd::as_fd);
        let Some([stopped, changed]) = poll_two(&self.stop, other, Some(limit))? else { return Ok(None) };
        if stopped {
            return Ok(Some(Happening::Stopped));
        }
        if changed && watch.as_ref().is_some_and(|watch| concerns(watch, &self.sockets)) {
            *next = Instant::now();
            self.backoff = MIN_BACKOFF;
        }
        Ok(None)
    }
}

/// Which of the two can be read; `None` where neither can in time.
fn poll_two(stop: &OwnedFd, other: impl AsFd, limit: Option<Duration>) -> io::Result<Option<[bool; 2]>> {
    let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(&other, PollFlags::IN)];
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(&mut fds, limit.as_ref()) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(fds.map(|fd| !fd.revents().is_empty()))),
        Err(rustix::io::Errno::INTR) => Ok(Some([false, false])),
        Err(error) => Err(error.into()),
    }
}

/// Connects without waiting: where auditd's queue of clients is full, that is an error like any other.
fn open(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    serves_as_root(&socket)?;
    Ok(socket.into())
}

fn serves_as_root(socket: &OwnedFd) -> io::Result<()> {
    let peer = sockopt::socket_peercred(socket)?;
    if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
        return Err(io::Error::other(format!("the socket is served by user {}, not by root", peer.uid.as_raw())));
    }
    Ok(())
}

/// Watches the folders in which the sockets, or their folders, will appear.
fn watch(sockets: &[PathBuf]) -> io::Result<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ATTRIB;
    for folder in sockets.iter().flat_map(|socket| socket.ancestors().skip(1).take(2)) {
        // A folder that is not there yet shows up in the one above it.
        let _ = inotify::add_watch(&watch, folder, flags);
    }
    Ok(watch)
}

/// Whether what happened in the watched folders has to do with a socket. Takes all that happened.
fn concerns(watch: &OwnedFd, sockets: &[PathBuf]) -> bool {
    let mut buffer = [const { MaybeUninit::uninit() }; 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    let mut concerns = false;
    while let Ok(event) = reader.next() {
        let name = event.file_name().map(|name| name.to_bytes().to_vec());
        let is_on_the_way =
            |socket: &PathBuf| socket.iter().any(|part| Some(part.as_encoded_bytes()) == name.as_deref());
        concerns |= name.is_none() || sockets.iter().any(is_on_the_way);
    }
    concerns
}
