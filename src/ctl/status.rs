//! What the service is doing, on one screen.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use opensnitch_audit_client::{GROUP, Loss, Statistics};

use super::Failure;
use super::client::Session;
use super::escape::{json, printable};
use super::time::length;
use crate::proc::{since_epoch_ms, start_time_us, uptime_us};

/// How long the rate of events is measured.
const MEASURED: Duration = Duration::from_secs(1);

/// Counters that are no counts but times, in microseconds since the epoch.
const TIMES: [&str; 3] = ["Since", "LastLoss", "OldestEvent"];

/// Prints it; or with `check` only what is wrong.
pub(super) async fn run(session: &Session<'_>, check: bool) -> Result<(), Failure> {
    let audit = &session.audit;
    let (version, source, connected) = (audit.version().await?, audit.source().await?, audit.connected().await?);
    let socket = audit.socket().await?;
    let rules_loaded = audit.rules_loaded().await?;
    let mut out = io::stdout().lock();
    if session.look.as_json {
        let statistics = audit.statistics().await?;
        json(
            &mut out,
            &serde_json::json!({
                "Version": version, "Source": source, "Socket": socket, "Connected": connected,
                "RulesLoaded": rules_loaded,
                "Statistics": statistics,
            }),
        )?;
    } else if check {
        if !connected {
            writeln!(out, "no events arrive: 'opensnitch-auditctl diagnose' says why")?;
        }
        if !rules_loaded {
            writeln!(out, "not all of our rules are in the kernel: 'opensnitch-auditctl rules list' says which")?;
        }
    } else {
        let statistics = audit.statistics().await?;
        tokio::time::sleep(MEASURED).await;
        let later = audit.statistics().await?;
        let is_well = connected && rules_loaded;
        let dot = AnsiColor::Green.on_default();
        let dot = if is_well { dot } else { AnsiColor::Red.on_default() };
        let dot = if session.look.colours { dot } else { Style::new() };
        writeln!(out, "{dot}●{dot:#} opensnitch-audit {}", printable(&version))?;
        let mut line = |label: &str, text: String| writeln!(out, "{}", told(label, &text, session.look.width));
        if let Some((pid, started_us)) = process(session).await {
            let since = session.look.shown.clock.with_zone(since_epoch_ms(started_us).saturating_mul(1000));
            let seconds = uptime_us().saturating_sub(started_us) / 1_000_000;
            line("Running", format!("since {since}, for {}, pid {pid}", length(seconds)))?;
        }
        line("Source", from(&source, &socket))?;
        let missing = "not all in the kernel: 'opensnitch-auditctl rules list' says which";
        line("Rules", (if rules_loaded { "loaded" } else { missing }).to_owned())?;
        if later.contains_key("EventsMatched") {
            let rate = count(&later, "EventsMatched").saturating_sub(count(&statistics, "EventsMatched"));
            line("Rate", format!("{rate} events in the last second, {} so far", count(&later, "EventsMatched")))?;
            line("Lost", Loss::of(&later).sentence(|time| session.look.shown.clock.with_zone(time)))?;
            line("Remembered", remembered(&later, |time| session.look.shown.clock.with_zone(time)))?;
            writeln!(out)?;
            // What is told above, and what did not happen, would only fill the screen.
            let counters = later.iter().filter(|(name, count)| **count > 0 && !TIMES.contains(&name.as_str()));
            let counters: Vec<_> = counters.collect();
            for pair in counters.chunks(2) {
                let cells: Vec<_> =
                    pair.iter().map(|(name, count)| format!("{:17} {count:>14}", printable(name))).collect();
                writeln!(out, "  {}", cells.join("    "))?;
            }
        } else {
            line("Counters", format!("only root and the group {GROUP} may see them"))?;
        }
    }
    if check && !(connected && rules_loaded) {
        return Err(Failure::Unwell);
    }
    Ok(())
}

/// A line, or several where the terminal is not that wide.
fn told(label: &str, text: &str, width: Option<usize>) -> String {
    let label = format!("{label:>11}: ");
    let Some(width) = width else { return label + text };
    let indent = " ".repeat(label.len());
    textwrap::fill(text, textwrap::Options::new(width).initial_indent(&label).subsequent_indent(&indent))
}

/// Where events come from.
fn from(source: &str, socket: &str) -> String {
    match source {
        "" => "none: 'opensnitch-auditctl diagnose' says why".to_owned(),
        "netlink" => "netlink, the kernel's own multicast".to_owned(),
        source => format!("{}, through {}", printable(source), printable(socket)),
    }
}

/// How many events are remembered, and how far back in time they reach.
fn remembered(statistics: &Statistics, time: impl Fn(u64) -> String) -> String {
    let events = count(statistics, "EventsRemembered");
    match count(statistics, "OldestEvent") {
        0 => format!("{events} events"),
        oldest => format!("{events} events, back to {}", time(oldest)),
    }
}

fn count(statistics: &Statistics, name: &str) -> u64 {
    statistics.get(name).copied().unwrap_or_default()
}

/// The service's process, and when it started, in microseconds since boot; nothing where that is hidden.
async fn process(session: &Session<'_>) -> Option<(u32, u64)> {
    let pid = session.service_pid().await?;
    Some((pid, start_time_us(pid)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_fits_the_terminal() {
        let table = [
            (None, "       Lost: since when not every event was seen"),
            (Some(40), "       Lost: since when not every event\n             was seen"),
            (Some(48), "       Lost: since when not every event was seen"),
        ];
        for (width, expected) in table {
            assert_eq!(told("Lost", "since when not every event was seen", width), expected);
        }
    }

    #[test]
    fn a_source_is_told_with_its_socket() {
        let table = [
            ("", "", "none: 'opensnitch-auditctl diagnose' says why"),
            ("netlink", "", "netlink, the kernel's own multicast"),
            ("audisp", "/run/audispd_events", "audisp, through /run/audispd_events"),
        ];
        for (source, socket, expected) in table {
            assert_eq!(from(source, socket), expected);
        }
    }
}
