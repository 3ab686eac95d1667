//! auditd's af_unix plugin: what its file says, and what it should say for the version that reads it.
//!
//! The file is read as auditd reads it (`audisp/audispd-pconfig.c`): words between spaces, a name, `=`, values.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Finding, RESTART, Severity, quoted};

/// auditd's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// From text like `3.0.9`, `4.2` or `3.1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
        parts.next().is_none().then_some(version)
    }

    /// From here on the plugin is a program of its own.
    const PROGRAM: Self = Self(3, 1, 1);

    /// From here on the plugin's file says in which format the socket's client wants its records.
    const THIRD_ARGUMENT: Self = Self(4, 0, 3);

    /// From here on the socket is in a folder of auditd's own.
    const OWN_FOLDER: Self = Self(4, 1, 2);

    /// Whether the plugin sends text without line ends.
    const fn forgets_newlines(self) -> bool {
        matches!(self, Self(4, 0, 4 | 5))
    }

    /// Whether the plugin takes what auditd sends it for binary, whatever the file says: text is dropped then. The versions
    /// between them look first.
    const fn takes_binary_only(self) -> bool {
        matches!(self, Self(4, 0, 3) | Self(4, 1, 1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A file of auditd's that configures an af_unix plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Which file.
    pub file: PathBuf,
    /// Names and values, in their order.
    lines: Vec<(String, Vec<String>)>,
    /// The number of a line that makes auditd skip the whole file.
    broken: Option<usize>,
}

impl Plugin {
    /// From the file's text; `None` where it configures another plugin.
    #[must_use]
    pub fn parse(file: PathBuf, text: &str) -> Option<Self> {
        let mut plugin = Self { file, lines: Vec::new(), broken: None };
        for (number, line) in text.split('\n').enumerate() {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            match (words.next(), words.next(), words.next()) {
                (None, ..) => {}
                (Some(name), ..) if name.starts_with('#') => {}
                (Some(name), Some("="), Some(first)) => {
                    let values = std::iter::once(first).chain(words).map(str::to_owned).collect();
                    plugin.lines.push((name.to_owned(), values));
                }
                _ => plugin.broken = plugin.broken.or(Some(number + 1)),
            }
        }
        plugin.is_af_unix().then_some(plugin)
    }

    /// Whether auditd starts it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.broken.is_none() && self.word("active").is_some_and(|word| word.eq_ignore_ascii_case("yes"))
    }

    fn is_af_unix(&self) -> bool {
        let by_path = self.word("path").is_some_and(|path| is_builtin(path) || is_program(path));
        by_path || self.file.file_name().is_some_and(|name| name == "af_unix.conf")
    }

    fn values(&self, name: &str) -> Option<&[String]> {
        self.lines.iter().rfind(|(line, _)| line == name).map(|(_, values)| &**values)
    }

    fn word(&self, name: &str) -> Option<&str> {
        self.values(name)?.first().map(String::as_str)
    }

    /// The command that switches it off.
    pub(super) fn switch_off(&self) -> String {
        format!("sed -i 's/^ *active *=.*/active = no/' {} && {RESTART}", quoted(&self.file.to_string_lossy()))
    }

    /// The command that makes its formats the wanted ones.
    pub(super) fn switch_to(&self, wanted: &Wanted, sockets: &[PathBuf]) -> String {
        self.edit(&[("args", wanted.args(sockets)), ("format", "binary".to_owned())])
    }

    /// What is wrong with it for this auditd, if anything: the service looks for one of these `sockets`.
    pub(super) fn finding(&self, wanted: &Wanted, sockets: &[PathBuf]) -> Option<Finding> {
        let mut wrong: Vec<(&str, String)> = Vec::new();
        if !self.word("active").is_some_and(|word| word.eq_ignore_ascii_case("yes")) {
            wrong.push(("active", "yes".to_owned()));
        }
        let is_wanted = if wanted.is_program { is_program } else { is_builtin };
        if !self.word("path").is_some_and(is_wanted) {
            wrong.push(("path", wanted.path.clone()));
        }
        if !self.word("type").is_some_and(|word| word.eq_ignore_ascii_case(wanted.kind())) {
            wrong.push(("type", wanted.kind().to_owned()));
        }
        if !self.has_good_args(wanted, sockets) {
            wrong.push(("args", wanted.args(sockets)));
        }
        if wanted.binary && self.word("format") != Some("binary") {
            wrong.push(("format", "binary".to_owned()));
        }
        let file = self.file.display();
        let (id, what) = match (self.broken, wrong.first()) {
            (Some(number), _) => {
                ("plugin-wrong", format!("its line {number} is not 'name = value', so auditd skips it"))
            }
            (None, Some(("active", _))) => ("plugin-inactive", "it is not active".to_owned()),
            (None, Some(_)) => ("plugin-wrong", "it is not as this auditd needs it".to_owned()),
            (None, None) => return None,
        };
        let lines: Vec<String> = wrong.iter().map(|(name, value)| format!("'{name} = {value}'")).collect();
        let lines = if lines.is_empty() { String::new() } else { format!(": it has to say {}", lines.join(", ")) };
        let message = format!("auditd's af_unix plugin is configured in {file}, and {what}{lines}");
        let remedy = match self.lines.is_empty() {
            true => wanted.write(&self.file, sockets),
            false => self.edit(&wrong),
        };
        Some(Finding::new(id, Severity::Error, message, remedy))
    }

    /// The command that makes these lines so.
    fn edit(&self, lines: &[(&str, String)]) -> String {
        let mut script = Vec::new();
        if self.broken.is_some() {
            // Name, '=' and value are set apart; a line that is no such thing at all becomes a comment.
            script.push(r"-e 's/^ *(\w+) *= */\1 = /' -e '/^ *($|#|\w+ = .)/!s/^/#/'".to_owned());
        }
        script.extend(lines.iter().map(|(name, value)| match self.values(name) {
            Some(_) => format!("-e 's|^ *{name} *=.*|{name} = {value}|'"),
            None => format!("-e '$a {name} = {value}'"),
        }));
        format!("sed -i -E {} {} && {RESTART}", script.join(" "), quoted(&self.file.to_string_lossy()))
    }

    /// A mode with which root may write, one of our sockets, and the format where it is needed; in any order
    /// (`setup_socket` in `audisp-af_unix.c`).
    fn has_good_args(&self, wanted: &Wanted, sockets: &[PathBuf]) -> bool {
        let args = self.values("args").unwrap_or_default();
        let mode = args.iter().find(|arg| arg.starts_with(|first: char| first.is_ascii_digit()));
        let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let socket = args.iter().find(|arg| arg.contains('/'));
        let serves = |ours: &PathBuf| socket.is_some_and(|socket| same_place(Path::new(socket), ours));
        let has = |format: &str| args.iter().any(|arg| arg == format);
        let has_format = match wanted.client {
            Client::Binary => has("binary"),
            Client::Either if wanted.binary => has("string") || has("binary"),
            Client::Either => true,
        };
        mode.is_some_and(|mode| mode & 0o200 != 0) && (sockets.is_empty() || sockets.iter().any(serves)) && has_format
    }
}

fn is_builtin(path: &str) -> bool {
    path.eq_ignore_ascii_case("builtin_af_unix")
}

fn is_program(path: &str) -> bool {
    path.ends_with("/audisp-af_unix")
}

/// `/var/run` is `/run` everywhere that has systemd.
fn same_place(one: &Path, other: &Path) -> bool {
    let short = |path: &Path| path.strip_prefix("/var").map_or(path.to_owned(), |rest| Path::new("/").join(rest));
    short(one) == short(other)
}

/// What the plugin's file has to say for one auditd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Whether the plugin is a program of its own, or part of auditd.
    is_program: bool,
    /// What `path` should be.
    path: String,
    /// Where the socket is by default.
    socket: &'static str,
    /// Whether `args` has the format, too.
    third_argument: bool,
    /// Whether nothing but `format = binary` works, and the third argument.
    binary: bool,
    /// In which format the service can read what the plugin sends.
    client: Client,
}

