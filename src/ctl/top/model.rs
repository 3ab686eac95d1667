//! What was seen, program by program: events in, rows out. It draws nothing and knows neither a clock nor the bus.
//!
//! Guarantee: it holds at most [`MAX_PROGRAMS`] programs with [`MAX_DESTINATIONS`] each. Who makes room is whoever was seen the
//! longest ago, and that is counted.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use opensnitch_audit_client::Event;

use crate::ctl::column::{Shown, destination, outcome, program};

/// Programs that are held, each user's by itself: more than anybody looks through. A path has at most 4 kB, a destination
/// seldom more than 50 bytes, so all of it stays below 20 MB on any honest machine and below 50 MB on any other.
const MAX_PROGRAMS: usize = 512;

/// Destinations of a program that are held.
const MAX_DESTINATIONS: usize = 256;

/// Over how many seconds a rate is measured: short enough to follow, long enough not to flicker.
const SPAN: u64 = 10;

/// A program of a user's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// As it may be shown.
    pub(super) program: String,
    uid: Option<u32>,
}

/// Where a program went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct To {
    destination: String,
    protocol: String,
}

/// By what rows are sorted, the most of it first; names from the first letter on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Rate,
    Events,
    User,
    Program,
    Destinations,
    Newest,
}

impl Sort {
    const ALL: [Self; 6] = [Self::Rate, Self::Events, Self::User, Self::Program, Self::Destinations, Self::Newest];

    /// The one behind it.
    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|one| *one == self).map_or(0, |at| at + 1);
        Self::ALL.get(at).copied().unwrap_or(Self::Rate)
    }
}

/// Which rows are wanted, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// Only programs that have this in their path, their user or a destination.
    pub(super) text: String,
}

impl Default for Choice {
    fn default() -> Self {
        Self { sort: Sort::Rate, is_reversed: false, text: String::new() }
    }
}

/// A program, as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) user: String,
    pub(super) events: u64,
    /// Tenths of an event in a second.
    pub(super) rate: u64,
    pub(super) destinations: usize,
    /// Where it went last.
    pub(super) newest: String,
    /// When, in microseconds since the epoch.
    pub(super) last: u64,
}

/// A destination, as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) destination: String,
    pub(super) protocol: String,
    pub(super) events: u64,
    /// Tenths of an event in a second.
    pub(super) rate: u64,
    /// How the last one ended, and whether it failed.
    pub(super) result: String,
    pub(super) is_failure: bool,
    pub(super) last: u64,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Model {
    programs: HashMap<Key, Program>,
    /// Since when events are counted, in microseconds since the epoch.
    pub(super) since: u64,
    all: Tally,
    /// Events that were too many to be told.
    pub(super) lost: u64,
    /// Programs and destinations that made room, with what was counted of them.
    pub(super) forgotten: u64,
    /// The newest event that was remembered before this began: it may be told once more.
    sequence: u64,
    /// When this began, and what time it is, in seconds of any clock that only goes forward.
    began: u64,
    now: u64,
}

#[derive(Debug, Default)]
struct Program {
    tally: Tally,
    newest: String,
    destinations: HashMap<To, Visits>,
}

#[derive(Debug, Default)]
struct Visits {
    tally: Tally,
    result: String,
    is_failure: bool,
}

/// How often, and how often lately.
#[derive(Debug, Default)]
struct Tally {
    events: u64,
    last: u64,
    /// The last seconds in which there were events, and how many; at most [`SPAN`] of them.
    lately: VecDeque<(u64, u64)>,
}

impl Tally {
    fn add(&mut self, events: u64, time: u64, second: Option<u64>) {
        self.events = self.events.saturating_add(events);
        self.last = self.last.max(time);
        let Some(second) = second else { return };
        self.lately.retain(|(then, _)| then + SPAN > second);
        match self.lately.back_mut() {
            Some((then, count)) if *then == second => *count = count.saturating_add(events),
            _ => self.lately.push_back((second, events)),
        }
    }

    /// Tenths of an event in a second, over the last `span` seconds.
    fn rate(&self, now: u64, span: u64) -> u64 {
        let lately = self.lately.iter().filter(|(then, _)| then + SPAN > now);
        let events = lately.fold(0u64, |sum, (_, events)| sum.saturating_add(*events));
        events.saturating_mul(10) / span
    }
}

