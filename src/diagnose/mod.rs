//! Why events may not arrive.
//!
//! - **Facts** are what is known of the machine at one moment: of the kernel's audit, of auditd and its files, of our
//!   connection to it, of the caller. Whoever asks gathers them; [`Files::read`] reads those that are in files.
//! - A **finding** is one thing that is wrong, or may be, with one **remedy**: a line for root's shell.
//!
//! Guarantee: [`diagnose`] is a function of the facts alone. What is not known is not found fault with, and what only
//! follows from another finding is not told beside it.

mod files;
mod plugin;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::rules::{Enabled, Error, Needs, Report, State};

pub use files::Files;
pub use plugin::{Plugin, Version};

/// How long a connection on which nothing came is no cause for concern. Busy machines have records each second; within
/// this time systemd's timers alone bring some to most others.
const QUIET: Duration = Duration::from_secs(30);

/// So many connections in a row, closed before anything came, are no accident of a restart.
const MANY_DISMISSALS: u32 = 3;

/// What may wait in the kernel for auditd, in messages: Debian's own limit. The kernel's is 64, less than one busy moment.
const GOOD_BACKLOG: u32 = 8192;

/// More does not help an auditd that is too slow for good: it only loses later.
const MAX_BACKLOG: u32 = 65_536;

/// Events from which on a share of them means something.
const MANY_EVENTS: u64 = 100;

/// Rules named in a message; there are up to 14.
const MAX_NAMED: usize = 3;

/// Works where `systemctl restart` is refused, too: Fedora's unit says `RefuseManualStop`, and its `service` has a way
/// round that of auditd's own.
const RESTART: &str = "service auditd restart";

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
    /// Who asks.
    pub caller: Caller,
    /// Whether polkit is on the bus, or can be started by it.
    pub polkit: bool,
}

/// The connection to auditd, as the service knows it.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Where it looks for auditd's socket, the first choice first.
    pub sockets: Vec<PathBuf>,
    /// How long there has been a connection, if there is one, and how many lines came through it.
    pub connected: Option<(Duration, u64)>,
    /// Why there is none, socket by socket.
    pub refused: Vec<(PathBuf, ErrorKind)>,
    /// Connections in a row that auditd closed before a line came.
    pub dismissed: u32,
    /// Events assembled so far (`EventsAssembled`).
    pub assembled: u64,
    /// Records that came after their event was finished (`RecordsLate`).
    pub late: u64,
}

impl Link {
    /// Whether there is no connection, or one on which nothing comes.
    fn is_fruitless(&self) -> bool {
        self.connected.is_none_or(|(since, lines)| lines == 0 && (since >= QUIET || self.is_dismissed()))
    }

    fn is_dismissed(&self) -> bool {
        self.dismissed >= MANY_DISMISSALS
    }
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
            audit(report, &mut findings);
            rules(facts, report, &mut findings);
            loss(facts, report, &mut findings);
        }
        Err(error) => findings.push(unavailable(error, &facts.files)),
    }
    let auditd = auditd(facts);
    let plugin = if facts.link.is_fruitless() { facts.files.plugin_finding(&facts.link.sockets) } else { None };
    if auditd.is_none() && plugin.is_none() {
        let quiet_for_a_reason = findings.iter().any(|finding| finding.severity == Severity::Error);
        findings.extend(socket(&facts.link, quiet_for_a_reason));
    }
    findings.extend(auditd);
    findings.extend(plugin);
    findings.extend(twice(facts));
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

/// The kernel does not talk to the service about audit.
fn unavailable(error: &Error, files: &Files) -> Finding {
    if files.off_at_boot {
        return Finding::new(
            "audit-unavailable",
            Severity::Error,
            "the kernel was started with audit=0: it has no audit events until it is started without",
            "sed -i 's/ *\\baudit=\\(0\\|off\\)\\b//' /etc/default/grub && { update-grub || grub2-mkconfig -o \
             /boot/grub2/grub.cfg; } # then reboot",
        );
    }
    Finding::new(
        "audit-unavailable",
        Severity::Error,
        format!(
            "{error}. The service needs CAP_AUDIT_CONTROL in the initial user and pid namespaces (no container), which \
             its own unit gives it"
        ),
        "systemctl revert opensnitch-audit.service && systemctl restart opensnitch-audit.service",
    )
}

/// The switch, and the lock.
fn audit(report: &Report, findings: &mut Vec<Finding>) {
    // Out of auditd's files, which it loads again at its next start.
    let comment_out =
        |what: &str| format!("sed -i 's/^ *-{what}/#&/' /etc/audit/rules.d/*.rules /etc/audit/audit.rules");
    match report.status.enabled {
        Enabled::Off => findings.push(Finding::new(
            "audit-off",
            Severity::Error,
            "the kernel's audit is switched off: no program has audit events",
            "auditctl -e 1",
        )),
        Enabled::On => {}
        Enabled::Locked => {
            let (severity, consequence) = match report.state {
                State::All => (Severity::Info, "ours are loaded, and stay even when the service is stopped"),
                _ => (Severity::Error, "ours are not all loaded, and the service has to be there before the lock"),
            };
            findings.push(Finding::new(
                "rules-locked",
                severity,
                format!("the kernel's audit rules are immutable until the next boot: {consequence}"),
                format!("{} # then reboot", comment_out("e *2")),
            ));
        }
    }
    if report.silenced {
        findings.push(Finding::new(
            "rule-task-never",
            Severity::Error,
            "the rule '-a task,never' silences every program that is started under it, whatever other rules say; one \
             that runs already stays silent until it is started again",
            format!("{}; auditctl -d task,never", comment_out("a *\\(task,never\\|never,task\\)")),
        ));
    }
}

