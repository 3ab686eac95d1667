//! auditd's af_unix socket: connect, drain, connect again.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use audit_records::{Framer, FramerState, FramingCounts, Line};
use rustix::fs::inotify;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getpeername, socket_with, sockopt};

/// Where auditd's af_unix plugin listens, the newest version first.
pub const KNOWN_SOCKETS: [&str; 3] = ["/run/audit/audispd_events", "/run/audispd_events", "/var/run/audispd_events"];

/// The first wait between two attempts to connect, and the longest.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// What became of the connection.
#[derive(Debug)]
pub enum Happening {
    /// There is a connection now, through this socket.
    Connected(PathBuf),
    /// Bytes arrived: take every line.
    Data,
    /// The connection is gone and will be tried again. There may be a last line.
    Disconnected(io::Result<()>),
    /// There is no connection, for these reasons. Told once for the same reasons.
    Unreachable(Vec<(PathBuf, io::Error)>),
}

/// A client of auditd's socket. It never gives up.
#[derive(Debug)]
pub struct Audisp {
    sockets: Vec<PathBuf>,
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
    #[must_use]
    pub fn new(sockets: Vec<PathBuf>) -> Self {
        Self {
            sockets,
            state: State::Waiting(Instant::now(), None),
            framer: Framer::default(),
            has_ended: false,
            fruitful: false,
            told: Vec::new(),
            backoff: MIN_BACKOFF,
        }
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

    /// The next line of what the last [`Sources::wait`](super::Sources::wait) brought, and how many were torn by then.
    pub fn line(&mut self) -> Option<(Line<'_>, u64)> {
        if self.has_ended { self.framer.last_counted_line() } else { self.framer.counted_line() }
    }

    /// What to wait for until [`go_on`](Self::go_on) has something to do, and until when.
    pub(super) fn waits_for(&self) -> (Option<BorrowedFd<'_>>, Option<Instant>) {
        match &self.state {
            State::Connected(stream) => (Some(stream.as_fd()), None),
            State::Waiting(next, watch) => (watch.as_ref().map(AsFd::as_fd), Some(*next)),
        }
    }

    /// Does what can be done without waiting; `is_ready` says that what it waits for can be read. Every line must have been
    /// taken before. Calls `reads` before anything is read.
    pub(super) fn go_on(&mut self, is_ready: bool, reads: impl Fn()) -> Option<Happening> {
        self.has_ended = false;
        match &mut self.state {
            State::Connected(_) if is_ready => self.read(reads),
            State::Connected(_) => None,
            State::Waiting(next, watch) => {
                if is_ready && watch.as_ref().is_some_and(|watch| concerns(watch, &self.sockets)) {
                    *next = Instant::now();
                    self.backoff = MIN_BACKOFF;
                }
                if *next <= Instant::now() { self.try_all() } else { None }
            }
        }
    }

    fn read(&mut self, reads: impl Fn()) -> Option<Happening> {
        let State::Connected(stream) = &mut self.state else { return None };
        reads();
        match stream.read(self.framer.space()) {
            Ok(0) => Some(self.disconnect(Ok(()))),
            Ok(bytes) => {
                self.framer.filled(bytes);
                self.fruitful = true;
                self.backoff = MIN_BACKOFF;
                Some(Happening::Data)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => None,
            Err(error) => Some(self.disconnect(Err(error))),
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
