//! What `FindEvents` is asked for.

use std::collections::HashMap;
use std::fmt;

use zbus::OwnedVariant;

use crate::dictionary::{Dictionary as _, Refused, dictionary};

dictionary! {
    /// What `FindEvents` looks for. Whatever is given must hold; an empty query finds every event.
    ///
    /// ```
    /// use opensnitch_audit_client::Query;
    ///
    /// // Who connected to that network as root?
    /// let query = Query::new().event_type("connect").dst_host("198.51.100.0/24").uid(0u32);
    /// assert_eq!(query.dst_host.as_deref(), Some("198.51.100.0/24"));
    /// ```
    ///
    /// The service, and not this crate, refuses a value that is out of range or has no meaning.
    pub struct Query {
        /// The process.
        "Pid" pid: Option<u32>,
        /// Its parent.
        "PPid" ppid: Option<u32>,
        /// Real user.
        "UID" uid: Option<u32>,
        /// Login user.
        "AuditUid" audit_uid: Option<u32>,
        /// Path of the program; one that ends in `/*` means every program under that folder.
        "ProcPath" proc_path: Option<String>,
        /// Any of these types. On the bus one of them can be sent as a single `s`.
        "EventType" event_types: Vec<String>,
        /// Address family.
        "NetFamily" net_family: Option<String>,
        /// Protocol.
        "Protocol" protocol: Option<String>,
        /// Destination: an address, or a prefix as `192.0.2.0/24`. An IPv4 one finds its mapped form too.
        "DstHost" dst_host: Option<String>,
        /// Port of the destination.
        "DstPort" dst_port: Option<u16>,
        /// `success`, `in-progress` or `failure`.
        "Outcome" outcome: Option<String>,
        /// systemd unit.
        "Unit" unit: Option<String>,
        /// Application.
        "App" app: Option<String>,
        /// Not before this time: microseconds since the epoch.
        "Since" since: Option<u64>,
        /// Not after this time: microseconds since the epoch.
        "Until" until: Option<u64>,
        /// At most so many events in one answer: 1 to 1,000, and 100 unless given.
        "Limit" limit: Option<u32>,
        /// Where the last answer ended: its `next`.
        "Cursor" cursor: Option<u64>,
    }
}

macro_rules! setters {
    ($($field:ident: $type:ty)*) => {$(
        #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, value: impl Into<$type>) -> Self {
            self.$field = Some(value.into());
            self
        }
    )*};
}

impl Query {
    /// One that finds every event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one of the types looked for.
    #[must_use]
    pub fn event_type(mut self, name: impl Into<String>) -> Self {
        self.event_types.push(name.into());
        self
    }

    setters! {
        pid: u32
        ppid: u32
        uid: u32
        audit_uid: u32
        proc_path: String
        net_family: String
        protocol: String
        dst_host: String
        dst_port: u16
        outcome: String
        unit: String
        app: String
        since: u64
        until: u64
        limit: u32
        cursor: u64
    }
}

/// Why a dictionary is no query.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidQuery {
    /// There is no such key.
    UnknownKey(String),
    /// The value of this key has another type.
    WrongType {
        /// The key.
        key: String,
        /// The D-Bus signature that it has to have.
        expected: &'static str,
        /// The one that it has.
        found: String,
    },
}

/// What is repeated of text that a caller chose, in characters: enough to recognise it.
const QUOTED: usize = 100;

impl fmt::Display for InvalidQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(key) => {
                let known: Vec<&str> = Query::KEYS.iter().map(|(key, _)| *key).collect();
                let key: String = key.chars().take(QUOTED).collect();
                write!(f, "there is no query key {key:?}; there are {}", known.join(", "))
            }
            Self::WrongType { key, expected, found } => {
                let found: String = found.chars().take(QUOTED).collect();
                write!(f, "the query key {key} has type {expected}, not {found}")
            }
        }
    }
}

impl std::error::Error for InvalidQuery {}

/// Reads a query as strictly as the contract says. Used by the service.
impl TryFrom<HashMap<String, OwnedVariant>> for Query {
    type Error = InvalidQuery;

    fn try_from(pairs: HashMap<String, OwnedVariant>) -> Result<Self, InvalidQuery> {
        let mut query = Self::default();
        for (key, value) in pairs {
            let found = value.value_signature().clone();
            query.set(&key, value.into()).map_err(|refused| match refused {
                Refused::Unknown => InvalidQuery::UnknownKey(key),
                Refused::Type(expected) => InvalidQuery::WrongType { key, expected, found: found.to_string() },
            })?;
        }
        Ok(query)
    }
}
