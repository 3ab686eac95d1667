//! Puts the records of an event together.

use std::collections::VecDeque;
use std::time::Duration;

use super::build::{build, rule_change};
use super::serial::SerialGaps;
use super::{Event, RuleChange};
use crate::record::{EventId, Kind, Record, Value, parse};

/// Events under way at the same time. A burst on many processors has a few dozen interleaved; beyond this the oldest is
/// finished as it is.
pub const MAX_OPEN_EVENTS: usize = 256;

/// Records one event may have. An execve of 2 MiB of arguments, all the kernel allows, is written as some 550.
pub const MAX_RECORDS: usize = 1024;

/// Bytes one event's records may have together. An argument of 100 kB takes 208 kB in hexadecimal.
pub const MAX_EVENT_BYTES: usize = 512 * 1024;

/// Bytes all events under way may have together; beyond it the oldest are finished as they are.
pub const MAX_OPEN_BYTES: usize = 4 * 1024 * 1024;

/// How long an event waits for its EOE; auparse and auditd use the same (`end_of_event_timeout`, auditd.conf(5)).
pub const MAX_AGE: Duration = Duration::from_secs(2);

/// Finished events whose late records are still recognised.
const MAX_RECENT: usize = 64;

/// A slot's memory above this, in bytes, is given back when its event is finished.
const KEEP_CAPACITY: usize = 16 * 1024;

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that are records.
    pub parsed: u64,
    /// Lines that are not.
    pub malformed: u64,
    /// Events of a system call or an io_uring operation, ours or not.
    pub assembled: u64,
    /// Events finished without their EOE or without the record that says who did it.
    pub incomplete: u64,
    /// Events under our key.
    pub matched: u64,
    /// Records that came after their event was finished.
    pub late: u64,
    /// Records, or pieces of arguments, beyond a bound.
    pub cut: u64,
    /// Serials that never came.
    pub serial_gaps: u64,
    /// Records that say that a rule under our key was added or removed.
    pub rule_changes: u64,
}

/// Collects records by (node, time, serial) until the event's EOE, or until it is [`MAX_AGE`] old.
///
/// Time is a [`Duration`] since any fixed moment; the live stream uses a monotonic clock, a file the time its
/// own records tell.
#[derive(Debug)]
pub struct Assembler {
    key: Vec<u8>,
    keep_raw: bool,
    /// The oldest first.
    open: Vec<Open>,
    spare: Vec<Open>,
    recent: VecDeque<(EventId, Vec<u8>)>,
    /// Of all open events.
    bytes: usize,
    gaps: SerialGaps,
    rule_change: Option<RuleChange>,
    counts: Counts,
}

/// An event under way: its records as received, each with a newline behind it.
#[derive(Debug, Default)]
struct Open {
    id: EventId,
    /// Empty where auditd names none.
    node: Vec<u8>,
    opened: Duration,
    text: Vec<u8>,
    /// Where each record ends in `text`.
    ends: Vec<usize>,
    /// A SYSCALL is here.
    syscall: bool,
    /// A URINGOP is here.
    uringop: bool,
    /// A CONFIG_CHANGE that names our key is here.
    rule_change: bool,
    /// One of these carries our key.
    ours: bool,
    eoe: bool,
}

impl Open {
    fn has_subject(&self) -> bool {
        self.syscall || self.uringop
    }

    /// Somebody else's for certain: nothing that can still come changes that, since URINGOP comes before SYSCALL.
    fn is_foreign(&self) -> bool {
        self.syscall && !self.uringop && !self.ours && !self.rule_change
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&end| {
            let line = self.text.get(start..end);
            start = end + 1;
            line
        })
    }
}

impl Assembler {
    /// Picks the events under `key`, all events where it is empty.
    #[must_use]
    pub fn new(key: &str, keep_raw: bool) -> Self {
        Self {
            key: key.into(),
            keep_raw,
            open: Vec::new(),
            spare: Vec::new(),
            recent: VecDeque::with_capacity(MAX_RECENT),
            bytes: 0,
            gaps: SerialGaps::default(),
            rule_change: None,
            counts: Counts::default(),
        }
    }

