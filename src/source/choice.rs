//! Which source serves.
//!
//! auditd's socket is always read, and whatever comes is taken. The multicast is always drained, too: while it **serves**,
//! what comes is taken; while auditd does, it goes into the [`Reserve`](super::Reserve). So:
//!
//! - auditd fails: the reserve is taken first, then the multicast serves. What auditd had brought of it is recognised by its
//!   id.
//! - auditd works again: both serve for [`OVERLAP`]. Whatever had begun before auditd was back has ended by then, and what
//!   begins later comes whole from auditd.
//! - auditd loses something while it serves, or falls so far behind that the reserve would: the reserve has it. That is a
//!   fault like any other.

use std::time::Duration;

use audit_records::MAX_AGE;

/// auditd hands records on at once. So long behind the kernel it does not work; less than what an event waits for its end,
/// so that one that auditd brought in part is had whole from the reserve.
const SILENCE: Duration = Duration::from_millis(1500);

/// How long both serve after auditd lost something: where it cannot keep up, it does not get better in a moment.
const LOSSY_OVERLAP: Duration = Duration::from_secs(60);

/// How long both serve: every event that is under way has ended by then.
const OVERLAP: Duration = MAX_AGE.saturating_add(Duration::from_secs(1));

/// What is seen of the sources at one moment. Times are those since any fixed moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The multicast is there.
    pub has_multicast: bool,
    /// auditd's socket is wanted.
    pub wants_audisp: bool,
    /// There is a connection to auditd.
    pub is_connected: bool,
    /// It brought a line.
    pub is_fruitful: bool,
    /// It has no newlines, and nothing of it can be read.
    pub is_newline_less: bool,
    /// Something of what auditd brought is missing, as was just noticed.
    pub is_lossy: bool,
    /// The reserve is nearly full of what auditd did not bring.
    pub is_at_risk: bool,
    /// When the multicast brought the first record since auditd brought anything.
    pub ahead_since: Option<Duration>,
}

/// Who serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Serving {
    /// Nobody: there is no source.
    #[default]
    Nobody,
    /// auditd.
    Audisp,
    /// The kernel's multicast.
    Multicast(Why),
    /// Both, until then.
    Both(Duration),
}

impl Serving {
    /// Whether what the multicast brings is taken.
    #[must_use]
    pub const fn takes_multicast(self) -> bool {
        matches!(self, Self::Multicast(_) | Self::Both(_))
    }

    /// The property `Source`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "",
            Self::Audisp => "audisp",
            Self::Multicast(_) | Self::Both(_) => "netlink",
        }
    }
}

/// Why the multicast serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The configuration says so.
    Configured,
    /// There is no connection to auditd.
    NoConnection,
    /// Nothing has come through it yet, as where another client has auditd's socket.
    NothingYet,
    /// It fell behind the kernel.
    Silent,
    /// Its text has no newlines.
    NoNewlines,
    /// Something was missing.
    Lossy,
}

impl Why {
    /// For a sentence about the events: they come from the multicast, because …
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Configured => "the configuration says source = \"netlink\"",
            Self::NoConnection => "there is no connection to auditd",
            Self::NothingYet => "auditd's socket has brought nothing yet",
            Self::Silent => "auditd's socket brings nothing while the kernel does",
            Self::NoNewlines => "auditd's socket brings text without line ends",
            Self::Lossy => "auditd's socket does not bring all that the kernel sends",
        }
    }
}

/// Who serves now, by who served until now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice(Serving);

impl Choice {
    /// auditd served, and goes on.
    pub const AUDISP: Self = Self(Serving::Audisp);

    /// Who serves.
    #[must_use]
    pub const fn serving(self) -> Serving {
        self.0
    }

    /// When it has to be thought over though nothing happens.
    #[must_use]
    pub fn deadline(self, seen: &Seen) -> Option<Duration> {
        let falls_behind = seen.ahead_since.map(|since| since.saturating_add(SILENCE));
        match self.0 {
            Serving::Nobody | Serving::Multicast(_) => None,
            Serving::Audisp => falls_behind.filter(|_| seen.has_multicast),
            Serving::Both(until) => Some(falls_behind.map_or(until, |behind| behind.min(until))),
        }
    }

