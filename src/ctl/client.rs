//! Commands that ask the service.

use std::io::{self, BufWriter, Write};

use futures_util::StreamExt;
use opensnitch_audit_client::{AuditProxy, Event, Finding};

use super::print::{Merged, Rows, all_lines, json, printable};
use super::{Command, Failure, Find, Rules, rules};

/// Rows asked for at once.
const PAGE: u32 = 1000;

pub(super) fn run(command: Command, as_json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = zbus::Connection::system().await?;
        let audit = AuditProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?;
        match command {
            Command::List => list(&audit, as_json).await,
            Command::Find(wanted) => find(&audit, &wanted, as_json).await,
            Command::Show { pid } => show(&audit.get_event_by_pid(pid).await?, as_json),
            Command::Owner { protocol, source, destination } => {
                let (from, to) = (source.ip().to_string(), destination.ip().to_string());
                let (sport, dport) = (source.port(), destination.port());
                show(&audit.get_event_by_connection(protocol.name(), &from, sport, &to, dport).await?, as_json)
            }
            Command::Watch => watch(&audit, as_json).await,
            Command::Status => status(&audit, as_json).await,
            Command::Diagnose => diagnose(&audit, as_json).await,
            Command::Rules { action: Rules::Add } => {
                told(as_json, "Added", audit.add_rules().await?, "rules were added")
            }
            Command::Rules { action: Rules::Delete } => {
                told(as_json, "Deleted", audit.delete_rules().await?, "rules were deleted")
            }
            Command::Rules { action: Rules::List { config } } => {
                rules::list(&connection, config.as_deref(), as_json).await
            }
            // These need no service and never come here.
            Command::Decode(_) | Command::Generate { .. } => Ok(()),
        }
    })
}

fn told(as_json: bool, key: &str, count: u32, what: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    if as_json {
        json(out, &serde_json::json!({ key: count }))?;
    } else {
        writeln!(out, "{count} {what}")?;
    }
    Ok(())
}

fn show(event: &Event, as_json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if as_json {
        json(out, event)?;
    } else {
        write!(out, "{}", all_lines(event).map_err(io::Error::from)?)?;
    }
    Ok(())
}

async fn list(audit: &AuditProxy<'_>, as_json: bool) -> Result<(), Failure> {
    let events = audit.get_events().await?;
    let mut rows = Rows::new(BufWriter::new(io::stdout().lock()), as_json, Merged::ByType);
    for event in &events {
        rows.row(event)?;
    }
    Ok(rows.flush()?)
}

/// Prints page after page.
async fn find(audit: &AuditProxy<'_>, wanted: &Find, as_json: bool) -> Result<(), Failure> {
    let mut rows = Rows::new(BufWriter::new(io::stdout()), as_json, Merged::ByType);
    let mut query = wanted.query();
    let mut left = wanted.limit.unwrap_or(usize::MAX);
    while left > 0 {
        query = query.limit(u32::try_from(left).unwrap_or(PAGE).min(PAGE));
        let (events, next) = audit.find_events(&query).await?;
        for event in &events {
            rows.row(event)?;
        }
        rows.flush()?;
        left = left.saturating_sub(events.len());
        if next == 0 {
            break;
        }
        query = query.cursor(next);
    }
    Ok(())
}

async fn watch(audit: &AuditProxy<'_>, as_json: bool) -> Result<(), Failure> {
    let mut seen = audit.receive_event_seen().await?;
    let mut lost = audit.receive_events_lost().await?;
    // The bus says nothing to whom it passes no signal on: without this one would wait for ever.
    let findings = audit.diagnose().await?;
    if let Some(finding) = findings.iter().find(|finding| finding.id == Finding::CALLER_NOT_IN_GROUP) {
        return Err(Failure::Refused(printable(&finding.message)));
    }
    let mut rows = Rows::new(io::stdout(), as_json, Merged::Alike);
    loop {
        tokio::select! {
            Some(signal) = seen.next() => rows.row(&signal.args()?.event)?,
            Some(signal) = lost.next() => {
                eprintln!("opensnitch-auditctl: {} events were too many to be signalled", signal.args()?.count);
            }
            else => return Ok(()),
        }
    }
}

async fn status(audit: &AuditProxy<'_>, as_json: bool) -> Result<(), Failure> {
    let (version, source, connected) = (audit.version().await?, audit.source().await?, audit.connected().await?);
    let rules_loaded = audit.rules_loaded().await?;
    let statistics = audit.statistics().await?;
    let mut out = io::stdout().lock();
    if as_json {
        let object = serde_json::json!({
            "Version": version, "Source": source, "Connected": connected, "RulesLoaded": rules_loaded,
            "Statistics": statistics,
        });
        return Ok(json(out, &object)?);
    }
    let connected = if connected { "yes" } else { "no: 'opensnitch-auditctl diagnose' says why" };
    let rules_loaded = if rules_loaded { "yes" } else { "no: not all of our rules are in the kernel" };
    writeln!(out, "Version           {}", printable(&version))?;
    writeln!(out, "Source            {}", if source.is_empty() { "none".to_owned() } else { printable(&source) })?;
    writeln!(out, "Connected         {connected}")?;
    writeln!(out, "RulesLoaded       {rules_loaded}")?;
    for (name, count) in statistics {
        writeln!(out, "{:17} {count:>12}", printable(&name))?;
    }
    Ok(())
}

async fn diagnose(audit: &AuditProxy<'_>, as_json: bool) -> Result<(), Failure> {
    let findings = audit.diagnose().await?;
    let mut out = io::stdout().lock();
    if findings.is_empty() && !as_json {
        writeln!(out, "Nothing is wrong.")?;
    }
    for finding in &findings {
        if as_json {
            json(&mut out, finding)?;
        } else {
            writeln!(out, "{}: {}", printable(&finding.severity), printable(&finding.message))?;
            writeln!(out, "    {}\n", printable(&finding.remedy))?;
        }
    }
    if findings.iter().any(|finding| finding.severity == "error") {
        return Err(Failure::Diagnosed);
    }
    Ok(())
}
