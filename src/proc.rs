//! Reads `/proc`: only what cannot hang, but for [`Folder::title`] and [`Folder::program_file`].

use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, fstat, openat, readlinkat, statx};
use rustix::io;
use rustix::process::{Pid, test_kill_process};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of `stat` and `status` that are read: the fields that are used stand in the first few hundred.
const MAX_STAT_BYTES: usize = 1024;

/// A cgroup's path is at most this long, in bytes (`PATH_MAX`, and the kernel pads no more lines than hierarchies).
const MAX_CGROUP_BYTES: usize = 8 * 1024;

/// A name has 15 bytes (`TASK_COMM_LEN`), that of a kernel thread with its work some more.
const MAX_COMM_BYTES: usize = 64;

/// The folder of one process, kept open: all files that are opened below it are this process's, even when it has ended and
/// its pid is another's.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// Which file a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProgramFile {
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

/// From `stat`, proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Its parent at this moment; 0 where it has none.
    pub(crate) ppid: u32,
    /// In microseconds since boot, as exact as the kernel's clock tick.
    pub(crate) start_time_us: u64,
    pub(crate) threads: u64,
    /// Its first thread has ended; others may be left.
    pub(crate) is_zombie: bool,
}

impl Stat {
    /// No thread of it is left. A first thread that ended before the others looks like a zombie too.
    pub(crate) const fn has_ended(&self) -> bool {
        self.is_zombie && self.threads <= 1
    }
}

impl Folder {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()).map(Self)
    }

    pub(crate) fn stat(&self) -> Option<Stat> {
        stat(self.read("stat", &mut [0; MAX_STAT_BYTES])?)
    }

    /// Its real user.
    pub(crate) fn uid(&self) -> Option<u32> {
        uid(self.read("status", &mut [0; MAX_STAT_BYTES])?)
    }

    /// One line for each hierarchy, cgroups(7).
    pub(crate) fn cgroups(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; MAX_CGROUP_BYTES];
        let length = self.read("cgroup", &mut buffer)?.len();
        buffer.truncate(length);
        Some(buffer)
    }

    /// The file of its program; none where it is a kernel thread.
    pub(crate) fn exe(&self) -> Option<Box<[u8]>> {
        self.link("exe")
    }

    pub(crate) fn comm(&self) -> Option<Box<[u8]>> {
        Some(self.read("comm", &mut [0; MAX_COMM_BYTES])?.trim_ascii_end().into())
    }

    /// The folder that its first thread takes for `/`.
    pub(crate) fn root(&self) -> Option<Box<[u8]>> {
        self.link("root")
    }

    /// The number of its mount namespace, as text.
    pub(crate) fn mounts(&self) -> Option<Box<[u8]>> {
        self.link("ns/mnt")
    }

    /// Its arguments, at most `limit` bytes of them. **May hang for ever**: it is read from the memory of the process.
    pub(crate) fn title(&self, limit: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; limit];
        let length = self.read("cmdline", &mut buffer)?.len();
        buffer.truncate(length);
        Some(buffer)
    }

    /// Which file its program is. **May hang for ever** where the file is on a network's file system.
    pub(crate) fn program_file(&self) -> Option<ProgramFile> {
        // Of what is known there: a file system of the user's own is not asked.
        let flags = AtFlags::STATX_DONT_SYNC;
        let file = statx(&self.0, "exe", flags, StatxFlags::INO).ok()?;
        Some(ProgramFile { device: (file.stx_dev_major, file.stx_dev_minor), inode: file.stx_ino })
    }

    /// Its real user's, or root's where it may not be looked at.
    pub(crate) fn owner(&self) -> Option<u32> {
        Some(fstat(&self.0).ok()?.st_uid)
    }

    fn link(&self, name: &str) -> Option<Box<[u8]>> {
        Some(readlinkat(&self.0, name, Vec::new()).ok()?.into_bytes().into())
    }

    /// What a file below it holds, as far as it fits into the buffer.
    pub(crate) fn read<'a>(&self, file: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let file = openat(&self.0, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut length = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(length..) {
            match io::retry_on_intr(|| io::read(&file, &mut *rest)).ok()? {
                0 => break,
                read => length += read,
            }
        }
        buffer.get(..length)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// When the process with this pid started, in microseconds since boot; none where there is no such process.
pub(crate) fn start_time_us(pid: u32) -> Option<u64> {
    let stat = stat_of(pid)?;
    (!stat.has_ended()).then_some(stat.start_time_us)
}

/// Whether the process with this pid that started then runs; none where it cannot be looked at: no file descriptor was left,
/// say, or `/proc` is not there.
pub(crate) fn runs(pid: u32, start_time_us: u64) -> Option<bool> {
    match stat_of(pid) {
        Some(stat) => Some(!stat.has_ended() && stat.start_time_us == start_time_us),
        None => (!exists(pid)).then_some(false),
    }
}

/// Whether there is such a process, and `/proc` does not say that it has ended.
pub(crate) fn may_run(pid: u32) -> bool {
    exists(pid) && !stat_of(pid).is_some_and(|stat| stat.has_ended())
}

fn stat_of(pid: u32) -> Option<Stat> {
    Folder::open(pid).ok()?.stat()
}

fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(io::Errno::SRCH))
}

/// In milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    milliseconds(now(ClockId::Realtime))
}

/// The time since boot, in microseconds.
pub(crate) fn uptime_us() -> u64 {
    now(ClockId::Boottime).as_micros().try_into().unwrap_or(u64::MAX)
}