    /// What became of the records so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { serial_gaps: self.gaps.count(), ..self.counts }
    }

    /// The last change of a rule under our key since somebody asked, whoever made it.
    pub fn take_rule_change(&mut self) -> Option<RuleChange> {
        self.rule_change.take()
    }

    /// Takes one line of the stream and hands finished events of ours to `out`.
    pub fn push(&mut self, line: &[u8], now: Duration, out: &mut impl FnMut(Event)) {
        let Ok(record) = parse(line) else {
            self.counts.malformed += 1;
            return;
        };
        self.push_record(&record, line, now, out);
    }

    /// As [`push`](Self::push), for a caller that has read the header already.
    pub fn push_record(&mut self, record: &Record<'_>, line: &[u8], now: Duration, out: &mut impl FnMut(Event)) {
        self.counts.parsed += 1;
        if record.node.is_none() {
            self.gaps.see(record.id.serial);
        }
        let node = record.node.unwrap_or_default();
        let at = self.open.iter().rposition(|open| open.id == record.id && open.node == node);
        let wanted = match record.kind {
            Kind::Other | Kind::Eoe => at.is_some(),
            // Every program that loads rules writes many of them; only ours matter.
            Kind::ConfigChange => at.is_some() || is_ours(&self.key, record.key()),
            _ => true,
        };
        if !wanted {
            return;
        }
        let at = match at {
            Some(at) => at,
            None if self.recent.iter().any(|(id, of)| *id == record.id && of == node) => {
                self.counts.late += 1;
                return;
            }
            None => self.open(record.id, node, now, out),
        };
        if self.append(at, record, line) {
            self.finish(at, out);
        }
        while self.bytes > MAX_OPEN_BYTES && !self.open.is_empty() {
            self.finish(0, out);
        }
    }

    /// Finishes what is too old at `now`.
    pub fn expire(&mut self, now: Duration, out: &mut impl FnMut(Event)) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.finish(0, out);
        }
    }

    /// When [`expire`](Self::expire) is next due; `None` where nothing is under way.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.open.first().map(|open| open.opened.saturating_add(MAX_AGE))
    }

    /// Finishes everything: the stream has ended for good.
    pub fn finish_all(&mut self, out: &mut impl FnMut(Event)) {
        while !self.open.is_empty() {
            self.finish(0, out);
        }
    }

    fn open(&mut self, id: EventId, node: &[u8], now: Duration, out: &mut impl FnMut(Event)) -> usize {
        if self.open.len() >= MAX_OPEN_EVENTS {
            self.finish(0, out);
        }
        let mut open = self.spare.pop().unwrap_or_default();
        open.id = id;
        open.opened = now;
        open.node.extend_from_slice(node);
        self.open.push(open);
        self.open.len() - 1
    }

    /// Adds a record to the event at `at`; whether the event is complete now.
    fn append(&mut self, at: usize, record: &Record<'_>, line: &[u8]) -> bool {
        let Some(open) = self.open.get_mut(at) else { return false };
        match record.kind {
            Kind::Syscall => open.syscall = true,
            Kind::Uringop => open.uringop = true,
            Kind::Eoe => open.eoe = true,
            Kind::ConfigChange if is_ours(&self.key, record.key()) => {
                open.rule_change = true;
                self.counts.rule_changes += 1;
            }
            _ => {}
        }
        if matches!(record.kind, Kind::Syscall | Kind::Uringop) {
            open.ours |= is_ours(&self.key, record.key());
        }
        let understood = !matches!(record.kind, Kind::Eoe | Kind::Other);
        if !open.is_foreign() && (understood || self.keep_raw) {
            if open.ends.len() < MAX_RECORDS && open.text.len() + line.len() < MAX_EVENT_BYTES {
                open.text.extend_from_slice(line);
                open.ends.push(open.text.len());
                open.text.push(b'\n');
                self.bytes += line.len() + 1;
            } else {
                self.counts.cut += 1;
            }
        }
        // A change that no system call made, as one of the kernel's own, has nothing else to wait for.
        open.eoe && (open.has_subject() || open.rule_change)
    }

    fn finish(&mut self, at: usize, out: &mut impl FnMut(Event)) {
        let mut open = self.open.remove(at);
        self.bytes -= open.text.len();
        self.counts.assembled += u64::from(open.has_subject());
        self.counts.incomplete += u64::from(!(open.rule_change || open.eoe && open.has_subject()));
        if open.rule_change {
            self.rule_change = rule_change(open.lines());
        }
        if open.ours {
            self.counts.matched += 1;
            let raw = self.keep_raw.then_some(open.text.strip_suffix(b"\n").unwrap_or_default());
            let (event, cut) = build(open.id, open.lines(), raw);
            self.counts.cut += cut;
            out(event);
        }
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((open.id, std::mem::take(&mut open.node)));
        open.text.clear();
        open.text.shrink_to(KEEP_CAPACITY);
        open.ends.clear();
        self.spare.push(Open { text: open.text, ends: open.ends, ..Open::default() });
    }
}

/// Whether the key of a rule, alone or among several (`AUDIT_KEY_SEPARATOR`, byte 0x01), is `key`.
fn is_ours(key: &[u8], value: Option<Value<'_>>) -> bool {
    key.is_empty()
        || value
            .and_then(Value::text)
            .is_some_and(|keys| keys.split(|&byte| byte == KEY_SEPARATOR).any(|one| one == key))
}

/// Between several keys of one rule: `AUDIT_KEY_SEPARATOR`, lib/libaudit.h of audit-userspace.
pub(super) const KEY_SEPARATOR: u8 = 1;
