//! What systemd keeps for the next process: descriptors that it holds while the service is restarted
//! (`FileDescriptorStoreMax=`, systemd.service(5)).
//!
//! - The **connection** to auditd. What comes while there is no process waits in it. The kernel's multicast is not among them: its
//!   unit has it (`opensnitch-audit-multicast.socket`).
//! - The **store** as a snapshot in a memory file that nobody can change any more. A new one takes its place every few
//!   seconds while something changes, and when the service stops.
//! - The **place** in the stream, in a memory file that the reader writes after each batch: how far the store is, and where in
//!   the connection's bytes it stands. So a process that was killed says how much of what it had read is in no snapshot.
//!
//! What is read back is checked as a whole before any of it is used: a state of another version, or a damaged one, is thrown
//! away, and the history begins as at a first start.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use audit_records::{AssemblerState, FramerState};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::rules::Setting;
use crate::source::MULTICAST_PASSED_AS;
use crate::store::{Losses, MAX_SNAPSHOT, Restored, Store, Unusable};

/// The names of the descriptors at systemd. A new snapshot is there before the old one goes, so it has two.
const SNAPSHOTS: [&str; 2] = ["store-0", "store-1"];
const PLACE: &str = "place";
const CONNECTION: &str = "auditd";

/// The longest place, in bytes: what both assemblers have under way and a line, all written down.
const MAX_PLACE: usize = 16 * 1024 * 1024;

/// The first byte of a place: the reader may have read what it does not tell of, or has not.
const READING: u8 = 1;
const AT_REST: u8 = 2;

/// Another number whenever [`Place`] changes: what another version wrote is not read.
const VERSION: u8 = 3;

/// How far the reader is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Place {
    /// The events that the store has taken.
    pub(super) sequence: u64,
    /// Those that have begun.
    pub(super) under_way: u64,
    /// What was known to be missing.
    pub(super) losses: Losses,
    /// In the bytes of the connection.
    pub(super) framer: FramerState,
    /// Those of auditd's.
    pub(super) audisp: Records,
    /// Those of the multicast. Where it does not serve, nothing of them is under way.
    pub(super) multicast: Records,
    /// Whether the multicast serves.
    pub(super) takes_multicast: bool,
    /// What the kernel's audit was before the service switched it on.
    pub(super) switched: Option<Setting>,
}

/// What became of the records that were read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Records {
    /// What was under way is here: the service was stopped.
    Kept(Box<AssemblerState>),
    /// It is lost. This was the highest serial.
    Lost(Option<u32>),
}

/// Where the reader writes its place; nowhere, where systemd keeps nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Bookmark(Option<Arc<File>>);

impl Bookmark {
    /// A new one, which systemd keeps from now on.
    fn new() -> Self {
        if !is_kept() {
            return Self(None);
        }
        forget(PLACE);
        let kept = memory("opensnitch-audit-place").and_then(|file| keep(PLACE, file.as_fd()).map(|()| Arc::new(file)));
        let failed = |error: &io::Error| {
            warn!("systemd cannot keep how far the stream was read: {error}. After a crash nobody knows what was lost");
        };
        Self(kept.inspect_err(failed).ok())
    }

    /// Something is about to be read. Until the next [`set`](Self::set) nobody knows how much.
    pub(super) fn reading(&self) {
        if let Some(file) = &self.0 {
            let _ = file.write_all_at(&[READING], 0);
        }
    }

    /// All that was read is told of in `place`, which is made only where it is written down.
    pub(super) fn set<P: Borrow<Place>>(&self, place: impl FnOnce() -> P) {
        let Some(file) = &self.0 else { return };
        let written = place().borrow().to_bytes().and_then(|bytes| file.write_all_at(&bytes, 0));
        if let Err(error) = written {
            debug!(%error, "how far the stream was read could not be written down");
        }
    }
}

impl Place {
    /// What the multicast brought while auditd served is gone, up to this serial: auditd brings it.
    pub(super) fn drained(&self) -> Option<u32> {
        match self.multicast {
            Records::Lost(serial) if !self.takes_multicast => serial,
            _ => None,
        }
    }

    /// At rest.
    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = postcard::to_extend(self, vec![0; HEAD]).map_err(io::Error::other)?;
        let (head, body) = bytes.split_at_mut(HEAD);
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        head.copy_from_slice(
            &[&[AT_REST, VERSION][..], &length.to_le_bytes(), &crc32fast::hash(body).to_le_bytes()].concat(),
        );
        Ok(bytes)
    }

    /// As the last process left it; where that was reading, nobody knows where in a line.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let ([state, version, head @ ..], behind) = bytes.split_first_chunk::<HEAD>()?;
        let (length, checksum) = head.split_first_chunk()?;
        let body = behind.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let is_whole = u32::from_le_bytes(checksum.try_into().ok()?) == crc32fast::hash(body);
        if *version != VERSION || !is_whole {
            return None;
        }
        let (place, rest) = postcard::take_from_bytes::<Self>(body).ok()?;
        let place = match *state {
            AT_REST => place,
            READING => Self { framer: place.framer.somewhere_behind(), ..place },
            _ => return None,
        };
        rest.is_empty().then_some(place)
    }
}

/// Before a place: its state, its version, its length and its checksum.
const HEAD: usize = 10;

/// What the last process left.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) store: Option<Restored>,
    pub(super) place: Option<Place>,
    pub(super) connection: Option<OwnedFd>,
    /// Not the last process's own: that of a unit which stays while the service restarts, with what waits in it.
    pub(super) multicast: Option<OwnedFd>,
    /// The one that the last process had: what stands in it is true until something is read.
    pub(super) bookmark: Bookmark,
    /// The name under which the next snapshot is kept.
    next: usize,
}

