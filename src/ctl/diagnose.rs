//! Why events may not arrive: as the service says it, and where the service does not run, as far as it can be seen without it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use opensnitch_audit_client::{AuditProxy, Finding as Told};
use rustix::process::{getegid, geteuid, getgroups, getuid};
use tokio::task::spawn_blocking;
use zbus::Connection;
use zbus::proxy::CacheProperties;

use super::Failure;
use super::escape::{json, printable};
use super::table::Look;
use super::unit::Unit;
use crate::config::{Config, Socket};
use crate::dbus::wire;
use crate::diagnose::{Caller, Facts, Files, Finding, Link, Severity, diagnose};
use crate::polkit;
use crate::process::Accounts;
use crate::rules::{Keeper, RuleSet, running_machine};
use crate::source::KNOWN_SOCKETS;

/// Findings that only say that the service does not run: it takes its rules with it.
const FOLLOWS: [&str; 2] = ["rules-missing", "rules-partly"];

/// The finding that only root can make.
const OF_ROOT: &str = "audit-unavailable";

/// Prints the findings, with a remedy below each.
pub(super) async fn run(look: &Look) -> Result<(), Failure> {
    let findings = match asked().await {
        Ok(findings) => findings,
        Err(failure) if failure.is_without_service() => without_service(failure, look).await?,
        Err(failure) => return Err(failure),
    };
    let mut out = io::stdout().lock();
    if findings.is_empty() && !look.as_json {
        writeln!(out, "Nothing is wrong.")?;
    }
    for (at, finding) in findings.iter().enumerate() {
        if look.as_json {
            json(&mut out, finding)?;
        } else {
            write!(out, "{}{}", if at > 0 { "\n" } else { "" }, shown(finding, look))?;
        }
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error.name()) {
        return Err(Failure::Unwell);
    }
    Ok(())
}

/// What the service says.
async fn asked() -> Result<Vec<Told>, Failure> {
    let connection = Connection::system().await?;
    let audit = AuditProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;
    Ok(audit.diagnose().await?)
}

/// A finding for people. Its remedy stays one line, to be copied.
fn shown(finding: &Told, look: &Look) -> String {
    let colour = match &*finding.severity {
        "error" => AnsiColor::Red,
        "warning" => AnsiColor::Yellow,
        _ => AnsiColor::Cyan,
    };
    let plain = |style: Style| if look.colours { style } else { Style::new() };
    let (colour, bold) = (plain(colour.on_default().bold()), plain(Style::new().bold()));
    let severity = printable(&finding.severity);
    let message = format!("{severity}: {}", printable(&finding.message));
    let message = look.width.map_or_else(|| message.clone(), |width| textwrap::fill(&message, width));
    let message = message.strip_prefix(&*severity).unwrap_or(&message);
    format!("{colour}{severity}{colour:#}{message}\n    {bold}{}{bold:#}\n", printable(&finding.remedy))
}

/// What can be seen from here.
async fn without_service(failure: Failure, look: &Look) -> Result<Vec<Told>, Failure> {
    let mut findings = Vec::new();
    let connection = Connection::system().await.ok();
    let has_polkit = match &connection {
        Some(connection) => polkit::is_there(connection).await,
        // Without the bus nobody knows.
        None => true,
    };
    match &connection {
        Some(connection) => findings.push(Unit::of_service(connection).await.finding()),
        None => findings.push(Finding {
            id: "bus-missing",
            severity: Severity::Error,
            message: failure.to_string(),
            remedy: "systemctl start dbus.socket".to_owned(),
        }),
    }
    let config = Config::load(None);
    if let Err(error) = &config {
        findings.push(Finding {
            id: "configuration-unusable",
            severity: Severity::Error,
            message: format!("{error}: the service does not start with it"),
            remedy: "mv /etc/opensnitch-audit.toml /etc/opensnitch-audit.toml.bad && systemctl restart \
                     opensnitch-audit.service"
                .to_owned(),
        });
    }
    let caller = caller(&look.shown.accounts);
    let is_root = geteuid().is_root();
    let facts = spawn_blocking(move || facts(&config.unwrap_or_default(), caller, has_polkit)).await;
    let facts = facts.map_err(|_| Failure::Other("this machine could not be looked at".to_owned()))?;
    let seen = diagnose(&facts).into_iter();
    findings.extend(seen.filter(|finding| !FOLLOWS.contains(&finding.id) && (is_root || finding.id != OF_ROOT)));
    if !is_root {
        findings.push(Finding {
            id: "kernel-unseen",
            severity: Severity::Info,
            message: "only root sees the kernel's audit and its rules: what may be wrong there is not told".to_owned(),
            remedy: "opensnitch-auditctl diagnose".to_owned(),
        });
    }
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings.into_iter().map(wire::finding).collect())
}

fn caller(accounts: &Accounts) -> Caller {
    let groups = getgroups().unwrap_or_default();
    let group = accounts.group(opensnitch_audit_client::GROUP);
    let is_member = group.is_some_and(|group| groups.iter().chain([&getegid()]).any(|own| own.as_raw() == group));
    let uid = getuid().as_raw();
    let name = accounts.name(uid).map(|name| crate::text::text(&name).0);
    Caller { uid, name, is_member }
}

/// What is known of the machine. auditd's socket is not connected to: it serves one client at a time, and that is the service.
fn facts(config: &Config, caller: Caller, polkit: bool) -> Facts {
    let set = running_machine().map(|machine| RuleSet::wanted(machine, config.key.clone(), config.scope(), 0));
    let kernel = Keeper::new(set).report();
    let daemon = kernel.as_ref().map_or(0, |report| report.status.pid);
    let sockets = match &config.socket {
        _ if !config.source.reads_audisp() => Vec::new(),
        Socket::Auto => KNOWN_SOCKETS.map(PathBuf::from).to_vec(),
        Socket::Path(path) => vec![path.clone()],
    };
    let is_there = |path: &PathBuf| path.try_exists().unwrap_or(true);
    let refused = match sockets.iter().any(is_there) {
        true => Vec::new(),
        false => sockets.iter().map(|path| (path.clone(), io::ErrorKind::NotFound)).collect(),
    };
    Facts {
        link: Link {
            by_multicast: config.source.reads_multicast().then_some("the service begins with it"),
            without_audisp: sockets.is_empty(),
            sockets,
            refused,
            ..Link::default()
        },
        kernel,
        lost_before: None,
        files: Files::read(Path::new("/"), daemon),
        key: config.key.to_string(),
        manages_rules: config.manage_rules,
        watches_sends: config.sends,
        watches_local: config.local,
        switched_on: false,
        // systemd gives it to the service.
        finds_sockets: true,
        listener: None,
        caller,
        polkit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::table::tests::look;

    #[test]
    fn a_message_is_wrapped_and_its_remedy_is_not() {
        let mut finding = Told::default();
        finding.severity = "warning".to_owned();
        finding.message = "a word \u{1b}[2J ".repeat(10);
        finding.remedy = "command ".repeat(20);
        let text = shown(&finding, &look(Some(40)));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() > 4 && lines[0].starts_with("warning: a word") && !text.contains('\u{1b}'), "{text}");
        let (remedy, message) = lines.split_last().unwrap();
        assert!(message.iter().all(|line| line.len() <= 40), "{text}");
        assert_eq!(remedy.trim(), finding.remedy.trim());
        assert_eq!(shown(&finding, &look(None)).lines().count(), 2);
    }
}
