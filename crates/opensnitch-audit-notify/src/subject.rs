//! Which program a connection is of, and sets of such programs in a file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use opensnitch_audit_client::Event;
use serde::{Deserialize, Serialize};

use crate::program::cut;

/// What a program is told, counted and muted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The path of a program, among the machine's own files.
    Program(String),
    /// An application, by the id of its desktop file.
    Application(String),
    /// The path of a program that sees other files than the machine's and names no application. Whoever made these files
    /// chose the path, so it is not the program of the same path.
    Sandboxed(String),
}

/// The longest name that is kept, in bytes: the longest path of Linux.
const MAX_NAME: usize = 4096;

impl Subject {
    /// Of an event. Where no path is known, the name of the thread stands for it.
    pub(crate) fn of(event: &Event) -> Self {
        let path = event.proc_path.as_deref().or(event.proc_name.as_deref()).unwrap_or_default();
        let path = cut(path, MAX_NAME);
        match (event.mount_namespace, event.app.as_deref()) {
            (Some(true), Some(app)) => Self::Application(cut(app, MAX_NAME)),
            (Some(true), None) => Self::Sandboxed(path),
            _ => Self::Program(path),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Program(name) | Self::Application(name) | Self::Sandboxed(name) => name,
        }
    }
}

/// A set of programs, as it stands in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subjects {
    #[serde(default)]
    programs: BTreeSet<String>,
    #[serde(default)]
    applications: BTreeSet<String>,
    #[serde(default)]
    sandboxed: BTreeSet<String>,
}

/// The most that one of the three lists holds: more programs than a person will mute, and few enough to look through.
const MAX_NAMES: usize = 4096;
/// The longest file that is read, in bytes: all lists full of paths of usual length.
const MAX_FILE: u64 = 4 << 20;

/// Above the lists in a file.
const HEADER: &str = "# Written by opensnitch-audit-notify, anew with each change.\n\n";

/// Why a file of programs cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{0} cannot be read: {1}. Mend or remove it")]
    Read(PathBuf, io::Error),
    #[error("{0} is not a list of programs: {1}. Mend or remove it")]
    Format(PathBuf, Box<toml::de::Error>),
    #[error("{0} cannot be written: {1}")]
    Write(PathBuf, io::Error),
    #[error("{0} already names {MAX_NAMES} programs. Undo some with 'opensnitch-audit-notify muted undo'")]
    Full(PathBuf),
}

impl Subjects {
    pub(crate) fn contains(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Program(path) => self.programs.contains(path),
            Subject::Application(app) => self.applications.contains(app),
            Subject::Sandboxed(path) => self.sandboxed.contains(path),
        }
    }

    /// Takes one in; `false` where there is no room.
    pub(crate) fn insert(&mut self, subject: &Subject) -> bool {
        let list = match subject {
            Subject::Program(_) => &mut self.programs,
            Subject::Application(_) => &mut self.applications,
            Subject::Sandboxed(_) => &mut self.sandboxed,
        };
        let is_in = list.contains(subject.name());
        if !is_in && list.len() >= MAX_NAMES {
            return false;
        }
        is_in || list.insert(subject.name().to_owned())
    }

    /// Takes out whatever has this name, and tells whether there was any.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        // Each of them, so without `||`.
        let removed = [&mut self.programs, &mut self.applications, &mut self.sandboxed].map(|list| list.remove(name));
        removed.contains(&true)
    }

    /// All of them: programs, applications, programs in sandboxes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Subject> {
        let programs = self.programs.iter().cloned().map(Subject::Program);
        let applications = self.applications.iter().cloned().map(Subject::Application);
        programs.chain(applications).chain(self.sandboxed.iter().cloned().map(Subject::Sandboxed))
    }

    fn is_too_long(&self) -> bool {
        [&self.programs, &self.applications, &self.sandboxed].iter().any(|list| list.len() > MAX_NAMES)
    }
}

/// A file of programs.
#[derive(Debug)]
pub(crate) struct SubjectsFile {
    path: PathBuf,
    /// When the file was changed that was read last; nothing where there was none.
    read: Option<SystemTime>,
}

