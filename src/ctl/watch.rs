//! Events as they are seen, until interrupted: of root and the group by the signals for all, of anybody else by a subscription.
//!
//! Guarantee: what is shown comes from the service. Anybody may send a signal straight to this process, so the sender of each
//! is compared with the owner of the service's name.

use std::io;

use futures_util::StreamExt;
use opensnitch_audit_client::{Event, EventSeen, EventsLost, Finding, INTERFACE, NAME, PATH, Seen};
use zbus::fdo::{DBusProxy, NameOwnerChanged, PropertiesChanged};
use zbus::message::Message;
use zbus::names::UniqueName;
use zbus::{MatchRule, MessageStream, message};

use super::Failure;
use super::client::Session;
use super::column::Merged;
use super::filter::{Filter, Wanted};
use super::table::Table;

/// The bus itself.
const BUS: &str = "org.freedesktop.DBus";

/// Prints what matches, and says what happens to the service meanwhile.
pub(super) async fn run(session: &Session<'_>, filter: &Filter) -> Result<(), Failure> {
    let wanted = filter.wanted(session.look.shown.clock.now())?;
    // Before the rules, so that nothing is missed.
    let mut messages = MessageStream::from(&session.connection);
    let bus = DBusProxy::new(&session.connection).await?;
    for rule in rules(&wanted)? {
        bus.add_match_rule(rule).await.map_err(zbus::Error::from)?;
    }
    // The bus says nothing to whom it passes no signal on.
    let findings = session.audit.diagnose().await?;
    let subscribes = findings.iter().any(|finding| finding.id == Finding::CALLER_NOT_IN_GROUP);
    if subscribes {
        // The service asks a subscriber whether it reads; this answers.
        let _ = session.connection.object_server();
        session.audit.subscribe(&wanted.query()).await?;
        session.say_hidden();
    }
    let service = NAME.try_into()?;
    let mut owner = bus.get_name_owner(service).await.ok();
    let mut table = Table::live(io::stdout(), session.look, Merged::Alike);
    while let Some(message) = messages.next().await {
        let message = message?;
        if message.message_type() != message::Type::Signal {
            continue;
        }
        if is_from(&message, BUS) {
            if let Some(changed) = NameOwnerChanged::from_message(message)
                && let Ok(args) = changed.args()
                && args.name == NAME
            {
                owner = args.new_owner.as_ref().map(|new: &UniqueName<'_>| new.to_owned().into());
                say(match owner {
                    None => "the service stopped, and no event is seen until it is back",
                    Some(_) => "the service is back",
                });
                if subscribes && owner.is_some() {
                    session.audit.subscribe(&wanted.query()).await?;
                }
            }
        } else if owner.as_ref().is_some_and(|owner| is_from(&message, owner.as_str())) {
            from_service(&message, &wanted, &mut table)?;
        }
    }
    Ok(())
}

fn from_service(message: &Message, wanted: &Wanted, table: &mut Table<'_, io::Stdout>) -> Result<(), Failure> {
    if let Some(seen) = EventSeen::from_message(message.clone()) {
        show(&seen.args()?.event, wanted, table)?;
    } else if let Some(lost) = EventsLost::from_message(message.clone()) {
        say_lost(lost.args()?.count);
    } else if let Some(seen) = Seen::from_message(message) {
        match seen? {
            Seen::Event(event) => show(&event, wanted, table)?,
            Seen::Lost(count) => say_lost(count),
        }
    } else if let Some(changed) = PropertiesChanged::from_message(message.clone())
        && let Some(connected) = changed.args()?.changed_properties.get("Connected")
    {
        say(match bool::try_from(connected) {
            Ok(true) => "events arrive again",
            _ => "no events arrive: 'opensnitch-auditctl diagnose' says why",
        });
    }
    Ok(())
}

fn show(event: &Event, wanted: &Wanted, table: &mut Table<'_, io::Stdout>) -> io::Result<()> {
    if wanted.holds(event) { table.row(event) } else { Ok(()) }
}

fn say_lost(count: u64) {
    say(&format!("{count} events were too many to be signalled: 'find' shows them"));
}

fn is_from(message: &Message, name: &str) -> bool {
    message.header().sender().is_some_and(|sender| sender == name)
}

fn say(what: &str) {
    eprintln!("opensnitch-auditctl: {what}");
}

/// What the bus has to pass on.
fn rules(wanted: &Wanted) -> zbus::Result<Vec<MatchRule<'_>>> {
    let signals = || MatchRule::builder().msg_type(message::Type::Signal);
    let service = || signals().sender(NAME).path(PATH);
    let mut rules = vec![
        signals().sender(BUS).member("NameOwnerChanged").arg(0, NAME).build()?,
        service().interface("org.freedesktop.DBus.Properties").member("PropertiesChanged").build()?,
        service().interface(INTERFACE).member("EventsLost").build()?,
    ];
    for (event_type, program) in wanted.rules() {
        let mut rule = service().interface(INTERFACE).member("EventSeen");
        if let Some(event_type) = event_type {
            rule = rule.arg(0, event_type);
        }
        if let Some(program) = program {
            rule = rule.arg(1, program);
        }
        rules.push(rule.build()?);
    }
    Ok(rules)
}