/// A format of the socket's client: the third argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Either,
    Binary,
}

impl Wanted {
    /// For this version; where it is not known, the plugin's `program` tells whether there is one.
    pub(super) fn of(version: Option<Version>, program: Option<&Path>) -> Self {
        let is_since = |first| version.is_some_and(|version| version >= first);
        let is_program = version.map_or(program.is_some(), |version| version >= Version::PROGRAM);
        let program = program.map_or("/sbin/audisp-af_unix".to_owned(), |program| program.display().to_string());
        Self {
            is_program,
            path: if is_program { program } else { "builtin_af_unix".to_owned() },
            socket: if is_since(Version::OWN_FOLDER) { "/run/audit/audispd_events" } else { "/var/run/audispd_events" },
            third_argument: is_since(Version::THIRD_ARGUMENT),
            binary: version.is_some_and(Version::takes_binary_only),
            client: Client::Either,
        }
        .framed_if(version.is_some_and(Version::forgets_newlines))
    }

    /// As the service can read it where text comes without line ends.
    pub(super) fn with_framing(self) -> Self {
        self.framed_if(true)
    }

    fn framed_if(self, needed: bool) -> Self {
        if needed { Self { third_argument: true, binary: true, client: Client::Binary, ..self } } else { self }
    }

    fn kind(&self) -> &'static str {
        if self.is_program { "always" } else { "builtin" }
    }

    /// The command that writes a whole new file.
    pub(super) fn write(&self, file: &Path, sockets: &[PathBuf]) -> String {
        let (path, kind, args) = (&self.path, self.kind(), self.args(sockets));
        let format = if self.third_argument { "binary" } else { "string" };
        format!(
            "printf '%s\\n' 'active = yes' 'direction = out' 'path = {path}' 'type = {kind}' 'args = {args}' \
             'format = {format}' >{} && {RESTART}",
            quoted(&file.to_string_lossy())
        )
    }

    fn args(&self, sockets: &[PathBuf]) -> String {
        let own = Path::new(self.socket);
        let looks = sockets.is_empty() || sockets.iter().any(|socket| same_place(own, socket));
        let socket = if looks { own } else { sockets.first().map_or(own, PathBuf::as_path) };
        let format = match self.client {
            Client::Binary => " binary",
            Client::Either if self.third_argument => " string",
            Client::Either => "",
        };
        format!("0640 {}{format}", socket.display())
    }
}
