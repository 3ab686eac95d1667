//! A process in `/proc`, as far as the search for a socket needs it.
//!
//! Everything is opened below one open folder, so it is one process's even when it ends and the pid comes again. No
//! descriptor's target is opened: a link of `/proc/PID/fd` is read by the kernel alone, and does not wait for a file
//! system that hangs.

use std::fmt::Display;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::LazyLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, readlinkat_raw, statat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::Socket;
use crate::proc::{Folder, Stat};

/// Bytes of a link's target that are read: `socket:[18446744073709551615]`. Paths are longer, and of no interest.
const LINK_MAX: usize = 32;

/// Bytes that the kernel fills with names of a folder in one go: it prepares each name, so that a search that ends early
/// does not pay for many.
const NAMES: usize = 1024;

/// Bytes of a list of children: some 500 pids.
const CHILDREN_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    folder: Folder,
}

impl Process {
    pub(super) fn open(pid: u32) -> Option<Self> {
        Some(Self { pid, folder: Folder::open(pid).ok()? })
    }

    /// `None` where it has ended, even if nobody has waited for it yet, and where its first thread has: `/proc` shows no
    /// descriptors then.
    pub(super) fn stat(&self) -> Option<Stat> {
        self.folder.stat().filter(|stat| !stat.is_zombie)
    }

    /// Whether this descriptor is one of these sockets.
    pub(super) fn has_at(&self, descriptor: i32, sockets: &[Socket]) -> bool {
        let Some(inode) = self.inode_at(descriptor) else { return false };
        sockets.iter().any(|socket| socket.inode == inode)
    }

    /// The socket under this descriptor, by its link, else by its `fdinfo`: only its user, and whoever may override the
    /// rights of files, may look into the folder of links. `CAP_SYS_PTRACE` alone opens the other one.
    fn inode_at(&self, descriptor: i32) -> Option<u64> {
        let mut target = [0; LINK_MAX];
        match readlinkat_raw(&self.folder, format!("fd/{descriptor}"), target.as_mut_slice()) {
            Ok(length) => inode(target.get(..length)?),
            Err(Errno::ACCESS) => {
                let info = read_info(&self.folder, descriptor)?;
                // The numbers of files on a disk are those of sockets, too: what tells them apart is where they are.
                let is_socket = (*SOCKETS).is_some_and(|sockets| sockets == info.mount);
                is_socket.then_some(info.inode)
            }
            Err(_) => None,
        }
    }

    /// Looks through the descriptors, and not at more than `limit`.
    pub(super) fn descriptor(&self, sockets: &[Socket], limit: usize) -> Option<i32> {
        let open = |name| openat(&self.folder, name, READ_FOLDER, Mode::empty());
        let folder = open("fd").or_else(|_| open("fdinfo")).ok()?;
        find_number(&folder, limit, |descriptor| self.has_at(descriptor, sockets).then_some(descriptor))
    }

    /// How many descriptors it has; 0 where the kernel does not tell (before Linux 6.2).
    pub(super) fn descriptors(&self) -> u64 {
        let stat = statat(&self.folder, "fd", AtFlags::empty());
        stat.ok().and_then(|stat| u64::try_from(stat.st_size).ok()).unwrap_or_default()
    }

    /// The processes that its threads have forked, if it has so many threads; of more than `limit` the first ones. They
    /// may have ended.
    pub(super) fn children(&self, threads: u64, limit: usize) -> Vec<u32> {
        // The kernel lists them for each thread (`CONFIG_PROC_CHILDREN`).
        let mut children = Vec::new();
        if threads == 1 {
            self.children_of(self.pid, &mut children);
        } else if let Ok(folder) = openat(&self.folder, "task", READ_FOLDER, Mode::empty()) {
            find_number::<()>(&folder, limit, |thread| {
                self.children_of(thread, &mut children);
                None
            });
        }
        children
    }

