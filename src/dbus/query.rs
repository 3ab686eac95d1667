//! What `FindEvents` is asked for, checked.

use std::collections::HashMap;

use audit_records::{EventType, Family};
use opensnitch_audit_client::Query as Contract;
use zbus::{OwnedVariant, Variant};

use super::Error;
use super::error::excerpt;
use crate::store::{Exe, MAX_LIMIT, OUTCOMES, Prefix, Query};

/// The query that these keys make.
///
/// # Errors
/// [`Error::InvalidArgs`] that names the key which is unknown, of the wrong type or out of range.
pub(super) fn query(keys: &HashMap<String, OwnedVariant>) -> Result<Query, Error> {
    let mut query = Query::default();
    for (name, value) in keys {
        set(&mut query, name, value)?;
    }
    Ok(query)
}

fn set(query: &mut Query, name: &str, value: &Variant<'_>) -> Result<(), Error> {
    let wrong = |expected: &str| {
        Error::InvalidArgs(format!(
            "the query key {name} is {expected}, not of type {}",
            excerpt(&value.value_signature().to_string())
        ))
    };
    let number = || if let Variant::U32(number) = value { Ok(*number) } else { Err(wrong("a number of type u")) };
    let long = || if let Variant::U64(number) = value { Ok(*number) } else { Err(wrong("a number of type t")) };
    let text = || if let Variant::Str(text) = value { Ok(text.as_str()) } else { Err(wrong("a string")) };
    let none = |expected: &str, is: &str| {
        Error::InvalidArgs(format!("the query key {name} is {expected}, not {}", excerpt(is)))
    };
    let event_type = |name: &str| {
        let names = EventType::ALL.map(EventType::name).join(", ");
        EventType::named(name).ok_or_else(|| none(&format!("one of {names}"), name))
    };
    match name {
        "Pid" => query.pid = Some(number()?),
        "PPid" => query.ppid = Some(number()?),
        "UID" => query.uid = Some(number()?),
        "AuditUid" => query.audit_uid = Some(number()?),
        "ProcPath" => query.exe = Some(Exe::parse(text()?)),
        "EventType" => {
            query.event_types = match value {
                Variant::Str(name) => vec![event_type(name)?],
                Variant::Array(names) => names
                    .iter()
                    .map(|name| match name {
                        Variant::Str(name) => event_type(name),
                        _ => Err(wrong("a string or an array of strings")),
                    })
                    .collect::<Result<_, _>>()?,
                _ => return Err(wrong("a string or an array of strings")),
            };
        }
        "NetFamily" => {
            let name = text()?;
            let known = (0..=u8::MAX).map(|number| Family(number.into())).find(|family| family.name() == Some(name));
            // One without a name is shown, and asked for, as its number.
            let known = known.or_else(|| name.parse().ok().map(Family).filter(|family| family.name().is_none()));
            query.family = Some(known.ok_or_else(|| none("a family such as inet, inet6 or local", name))?);
        }
        "Protocol" => query.protocol = Some(text()?.to_owned()),
        "DstHost" => {
            let host = text()?;
            let expected = "an IP address or a prefix such as 192.0.2.0/24 or 2001:db8::/32";
            query.host = Some(Prefix::parse(host).ok_or_else(|| none(expected, host))?);
        }
        "DstPort" => match value {
            Variant::U16(port) => query.port = Some(*port),
            _ => return Err(wrong("a number of type q")),
        },
        "Outcome" => {
            let outcome = text()?;
            let known = OUTCOMES.into_iter().find(|name| *name == outcome);
            query.outcome = Some(known.ok_or_else(|| none(&format!("one of {}", OUTCOMES.join(", ")), outcome))?);
        }
        "Unit" => query.unit = Some(text()?.to_owned()),
        "App" => query.app = Some(text()?.to_owned()),
        "Since" => query.since_us = Some(long()?),
        "Until" => query.until_us = Some(long()?),
        "Limit" => {
            let limit = number()?;
            if !(1..=MAX_LIMIT).contains(&limit) {
                return Err(none(&format!("a number from 1 to {MAX_LIMIT}"), &limit.to_string()));
            }
            query.limit = limit as usize;
        }
        // The end of one walk is the beginning of the next.
        "Cursor" => query.before = Some(long()?).filter(|&cursor| cursor > 0).unwrap_or(u64::MAX),
        unknown => {
            return Err(Error::InvalidArgs(format!(
                "there is no query key {}; there are {}",
                excerpt(unknown),
                Contract::KEYS.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ")
            )));
        }
    }
    Ok(())
}
