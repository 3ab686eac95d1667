//! The rules of the service, as auditctl writes them.

use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::client::Session;
use super::{Failure, escape};
use crate::config::Config;
use crate::rules::{Kernel, Rule, RuleSet, State, running_machine};

/// Prints the rules that the service wants by its configuration, and where the kernel tells us, whether it has them.
pub(super) async fn list(session: &Session<'_>, config: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(config)?;
    let machine = running_machine().ok_or_else(|| Failure::Other("there are no rules for this machine".to_owned()))?;
    let key = config.key.clone();
    // The rules leave out the service's own process; without a service they leave out nobody's.
    let pid = session.service_pid().await.unwrap_or_default();
    let set = RuleSet::wanted(machine, key, config.scope(), pid);
    let asked = set.clone();
    let state = spawn_blocking(move || Kernel::open()?.state(&asked)).await.ok().and_then(Result::ok);
    let is_loaded = |rule: &Rule| match &state {
        None => None,
        Some(State::All) => Some(true),
        Some(State::Partly { missing }) => Some(!missing.contains(rule)),
        Some(State::None) => Some(false),
    };
    let mut out = io::stdout().lock();
    for rule in set.rules() {
        let loaded = is_loaded(rule);
        if session.look.as_json {
            let rule = rule.to_string();
            escape::json(
                &mut out,
                &match loaded {
                    Some(loaded) => json!({ "Rule": rule, "Loaded": loaded }),
                    None => json!({ "Rule": rule }),
                },
            )?;
        } else {
            let (mark, colour) = match loaded {
                Some(true) => ("loaded ", AnsiColor::Green.on_default()),
                Some(false) => ("missing", AnsiColor::Red.on_default()),
                None => ("unknown", AnsiColor::Yellow.on_default()),
            };
            let colour = if session.look.colours { colour } else { Style::new() };
            writeln!(out, "{colour}{mark}{colour:#}  {rule}")?;
        }
    }
    Ok(())
}
