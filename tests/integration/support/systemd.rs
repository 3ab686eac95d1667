//! In systemd's place: keeps descriptors over restarts of the service.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::eventually;

type Kept = Arc<Mutex<Vec<(String, OwnedFd)>>>;

/// The socket that the service notifies (sd_notify(3)), and what it gave to keep.
pub(crate) struct Systemd {
    socket: PathBuf,
    kept: Kept,
    barriers: Arc<Mutex<usize>>,
}

impl Systemd {
    /// Listens in this folder, until the test ends.
    pub(crate) fn start(folder: &Path) -> Self {
        let socket = folder.join("notify");
        let listener = UnixDatagram::bind(&socket).unwrap();
        let (kept, barriers) = (Kept::default(), Arc::default());
        let systemd = Self { socket, kept, barriers };
        let (kept, barriers) = (systemd.kept.clone(), systemd.barriers.clone());
        thread::spawn(move || {
            while let Some((text, fds)) = receive(&listener) {
                let says = |line: &str| text.lines().any(|said| said == line);
                let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
                let mut kept = kept.lock().unwrap();
                if says("FDSTOREREMOVE=1") {
                    kept.retain(|(of, _)| of != name);
                } else if says("FDSTORE=1") {
                    assert!(says("FDPOLL=0"), "a connection that ended is not to be closed: {text}");
                    kept.extend(fds.into_iter().map(|fd| (name.to_owned(), fd)));
                }
                *barriers.lock().unwrap() += usize::from(says("X_TEST=1"));
            }
        });
        systemd
    }

    /// A service that is started with this command gets what is kept, and keeps more.
    pub(crate) fn pass(&self, command: &mut Command) {
        let (names, mappings): (Vec<_>, Vec<_>) = {
            let kept = self.kept.lock().unwrap();
            let mappings = kept.iter().zip(3..).map(|((name, fd), child_fd)| {
                (name.clone(), FdMapping { parent_fd: fd.try_clone().unwrap(), child_fd })
            });
            mappings.unzip()
        };
        command.env("NOTIFY_SOCKET", &self.socket);
        command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        command.fd_mappings(mappings).unwrap();
    }

    /// The names of what is kept, in order, after all that was said until now.
    pub(crate) fn kept(&self) -> Vec<String> {
        let before = *self.barriers.lock().unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"X_TEST=1\n", &self.socket).unwrap();
        eventually("systemd has read all", || (*self.barriers.lock().unwrap() > before).then_some(()));
        let mut names: Vec<_> = self.kept.lock().unwrap().iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// It has one more, of a unit of its own.
    pub(crate) fn hold(&self, name: &str, fd: OwnedFd) {
        self.kept.lock().unwrap().push((name.to_owned(), fd));
    }

    /// Something else is kept in place of what has a name like this.
    pub(crate) fn replace(&self, like: &str, mut other: impl FnMut(&OwnedFd) -> OwnedFd) {
        for (_, fd) in self.kept.lock().unwrap().iter_mut().filter(|(name, _)| name.starts_with(like)) {
            *fd = other(fd);
        }
    }
}

fn receive(listener: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let (mut text, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))]);
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(listener, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Some((String::from_utf8_lossy(&text[..received.bytes]).into_owned(), fds))
}
