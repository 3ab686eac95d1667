//! What the machine's files say of auditd. Reads, and nothing else: no program is started.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::plugin::Wanted;
use super::{Finding, Plugin, Severity, Version};
use crate::rules::running_machine;

/// A configuration file of auditd's, in bytes: they have a dozen short lines.
const MAX_FILE: u64 = 64 * 1024;

/// auditd itself, in bytes: 150 KB on Debian.
const MAX_PROGRAM: u64 = 4 * 1024 * 1024;

/// Files in the folder of plugins: each auditd ships less than ten.
const MAX_FILES: usize = 64;

/// auditd 3 and later, and auditd 2.
const FOLDERS: [&str; 2] = ["etc/audit/plugins.d", "etc/audisp/plugins.d"];

const DAEMONS: [&str; 2] = ["usr/sbin/auditd", "usr/bin/auditd"];
const PLUGINS: [&str; 3] = ["sbin/audisp-af_unix", "usr/sbin/audisp-af_unix", "usr/bin/audisp-af_unix"];

/// What is in auditd's files, and who the kernel's audit daemon is.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// auditd is installed.
    pub installed: bool,
    /// Its version, where its program tells.
    pub version: Option<Version>,
    /// The plugin's own program, where there is one.
    pub program: Option<PathBuf>,
    /// The folder of plugins.
    pub folder: PathBuf,
    /// The af_unix plugins in it, by their files' names.
    pub plugins: Vec<Plugin>,
    /// The folder of plugins could be read.
    pub readable: bool,
    /// The name of the process that the kernel sends its events to.
    pub daemon: Option<String>,
    /// The kernel's command line switches audit off.
    pub off_at_boot: bool,
    /// The kernel's command line switches x32 calls on.
    pub x32_at_boot: bool,
    /// To whom io_uring is closed: 0 nobody, 1 some, 2 everybody; none where there is no such switch.
    pub io_uring_disabled: Option<u8>,
    /// There are rules for this kind of machine.
    pub known_machine: bool,
}

impl Files {
    /// Reads them under this root, which is `/`. The kernel's audit daemon has this pid, 0 for none.
    #[must_use]
    pub fn read(root: &Path, daemon: u32) -> Self {
        let first =
            |paths: &[&str]| paths.iter().find(|path| root.join(path).exists()).map(|path| Path::new("/").join(path));
        let auditd = first(&DAEMONS);
        let folder = first(&FOLDERS).unwrap_or_else(|| Path::new("/").join(FOLDERS[0]));
        let plugins = read_plugins(root, &folder);
        let text =
            |path: &str| read(&root.join(path), MAX_FILE).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let boot = text("proc/cmdline").unwrap_or_default();
        let is_at_boot = |words: &[&str]| boot.split_ascii_whitespace().any(|word| words.contains(&word));
        Self {
            installed: auditd.is_some(),
            version: auditd.and_then(|auditd| version(&read(&inside(root, &auditd), MAX_PROGRAM).ok()?)),
            program: first(&PLUGINS),
            folder,
            readable: plugins.is_ok(),
            plugins: plugins.unwrap_or_default(),
            daemon: text(&format!("proc/{daemon}/comm")).ok().map(|name| name.trim_end().to_owned()),
            off_at_boot: is_at_boot(&["audit=0", "audit=off"]),
            x32_at_boot: is_at_boot(&[
                "syscall.x32",
                "syscall.x32=y",
                "syscall.x32=Y",
                "syscall.x32=1",
                "syscall.x32=on",
            ]),
            io_uring_disabled: text("proc/sys/kernel/io_uring_disabled").ok().and_then(|text| text.trim().parse().ok()),
            known_machine: running_machine().is_some(),
        }
    }

    /// What is wrong with the af_unix plugin, where the service looks for one of these sockets.
    pub(super) fn plugin_finding(&self, sockets: &[PathBuf]) -> Option<Finding> {
        let wanted = Wanted::of(self.version, self.program.as_deref());
        if !self.installed || !self.readable {
            return None;
        }
        let best = self.plugins.iter().find(|plugin| plugin.is_active()).or(self.plugins.first());
        if let Some(plugin) = best {
            return plugin.finding(&wanted, sockets);
        }
        let file = self.folder.join("af_unix.conf");
        Some(Finding::new(
            "plugin-missing",
            Severity::Error,
            format!("auditd's af_unix plugin has no file {}: auditd makes no socket", file.display()),
            wanted.write(&file, sockets),
        ))
    }
}

impl Files {
    /// The plugin sends text without line ends, and has to send the binary format.
    pub(super) fn newline_finding(&self, sockets: &[PathBuf]) -> Finding {
        let wanted = Wanted::of(self.version, self.program.as_deref()).with_framing();
        let remedy = match self.plugins.iter().find(|plugin| plugin.is_active()) {
            Some(plugin) => plugin.switch_to(&wanted, sockets),
            None => wanted.write(&self.folder.join("af_unix.conf"), sockets),
        };
        let version = self.version.map_or_else(String::new, |version| format!(" {version}"));
        Finding::new(
            "stream-without-newlines",
            Severity::Error,
            format!(
                "auditd{version} sends its records without line ends, so that text in one could pass for another: nothing \
                 of it is read. Its plugin can send them in its binary format, which has their lengths"
            ),
            remedy,
        )
    }
}

fn read_plugins(root: &Path, folder: &Path) -> io::Result<Vec<Plugin>> {
    let mut names: Vec<_> = fs::read_dir(inside(root, folder))?
        .take(MAX_FILES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        // Hidden files and copies like af_unix.conf.dpkg-old are none to auditd (`load_plugin_conf`).
        .filter(|name| !name.starts_with('.') && name.matches('.').count() <= 1)
        .collect();
    names.sort();
    let read_one = |name: &String| {
        let file = folder.join(name);
        let text = read(&inside(root, &file), MAX_FILE).ok()?;
        Plugin::parse(file, &String::from_utf8_lossy(&text))
    };
    Ok(names.iter().filter_map(read_one).collect())
}

/// An absolute path of the machine under another root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text in auditd's program that is nothing but a version: it writes it into `DAEMON_START`.
pub(super) fn version(program: &[u8]) -> Option<Version> {
    program.split(|byte| *byte == 0).find_map(|text| {
        let is_short = (3..=8).contains(&text.len()) && matches!(text.first(), Some(b'2'..=b'9'));
        let is_numbers = text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        if is_short && is_numbers { Version::parse(str::from_utf8(text).ok()?) } else { None }
    })
}