/// Our own rules.
fn rules(facts: &Facts, report: &Report, findings: &mut Vec<Finding>) {
    const ADD: &str = "opensnitch-auditctl rules add";

    let locked = report.status.enabled == Enabled::Locked;
    match &report.state {
        State::None if !facts.files.known_machine => findings.push(Finding::new(
            "rules-unknown-machine",
            Severity::Error,
            "the service has no rules for this kind of machine: it sees what other rules under its key ask for",
            format!("auditctl -a always,exit -S socket,connect -F key={}", facts.key),
        )),
        // The lock explains it, and has another remedy.
        State::None | State::Partly { .. } if locked => {}
        State::None => {
            let (severity, who) = match facts.manages_rules {
                true => (Severity::Error, "somebody removed them, or the kernel refused them when the service started"),
                false => (Severity::Warning, "the configuration says manage_rules = false"),
            };
            let message = format!("none of our rules is in the kernel ({who}): connections go unseen");
            findings.push(Finding::new("rules-missing", severity, message, ADD));
        }
        State::Partly { missing } => {
            let named: Vec<String> = missing.iter().take(MAX_NAMED).map(|rule| format!("'{rule}'")).collect();
            let rest = missing.len() - named.len();
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            let message = format!("some of our rules are not in the kernel: {}{rest}", named.join(", "));
            findings.push(Finding::new("rules-partly", Severity::Warning, message, ADD));
        }
        State::All => {}
    }
    let needs = |what| report.unsupported.iter().any(|rule| rule.needs() == Some(what));
    if needs(Needs::SaddrFam) {
        findings.push(Finding::new(
            "rules-unsupported-saddr-fam",
            Severity::Error,
            "this kernel cannot tell the families of addresses apart (that needs Linux 5.2): no connect is seen. It can \
             watch connects of all families, local ones too, which costs programs more time",
            "sed -i '/^ *local *=/d' /etc/opensnitch-audit.toml; echo 'local = true' >>/etc/opensnitch-audit.toml; \
             systemctl restart opensnitch-audit.service",
        ));
    }
    if needs(Needs::IoUring) {
        findings.push(Finding::new(
            "rules-unsupported-io-uring",
            Severity::Info,
            "this kernel does not report what is done through io_uring (that needs Linux 5.16): such connects are not \
             seen",
            "{ apt-get update && apt-get full-upgrade --yes; } || dnf upgrade --assumeyes kernel # then reboot",
        ));
    }
}

/// What the kernel could not hand on.
fn loss(facts: &Facts, report: &Report, findings: &mut Vec<Finding>) {
    let status = &report.status;
    let backlog = |limit: u32| format!("auditctl -b {limit}; echo '-b {limit}' >/etc/audit/rules.d/99-backlog.rules");
    // 0 is no limit.
    let small = (1..GOOD_BACKLOG).contains(&status.backlog_limit);
    // Without auditd all are lost, which has its own finding.
    if let Some((before, ago)) = facts.lost_before
        && status.lost > before
        && status.pid != 0
    {
        let lost = status.lost - before;
        let seconds = ago.as_secs();
        let (why, remedy) = match (status.rate_limit, status.backlog_limit) {
            (0, 0) => ("auditd did not take them".to_owned(), RESTART.to_owned()),
            (0, limit) => {
                let more = limit.saturating_mul(4).clamp(GOOD_BACKLOG, MAX_BACKLOG.max(limit));
                (format!("auditd did not take them in time, and only {limit} may wait"), backlog(more))
            }
            (rate, _) => (format!("it may write {rate} a second at the most"), "auditctl -r 0".to_owned()),
        };
        let message = format!("the kernel lost {lost} audit messages in the last {seconds} seconds: {why}");
        findings.push(Finding::new("kernel-loses", Severity::Warning, message, remedy));
    } else if small {
        let limit = status.backlog_limit;
        findings.push(Finding::new(
            "backlog-small",
            Severity::Info,
            format!("only {limit} messages may wait in the kernel for auditd: one busy moment, and events are lost"),
            backlog(GOOD_BACKLOG),
        ));
    }
}

