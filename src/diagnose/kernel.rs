//! What is wrong with the kernel's audit and with our rules in it.

use super::{Facts, Files, Finding, RESTART, Severity};
use crate::rules::{Enabled, Error, Needs, Report, State};

/// What may wait in the kernel for auditd, in messages: Debian's own limit. The kernel's is 64, less than one busy moment.
const GOOD_BACKLOG: u32 = 8192;

/// More does not help an auditd that is too slow for good: it only loses later.
const MAX_BACKLOG: u32 = 65_536;

/// Rules named in a message; there are up to 35.
const MAX_NAMED: usize = 3;

/// The kernel does not talk to the service about audit.
pub(super) fn unavailable(error: &Error, files: &Files) -> Finding {
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
pub(super) fn audit(report: &Report, findings: &mut Vec<Finding>) {
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
pub(super) fn rules(facts: &Facts, report: &Report, findings: &mut Vec<Finding>) {
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
pub(super) fn loss(facts: &Facts, report: &Report, findings: &mut Vec<Finding>) {
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
