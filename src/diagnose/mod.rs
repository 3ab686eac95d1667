//! Why events may not arrive.
//!
//! - **Facts** are what is known of the machine at one moment: of the kernel's audit, of auditd and its files, of our
//!   connection to it, of the caller. Whoever asks gathers them; [`Files::read`] reads those that are in files.
//! - A **finding** is one thing that is wrong, or may be, with one **remedy**: a line for root's shell.
//!
//! Guarantee: [`diagnose`] is a function of the facts alone. What is not known is not found fault with, and what only
//! follows from another finding is not told beside it.

mod files;
mod kernel;
mod link;
mod plugin;
#[cfg(test)]
mod tests;
mod unseen;

use std::fmt;
use std::time::Duration;

use crate::rules::{Error, Report};

pub use files::Files;
pub use link::Link;
pub use plugin::{Plugin, Version};

/// Works where `systemctl restart` is refused, too: Fedora's unit says `RefuseManualStop`, and its `service` has a way
/// round that of auditd's own.
const RESTART: &str = "service auditd restart";

/// The finding that no signal reaches whoever asked.
pub const CALLER_NOT_IN_GROUP: &str = "caller-not-in-group";

/// All that is known.
#[derive(Debug)]
pub struct Facts {
    /// The connection to auditd.
    pub link: Link,
    /// Of the kernel's audit; or why it is not known.
    pub kernel: Result<Report, Error>,
    /// The kernel's count of lost messages some time ago, and how long ago.
    pub lost_before: Option<(u32, Duration)>,
    /// In auditd's files, and of its process.
    pub files: Files,
    /// The key of our rules.
    pub key: String,
    /// Whether the service loads its rules by itself (`manage_rules`).
    pub manages_rules: bool,
    /// Whether our rules ask for messages that name a destination (`sends`).
    pub watches_sends: bool,
    /// Whether our rules ask for sockets of every family (`local`).
    pub watches_local: bool,
    /// Whether the service has switched the kernel's audit on.
    pub switched_on: bool,
    /// Whether the service can ask the kernel for the machine's sockets.
    pub finds_sockets: bool,
    /// Who does not read the signals that it asked the bus for, so that none are sent.
    pub listener: Option<Listener>,
    /// Who asks.
    pub caller: Caller,
    /// Whether polkit is on the bus, or can be started by it.
    pub polkit: bool,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The user's name, if the system knows one.
    pub name: Option<String>,
    /// A member of the group that receives the signals, by the credentials of the connection.
    pub is_member: bool,
}

/// Who listens to the signals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The connection's unique name.
    pub name: String,
    /// The process that made the connection.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pid, uid } = self;
        write!(f, "process {pid} of user {uid} ({name} on the bus)")
    }
}

/// How bad it is. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Events do not arrive.
    Error,
    /// Events may not arrive, or not all, or somebody cannot do what they may want to.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// Its name on the bus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, the same for ever.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What is wrong with what, and what follows from it.
    pub message: String,
    /// A line for root's shell.
    pub remedy: String,
}

impl Finding {
    fn new(id: &'static str, severity: Severity, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { id, severity, message: message.into(), remedy: remedy.into() }
    }
}

