//! What is wrong with the connection to auditd.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Facts, Finding, RESTART, Severity, quoted};

/// How long a connection on which nothing came is no cause for concern. Busy machines have records each second; within
/// this time systemd's timers alone bring some to most others.
const QUIET: Duration = Duration::from_secs(30);

/// So many connections in a row, closed before anything came, are no accident of a restart.
const MANY_DISMISSALS: u32 = 3;

/// Events from which on a share of them means something.
const MANY_EVENTS: u64 = 100;

/// Where events come from, as the service knows it.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// They come from the kernel's multicast, and why.
    pub by_multicast: Option<&'static str>,
    /// The multicast is wanted and cannot be had: why.
    pub no_multicast: Option<String>,
    /// auditd's socket is not looked at (`source = "netlink"`).
    pub without_audisp: bool,
    /// Where it looks for auditd's socket, the first choice first.
    pub sockets: Vec<PathBuf>,
    /// How long there has been a connection, if there is one, and how many lines came through it.
    pub connected: Option<(Duration, u64)>,
    /// Why there is none, socket by socket.
    pub refused: Vec<(PathBuf, ErrorKind)>,
    /// Connections in a row that auditd closed before a line came.
    pub dismissed: u32,
    /// What comes cannot be told apart: it has no line ends (auditd 4.0.4 and 4.0.5).
    pub without_newlines: bool,
    /// Events assembled so far (`EventsAssembled`).
    pub assembled: u64,
    /// Records that came after their event was finished (`RecordsLate`).
    pub late: u64,
}

impl Link {
    /// Whether there is no connection, or one on which nothing comes.
    pub(super) fn is_fruitless(&self) -> bool {
        self.connected.is_none_or(|(since, lines)| lines == 0 && (since >= QUIET || self.is_dismissed()))
    }

    fn is_dismissed(&self) -> bool {
        self.dismissed >= MANY_DISMISSALS
    }
}

/// A socket that is there and of no use, or not there though it should be.
pub(super) fn socket(link: &Link, quiet_for_a_reason: bool) -> Option<Finding> {
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
pub(super) fn twice(facts: &Facts) -> Option<Finding> {
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

/// What these `faults` of the way through auditd come to: where the multicast serves, they are why it does, and no harm.
pub(super) fn multicast(link: &Link, faults: Vec<Finding>) -> Vec<Finding> {
    let Some(why) = link.by_multicast else { return faults };
    let (why, remedy) = match faults.into_iter().next() {
        Some(fault) => (fault.message, fault.remedy),
        None if link.without_audisp => (
            why.to_owned(),
            "sed -i '/^ *source *=/d' /etc/opensnitch-audit.toml; systemctl reload opensnitch-audit.service".to_owned(),
        ),
        None => (why.to_owned(), RESTART.to_owned()),
    };
    let message = format!("events come from the kernel's multicast, not through auditd: {why}");
    vec![Finding::new("source-netlink", Severity::Info, message, remedy)]
}

/// The multicast cannot be had.
pub(super) fn no_multicast(link: &Link) -> Option<Finding> {
    let why = link.no_multicast.as_ref()?;
    let (severity, consequence) = match link.without_audisp {
        true => (Severity::Error, "no event arrives, since the configuration says source = \"netlink\""),
        false => (Severity::Warning, "where auditd's socket fails, no event arrives"),
    };
    Some(Finding::new(
        "multicast-missing",
        severity,
        format!("the service cannot listen to the kernel's audit itself: {why}. So {consequence}"),
        "systemctl unmask opensnitch-audit-multicast.socket; systemctl restart opensnitch-audit.service",
    ))
}
