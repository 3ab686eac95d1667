//! What is looked for, and by whom.

use std::net::IpAddr;

use audit_records::{EventType, Family};

use super::history::Path;
use super::row::{Row, outcome_name};
use crate::text::{is_text, starts_with};

/// Rows in one answer unless told otherwise, and at the most.
pub const DEFAULT_LIMIT: u32 = 100;
/// See [`DEFAULT_LIMIT`].
pub const MAX_LIMIT: u32 = 1000;

/// Which rows somebody may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All.
    All,
    /// Those of the user with this real uid.
    Own(u32),
}

impl Sight {
    /// Whether that row may be seen.
    #[must_use]
    pub fn allows(self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::Own(uid) => row.origin.uid == Some(uid),
        }
    }
}

/// What is looked for. All that is there must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The process.
    pub pid: Option<u32>,
    /// Its parent.
    pub ppid: Option<u32>,
    /// The real user.
    pub uid: Option<u32>,
    /// The user who logged in.
    pub audit_uid: Option<u32>,
    /// The program.
    pub exe: Option<Exe>,
    /// One of these types; any where it is empty.
    pub event_types: Vec<EventType>,
    /// The address family.
    pub family: Option<Family>,
    /// The protocol's name.
    pub protocol: Option<String>,
    /// The destination.
    pub host: Option<Prefix>,
    /// The destination's port.
    pub port: Option<u16>,
    /// How it ended: one of [`OUTCOMES`](super::OUTCOMES).
    pub outcome: Option<&'static str>,
    /// The systemd unit.
    pub unit: Option<String>,
    /// The application.
    pub app: Option<String>,
    /// Not before that time, in microseconds since the epoch.
    pub since_us: Option<u64>,
    /// Not after that time, in microseconds since the epoch.
    pub until_us: Option<u64>,
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
            audit_uid: None,
            exe: None,
            event_types: Vec::new(),
            family: None,
            protocol: None,
            host: None,
            port: None,
            outcome: None,
            unit: None,
            app: None,
            since_us: None,
            until_us: None,
            limit: DEFAULT_LIMIT as usize,
            before: u64::MAX,
        }
    }
}

/// A program, or all programs below a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exe {
    /// This one.
    Is(String),
    /// All whose path begins so; it ends in a slash.
    Below(String),
}

/// An address, or all addresses that share its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// In its own form: an IPv4 address that is mapped into IPv6 is IPv4.
    host: IpAddr,
    bits: u8,
}

