//! All that is known of one process.

use std::fmt::Write as _;
use std::io::Write;

use anstyle::Style;
use opensnitch_audit_client::Event;

use super::Failure;
use super::agent::Agent;
use super::client::Session;
use super::column::{Merged, command_line, program};
use super::escape::{json, name};
use super::filter::Filter;
use super::table::{Look, Table};
use super::tuple::Tuple;
use crate::proc::since_epoch_ms;

/// What it is, who started it, and its events that match.
pub(super) async fn process(session: &Session<'_>, pid: u32, filter: Filter) -> Result<(), Failure> {
    let _agent = Agent::start();
    let newest = session.audit.get_event_by_pid(pid).await?;
    let is_filtered = !filter.is_empty();
    let wanted = filter.of_process(pid).wanted(session.look.shown.clock.now())?;
    let mut events = Vec::new();
    session
        .pages(&wanted, None, |page| {
            events.extend(page.into_iter().filter(|event| is_same(event, &newest)));
            Ok(())
        })
        .await?;
    if events.is_empty() && wanted.holds(&newest) {
        // polkit let the caller see this one, and no list.
        events.push(newest.clone());
    }
    let mut screen = session.screen();
    if !session.look.as_json {
        write!(screen, "{}", about(&newest, session.look))?;
        writeln!(screen)?;
    }
    let mut table = Table::new(&mut screen, session.look, Merged::Alike);
    events.iter().try_for_each(|event| table.row(event))?;
    table.flush()?;
    screen.close()?;
    if is_filtered && events.is_empty() {
        return Err(Failure::NoMatch(format!("no event of process {pid} that you may see matches")));
    }
    Ok(())
}

/// Whose connection that is.
pub(super) async fn owner(session: &Session<'_>, tuple: Tuple) -> Result<(), Failure> {
    let _agent = Agent::start();
    let (from, to) = (tuple.source.ip().to_string(), tuple.destination.ip().to_string());
    let (sport, dport) = (tuple.source.port(), tuple.destination.port());
    let event = session.audit.get_event_by_connection(tuple.protocol.name(), &from, sport, &to, dport).await?;
    let mut screen = session.screen();
    if session.look.as_json {
        json(&mut screen, &event)?;
    } else {
        write!(screen, "{}", about(&event, session.look))?;
    }
    Ok(screen.close()?)
}

/// Whether two events with the same pid are of the same process: a pid is given again.
fn is_same(event: &Event, newest: &Event) -> bool {
    match (event.start_time, newest.start_time) {
        (Some(one), Some(other)) => one == other,
        _ => event.proc_path == newest.proc_path,
    }
}

/// What a process is, a line a fact, and its ancestors as a tree.
fn about(event: &Event, look: &Look) -> String {
    let shown = &look.shown;
    let pid = event.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    let program = program(event).unwrap_or_else(|| "?".to_owned());
    let bold = if look.colours { Style::new().bold() } else { Style::new() };
    let mut lines = format!("{bold}{program}{bold:#} ({pid})\n");
    let mut fact = |label: &str, text: Option<String>| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let _ = writeln!(lines, "{label:>11}: {text}");
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(name);
    let user = |real: Option<u32>, effective: Option<u32>, called: &dyn Fn(u32) -> String| {
        let effective =
            effective.filter(|effective| Some(*effective) != real).map(|id| format!(", acts as {}", called(id)));
        real.map(|id| called(id) + &effective.unwrap_or_default())
    };
    fact("Command", command_line(event));
    fact("Folder", text(&event.proc_dir));
    fact("User", user(event.uid, event.euid, &|uid| shown.user(uid)));
    fact("Group", user(event.gid, event.egid, &|gid| shown.group(gid)));
    let session = event.session_id.map_or_else(String::new, |session| format!(", session {session}"));
    let login = event.user_name.as_deref().map(name).filter(|_| !shown.numeric);
    fact("Login", login.or(event.audit_uid.map(|uid| shown.user(uid))).map(|user| user + &session));
    fact("Terminal", text(&event.tty));
    fact("Started", event.start_time.map(|us| shown.clock.with_zone(since_epoch_ms(us).saturating_mul(1000))));
    fact("Running", event.running.map(|running| (if running { "yes" } else { "no" }).to_owned()));
    fact("Unit", text(&event.unit));
    fact("Application", text(&event.app));
    fact("Container", text(&event.container));
    let is_elsewhere = event.mount_namespace == Some(true);
    fact("Files", is_elsewhere.then(|| "other ones than the machine's: its path is one of its own".to_owned()));
    fact("Certainty", event.certainty.as_deref().map(certainty));
    let holders: Vec<String> = event.holders.iter().map(u32::to_string).collect();
    fact("Held by", Some(holders.join(", ")));
    if !event.parents.is_empty() {
        fact("Started by", Some(String::new()));
        lines.push_str(&tree(event, &program, &pid));
    }
    lines
}

fn certainty(word: &str) -> String {
    let meaning = match word {
        "socket" => "the process holds the socket",
        "shared" => "several processes hold the socket",
        "history" => "the process opened such a connection",
        _ => return name(word),
    };
    format!("{word}: {meaning}")
}

/// The farthest ancestor first.
fn tree(event: &Event, program: &str, pid: &str) -> String {
    let mut lines = String::new();
    let ancestors = event.parents.iter().rev().map(|(pid, program)| (name(program), pid.to_string()));
    for (depth, (program, pid)) in ancestors.chain([(program.to_owned(), pid.to_owned())]).enumerate() {
        let branch = if depth == 0 { String::new() } else { format!("{}└─", "  ".repeat(depth - 1)) };
        let _ = writeln!(lines, "{:13}{branch}{program} ({pid})", "");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::column::tests::connect;
    use crate::ctl::table::tests::look;

    #[test]
    fn a_process_is_told_line_by_line() {
        let mut event = connect();
        event.args = vec!["curl".to_owned(), "a \"b\"\u{1b}".to_owned()];
        event.euid = Some(0);
        event.gid = Some(1000);
        event.egid = Some(1000);
        event.audit_uid = Some(1000);
        event.session_id = Some(3);
        event.running = Some(false);
        event.unit = Some("a.service".to_owned());
        event.mount_namespace = Some(true);
        event.certainty = Some("shared".into());
        event.holders = vec![4711, 4712];
        event.parents = vec![(700, "/bin/sh x".to_owned()), (1, "/sbin/init".to_owned())];
        let expected = r#"/usr/bin/curl (4711)
    Command: curl "a \"b\"\u{1b}"
       User: 1000, acts as 0
      Group: 1000
      Login: 1000, session 3
    Running: no
       Unit: a.service
      Files: other ones than the machine's: its path is one of its own
  Certainty: shared: several processes hold the socket
    Held by: 4711, 4712
             /sbin/init (1)
             └─"/bin/sh x" (700)
               └─/usr/bin/curl (4711)
"#;
        assert_eq!(about(&event, &look(None)), expected);
    }

    #[test]
    fn an_earlier_process_with_the_same_pid_is_another_one() {
        let (mut newest, mut other) = (connect(), connect());
        assert!(is_same(&other, &newest));
        (newest.start_time, other.start_time) = (Some(2), Some(1));
        assert!(!is_same(&other, &newest));
        other.start_time = None;
        assert!(is_same(&other, &newest));
        other.proc_path = Some("/usr/bin/other".to_owned());
        assert!(!is_same(&other, &newest));
    }
}