impl Model {
    /// One that counts since that time, in microseconds since the epoch; `now` are seconds of a clock that only goes forward.
    pub(super) fn new(since: u64, now: u64) -> Self {
        let programs = HashMap::new();
        Self { programs, since, all: Tally::default(), lost: 0, forgotten: 0, sequence: 0, began: now, now }
    }

    /// So late it is.
    pub(super) fn set_now(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// Takes an event of the time before this began, which counts for no rate.
    pub(super) fn remember(&mut self, event: &Event) {
        self.sequence = self.sequence.max(event.sequence.unwrap_or(0));
        self.take(event, None);
    }

    /// Takes an event that was seen just now.
    pub(super) fn see(&mut self, event: &Event) {
        if event.sequence.is_none_or(|sequence| sequence > self.sequence) {
            self.take(event, Some(self.now));
        }
    }

    /// The service that counted its events began again.
    pub(super) fn begin_again(&mut self) {
        self.sequence = 0;
    }

    fn take(&mut self, event: &Event, second: Option<u64>) {
        let unknown = || "-".to_owned();
        let count = event.count.unwrap_or(1);
        let time = event.timestamp.unwrap_or(0);
        let key = Key { program: program(event).unwrap_or_else(unknown), uid: event.uid };
        let to = To {
            destination: destination(event).unwrap_or_else(unknown),
            protocol: event.protocol.as_deref().map_or_else(unknown, crate::ctl::escape::name),
        };
        self.all.add(count, time, second);
        self.forgotten += u64::from(make_room(&mut self.programs, &key, MAX_PROGRAMS, |program| program.tally.last));
        let program = self.programs.entry(key).or_default();
        program.tally.add(count, time, second);
        if time >= program.tally.last {
            program.newest.clone_from(&to.destination);
        }
        let destinations = &mut program.destinations;
        self.forgotten += u64::from(make_room(destinations, &to, MAX_DESTINATIONS, |visits| visits.tally.last));
        let visits = destinations.entry(to).or_default();
        visits.tally.add(count, time, second);
        if time >= visits.tally.last {
            visits.result = outcome(event);
            visits.is_failure = event.outcome.as_deref() == Some("failure");
        }
    }

    /// All events that were counted.
    pub(super) fn events(&self) -> u64 {
        self.all.events
    }

    /// Tenths of an event in a second, of all.
    pub(super) fn rate(&self) -> u64 {
        self.all.rate(self.now, self.span())
    }

    /// Over how many seconds a rate is measured: at first there are not so many.
    fn span(&self) -> u64 {
        (self.now - self.began + 1).min(SPAN)
    }

    /// The programs that are wanted.
    pub(super) fn rows(&self, choice: &Choice, shown: &Shown) -> Vec<Row> {
        let text = choice.text.to_lowercase();
        let mut rows: Vec<Row> = self
            .programs
            .iter()
            .filter_map(|(key, program)| {
                let user = key.uid.map_or_else(|| "-".to_owned(), |uid| shown.user(uid));
                let has = |part: &str| part.to_lowercase().contains(&text);
                let has_gone = || program.destinations.keys().any(|to| has(&to.destination));
                let is_wanted = text.is_empty() || has(&key.program) || has(&user) || has_gone();
                is_wanted.then(|| Row {
                    user,
                    events: program.tally.events,
                    rate: program.tally.rate(self.now, self.span()),
                    destinations: program.destinations.len(),
                    newest: program.newest.clone(),
                    last: program.tally.last,
                    key: key.clone(),
                })
            })
            .collect();
        rows.sort_by(|left, right| {
            let order = match choice.sort {
                Sort::Rate => right.rate.cmp(&left.rate),
                Sort::Events => right.events.cmp(&left.events),
                Sort::User => left.user.cmp(&right.user),
                Sort::Program => left.key.program.cmp(&right.key.program),
                Sort::Destinations => right.destinations.cmp(&left.destinations),
                Sort::Newest => right.last.cmp(&left.last),
            };
            let order = if choice.is_reversed { order.reverse() } else { order };
            // What is alike stays where it is.
            order.then_with(|| right.events.cmp(&left.events)).then_with(|| left.key.cmp(&right.key))
        });
        rows
    }

    /// Where a program went, what is busiest first.
    pub(super) fn destinations(&self, key: &Key) -> Vec<Destination> {
        let Some(program) = self.programs.get(key) else { return Vec::new() };
        let mut rows: Vec<Destination> = program
            .destinations
            .iter()
            .map(|(to, visits)| Destination {
                destination: to.destination.clone(),
                protocol: to.protocol.clone(),
                events: visits.tally.events,
                rate: visits.tally.rate(self.now, self.span()),
                result: visits.result.clone(),
                is_failure: visits.is_failure,
                last: visits.tally.last,
            })
            .collect();
        rows.sort_by(|left, right| {
            let busy = |row: &Destination| (row.rate, row.events, row.last);
            let names = || (&left.destination, &left.protocol).cmp(&(&right.destination, &right.protocol));
            busy(right).cmp(&busy(left)).then_with(names)
        });
        rows
    }
}

/// Makes room for one that is not there yet, and says whether another one had to go.
fn make_room<K: Clone + Eq + Hash + Ord, V>(
    all: &mut HashMap<K, V>,
    coming: &K,
    max: usize,
    last: impl Fn(&V) -> u64,
) -> bool {
    if all.len() < max || all.contains_key(coming) {
        return false;
    }
    let oldest = all.iter().min_by(|left, right| match last(left.1).cmp(&last(right.1)) {
        Ordering::Equal => left.0.cmp(right.0),
        order => order,
    });
    let oldest = oldest.map(|(key, _)| key.clone());
    oldest.and_then(|key| all.remove(&key)).is_some()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ctl::column::tests::{connect, shown};

    /// An event of this program to this port, `second` seconds after the first one that there can be.
    pub(in crate::ctl) fn event(program: &str, port: u16, second: u64) -> Event {
        let mut event = connect();
        event.proc_path = Some(program.to_owned());
        event.dst_host = Some("192.0.2.7".to_owned());
        event.dst_port = Some(port);
        event.protocol = Some("tcp".into());
        event.timestamp = event.timestamp.map(|time| time + second * 1_000_000);
        event
    }

    fn programs(model: &Model, choice: &Choice) -> Vec<String> {
        model.rows(choice, &shown()).into_iter().map(|row| row.key.program).collect()
    }

    fn only(model: &Model) -> Row {
        let rows = model.rows(&Choice::default(), &shown());
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].clone()
    }

