//! Commands that ask the service.

use std::collections::HashMap;
use std::io::{self, Write};

use futures_util::StreamExt;
use zbus::{OwnedVariant, Variant};

use super::print::{HEADER, all_lines, in_order, one_line, text};
use super::{Command, Failure, Find, Rules, rules};
use crate::dbus::{AuditProxy, json};
use crate::diagnose::CALLER_NOT_IN_GROUP;

/// Rows asked for at once.
const PAGE: u32 = 1000;

type Row = HashMap<String, OwnedVariant>;

pub(super) fn run(command: Command, as_json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = zbus::Connection::system().await?;
        let audit = AuditProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?;
        match command {
            Command::List => find(&audit, &Find::default(), as_json).await,
            Command::Find(wanted) => find(&audit, &wanted, as_json).await,
            Command::Show { pid } => {
                let row = audit.get_event_by_pid(pid).await?;
                let mut out = io::stdout().lock();
                if as_json {
                    print_row(&mut out, &row, true)?
                } else {
                    write!(out, "{}", all_lines(&row))?
                }
                Ok(())
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
        writeln!(out, "{}", serde_json::json!({ key: count }))?
    } else {
        writeln!(out, "{count} {what}")?
    }
    Ok(())
}

/// Prints page after page.
async fn find(audit: &AuditProxy<'_>, wanted: &Find, as_json: bool) -> Result<(), Failure> {
    let mut left = wanted.limit.unwrap_or(usize::MAX);
    let mut cursor = 0;
    if !as_json {
        writeln!(io::stdout(), "{HEADER}")?;
    }
    while left > 0 {
        let mut query = wanted.query();
        let page = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        query.insert("Limit", page.into());
        query.insert("Cursor", cursor.into());
        let (rows, next) = audit.find_events(query).await?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        for row in &rows {
            print_row(&mut out, row, as_json)?;
        }
        out.flush()?;
        left = left.saturating_sub(rows.len());
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    Ok(())
}

impl Find {
    fn query(&self) -> HashMap<&'static str, Variant<'_>> {
        let mut query = HashMap::new();
        let mut add = |key, value: Option<Variant<'static>>| value.map(|value| query.insert(key, value));
        add("Pid", self.pid.map(Variant::from));
        add("PPid", self.ppid.map(Variant::from));
        add("UID", self.uid.map(Variant::from));
        add("ProcPath", self.exe.clone().map(Variant::from));
        add("EventType", self.event_type.clone().map(Variant::from));
        add("NetFamily", self.family.clone().map(Variant::from));
        add("DstHost", self.host.clone().map(Variant::from));
        add("DstPort", self.port.map(Variant::from));
        add("Unit", self.unit.clone().map(Variant::from));
        query
    }
}

async fn watch(audit: &AuditProxy<'_>, as_json: bool) -> Result<(), Failure> {
    let mut seen = audit.receive_event_seen().await?;
    let mut lost = audit.receive_events_lost().await?;
    // The bus says nothing to whom it passes no signal on: without this one would wait for ever.
    let findings = audit.diagnose().await?;
    let shows = |finding: &&Row| finding.get("Id").is_some_and(|id| text(id) == CALLER_NOT_IN_GROUP);
    if let Some(message) = findings.iter().find(shows).and_then(|finding| finding.get("Message")) {
        return Err(Failure::Refused(text(message)));
    }
    if !as_json {
        writeln!(io::stdout(), "{HEADER}")?;
    }
    loop {
        tokio::select! {
            Some(signal) = seen.next() => print_row(&mut io::stdout().lock(), &signal.args()?.event, as_json)?,
            Some(signal) = lost.next() => eprintln!("opensnitch-auditctl: {} events were too many to be signalled", signal.args()?.count),
            else => return Ok(()),
        }
    }
}

async fn status(audit: &AuditProxy<'_>, as_json: bool) -> Result<(), Failure> {
    let (version, source, connected) = (audit.version().await?, audit.source().await?, audit.connected().await?);
    let rules_loaded = audit.rules_loaded().await?;
    let statistics = audit.statistics().await?;
    let mut names: Vec<&String> = statistics.keys().collect();
    names.sort();
    let mut out = io::stdout().lock();
    if as_json {
        let object = serde_json::json!({
            "Version": version, "Source": source, "Connected": connected, "RulesLoaded": rules_loaded,
            "Statistics": statistics,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "Version           {version}")?;
    writeln!(
        out,
        "Connected         {}",
        if connected { "yes" } else { "no: auditd or its af_unix plugin is not there" }
    )?;
    writeln!(
        out,
        "RulesLoaded       {}",
        if rules_loaded { "yes" } else { "no: not all of our rules are in the kernel" }
    )?;
    for name in names {
        writeln!(out, "{name:17} {:>12}", statistics.get(name).copied().unwrap_or_default())?;
    }
    Ok(())
}

async fn diagnose(audit: &AuditProxy<'_>, as_json: bool) -> Result<(), Failure> {
    let findings = audit.diagnose().await?;
    let mut out = io::stdout().lock();
    if findings.is_empty() && !as_json {
        writeln!(out, "Nothing is wrong.")?;
    }
    let show = |finding: &Row, key: &str| finding.get(key).map(|value| text(value)).unwrap_or_default();
    for finding in &findings {
        if as_json {
            let pairs =
                ["Id", "Severity", "Message", "Remedy"].into_iter().filter_map(|key| Some((key, &**finding.get(key)?)));
            writeln!(out, "{}", json::object(pairs))?;
        } else {
            writeln!(out, "{}: {}", show(finding, "Severity"), show(finding, "Message"))?;
            writeln!(out, "    {}\n", show(finding, "Remedy"))?;
        }
    }
    if findings.iter().any(|finding| show(finding, "Severity") == "error") {
        return Err(Failure::Diagnosed);
    }
    Ok(())
}

fn print_row(out: &mut impl Write, row: &Row, as_json: bool) -> io::Result<()> {
    if as_json { writeln!(out, "{}", json::object(in_order(row))) } else { writeln!(out, "{}", one_line(row)) }
}