impl Prefix {
    /// Of a text: `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`. `None` where it is neither address nor prefix, or the
    /// prefix is longer than its address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, bits) = match text.split_once('/') {
            None => (text, None),
            Some((host, bits)) if bits.bytes().all(|digit| digit.is_ascii_digit()) => (host, Some(bits.parse().ok()?)),
            Some(_) => return None,
        };
        let host: IpAddr = host.parse().ok()?;
        let longest = if host.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(longest);
        if bits > longest {
            return None;
        }
        // Of a mapped address the first 96 bits only say that it is mapped.
        match (host, host.to_canonical()) {
            (IpAddr::V6(_), own @ IpAddr::V4(_)) if bits >= 96 => Some(Self { host: own, bits: bits - 96 }),
            _ => Some(Self { host, bits }),
        }
    }

    /// The one address that it is, if it is one.
    #[must_use]
    pub fn single(self) -> Option<IpAddr> {
        (self.bits == if self.host.is_ipv4() { 32 } else { 128 }).then_some(self.host)
    }

    /// Whether it holds that address; an IPv4 one also in its mapped form.
    #[must_use]
    pub fn holds(self, host: IpAddr) -> bool {
        let shares = |own: u128, other: u128, width: u32| {
            let ignored = width - u32::from(self.bits);
            // A shift by the whole width is none: no bit counts.
            own.checked_shr(ignored).unwrap_or(0) == other.checked_shr(ignored).unwrap_or(0)
        };
        match (self.host, host.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => shares(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => shares(own.to_bits(), other.to_bits(), 128),
            // `::/0` and the like hold the mapped ones, too.
            (IpAddr::V6(own), IpAddr::V4(other)) => shares(own.to_bits(), other.to_ipv6_mapped().to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

impl Query {
    /// The shortest way through the history that passes all rows of the answer.
    pub(super) fn path(&self) -> Path {
        match (self.pid, self.host.and_then(Prefix::single)) {
            (Some(pid), _) => Path::Pid(pid),
            (None, Some(host)) => Path::Host(host),
            (None, None) => Path::All,
        }
    }

    /// Whether a row is one of those looked for. What is cheap to look at comes first.
    #[must_use]
    pub fn matches(&self, row: &Row) -> bool {
        fn holds<T: PartialEq>(wanted: Option<T>, is: impl FnOnce() -> Option<T>) -> bool {
            wanted.is_none_or(|wanted| is() == Some(wanted))
        }
        let who = || row.origin.who();
        let address = row.address.as_ref().and_then(|address| address.ip());
        let cgroup = || Some(&**row.process()?.cgroup.as_ref()?);
        (self.event_types.is_empty() || row.event_type.is_some_and(|one| self.event_types.contains(&one)))
            && holds(self.port, || Some(address?.1))
            && self.host.is_none_or(|host| address.is_some_and(|(address, _)| host.holds(address)))
            && self.since_us.is_none_or(|since| row.timestamp_us() >= since)
            && self.until_us.is_none_or(|until| row.timestamp_us() <= until)
            && holds(self.family, || row.family)
            && holds(self.outcome, || row.outcome().map(outcome_name))
            && holds(self.protocol.as_deref(), || row.socket?.name())
            && holds(self.pid, || row.origin.pid)
            && holds(self.uid, || who().uid())
            && holds(self.ppid, || who().ppid())
            && holds(self.audit_uid, || who().auid())
            && self.exe.as_ref().is_none_or(|exe| row.exe().is_some_and(|is| exe.is(&is)))
            && self.unit.as_deref().is_none_or(|unit| {
                cgroup().and_then(|cgroup| cgroup.unit.as_deref()).is_some_and(|is| is_text(is, unit))
            })
            && self
                .app
                .as_deref()
                .is_none_or(|app| cgroup().and_then(|cgroup| cgroup.app.as_deref()).is_some_and(|is| is_text(is, app)))
    }
}

impl Exe {
    /// Of a text: a path, or a folder's with `/*` behind it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(folder) if folder.ends_with('/') => Self::Below(folder.to_owned()),
            _ => Self::Is(text.to_owned()),
        }
    }

    fn is(&self, path: &[u8]) -> bool {
        match self {
            Self::Is(wanted) => is_text(path, wanted),
            Self::Below(folder) => starts_with(path, folder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let table = [
            ("192.0.2.0/24", "192.0.2.7", true),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.0/24", "192.0.3.7", false),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("::ffff:192.0.2.0/120", "192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.7", true),
            ("2001:db8::/32", "2001:db8:5::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1/128", "2001:db8::1", true),
        ];
        for (prefix, host, held) in table {
            assert_eq!(Prefix::parse(prefix).unwrap().holds(host.parse().unwrap()), held, "{prefix} {host}");
        }
        for wrong in
            ["", "x", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/", "192.0.2.0/+8", "192.0.2.0/8/8", "::1%eth0"]
        {
            assert_eq!(Prefix::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn programs() {
        assert_eq!(Exe::parse("/usr/bin/*"), Exe::Below("/usr/bin/".to_owned()));
        assert_eq!(Exe::parse("/usr/bin*"), Exe::Is("/usr/bin*".to_owned()));
        assert!(Exe::parse("/opt/*").is(b"/opt/a/b") && !Exe::parse("/opt/*").is(b"/optical"));
        assert!(Exe::parse("/bin/\\xff").is(b"/bin/\xff"));
    }
}