/// The time since some fixed moment, as exact as the kernel's tick: a few milliseconds, for a fraction of an exact one's price.
pub(crate) fn ticks() -> Duration {
    now(ClockId::MonotonicCoarse)
}

/// A time since boot as one since the epoch, in milliseconds, by the machine's clock of now.
pub(crate) fn since_epoch_ms(since_boot_us: u64) -> u64 {
    let boot = now(ClockId::Realtime).saturating_sub(now(ClockId::Boottime));
    milliseconds(boot.saturating_add(Duration::from_micros(since_boot_us)))
}

fn now(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

fn stat(text: &[u8]) -> Option<Stat> {
    // The name, in round brackets, may hold anything: brackets, spaces and line ends too.
    let end_of_name = text.iter().rposition(|&byte| byte == b')')?;
    let mut fields = text.get(end_of_name + 1..)?.split(|byte| byte.is_ascii_whitespace()).filter(|f| !f.is_empty());
    // Counted from the third field of the man page, the state.
    let state = fields.next()?;
    let ppid = number(fields.next()?)?;
    let threads = number(fields.nth(15)?)?;
    let ticks: u64 = number(fields.nth(1)?)?;
    let start_time = u128::from(ticks) * 1_000_000 / u128::from(procfs::ticks_per_second());
    Some(Stat {
        ppid: ppid.try_into().ok()?,
        start_time_us: start_time.try_into().ok()?,
        threads,
        is_zombie: matches!(state, b"Z" | b"X" | b"x"),
    })
}

/// From `status`: the first of `Uid:`, proc_pid_status(5). The kernel escapes line ends in the name, which stands before.
fn uid(text: &[u8]) -> Option<u32> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    let mut fields = line.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    number(fields.next()?)?.try_into().ok()
}

fn number(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_fields() {
        let rest = "S 7 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 3 0 250 1 2 3";
        let hz = procfs::ticks_per_second();
        let expected = Some(Stat { ppid: 7, start_time_us: 250 * 1_000_000 / hz, threads: 3, is_zombie: false });
        for name in ["sh", "a b", ") Z 1 1 (", "x) S 1 2\n3 (y", ""] {
            assert_eq!(stat(format!("12 ({name}) {rest}\n").as_bytes()), expected, "{name:?}");
        }
    }

    #[test]
    fn lines_of_stat() {
        let line = |state: &str| {
            format!(
                "77 (a) R 1 (b) {state} 5 77 77 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 3 0 4242 9 9 18446744073709551615\n"
            )
        };
        let start_time_us = 4242 * 1_000_000 / procfs::ticks_per_second();
        let expected = Stat { ppid: 5, threads: 3, start_time_us, is_zombie: false };
        assert_eq!(stat(line("S").as_bytes()), Some(expected));
        for ended in ["Z", "X", "x"] {
            assert_eq!(stat(line(ended).as_bytes()), Some(Stat { is_zombie: true, ..expected }), "{ended}");
        }
        for cut in 0..line("S").find("4242").unwrap() {
            assert_eq!(stat(&line("S").as_bytes()[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn a_zombie_has_ended_only_without_threads() {
        for (state, threads, ended) in
            [("Z", 1, true), ("Z", 0, true), ("Z", 4, false), ("X", 1, true), ("D", 1, false)]
        {
            let text = format!("1 (x) {state} 7 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 {threads} 0 250 1");
            assert_eq!(stat(text.as_bytes()).unwrap().has_ended(), ended, "{state} {threads}");
        }
    }

    #[test]
    fn what_is_cut_or_garbage_is_no_stat() {
        for text in
            ["", "1 (x", "1 (x)", "1 (x) S", "1 (x) S x 2", "1 (x) S 7 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 1 0"]
        {
            assert_eq!(stat(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_real_uid_is_the_first() {
        let table = [
            ("Name:\tx\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nGid:\t1\t1\t1\t1\n", Some(1000)),
            ("Name:\tUid:\\n\nUid:\t7\t0\t0\t0\n", Some(7)),
            ("Name:\tx\nUid:\t4294967295\t0\t0\t0\n", Some(u32::MAX)),
            ("Name:\tx\nUid:\t\n", None),
            ("Name:\tx\n", None),
        ];
        for (text, expected) in table {
            assert_eq!(uid(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn our_own_folder() {
        let folder = Folder::open(std::process::id()).unwrap();
        let stat = folder.stat().unwrap();
        assert!(!stat.has_ended() && stat.ppid > 0 && stat.start_time_us < uptime_us());
        assert_eq!(folder.uid(), Some(rustix::process::getuid().as_raw()));
        let exe = std::env::current_exe().unwrap();
        assert_eq!(folder.exe().as_deref(), Some(exe.as_os_str().as_encoded_bytes()));
        assert!(folder.mounts().unwrap().starts_with(b"mnt:[") && folder.root().as_deref() == Some(b"/"));
        let file = std::fs::metadata(exe).unwrap();
        let device =
            rustix::fs::makedev(folder.program_file().unwrap().device.0, folder.program_file().unwrap().device.1);
        let inode = folder.program_file().unwrap().inode;
        assert_eq!(
            (device, inode),
            (std::os::unix::fs::MetadataExt::dev(&file), std::os::unix::fs::MetadataExt::ino(&file))
        );
        assert!(folder.cgroups().unwrap().ends_with(b"\n"));
        assert!(folder.title(4096).unwrap().ends_with(b"\0") && folder.title(3).unwrap().len() == 3);
        assert!(Folder::open(u32::MAX).is_err() && start_time_us(u32::MAX).is_none());
    }
}
