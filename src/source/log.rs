//! What auditd has written to disk: the end of `audit.log`, and of the rotated files before it.
//!
//! The files are looked through from their end in blocks, until one holds nothing young enough, so a huge log costs no more
//! than a small one. What is read are open files of a fixed length: a rotation takes nothing away, and what is appended
//! meanwhile is not looked at.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_records::{Framer, Line, parse};
use rustix::fs::{CWD, Mode, OFlags, openat};

/// Where auditd writes it, unless its `log_file` says otherwise (auditd.conf(5)).
pub const LOG_PATH: &str = "/var/log/audit/audit.log";

/// How far an assembler's clock goes with each line. A log has no other clock: what its records say is when a call was made,
/// which may have blocked for minutes before it was told, and how fast a file can be read says nothing.
///
/// So an event without an end, as every event on disk, is finished 2,000 lines after its first one. The records of one event
/// lie much closer together: the kernel writes them at once, and only those of other processors between them.
pub const LINE: Duration = Duration::from_millis(1);

/// Bytes of log that are looked at: 65,536 events of ours take as many.
pub const MAX_LOG_BYTES: u64 = 64 * 1024 * 1024;

/// Rotated files that are opened: the most that auditd keeps (`num_logs`, auditd.conf(5)).
const MAX_FILES: usize = 999;

/// What is read at once, in bytes.
const BLOCK: u64 = 64 * 1024;

/// Why a log was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It cannot be opened or read.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    /// What it says is not auditd's word.
    #[error("{} belongs to user {}, not to root", .0.display(), .1)]
    NotRoots(PathBuf, u32),
    /// A folder or a device.
    #[error("{} is no file", .0.display())]
    NoFile(PathBuf),
    /// It became shorter than it was.
    #[error("{} was cut off while it was read", .0.display())]
    CutOff(PathBuf),
}

impl LogError {
    /// There is no such file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Read(_, error) if error.kind() == ErrorKind::NotFound)
    }
}

/// The young end of a log.
#[derive(Debug, Default)]
pub struct Log {
    /// The newest first.
    parts: Vec<Part>,
}

/// One file of it, from the beginning of a line to where it ended when it was opened.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    from: u64,
    to: u64,
}

impl Log {
    /// Finds what the log at this path, and its siblings `.1`, `.2`, …, have since then, in milliseconds since the epoch; at
    /// most `limit` bytes of it. Older records may stand between. What was found before an error is there beside it.
    #[must_use]
    pub fn find(path: &Path, since_ms: u64, limit: u64) -> (Self, Option<LogError>) {
        let mut log = Self::default();
        let mut left = limit;
        let mut seen = HashSet::new();
        for number in 0..=MAX_FILES {
            let path = sibling(path, number);
            let opened = match open(&path) {
                Err(error) if number > 0 && error.is_absent() => break,
                Err(error) => return (log, Some(error)),
                Ok(opened) => opened,
            };
            let (file, length, identity) = opened;
            // It was rotated since its younger sibling was opened: what is there now is that very file.
            if !seen.insert(identity) {
                continue;
            }
            let mut part = Part { path, file, from: length, to: length };
            let found = part.find(since_ms, &mut left);
            let is_whole = part.from == 0;
            log.parts.push(part);
            match found {
                Err(error) => return (log, Some(error)),
                Ok(()) if is_whole && left > 0 => {}
                Ok(()) => break,
            }
        }
        (log, None)
    }

    /// Hands each line to `take`, the oldest first.
    ///
    /// # Errors
    /// Where a file cannot be read to its end. What stood before was handed on.
    pub fn read(self, mut take: impl FnMut(Line<'_>)) -> Result<(), LogError> {
        self.parts.into_iter().rev().try_for_each(|part| part.read(&mut take))
    }
}

impl Part {
    /// Moves `from` towards the beginning of the file, block by block, while there are young records.
    fn find(&mut self, since_ms: u64, left: &mut u64) -> Result<(), LogError> {
        let mut buffer = vec![0; usize::try_from(BLOCK).unwrap_or_default()];
        let mut end = self.to;
        while end > 0 && *left > 0 {
            let length = BLOCK.min(end).min(*left);
            let start = end - length;
            let Some(block) = usize::try_from(length).ok().and_then(|length| buffer.get_mut(..length)) else { break };
            self.read_at(block, start)?;
            let mut lines = block.split(|&byte| byte == b'\n');
            // Unless the file begins here, the first one may be the rest of a line: it is the block's before this one.
            let rest = if start > 0 { lines.next().map_or(0, |rest| rest.len() + 1) } else { 0 };
            let newest = lines.filter_map(|line| parse(line).ok()).map(|record| record.id.milliseconds).max();
            if newest.is_some_and(|newest| newest < since_ms) {
                break;
            }
            let rest = u64::try_from(rest).unwrap_or(length);
            // A block without the end of a line belongs to the line that ends behind it, and that is left out.
            if rest <= length {
                self.from = start + rest;
            }
            end = start;
            *left -= length;
        }
        Ok(())
    }