/// The daemon that the kernel sends its events to.
fn auditd(facts: &Facts) -> Option<Finding> {
    let report = facts.kernel.as_ref().ok()?;
    let (message, remedy) = match (report.status.pid, &facts.files.daemon) {
        (0, _) if !facts.files.installed => (
            "auditd is not installed: the kernel has nobody to send events to".to_owned(),
            "apt-get install --yes auditd || dnf install --assumeyes audit".to_owned(),
        ),
        (0, _) => (
            "auditd does not run: the kernel has nobody to send events to".to_owned(),
            "systemctl enable --now auditd.service".to_owned(),
        ),
        (pid, Some(name)) if name != "auditd" && facts.link.connected.is_none() => (
            format!("the kernel sends its events to {name} (pid {pid}) and not to auditd: only one program gets them"),
            format!("kill {pid} && systemctl enable --now auditd.service"),
        ),
        _ => return None,
    };
    Some(Finding::new("auditd-missing", Severity::Error, message, remedy))
}

/// A socket that is there and of no use, or not there though it should be.
fn socket(link: &Link, quiet_for_a_reason: bool) -> Option<Finding> {
    let again = |path: &Path| format!("rm -f {} && {RESTART}", quoted(&path.to_string_lossy()));
    let find = |kind| link.refused.iter().find(|(_, refused)| *refused == kind).map(|(path, _)| path);
    let held = |severity, what: String| {
        let message = format!(
            "{what}: another program may hold auditd's socket, which serves one at a time. This shows who is connected; \
             end that one"
        );
        // The peers of auditd's end, by their inodes.
        let show = "ss -xpH | awk '$5 ~ /audispd_events/ { peer[$8] } { line[$6] = $0 } END { for (i in peer) print \
                    line[i] }'";
        Some(Finding::new("socket-held", severity, message, show))
    };
    match link.connected {
        Some((since, 0)) if since >= QUIET && !quiet_for_a_reason => {
            let seconds = since.as_secs();
            return held(Severity::Warning, format!("connected to auditd for {seconds} seconds, and nothing arrived"));
        }
        // It may be one more that is about to be closed.
        Some((_, 0)) if link.is_dismissed() => {}
        Some(_) => return None,
        None => {}
    }
    if link.is_dismissed() {
        return held(
            Severity::Error,
            format!("auditd closed the last {} connections before anything arrived", link.dismissed),
        );
    }
    if find(ErrorKind::WouldBlock).is_some() {
        return held(Severity::Error, "auditd's socket takes no more clients".to_owned());
    }
    let error = |id, message: String, remedy| Some(Finding::new(id, Severity::Error, message, remedy));
    if let Some(path) = find(ErrorKind::PermissionDenied) {
        let message = format!(
            "the service may not connect to {}: that takes write permission, which root has as its owner",
            path.display()
        );
        let path = quoted(&path.to_string_lossy());
        return error("socket-forbidden", message, format!("chown root {path} && chmod u+rw {path}"));
    }
    if let Some(path) = find(ErrorKind::ConnectionRefused) {
        let message = format!("{} is there, and nobody listens: an earlier auditd left it behind", path.display());
        return error("socket-stale", message, again(path));
    }
    if let Some((path, kind)) = link.refused.iter().find(|(_, kind)| *kind != ErrorKind::NotFound) {
        let message = format!("{} cannot be used, or is not served by root's auditd ({kind})", path.display());
        return error("socket-foreign", message, again(path));
    }
    let paths: Vec<String> = link.refused.iter().map(|(path, _)| path.display().to_string()).collect();
    if paths.is_empty() {
        return None;
    }
    let message = format!(
        "there is no socket at {}, though auditd's af_unix plugin is active: auditd has not read its configuration since",
        paths.join(" nor ")
    );
    error("socket-missing", message, RESTART.to_owned())
}

/// Every record comes twice.
fn twice(facts: &Facts) -> Option<Finding> {
    let mut active = facts.files.plugins.iter().filter(|plugin| plugin.is_active());
    let first = active.next();
    if let (Some(first), Some(second)) = (first, active.next()) {
        let message = format!(
            "the af_unix plugin is active in two files, {} and {}: auditd sends each record twice through one socket, or \
             the two fight over it",
            first.file.display(),
            second.file.display()
        );
        return Some(Finding::new("records-twice", Severity::Warning, message, second.switch_off()));
    }
    // Of each event that comes twice at least the end is late: normally next to none.
    let Link { assembled, late, .. } = facts.link;
    (assembled >= MANY_EVENTS && late >= assembled / 2).then(|| {
        Finding::new(
            "records-twice",
            Severity::Warning,
            format!(
                "{late} records came after the end of their event, of {assembled} events: something sends each record \
                 twice. This shows which plugins of auditd are active"
            ),
            format!("grep -l '^active = yes' {}/*.conf", facts.files.folder.display()),
        )
    })
}

fn caller(caller: &Caller) -> Option<Finding> {
    if caller.uid == 0 || caller.is_member {
        return None;
    }
    let name = caller.name.as_deref().map_or_else(|| format!("\"$(id -nu {})\"", caller.uid), quoted);
    let who = caller.name.clone().unwrap_or_else(|| caller.uid.to_string());
    Some(Finding::new(
        "caller-not-in-group",
        Severity::Info,
        format!(
            "{who} is not in the group opensnitch-audit, as far as this login knows: no signal reaches this user, and \
             only the user's own events are shown. Joining it takes a new login"
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