/// What is wrong, the worst first.
#[must_use]
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &facts.kernel {
        Ok(report) => {
            kernel::audit(report, &mut findings);
            kernel::rules(facts, report, &mut findings);
            kernel::loss(facts, report, &mut findings);
            unseen::unseen(facts, report, &mut findings);
        }
        Err(error) => findings.push(kernel::unavailable(error, &facts.files)),
    }
    let quiet_for_a_reason = findings.iter().any(|finding| finding.severity == Severity::Error);
    findings.extend(link::multicast(&facts.link, audisp(facts, quiet_for_a_reason)));
    findings.extend(link::no_multicast(&facts.link));
    // An auditd that came later has it on for itself.
    if facts.switched_on && facts.kernel.as_ref().is_ok_and(|report| report.status.pid == 0) {
        findings.push(Finding::new(
            "audit-switched-on",
            Severity::Info,
            "the kernel's audit was off and no auditd runs: the service has switched it on, and switches it off when it \
             is stopped. Until then the kernel prints some records to its log, 10 each 5 seconds at the most. Programs that \
             ran before audit was on for the first time since boot are seen when they are started again",
            "apt-get install --yes auditd || dnf install --assumeyes audit",
        ));
    }
    findings.extend(link::twice(facts));
    if !facts.finds_sockets {
        findings.push(Finding::new(
            "sock-diag-missing",
            Severity::Warning,
            "the service cannot look at the machine's sockets, because opensnitch-audit.socket did not hand it one: \
             GetEventByConnection answers from history only, and cannot tell who holds a socket that was passed on",
            "systemctl unmask opensnitch-audit.socket; systemctl stop opensnitch-audit.service && systemctl start \
             opensnitch-audit.socket opensnitch-audit.service",
        ));
    }
    findings.extend(facts.listener.as_ref().map(listener));
    findings.extend(caller(&facts.caller));
    if !facts.polkit {
        findings.push(Finding::new(
            "polkit-missing",
            Severity::Warning,
            "polkit is not there: nobody, root neither, may add or delete the rules, and nobody but root and the group \
             opensnitch-audit reads other users' events",
            "apt-get install --yes polkitd || dnf install --assumeyes polkit",
        ));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// What is wrong on the way through auditd.
fn audisp(facts: &Facts, quiet_for_a_reason: bool) -> Vec<Finding> {
    let link = &facts.link;
    if link.without_audisp {
        return Vec::new();
    }
    let plugin = match link {
        link if link.without_newlines => Some(facts.files.newline_finding(&link.sockets)),
        link if link.is_fruitless() => facts.files.plugin_finding(&link.sockets),
        _ => None,
    };
    let mut findings: Vec<Finding> = auditd(facts).into_iter().chain(plugin).collect();
    if findings.is_empty() {
        findings.extend(link::socket(link, quiet_for_a_reason));
    }
    findings
}

/// The daemon that the kernel sends its events to.
fn auditd(facts: &Facts) -> Option<Finding> {
    let report = facts.kernel.as_ref().ok()?;
    let consequence = match facts.link.by_multicast {
        Some(_) => "",
        None => ": the kernel has nobody to send events to",
    };
    let (message, remedy) = match (report.status.pid, &facts.files.daemon) {
        (0, _) if !facts.files.installed => (
            format!("auditd is not installed{consequence}"),
            "apt-get install --yes auditd || dnf install --assumeyes audit".to_owned(),
        ),
        (0, _) => (format!("auditd does not run{consequence}"), "systemctl enable --now auditd.service".to_owned()),
        (pid, Some(name)) if name != "auditd" && facts.link.connected.is_none() => (
            format!("the kernel sends its events to {name} (pid {pid}) and not to auditd: only one program gets them"),
            format!("kill {pid} && systemctl enable --now auditd.service"),
        ),
        _ => return None,
    };
    Some(Finding::new("auditd-missing", Severity::Error, message, remedy))
}

fn listener(listener: &Listener) -> Finding {
    Finding::new(
        "listener-never-reads",
        Severity::Warning,
        format!(
            "{listener} does not read the signals that it listens to, and the bus keeps them for it: no event is signalled, \
             to anybody, until it reads. Events are kept as ever, and SignalsLost counts"
        ),
        format!("kill {}", listener.pid),
    )
}

fn caller(caller: &Caller) -> Option<Finding> {
    if caller.uid == 0 || caller.is_member {
        return None;
    }
    let name = caller.name.as_deref().map_or_else(|| format!("\"$(id -nu {})\"", caller.uid), quoted);
    let who = caller.name.clone().unwrap_or_else(|| caller.uid.to_string());
    Some(Finding::new(
        CALLER_NOT_IN_GROUP,
        Severity::Info,
        format!(
            "{who} is not in the group opensnitch-audit, as far as this login knows: only the user's own events are shown, \
             and signalled to whoever subscribes. Joining it takes a new login"
        ),
        format!("groupadd --system --force opensnitch-audit && usermod --append --groups opensnitch-audit {name}"),
    ))
}

/// As one word of the shell's.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