    fn read(self, take: &mut impl FnMut(Line<'_>)) -> Result<(), LogError> {
        let mut framer = Framer::default();
        let mut at = self.from;
        while at < self.to {
            let space = framer.space();
            let wanted = space.len().min(usize::try_from(self.to - at).unwrap_or(usize::MAX));
            let Some(space) = space.get_mut(..wanted) else { break };
            self.read_at(space, at)?;
            framer.filled(wanted);
            at += u64::try_from(wanted).unwrap_or_default();
            while let Some(line) = framer.line() {
                take(line);
            }
        }
        while let Some(line) = framer.last_line() {
            take(line);
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), LogError> {
        self.file.read_exact_at(buffer, at).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => LogError::CutOff(self.path.clone()),
            _ => LogError::Read(self.path.clone(), error),
        })
    }
}

/// `audit.log`, `audit.log.1`, …
fn sibling(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// A file, its length, and what tells it from all others.
fn open(path: &Path) -> Result<(File, u64, (u64, u64)), LogError> {
    let unreadable = |error| LogError::Read(path.to_owned(), error);
    // Whatever stands there, opening it does not wait.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| unreadable(error.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(LogError::NoFile(path.to_owned()));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(LogError::NotRoots(path.to_owned(), owner));
    }
    Ok((file, metadata.len(), (metadata.dev(), metadata.ino())))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const HOUR: u64 = 3600;

    fn line(second: u64, text: &str) -> String {
        format!("type=CWD msg=audit({second}.000:{second}): cwd={text}\n")
    }

    /// So many records, one a second.
    fn lines(seconds: std::ops::Range<u64>) -> String {
        seconds.map(|second| line(second, "\"/\"")).collect()
    }

    struct Folder(TempDir);

    impl Folder {
        fn new(files: &[(&str, String)]) -> Self {
            let folder = TempDir::new().unwrap();
            for (name, text) in files {
                fs::write(folder.path().join(name), text).unwrap();
            }
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn find(&self, since: u64, limit: u64) -> (Log, Option<LogError>) {
            Log::find(&self.path("audit.log"), since * 1000, limit)
        }

        /// The seconds of the lines that are found and not older.
        fn seconds(&self, since: u64, limit: u64) -> Vec<u64> {
            let (log, error) = self.find(since, limit);
            assert!(error.is_none(), "{error:?}");
            let mut seconds = seconds(log);
            seconds.retain(|second| *second >= since);
            seconds
        }
    }

    fn seconds(log: Log) -> Vec<u64> {
        let mut seconds = Vec::new();
        log.read(|line| seconds.push(parse(line).unwrap().id.milliseconds / 1000)).unwrap();
        seconds
    }

    #[test]
    fn the_last_hour_is_found_over_all_files_in_order() {
        // Some 43 bytes a line: the files have several blocks each.
        let (oldest, old, young) = (lines(0..9_000), lines(9_000..12_000), lines(12_000..20_000));
        let folder = Folder::new(&[("audit.log", young), ("audit.log.1", old), ("audit.log.2", oldest)]);
        for since in [0, 1, 8_000, 9_000, 9_001, 11_999, 12_000, 19_000, 19_999, 20_000, 30_000] {
            assert_eq!(folder.seconds(since, MAX_LOG_BYTES), (since..20_000).collect::<Vec<_>>(), "{since}");
        }
        // What is too old is not read, but for a block.
        let (log, _) = folder.find(19_000, MAX_LOG_BYTES);
        let read: u64 = log.parts.iter().map(|part| part.to - part.from).sum();
        assert!(read < 3 * BLOCK, "{read}");
    }

    #[test]
    fn never_more_than_the_limit_and_never_half_a_line() {
        let folder = Folder::new(&[("audit.log", lines(15_000..20_000)), ("audit.log.1", lines(10_000..15_000))]);
        for limit in [0, 1, 10, 100, 1_000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 4 * BLOCK, MAX_LOG_BYTES] {
            let seconds = folder.seconds(0, limit);
            let first = seconds.first().copied().unwrap_or(20_000);
            assert_eq!(seconds, (first..20_000).collect::<Vec<_>>(), "{limit}");
            assert!((20_000 - first) * 40 <= limit, "{limit}: {first}");
        }
    }

    #[test]
    fn a_call_that_blocked_for_hours_hides_nothing() {
        let text = lines(HOUR..2 * HOUR) + &line(1, "\"/\"") + &lines(2 * HOUR..3 * HOUR);
        let folder = Folder::new(&[("audit.log", text)]);
        assert_eq!(folder.seconds(HOUR, MAX_LOG_BYTES), (HOUR..3 * HOUR).collect::<Vec<_>>());
    }

    #[test]
    fn garbage_is_passed_over() {
        let garbage: String = "\0\u{1}x msg=audit(9.9 ".repeat(20_000);
        let long = format!("{garbage}\n{}\n", "y".repeat(200_000));
        let text = lines(0..2_000) + &long + &lines(2_000..4_000) + "type=CWD msg=audit(4000.0";
        let folder = Folder::new(&[("audit.log", text)]);
        let (log, error) = folder.find(0, MAX_LOG_BYTES);
        assert!(error.is_none());
        let mut seconds = Vec::new();
        log.read(|line| seconds.extend(parse(line).ok().map(|record| record.id.milliseconds / 1000))).unwrap();
        assert_eq!(seconds, (0..4_000).collect::<Vec<_>>());
        // Text that looks like a record and begins a block, but no line.
        let forged = format!("x{}", line(7, "\"/\"").trim_end()).repeat(4_000);
        let folder = Folder::new(&[("audit.log", forged + "\n" + &lines(0..3))]);
        for limit in [1_000, 5_003, 40_000, BLOCK, MAX_LOG_BYTES] {
            assert_eq!(folder.seconds(0, limit), [0, 1, 2], "{limit}");
        }
    }

    #[test]
    fn a_rotation_in_between_takes_nothing_and_doubles_nothing() {
        let folder = Folder::new(&[("audit.log", lines(10..20)), ("audit.log.2", lines(0..10))]);
        // The file that was open already has its next name by now.
        fs::hard_link(folder.path("audit.log"), folder.path("audit.log.1")).unwrap();
        assert_eq!(folder.seconds(0, MAX_LOG_BYTES), (0..20).collect::<Vec<_>>());
        let (log, _) = folder.find(0, MAX_LOG_BYTES);
        for name in ["audit.log", "audit.log.1", "audit.log.2"] {
            fs::remove_file(folder.path(name)).unwrap();
        }
        assert_eq!(seconds(log), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let absent = Folder::new(&[]);
        let (log, error) = absent.find(0, MAX_LOG_BYTES);
        assert!(log.parts.is_empty() && error.unwrap().is_absent());

        let folder = Folder::new(&[("audit.log", lines(0..10))]);
        fs::create_dir(folder.path("audit.log.1")).unwrap();
        let (log, error) = folder.find(0, MAX_LOG_BYTES);
        assert!(matches!(error, Some(LogError::NoFile(_))), "{error:?}");
        assert_eq!(seconds(log), (0..10).collect::<Vec<_>>());

        symlink("audit.log.1", folder.path("audit.log.2")).unwrap();
        fs::remove_dir(folder.path("audit.log.1")).unwrap();
        symlink("audit.log.2", folder.path("audit.log.1")).unwrap();
        assert!(matches!(folder.find(0, MAX_LOG_BYTES).1, Some(LogError::Read(..))));

        let folder = Folder::new(&[("audit.log", lines(0..9_000))]);
        let (log, _) = folder.find(0, MAX_LOG_BYTES);
        File::options().write(true).open(folder.path("audit.log")).unwrap().set_len(200_000).unwrap();
        let mut read = 0;
        assert!(matches!(log.read(|_| read += 1), Err(LogError::CutOff(_))));
        assert!(read > 2_000, "{read}");
    }

    #[test]
    fn a_log_of_another_user_is_not_read() {
        if !crate::testing::may("root", rustix::process::geteuid().is_root()) {
            return;
        }
        let folder = Folder::new(&[("audit.log", lines(0..10))]);
        std::os::unix::fs::chown(folder.path("audit.log"), Some(65_534), None).unwrap();
        let (log, error) = folder.find(0, MAX_LOG_BYTES);
        assert!(log.parts.is_empty() && matches!(error, Some(LogError::NotRoots(_, 65_534))), "{error:?}");
    }
}
