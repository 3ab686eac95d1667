//! What `FindEvents` and `Subscribe` are asked for, checked: the contract says which keys there are and of which type, and
//! here is what they mean.

use std::collections::HashMap;

use audit_records::{EventType, Family};
use opensnitch_audit_client::Query as Contract;
use zbus::OwnedVariant;

use super::Error;
use crate::store::{Exe, MAX_LIMIT, OUTCOMES, Prefix, Query};
use crate::text::excerpt;

/// The query that these keys make.
///
/// # Errors
/// [`Error::InvalidArgs`] that names the key which is unknown, of the wrong type or out of range.
pub(super) fn query(keys: HashMap<String, OwnedVariant>) -> Result<Query, Error> {
    let asked = Contract::try_from(keys).map_err(|wrong| Error::InvalidArgs(wrong.to_string()))?;
    let mut query = Query {
        pid: asked.pid,
        ppid: asked.ppid,
        uid: asked.uid,
        audit_uid: asked.audit_uid,
        exe: asked.proc_path.as_deref().map(Exe::parse),
        event_types: Vec::new(),
        family: asked.net_family.as_deref().map(family).transpose()?,
        protocol: asked.protocol,
        host: asked.dst_host.as_deref().map(host).transpose()?,
        port: asked.dst_port,
        outcome: asked.outcome.as_deref().map(outcome).transpose()?,
        unit: asked.unit,
        app: asked.app,
        since_us: asked.since,
        until_us: asked.until,
        // The end of one walk is the beginning of the next.
        before: asked.cursor.filter(|&cursor| cursor > 0).unwrap_or(u64::MAX),
        ..Query::default()
    };
    for name in &asked.event_types {
        let event_type = event_type(name)?;
        // Each once, however often it is named: every row is compared with all of them.
        if !query.event_types.contains(&event_type) {
            query.event_types.push(event_type);
        }
    }
    if let Some(limit) = asked.limit {
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(none("Limit", &format!("a number from 1 to {MAX_LIMIT}"), &limit.to_string()));
        }
        query.limit = limit as usize;
    }
    Ok(query)
}

/// The same for events to come, of which there are no pages.
///
/// # Errors
/// As of [`query`], and where a key is of pages.
pub(super) fn of_subscription(keys: HashMap<String, OwnedVariant>) -> Result<Query, Error> {
    if let Some(key) = ["Limit", "Cursor"].into_iter().find(|key| keys.contains_key(*key)) {
        return Err(Error::InvalidArgs(format!(
            "the query key {key} is of FindEvents: a subscription has no pages, leave it out"
        )));
    }
    query(keys)
}

fn none(key: &str, expected: &str, is: &str) -> Error {
    Error::InvalidArgs(format!("the query key {key} is {expected}, not {}", excerpt(is)))
}

fn event_type(name: &str) -> Result<EventType, Error> {
    let names = || EventType::ALL.map(EventType::name).join(", ");
    EventType::named(name).ok_or_else(|| none("EventType", &format!("one of {}", names()), name))
}

fn family(name: &str) -> Result<Family, Error> {
    // One without a name is shown, and asked for, as its number.
    let unnamed = || name.parse().ok().map(Family).filter(|family| family.name().is_none());
    let known = Family::named(name).or_else(unnamed);
    known.ok_or_else(|| none("NetFamily", "a family such as inet, inet6 or local", name))
}

fn host(text: &str) -> Result<Prefix, Error> {
    let expected = "an IP address or a prefix such as 192.0.2.0/24 or 2001:db8::/32";
    Prefix::parse(text).ok_or_else(|| none("DstHost", expected, text))
}

fn outcome(name: &str) -> Result<&'static str, Error> {
    let known = OUTCOMES.into_iter().find(|known| *known == name);
    known.ok_or_else(|| none("Outcome", &format!("one of {}", OUTCOMES.join(", ")), name))
}