impl SubjectsFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, read: None }
    }

    /// What it holds; nothing where there is no file.
    pub(crate) fn read(&mut self) -> Result<Subjects, FileError> {
        self.read = self.changed();
        read(&self.path)
    }

    /// Whether it is another one than was read.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed() != self.read
    }

    fn changed(&self) -> Option<SystemTime> {
        fs::metadata(&self.path).ok()?.modified().ok()
    }

    /// Changes what it holds. Whoever else does so at the same time waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Subjects) -> Option<T>) -> Result<Option<T>, FileError> {
        let cannot = |error| FileError::Write(self.path.clone(), error);
        // Where it is a link to a file kept elsewhere, that one is written.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(cannot)?;
        let lock = File::open(folder).map_err(cannot)?;
        lock.lock().map_err(cannot)?;
        let mut subjects = read(&path)?;
        let Some(outcome) = change(&mut subjects) else { return Ok(None) };
        write(&path, &subjects).map_err(cannot)?;
        Ok(Some(outcome))
    }

    /// Holds these from now on.
    pub(crate) fn keep(&self, held: &Subjects) -> Result<(), FileError> {
        let cannot = |error| FileError::Write(self.path.clone(), error);
        fs::create_dir_all(self.path.parent().unwrap_or(Path::new("."))).map_err(cannot)?;
        write(&self.path, held).map_err(cannot)
    }

    /// Takes one in.
    pub(crate) fn insert(&self, subject: &Subject) -> Result<(), FileError> {
        match self.change(|subjects| subjects.insert(subject).then_some(()))? {
            Some(()) => Ok(()),
            None => Err(FileError::Full(self.path.clone())),
        }
    }
}

fn read(path: &Path) -> Result<Subjects, FileError> {
    let cannot = |error| FileError::Read(path.to_owned(), error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Subjects::default()),
        file => file.map_err(cannot)?,
    };
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(cannot)?;
    let too_long =
        || cannot(io::Error::other(format!("it is longer than {MAX_FILE} bytes, or a list than {MAX_NAMES}")));
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(too_long());
    }
    let subjects: Subjects =
        toml::from_str(&text).map_err(|error| FileError::Format(path.to_owned(), Box::new(error)))?;
    if subjects.is_too_long() { Err(too_long()) } else { Ok(subjects) }
}

/// In one step, so that nobody reads half of it.
fn write(path: &Path, subjects: &Subjects) -> io::Result<()> {
    let text = toml::to_string_pretty(subjects).map_err(io::Error::other)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(HEADER.as_bytes())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(path: &str, app: Option<&str>, elsewhere: bool) -> Event {
        let mut event = Event::default();
        event.proc_path = Some(path.to_owned());
        event.app = app.map(str::to_owned);
        event.mount_namespace = elsewhere.then_some(true);
        event
    }

    #[test]
    fn a_path_of_other_files_is_another_program() {
        let own = Subject::of(&event("/usr/bin/curl", None, false));
        let sandboxed = Subject::of(&event("/usr/bin/curl", None, true));
        let mut muted = Subjects::default();
        assert!(muted.insert(&own));
        assert!(muted.contains(&own) && !muted.contains(&sandboxed));
        // A terminal's name is not that of what runs in it.
        assert_eq!(Subject::of(&event("/usr/bin/curl", Some("org.kde.konsole"), false)), own);
        let application = Subject::Application("org.mozilla.firefox".to_owned());
        assert_eq!(Subject::of(&event("/app/bin/firefox", Some("org.mozilla.firefox"), true)), application);
    }

    #[test]
    fn a_file_holds_every_name_and_gives_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = SubjectsFile::at(folder.path().join("below/muted.toml"));
        assert!(!file.has_changed());
        let subjects = [
            Subject::Program("/tmp/\"\n\u{202e}\\x ü".to_owned()),
            Subject::Application("org.mozilla.firefox".to_owned()),
            Subject::Sandboxed("/app/x".to_owned()),
        ];
        for subject in &subjects {
            file.insert(subject).unwrap();
            file.insert(subject).unwrap();
        }
        assert!(file.has_changed());
        assert_eq!(file.read().unwrap().iter().collect::<Vec<_>>(), subjects);
        assert!(!file.has_changed());
        assert_eq!(file.change(|held| held.remove("/app/x").then_some(())).unwrap(), Some(()));
        assert_eq!(file.change(|held| held.remove("/app/x").then_some(())).unwrap(), None);
        assert_eq!(file.read().unwrap().iter().count(), 2);
    }

    #[test]
    fn a_file_that_is_no_list_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("muted.toml");
        for text in ["programs = 3", "colour = \"red\"", "\u{0}", "programs = [\"a\""] {
            fs::write(&path, text).unwrap();
            let error = SubjectsFile::at(path.clone()).insert(&Subject::Program("/x".to_owned())).unwrap_err();
            assert!(error.to_string().contains("muted.toml is not a list of programs"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
        let error = SubjectsFile::at(path).read().unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
    }

    #[test]
    fn a_list_that_is_full_says_so() {
        let mut subjects = Subjects::default();
        for number in 0..MAX_NAMES {
            assert!(subjects.insert(&Subject::Program(number.to_string())));
        }
        assert!(!subjects.insert(&Subject::Program("one more".to_owned())));
        assert!(subjects.insert(&Subject::Program("7".to_owned())));
    }
}
