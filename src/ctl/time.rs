//! Times as people write and read them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

/// What a time may look like, for an error.
pub(super) const FORMS: &str = "a time is as 5min, 09:00, yesterday, 2026-11-22, \"2026-11-22 09:00\" or \
                                2026-11-22T09:00:00Z, or microseconds since 1970";

/// The moment that a text means at this time and in its time zone: a date and time, a date, a time of today, a word, so long
/// ago, or microseconds since 1970.
pub(super) fn moment(text: &str, now: &ZonedDateTime) -> Option<u64> {
    let at = |time: DateTime| time.to_zoned_datetime(now.time_zone().clone()).ok().map(|time| time.timestamp());
    let midnight = |date: Date| at(date.at(0, 0, 0, 0));
    let ago = |span: Span| Some((now - span.abs()).timestamp());
    let text = text.trim();
    let time = match text {
        "now" => Some(now.timestamp()),
        "today" => midnight(now.date()),
        "yesterday" => midnight(now.date().yesterday().ok()?),
        _ if !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit()) => return text.parse().ok(),
        _ => (text.parse::<Timestamp>().ok())
            // A date alone is its midnight.
            .or_else(|| at(text.parse::<DateTime>().ok()?))
            .or_else(|| at(now.date().to_datetime(text.parse::<Time>().ok().filter(|_| text.contains(':'))?)))
            .or_else(|| ago(text.parse::<Span>().ok()?)),
    };
    u64::try_from(time?.as_microsecond()).ok()
}

/// How times are shown.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    zone: TimeZone,
    /// For what is told of today: no date.
    now: ZonedDateTime,
}

impl Clock {
    /// Local time, or UTC.
    pub(super) fn new(utc: bool) -> Self {
        let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
        Self { now: Timestamp::now().to_zoned_datetime(zone.clone()), zone }
    }

    /// This moment.
    pub(super) fn now(&self) -> &ZonedDateTime {
        &self.now
    }

    /// Microseconds since the epoch as date and time. A time that no calendar has stays a number.
    pub(super) fn full(&self, us: u64) -> String {
        self.format(us, |_| "%Y-%m-%d %H:%M:%S%.3f")
    }

    /// The same with the name of its zone.
    pub(super) fn with_zone(&self, us: u64) -> String {
        self.format(us, |_| "%Y-%m-%d %H:%M:%S%.3f %Z")
    }

    /// The same for where there is little room: of today the time to the second, else the date to the minute, without the year.
    pub(super) fn brief(&self, us: u64) -> String {
        self.format(us, |time| if time.date() == self.now.date() { "%H:%M:%S" } else { "%m-%d %H:%M" })
    }

    /// The time of day alone.
    pub(super) fn time_of_day(&self, us: u64) -> String {
        self.format(us, |_| "%H:%M:%S")
    }

    fn format(&self, us: u64, format: impl Fn(&ZonedDateTime) -> &'static str) -> String {
        let time = i64::try_from(us).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        let time = time.map(|time| time.to_zoned_datetime(self.zone.clone()));
        time.map_or_else(|| us.to_string(), |time| time.strftime(format(&time)).to_string())
    }
}

/// A length of time, to its two greatest units.
pub(super) fn length(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> ZonedDateTime {
        "2026-11-22T12:00:00+01:00[Europe/Berlin]".parse().unwrap_or_else(|_| {
            // A machine without a data base of time zones.
            "2026-11-22T11:00:00Z".parse::<Timestamp>().unwrap().to_zoned_datetime(TimeZone::fixed(jiff::tz::offset(1)))
        })
    }

    #[test]
    fn moments() {
        let table = [
            ("now", "2026-11-22T11:00:00Z"),
            ("today", "2026-11-21T23:00:00Z"),
            ("yesterday", "2026-11-20T23:00:00Z"),
            ("09:00", "2026-11-22T08:00:00Z"),
            ("09:00:30", "2026-11-22T08:00:30Z"),
            ("5min", "2026-11-22T10:55:00Z"),
            ("5min ago", "2026-11-22T10:55:00Z"),
            ("2h 30m", "2026-11-22T08:30:00Z"),
            ("3 days", "2026-11-19T11:00:00Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("2026-11-20 09:00", "2026-11-20T08:00:00Z"),
            ("2026-11-20T09:00:01", "2026-11-20T08:00:01Z"),
            ("2026-11-22T10:55:41.5Z", "2026-11-22T10:55:41.5Z"),
            ("2026-11-22T11:55:41.5+01:00", "2026-11-22T10:55:41.5Z"),
        ];
        for (text, expected) in table {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(moment(text, &now()), u64::try_from(expected.as_microsecond()).ok(), "{text}");
        }
        assert_eq!(moment("1795344941500000", &now()), Some(1_795_344_941_500_000));
        for wrong in ["", "tomorrow evening", "25:00", "2026-13-01", "-5", "1969-12-31T23:59:59Z", "x"] {
            assert_eq!(moment(wrong, &now()), None, "{wrong}");
        }
    }

    #[test]
    fn times() {
        let clock = Clock { zone: TimeZone::UTC, now: now().with_time_zone(TimeZone::UTC) };
        let table = [
            (0, "1970-01-01 00:00:00.000", "01-01 00:00"),
            (951_782_400_000_000, "2000-02-29 00:00:00.000", "02-29 00:00"),
            (1_795_344_941_704_000, "2026-11-22 10:55:41.704", "10:55:41"),
            (4_102_444_799_999_999, "2099-12-31 23:59:59.999", "12-31 23:59"),
            (u64::MAX, "18446744073709551615", "18446744073709551615"),
        ];
        for (us, full, brief) in table {
            assert_eq!((clock.full(us).as_str(), clock.brief(us).as_str()), (full, brief));
        }
        assert_eq!(clock.with_zone(0), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(clock.time_of_day(1_795_344_941_704_000), "10:55:41");
    }

    #[test]
    fn lengths() {
        let table = [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h 0 min"), (90_061, "1 d 1 h")];
        for (seconds, expected) in table {
            assert_eq!(length(seconds), expected);
        }
    }
}
