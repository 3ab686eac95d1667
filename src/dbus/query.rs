//! What `FindEvents` looks for.

use std::collections::HashMap;
use std::net::IpAddr;

use zbus::{OwnedVariant, Variant};

use super::Error;
use super::wire::{family_name, timestamp_us};
use crate::event::EventType;
use crate::process::Entry;
use crate::record::Address;

/// Rows in one answer, unless told otherwise, and at the most.
const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

/// A checked query: all that is there must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pid: Option<u32>,
    ppid: Option<u32>,
    uid: Option<u32>,
    exe: Option<String>,
    event_type: Option<EventType>,
    family: Option<String>,
    host: Option<IpAddr>,
    port: Option<u16>,
    unit: Option<String>,
    since_us: Option<u64>,
    /// Rows in the answer.
    pub limit: usize,
    /// Only rows with a lower sequence.
    pub before: u64,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            pid: None,
            ppid: None,
            uid: None,
            exe: None,
            event_type: None,
            family: None,
            host: None,
            port: None,
            unit: None,
            since_us: None,
            limit: DEFAULT_LIMIT as usize,
            before: u64::MAX,
        }
    }
}

impl Query {
    /// # Errors
    /// [`Error::InvalidArgs`] that names the key which is unknown, of the wrong type or out of range.
    pub fn new(keys: &HashMap<String, OwnedVariant>) -> Result<Self, Error> {
        let mut query = Self::default();
        for (key, value) in keys {
            query.set(key, value)?;
        }
        Ok(query)
    }

    fn set(&mut self, key: &str, value: &Variant<'_>) -> Result<(), Error> {
        let wrong = |expected: &str| {
            Error::InvalidArgs(format!("the query key {key} is {expected}, not {}", value.value_signature()))
        };
        let number = || if let Variant::U32(number) = value { Ok(*number) } else { Err(wrong("a number of type u")) };
        let long = || if let Variant::U64(number) = value { Ok(*number) } else { Err(wrong("a number of type t")) };
        let text = || if let Variant::Str(text) = value { Ok(text.to_string()) } else { Err(wrong("a string")) };
        let out_of_range = |expected: &str| Error::InvalidArgs(format!("the query key {key} is {expected}"));
        match key {
            "Pid" => self.pid = Some(number()?),
            "PPid" => self.ppid = Some(number()?),
            "UID" => self.uid = Some(number()?),
            "ProcPath" => self.exe = Some(text()?),
            "EventType" => {
                let name = text()?;
                let known = EventType::ALL.into_iter().find(|one| one.name() == name);
                let names = EventType::ALL.map(EventType::name).join(", ");
                self.event_type = Some(known.ok_or_else(|| out_of_range(&format!("one of {names}, not {name:?}")))?);
            }
            "NetFamily" => self.family = Some(text()?),
            "DstHost" => {
                let host = text()?;
                self.host = Some(host.parse().map_err(|_| out_of_range(&format!("an IP address, not {host:?}")))?);
            }
            "DstPort" => match value {
                Variant::U16(port) => self.port = Some(*port),
                _ => return Err(wrong("a number of type q")),
            },
            "Unit" => self.unit = Some(text()?),
            "Since" => self.since_us = Some(long()?),
            "Limit" => {
                let limit = number()?;
                if !(1..=MAX_LIMIT).contains(&limit) {
                    return Err(out_of_range(&format!("a number from 1 to {MAX_LIMIT}, not {limit}")));
                }
                self.limit = limit as usize;
            }
            // The end of one walk is the beginning of the next.
            "Cursor" => self.before = Some(long()?).filter(|&cursor| cursor > 0).unwrap_or(u64::MAX),
            _ => {
                let known =
                    "Pid, PPid, UID, ProcPath, EventType, NetFamily, DstHost, DstPort, Unit, Since, Limit, Cursor";
                return Err(Error::InvalidArgs(format!("there is no query key {key:?}; there are {known}")));
            }
        }
        Ok(())
    }

    /// Whether an entry is one of those looked for.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        fn holds<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| is == Some(wanted))
        }
        let (event, subject) = (&*entry.event, &entry.event.subject);
        let (host, port) = match event.address {
            Some(Address::Inet(host, port)) => (Some(IpAddr::V4(host)), Some(port)),
            Some(Address::Inet6(host, port, _)) => (Some(IpAddr::V6(host)), Some(port)),
            _ => (None, None),
        };
        let process = entry.process.as_deref();
        let exe = subject.exe.as_deref().or_else(|| process?.exe.as_deref());
        let unit = process.and_then(|process| process.unit.as_deref());
        let is_text = |wanted: Option<&String>, is: Option<&[u8]>| {
            wanted.is_none_or(|wanted| is.is_some_and(|is| super::wire::text(is).0 == *wanted))
        };
        holds(self.pid.as_ref(), subject.pid.as_ref())
            && holds(self.ppid.as_ref(), subject.ppid.as_ref())
            && holds(self.uid.as_ref(), subject.uid.as_ref())
            && holds(self.event_type.as_ref(), event.event_type.as_ref())
            && holds(self.host.as_ref(), host.as_ref())
            && holds(self.port.as_ref(), port.as_ref())
            && self.since_us.is_none_or(|since| timestamp_us(event) >= since)
            && holds(self.family.as_ref(), event.family.map(family_name).as_ref())
            && is_text(self.exe.as_ref(), exe)
            && is_text(self.unit.as_ref(), unit)
    }
}