    fn children_of(&self, thread: impl Display, children: &mut Vec<u32>) {
        let mut text = [0; CHILDREN_MAX];
        let Some(text) = self.folder.read(&format!("task/{thread}/children"), &mut text) else { return };
        let text = str::from_utf8(text).unwrap_or_default();
        // The last one is followed by a space, too, unless it is cut.
        let whole = text.rsplit_once(' ').map_or("", |(whole, _)| whole);
        children.extend(whole.split(' ').filter_map(|pid| pid.parse::<u32>().ok()));
    }

    /// The user that its `/proc` belongs to: its own, or root where it may not be looked at.
    pub(super) fn owner(&self) -> Option<u32> {
        self.folder.owner()
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }
}

const READ_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The pids of all processes there are, and not more than `limit`.
pub(super) fn everybody(limit: usize) -> Vec<u32> {
    let mut pids = Vec::new();
    if let Ok(folder) = openat(CWD, "/proc", READ_FOLDER, Mode::empty()) {
        find_number::<()>(&folder, limit, |pid| {
            pids.extend(u32::try_from(pid));
            None
        });
    }
    pids
}

/// What `/proc/PID/fdinfo` tells of a descriptor (proc_pid_fdinfo(5)); its inode since Linux 5.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Info {
    mount: u64,
    inode: u64,
}

/// Bytes of it that are read: what is wanted stands in the first four lines.
const INFO_MAX: usize = 256;

fn read_info(folder: &Folder, descriptor: i32) -> Option<Info> {
    let mut text = [0; INFO_MAX];
    let text = str::from_utf8(folder.read(&format!("fdinfo/{descriptor}"), &mut text)?).ok()?;
    let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Info { mount: number("mnt_id:")?, inode: number("ino:")? })
}

/// The mount that all sockets are on (the kernel's own `sockfs`).
static SOCKETS: LazyLock<Option<u64>> = LazyLock::new(|| {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    Some(read_info(&Folder::open(std::process::id()).ok()?, socket.as_raw_fd())?.mount)
});

/// Of a link's target. No path looks like this: paths begin with a slash.
fn inode(target: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    // Rust takes a plus sign, too.
    let number = str::from_utf8(number).ok().filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    number.parse().ok()
}

/// Visits the names in this folder that are numbers, not more than `limit`, until a visit finds something.
fn find_number<T>(folder: &OwnedFd, limit: usize, mut visit: impl FnMut(i32) -> Option<T>) -> Option<T> {
    let mut buffer = [MaybeUninit::uninit(); NAMES];
    let mut names = RawDir::new(folder, &mut buffer);
    let mut visited = 0;
    while visited < limit {
        let name = names.next()?.ok()?;
        let Some(number) = name.file_name().to_str().ok().and_then(|name| name.parse().ok()) else { continue };
        visited += 1;
        if let Some(found) = visit(number) {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_links() {
        let table: &[(&[u8], Option<u64>)] = &[
            (b"socket:[1]", Some(1)),
            (b"socket:[18446744073709551615]", Some(u64::MAX)),
            (b"socket:[18446744073709551616]", None),
            (b"socket:[]", None),
            (b"socket:[1", None),
            (b"socket:[+1]", None),
            (b"/socket:[1]", None),
            (b"pipe:[1]", None),
            (b"", None),
        ];
        for (target, expected) in table {
            assert_eq!(inode(target), *expected, "{}", target.escape_ascii());
        }
    }

    #[test]
    fn our_own_process() {
        let pid = std::process::id();
        let us = Process::open(pid).unwrap();
        let stat = us.stat().unwrap();
        assert_eq!(stat.ppid, std::os::unix::process::parent_id());
        assert_eq!(crate::process::look(pid).unwrap().start_time_us, stat.start_time_us, "the same as events have");
        let everybody = everybody(usize::MAX);
        assert!(everybody.contains(&pid) && everybody.contains(&1));
        assert_eq!(super::everybody(3).len(), 3);
    }
}