    /// The next choice.
    #[must_use]
    pub fn next(self, seen: &Seen, now: Duration) -> Self {
        Self(match (seen.has_multicast, fault(seen, now)) {
            (false, _) if seen.is_connected => Serving::Audisp,
            (false, _) => Serving::Nobody,
            (true, Some(why)) => Serving::Multicast(why),
            (true, None) => match self.0 {
                Serving::Audisp if seen.is_lossy => Serving::Multicast(Why::Lossy),
                Serving::Audisp if seen.is_at_risk => Serving::Multicast(Why::Silent),
                Serving::Audisp => Serving::Audisp,
                Serving::Both(until) if now >= until => Serving::Audisp,
                Serving::Both(until) => Serving::Both(until),
                Serving::Multicast(Why::Lossy) => Serving::Both(now + LOSSY_OVERLAP),
                Serving::Multicast(_) | Serving::Nobody => Serving::Both(now + OVERLAP),
            },
        })
    }
}

/// Why auditd's socket cannot serve.
fn fault(seen: &Seen, now: Duration) -> Option<Why> {
    let is_behind = seen.ahead_since.is_some_and(|since| now.saturating_sub(since) >= SILENCE);
    match () {
        () if !seen.wants_audisp => Some(Why::Configured),
        () if !seen.is_connected => Some(Why::NoConnection),
        () if seen.is_newline_less => Some(Why::NoNewlines),
        () if !seen.is_fruitful => Some(Why::NothingYet),
        () if is_behind => Some(Why::Silent),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    const WELL: Seen = Seen {
        has_multicast: true,
        wants_audisp: true,
        is_connected: true,
        is_fruitful: true,
        is_newline_less: false,
        is_lossy: false,
        is_at_risk: false,
        ahead_since: None,
    };
    const GONE: Seen = Seen { is_connected: false, is_fruitful: false, ..WELL };

    #[test]
    fn one_step() {
        use Serving::{Audisp, Both, Multicast, Nobody};
        let alone = Seen { has_multicast: false, ..WELL };
        let held = Seen { is_fruitful: false, ..WELL };
        let joined = Seen { is_newline_less: true, ..WELL };
        let configured = Seen { wants_audisp: false, ..GONE };
        let ahead = |since| Seen { ahead_since: Some(MS(since)), ..WELL };
        let table = [
            // Who served, what is seen at 10 s, who serves.
            (Nobody, alone, Audisp),
            (Audisp, Seen { is_connected: false, ..alone }, Nobody),
            (Audisp, Seen { ahead_since: Some(MS(0)), ..alone }, Audisp),
            (Nobody, GONE, Multicast(Why::NoConnection)),
            (Nobody, held, Multicast(Why::NothingYet)),
            (Nobody, WELL, Both(MS(13_000))),
            (Nobody, configured, Multicast(Why::Configured)),
            (Multicast(Why::NothingYet), joined, Multicast(Why::NoNewlines)),
            (Multicast(Why::NoConnection), WELL, Both(MS(13_000))),
            (Both(MS(10_001)), WELL, Both(MS(10_001))),
            (Both(MS(10_000)), WELL, Audisp),
            (Both(MS(10_001)), GONE, Multicast(Why::NoConnection)),
            (Audisp, WELL, Audisp),
            (Audisp, GONE, Multicast(Why::NoConnection)),
            (Audisp, joined, Multicast(Why::NoNewlines)),
            (Audisp, ahead(8_501), Audisp),
            (Audisp, ahead(8_500), Multicast(Why::Silent)),
            (Audisp, Seen { is_lossy: true, ..WELL }, Multicast(Why::Lossy)),
            (Audisp, Seen { is_lossy: true, ..alone }, Audisp),
            (Both(MS(10_001)), Seen { is_lossy: true, ..WELL }, Both(MS(10_001))),
            (Audisp, Seen { is_at_risk: true, ..WELL }, Multicast(Why::Silent)),
            (Audisp, Seen { is_at_risk: true, ..alone }, Audisp),
            (Multicast(Why::Lossy), WELL, Both(MS(70_000))),
            // A clock of another reader.
            (Audisp, ahead(11_000), Audisp),
        ];
        for (was, seen, expected) in table {
            assert_eq!(Choice(was).next(&seen, MS(10_000)).serving(), expected, "{was:?} {seen:?}");
        }
    }

    #[test]
    fn the_way_there_and_back() {
        let mut choice = Choice::default();
        let mut names = Vec::new();
        let behind = Seen { ahead_since: Some(MS(20_000)), ..WELL };
        for (ms, seen) in [(0, GONE), (1, WELL), (3_000, WELL), (3_001, WELL), (22_000, behind), (23_000, WELL)] {
            choice = choice.next(&seen, MS(ms));
            names.push(choice.serving().name());
        }
        assert_eq!(names, ["netlink", "netlink", "netlink", "audisp", "netlink", "netlink"]);
    }
}