    #[test]
    fn events_become_rows() {
        let mut model = Model::new(0, 100);
        model.see(&event("/a", 80, 0));
        let mut several = event("/a", 443, 1);
        several.count = Some(4);
        several.outcome = Some("failure".into());
        several.error = Some("ECONNREFUSED".into());
        model.see(&several);
        // It began before the one that was told first, and took longer.
        model.see(&event("/a", 80, 0));
        let row = only(&model);
        assert_eq!((row.events, row.destinations, &*row.newest, &*row.user), (6, 2, "192.0.2.7:443", "1000"));
        assert_eq!(row.last, several.timestamp.unwrap());
        let to = model.destinations(&row.key);
        let shown: Vec<_> = to.iter().map(|to| (&*to.destination, &*to.protocol, to.events, &*to.result)).collect();
        assert_eq!(shown, [("192.0.2.7:443", "tcp", 4, "ECONNREFUSED"), ("192.0.2.7:80", "tcp", 2, "")]);
        assert!(to[0].is_failure && !to[1].is_failure);
    }

    #[test]
    fn the_same_program_of_another_user_is_another_row() {
        let mut model = Model::new(0, 0);
        let mut other = event("/a", 80, 0);
        model.see(&other);
        other.uid = None;
        model.see(&other);
        assert_eq!(model.rows(&Choice::default(), &shown()).len(), 2);
    }

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let mut model = Model::new(0, 100);
        let rate = |model: &mut Model, now| {
            model.set_now(now);
            (only(model).rate, model.rate())
        };
        for _ in 0..6 {
            model.see(&event("/a", 80, 0));
        }
        // At first there is no more than a second to measure.
        assert_eq!(rate(&mut model, 100), (60, 60));
        assert_eq!(rate(&mut model, 102), (20, 20));
        assert_eq!(rate(&mut model, 109), (6, 6));
        model.see(&event("/a", 80, 9));
        assert_eq!(rate(&mut model, 109), (7, 7));
        assert_eq!(rate(&mut model, 110), (1, 1));
        assert_eq!(rate(&mut model, 119), (0, 0));
        model.set_now(1_000);
        model.see(&event("/a", 80, 900));
        assert_eq!(rate(&mut model, 1_000), (1, 1));
    }

    #[test]
    fn what_is_remembered_counts_once_and_for_no_rate() {
        let mut model = Model::new(0, 0);
        let mut known = event("/a", 80, 0);
        known.sequence = Some(7);
        model.remember(&known);
        model.see(&known);
        assert_eq!((only(&model).events, only(&model).rate), (1, 0));
        known.sequence = Some(8);
        model.see(&known);
        assert_eq!((only(&model).events, only(&model).rate), (2, 10));
        // Of a service that began again.
        model.begin_again();
        known.sequence = Some(1);
        model.see(&known);
        assert_eq!(only(&model).events, 3);
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let mut model = Model::new(0, 0);
        for (program, port, second) in [("/b", 80, 3), ("/b", 81, 4), ("/b", 82, 5), ("/c", 443, 9), ("/a", 22, 1)] {
            model.remember(&event(program, port, second));
        }
        model.see(&event("/a", 22, 1));
        let table = [
            (Sort::Rate, ["/a", "/b", "/c"]),
            (Sort::Events, ["/b", "/a", "/c"]),
            (Sort::User, ["/b", "/a", "/c"]),
            (Sort::Program, ["/a", "/b", "/c"]),
            (Sort::Destinations, ["/b", "/a", "/c"]),
            (Sort::Newest, ["/c", "/b", "/a"]),
        ];
        let mut sort = Sort::Rate;
        for (expected, order) in table {
            assert_eq!(sort, expected);
            let choice = Choice { sort, ..Choice::default() };
            assert_eq!(programs(&model, &choice), order, "{sort:?}");
            sort = sort.next();
        }
        assert_eq!(sort, Sort::Rate);
        let reversed = Choice { sort: Sort::Newest, is_reversed: true, ..Choice::default() };
        assert_eq!(programs(&model, &reversed), ["/a", "/b", "/c"]);
        for (text, expected) in [("/B", &["/b"][..]), (":443", &["/c"]), ("1000", &["/a", "/b", "/c"]), ("x", &[])] {
            let choice = Choice { text: text.to_owned(), ..Choice::default() };
            assert_eq!(programs(&model, &choice), expected, "{text}");
        }
    }

    #[test]
    fn it_does_not_grow_for_ever_and_says_what_it_forgot() {
        let mut model = Model::new(0, 0);
        for number in 0..2 * MAX_PROGRAMS {
            model.see(&event(&format!("/{number:04}"), 80, number as u64));
        }
        assert_eq!(model.forgotten, MAX_PROGRAMS as u64);
        let left = programs(&model, &Choice { sort: Sort::Program, ..Choice::default() });
        assert_eq!((left.len(), &*left[0]), (MAX_PROGRAMS, "/0512"));
        for port in 0..1000 {
            model.see(&event("/1023", port, 5000 + u64::from(port)));
        }
        let row = &model.rows(&Choice { sort: Sort::Events, ..Choice::default() }, &shown())[0];
        assert_eq!((row.events, row.destinations), (1001, MAX_DESTINATIONS));
        assert_eq!(model.forgotten, (MAX_PROGRAMS + 1000 - MAX_DESTINATIONS) as u64);
        assert_eq!(model.events(), 2 * MAX_PROGRAMS as u64 + 1000);
    }

    #[test]
    fn a_name_is_escaped_before_it_gets_here() {
        let mut model = Model::new(0, 0);
        let mut hostile = event("/a\n\u{1b}[2J b", 80, 0);
        hostile.dst_host = None;
        hostile.dst_path = Some("@x\u{202e}".to_owned());
        hostile.protocol = Some("\u{7}".into());
        model.see(&hostile);
        let row = only(&model);
        let to = &model.destinations(&row.key)[0];
        assert_eq!((&*row.key.program, &*row.newest), ("\"/a\\u{a}\\u{1b}[2J b\"", "\"@x\\u{202e}\""));
        assert_eq!(&*to.protocol, "\"\\u{7}\"");
    }
}
