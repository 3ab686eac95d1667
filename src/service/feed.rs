//! From the records of a source to events, and from events into the store.

use std::sync::atomic::Ordering;
use std::time::Duration;

use audit_records::{Assembler, AssemblyCounts, Event};

use super::kept::Records;
use super::pipeline::{MAX_WAITING_BYTES, Sink, realtime_us, request};
use crate::process::Request;
use crate::rules::Key;
use crate::source::HandedOn;
use crate::store::{Row, Source};

/// The records of one source, on their way to events.
pub(super) struct Feed {
    pub(super) source: Source,
    key: Key,
    keep_raw: bool,
    pub(super) assembler: Assembler,
    /// As counted when last looked.
    counted: AssemblyCounts,
    /// Events that are not handed on: they were before, or are in the reserve.
    pub(super) passed_over: u64,
}

impl Feed {
    pub(super) fn new(source: Source, key: Key, keep_raw: bool) -> Self {
        let assembler = Assembler::new(key.as_str(), keep_raw);
        Self { source, key, keep_raw, assembler, counted: AssemblyCounts::default(), passed_over: 0 }
    }

    /// Goes on where another process was.
    pub(super) fn resume(&mut self, records: Records, now: Duration) {
        let (key, keep_raw) = (self.key.as_str(), self.keep_raw);
        self.assembler = match records {
            Records::Lost(serial) => Assembler::after(key, keep_raw, serial),
            Records::Kept(state) => {
                Assembler::resume(key, keep_raw, *state, now).unwrap_or_else(|| Assembler::new(key, keep_raw))
            }
        };
    }

    /// Where it is; with all that is under way, where it ends in order.
    pub(super) fn records(&self, ends: bool) -> Records {
        match ends {
            true => Records::Kept(self.assembler.state().into()),
            false => Records::Lost(self.assembler.highest_serial()),
        }
    }

    /// Forgets what is under way, and which serial was the last.
    pub(super) fn restart(&mut self) {
        self.assembler = Assembler::new(self.key.as_str(), self.keep_raw);
        self.counted = AssemblyCounts::default();
    }

    /// Adds what was counted since the last time, but for what is missing.
    pub(super) fn count(&mut self, sink: &Sink) -> Missing {
        let now = self.assembler.counts();
        let was = std::mem::replace(&mut self.counted, now);
        let statistics = &sink.state.store.statistics;
        statistics.lines_malformed.add(now.malformed - was.malformed);
        statistics.records_parsed.add(now.parsed - was.parsed);
        statistics.records_late.add(now.late - was.late);
        statistics.records_cut.add(now.cut - was.cut);
        statistics.events_assembled.add(now.assembled - was.assembled);
        let passed_over = std::mem::take(&mut self.passed_over);
        statistics.events_matched.add((now.matched - was.matched).saturating_sub(passed_over));
        if now.rule_changes > was.rule_changes {
            sink.rules_touched.notify(usize::MAX);
        }
        Missing { incomplete: now.incomplete - was.incomplete, serial_gaps: now.serial_gaps - was.serial_gaps }
    }
}

/// What is known to be missing.
pub(super) struct Missing {
    incomplete: u64,
    pub(super) serial_gaps: u64,
}

impl Missing {
    pub(super) const fn sum(&self) -> u64 {
        self.incomplete + self.serial_gaps
    }

    /// `more`: something else is missing, which is counted elsewhere.
    pub(super) fn count(&self, sink: &Sink, more: bool) {
        let statistics = &sink.state.store.statistics;
        statistics.events_incomplete.add(self.incomplete);
        statistics.serial_gaps.add(self.serial_gaps);
        if more || self.sum() > 0 {
            statistics.last_loss.set(realtime_us());
        }
    }
}

/// What is known of the events that were taken so far.
pub(super) struct Taken {
    /// What may come once more.
    pub(super) handed_on: HandedOn,
    /// The last row of the store.
    pub(super) sequence: u64,
    /// So many rows went on together the last time: for so many there is room at once the next time.
    together: usize,
}

impl Taken {
    /// Nothing, after that row of the store.
    pub(super) fn after(sequence: u64) -> Self {
        Self { handed_on: HandedOn::default(), sequence, together: 0 }
    }
}

/// Takes events into the store, and hands them on together.
pub(super) struct Intake<'a> {
    sink: &'a Sink,
    taken: &'a mut Taken,
    now: Duration,
    seen_us: u64,
    rows: Vec<(Request, Row)>,
    bytes: usize,
    room: usize,
    lost: u64,
}

impl<'a> Intake<'a> {
    pub(super) fn new(sink: &'a Sink, taken: &'a mut Taken, now: Duration) -> Self {
        let room = MAX_WAITING_BYTES.saturating_sub(sink.waiting.load(Ordering::Relaxed));
        Self { sink, taken, now, seen_us: realtime_us(), rows: Vec::new(), bytes: 0, room, lost: 0 }
    }

    /// Whether the event is new. One of another machine has serials of its own, and comes one way only.
    pub(super) fn take(&mut self, event: &Event<'_>, source: Source) -> bool {
        if self.sink.state.store.is_local(event) && !self.taken.handed_on.is_new(event.id()) {
            return false;
        }
        let row = self.sink.state.store.insert(event, source, self.now, self.seen_us);
        self.taken.sequence = row.sequence;
        let size = row.size();
        if self.rows.is_empty() {
            self.rows.reserve(self.taken.together);
        }
        if self.bytes + size <= self.room {
            self.bytes += size;
            self.rows.push((request(&row), row));
        } else {
            self.lost += 1;
        }
        true
    }

    pub(super) fn hand_on(self) {
        if !self.rows.is_empty() {
            self.taken.together = self.rows.len();
        }
        self.sink.hand_on(self.rows, self.bytes, self.lost);
    }
}
