//! The configuration: strict TOML, every key with a default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::rules::{Key, Scope};

/// Where the configuration is read from unless told otherwise. The file may be absent.
pub const DEFAULT_PATH: &str = "/etc/opensnitch-audit.toml";

/// How a service ends whose configuration cannot be used, `EX_CONFIG` of sysexits.h: to start again would not help, and the
/// unit says so (`RestartPreventExitStatus=`).
pub const EXIT_UNUSABLE: u8 = 78;

/// All settings. A key that is not one of these is an error that names line and key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where events come from.
    pub source: Source,
    /// auditd's socket: a path, or `auto` for the known places.
    pub socket: Socket,
    /// The key of the kernel rules; only events under it are ours.
    pub key: Key,
    /// Load the kernel rules at the start and remove them at the end.
    pub manage_rules: bool,
    /// Rules for execve and execveat too.
    pub execve: bool,
    /// Rules for sockets of every family, not only inet and inet6.
    pub local: bool,
    /// Rules for messages that are sent to an inet or inet6 address, too.
    pub sends: bool,
    /// Keep each event's records as received (`RawEvent`).
    pub keep_raw: bool,
    /// Write each event to the journal.
    pub journal: bool,
    /// Entries in the cache, 1 to 65,536.
    #[serde(deserialize_with = "max_events")]
    pub max_events: usize,
    /// Events in the history, 1 to 1,048,576.
    #[serde(deserialize_with = "history")]
    pub history: usize,
    /// Signals a second, 1 to 10,000; the bus must buffer them for a client that does not read.
    #[serde(deserialize_with = "signals_per_second")]
    pub signals_per_second: u32,
    /// Events alike within this time become one signal; 0 turns it off, 10,000 is the most.
    #[serde(rename = "coalesce_ms", deserialize_with = "coalesce_ms")]
    pub coalesce: Duration,
}

/// Where events come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// auditd's socket where it works, else the kernel's multicast.
    #[default]
    Auto,
    /// auditd's socket alone.
    Audisp,
    /// The kernel's multicast alone.
    Netlink,
}

impl Source {
    /// Whether auditd's socket is read.
    #[must_use]
    pub const fn reads_audisp(self) -> bool {
        matches!(self, Self::Auto | Self::Audisp)
    }

    /// Whether the kernel's multicast is read.
    #[must_use]
    pub const fn reads_multicast(self) -> bool {
        matches!(self, Self::Auto | Self::Netlink)
    }
}

/// Where auditd's socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Socket {
    /// At one of the known places.
    #[default]
    Auto,
    /// There, and nowhere else.
    Path(PathBuf),
}

impl Config {
    /// What the kernel's rules ask for.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        Scope { local: self.local, execve: self.execve, sends: self.sends }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: Source::Auto,
            socket: Socket::Auto,
            key: Key::default(),
            manage_rules: true,
            execve: false,
            local: false,
            sends: false,
            keep_raw: false,
            journal: false,
            max_events: 4096,
            history: 65_536,
            signals_per_second: 200,
            coalesce: Duration::from_millis(100),
        }
    }
}

/// Why a configuration cannot be used: the file, and where in it.
#[derive(Debug, thiserror::Error)]
#[error("the configuration {} cannot be {reason}", path.display())]
pub struct Error {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("read: {0}")]
    Read(std::io::Error),
    #[error("used: {}", .0.to_string().trim_end())]
    Parse(toml::de::Error),
}

impl Config {
    /// Reads the file at `path`, or the one at [`DEFAULT_PATH`], which may be absent.
    ///
    /// # Errors
    /// Where the file cannot be read, is no TOML, or holds a key or a value that does not exist; the message names file,
    /// line and key.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let error = |reason| Error { path: file.to_owned(), reason };
        match std::fs::read_to_string(file) {
            Ok(text) => toml::from_str(&text).map_err(|parse| error(Reason::Parse(parse))),
            Err(read) if path.is_none() && read.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(read) => Err(error(Reason::Read(read))),
        }
    }
}

impl<'de> Deserialize<'de> for Socket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "auto" => Ok(Self::Auto),
            path if path.starts_with('/') && path.len() < MAX_SOCKET_PATH => Ok(Self::Path(path.into())),
            other => Err(D::Error::custom(format!(
                "socket is \"auto\" or an absolute path of less than {MAX_SOCKET_PATH} bytes, not {other:?}"
            ))),
        }
    }
}

/// `sun_path` of unix(7), in bytes.
const MAX_SOCKET_PATH: usize = 108;

fn number<'de, D: Deserializer<'de>>(deserializer: D, name: &str, min: u32, max: u32) -> Result<u32, D::Error> {
    let number = i64::deserialize(deserializer)?;
    u32::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| D::Error::custom(format!("{name} is a number from {min} to {max}, not {number}")))
}

fn max_events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, "max_events", 1, 65_536).map(|number| number as usize)
}

fn history<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, "history", 1, 1_048_576).map(|number| number as usize)
}

fn signals_per_second<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    number(deserializer, "signals_per_second", 1, 10_000)
}

fn coalesce_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    number(deserializer, "coalesce_ms", 0, 10_000).map(|ms| Duration::from_millis(ms.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(Some(file.path())).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_the_defaults() {
        assert_eq!(load("").unwrap(), Config::default());
    }

    #[test]
    fn everything() {
        let config = load(
            "source = 'netlink'\nsocket = '/run/x'\nkey = 'k'\nmanage_rules = false\nexecve = true\nlocal = true\nsends = true\n\
             keep_raw = true\njournal = true\nmax_events = 10\nhistory = 30\nsignals_per_second = 20\ncoalesce_ms = 0\n",
        );
        let expected = Config {
            source: Source::Netlink,
            socket: Socket::Path("/run/x".into()),
            key: "k".parse().unwrap(),
            manage_rules: false,
            execve: true,
            local: true,
            sends: true,
            keep_raw: true,
            journal: true,
            max_events: 10,
            history: 30,
            signals_per_second: 20,
            coalesce: Duration::ZERO,
        };
        assert_eq!(config.unwrap(), expected);
    }

    #[test]
    fn an_error_names_file_line_and_key() {
        let table = [
            ("\nsokket = 'auto'", "line 2", "sokket"),
            ("source = 'both'", "line 1", "source"),
            ("socket = 'relative'", "line 1", "socket"),
            ("key = ''", "line 1", "key"),
            ("key = 'two words'", "line 1", "key"),
            ("key = 'k2345678901234567890123456789012'", "line 1", "key"),
            ("key = 5", "line 1", "key"),
            ("\n\nmax_events = 0", "line 3", "max_events"),
            ("max_events = 65537", "line 1", "max_events"),
            ("history = 0", "line 1", "history"),
            ("history = 1048577", "line 1", "history"),
            ("sends = 1", "line 1", "sends"),
            ("max_events = -1", "line 1", "max_events"),
            ("signals_per_second = 0", "line 1", "signals_per_second"),
            ("coalesce_ms = 10001", "line 1", "coalesce_ms"),
            ("local = 'yes'", "line 1", "local"),
            ("local", "line 1", "local"),
        ];
        for (text, line, key) in table {
            let error = load(text).unwrap_err();
            assert!(error.contains(line) && error.contains(key) && error.contains("/tmp"), "{text}: {error}");
        }
    }

    #[test]
    fn only_the_default_file_may_be_absent() {
        let error = Config::load(Some(Path::new("/nonexistent"))).unwrap_err().to_string();
        assert!(error.contains("/nonexistent") && error.contains("cannot be read"), "{error}");
    }
}