impl Left {
    /// Of what systemd passed. `restore` makes a store of a snapshot. What cannot be used is thrown away.
    pub(super) fn take(passed: &mut Passed, restore: impl Fn(&[u8]) -> Result<Restored, Unusable>) -> Self {
        let (connection, multicast) = (passed.take(CONNECTION), passed.take(MULTICAST_PASSED_AS));
        let mut left = Self { connection, multicast, ..Self::default() };
        for (at, name) in SNAPSHOTS.into_iter().enumerate() {
            let Some(memory) = passed.take(name) else { continue };
            let restored = read_sealed(memory).map_err(|error| error.to_string());
            match restored.and_then(|bytes| restore(&bytes).map_err(|error| error.to_string())) {
                Ok(restored) => {
                    // Where there are two, the last process ended before the older one was forgotten.
                    let sequence = |restored: &Restored| restored.store.sequence();
                    if left.store.as_ref().is_none_or(|other| sequence(other) < sequence(&restored)) {
                        left.store = Some(restored);
                        left.next = (at + 1) % SNAPSHOTS.len();
                    }
                }
                Err(error) => {
                    warn!("what the last process knew cannot be used: {error}. The history begins anew");
                    forget(name);
                }
            }
        }
        if let Some(memory) = passed.take(PLACE) {
            let file = File::from(memory);
            left.place = read(&file, MAX_PLACE).ok().and_then(|bytes| Place::from_bytes(&bytes));
            match left.place {
                Some(_) => left.bookmark = Bookmark(Some(Arc::new(file))),
                None => {
                    warn!("how far the last process had read cannot be used: what it read last may be lost uncounted")
                }
            }
        }
        if left.place.is_none() {
            left.bookmark = Bookmark::new();
        }
        if left.place.is_none() && left.connection.take().is_some() {
            // Nobody knows where in a line it stands.
            forget(CONNECTION);
        }
        left
    }

    /// Where the snapshots to come are kept.
    pub(super) const fn keeper(&self) -> Snapshots {
        Snapshots { next: self.next }
    }
}

/// Keeps one snapshot after the other.
#[derive(Debug)]
pub(super) struct Snapshots {
    next: usize,
}

impl Snapshots {
    /// Has systemd keep the store as it is now. Takes a while.
    ///
    /// # Errors
    /// Where the kernel has no memory for it, or systemd is not there.
    pub(super) fn keep(&mut self, store: &Store) -> io::Result<()> {
        let file = memory("opensnitch-audit-store")?;
        let mut out = BufWriter::with_capacity(256 * 1024, &file);
        store.save(&mut out)?;
        out.flush()?;
        drop(out);
        fcntl_add_seals(&file, UNCHANGEABLE | SealFlags::SEAL)?;
        let [name, other] = match self.next {
            0 => SNAPSHOTS,
            _ => [SNAPSHOTS[1], SNAPSHOTS[0]],
        };
        forget(name);
        keep(name, file.as_fd())?;
        forget(other);
        self.next = (self.next + 1) % SNAPSHOTS.len();
        Ok(())
    }
}

/// Has systemd keep the connection to auditd.
pub(super) fn keep_connection(connection: BorrowedFd<'_>) {
    forget(CONNECTION);
    if let Err(error) = keep(CONNECTION, connection) {
        debug!(%error, "systemd does not keep the connection to auditd");
    }
}

/// The connection to auditd is gone.
pub(super) fn forget_connection() {
    forget(CONNECTION);
}

/// Whether there is somebody who keeps something for us.
pub(super) fn is_kept() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The descriptors that systemd passed, each with its name.
#[derive(Debug, Default)]
pub(super) struct Passed(Vec<(Option<String>, OwnedFd)>);

impl Passed {
    /// All of them: asked once.
    pub(super) fn get() -> Self {
        let passed = sd_listen_fds::get().inspect_err(|error| warn!("what systemd passed cannot be used: {error}"));
        Self(passed.unwrap_or_default().into_iter().map(|(name, fd)| (name, fd.into_std())).collect())
    }

    /// The one of that name; of several the last one.
    pub(super) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let mut found = None;
        while let Some(at) = self.0.iter().position(|(named, _)| named.as_deref() == Some(name)) {
            found = Some(self.0.remove(at).1);
        }
        found
    }
}

/// Nobody can change the file any more.
const UNCHANGEABLE: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// A file in memory, which no program can be started from where the kernel knows that (6.3).
fn memory(name: &str) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags)?,
        made => made?,
    };
    Ok(File::from(file))
}

/// A snapshot.
fn read_sealed(memory: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(memory);
    if !fcntl_get_seals(&file)?.contains(UNCHANGEABLE) {
        return Err(io::Error::other("somebody may still change it"));
    }
    read(&file, MAX_SNAPSHOT)
}

/// All of a file in memory that is no longer than that.
fn read(file: &File, most: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > most {
        return Err(io::Error::other(format!("it has {length} bytes, more than {most}")));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Has systemd keep this descriptor under that name, also where its other end is gone: what is left in it is read then.
fn keep(name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    sd_notify::notify_with_fds(
        &[NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")],
        &[fd],
    )
}

/// Has systemd close what it keeps under that name.
fn forget(name: &str) {
    if let Err(error) = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]) {
        debug!(%error, name, "systemd could not be told to close what it kept");
    }
}
