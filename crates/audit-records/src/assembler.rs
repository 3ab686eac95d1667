//! Puts the records of an event together.

use std::collections::VecDeque;
use std::time::Duration;

use memchr::memmem;

use crate::args;
use crate::event::{Event, Part, Records, RuleChange};
use crate::framing::MAX_LINE;
use crate::record::{EventId, Kind, LastId, Record, field, last_key};
use crate::serial::SerialGaps;
use crate::tables::IO_URING_ENTER;
use crate::value::Value;
use crate::who::{Bytes, Call, KEY_SEPARATOR, Subject, Who, auid_name};

/// Events under way at the same time. A burst on many processors has a few dozen interleaved; beyond this the oldest is
/// finished as it is.
pub const MAX_OPEN_EVENTS: usize = 256;

/// Records one event may have. A call that names many files has some dozens.
pub const MAX_RECORDS: usize = 512;

/// Bytes one event's records may have together: [`MAX_REPEATED_BYTES`], and beside them a program, a folder and a file with
/// the longest names there are (4,096 bytes each, in hexadecimal).
pub const MAX_EVENT_BYTES: usize = 80 * 1024;

/// Bytes the records that one event may have many of, EXECVE and URINGOP, may have together: more than
/// [`MAX_ARGS_BYTES`](crate::MAX_ARGS_BYTES) of arguments take, however they are written.
pub const MAX_REPEATED_BYTES: usize = 48 * 1024;

/// Bytes all events under way may have together; beyond it the oldest are finished as they are.
pub const MAX_OPEN_BYTES: usize = 4 * 1024 * 1024;

/// How long an event waits for its EOE; auparse and auditd use the same (`end_of_event_timeout`, auditd.conf(5)).
pub const MAX_AGE: Duration = Duration::from_secs(2);

/// Finished events whose late records are still recognised.
const MAX_RECENT: usize = 64;

/// Emptied buffers that are kept for the next events, each of at most [`KEEP_CAPACITY`].
const MAX_SPARE: usize = 32;

/// A buffer's memory above this, in bytes, is given back when its event is finished: most events have less.
const KEEP_CAPACITY: usize = 16 * 1024;

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssemblyCounts {
    /// Lines that are records.
    pub parsed: u64,
    /// Lines that are not.
    pub malformed: u64,
    /// Events of a system call or an io_uring operation, under the key or not.
    pub assembled: u64,
    /// Events finished without their EOE or without the record that says who did it.
    pub incomplete: u64,
    /// Events under the key.
    pub matched: u64,
    /// Records that came after their event was finished.
    pub late: u64,
    /// Records beyond a bound, and events whose arguments are not all there though they are short enough to be kept.
    pub cut: u64,
    /// Serials that never came.
    pub serial_gaps: u64,
    /// Records that say that a rule under the key was added or removed.
    pub rule_changes: u64,
}

/// Collects records by (node, time, serial) until the event's EOE, or until it is [`MAX_AGE`] old.
///
/// It has no clock: `now` is the time since any fixed moment, by a clock that never goes back. It is the time at which a
/// record *arrives*; what the record itself says is the time of the call, which may have blocked for minutes.
#[derive(Debug)]
pub struct Assembler {
    key: Key,
    keep_raw: bool,
    last_id: LastId,
    /// The oldest first.
    open: Vec<Open>,
    /// Where in `open` the last record went.
    current: usize,
    spare: Vec<Open>,
    recent: VecDeque<(EventId, Vec<u8>)>,
    /// Of all open events.
    bytes: usize,
    gaps: SerialGaps,
    rule_change: Option<RuleChange>,
    counts: AssemblyCounts,
}

/// An event under way: its records as received, each with a newline behind it.
#[derive(Debug, Default)]
struct Open {
    id: EventId,
    /// Empty where auditd names none.
    node: Vec<u8>,
    opened: Duration,
    text: Vec<u8>,
    parts: Vec<Part>,
    /// Bytes of its EXECVE and URINGOP records.
    repeated: usize,
    /// A SYSCALL is here.
    syscall: bool,
    /// A URINGOP is here.
    uringop: bool,
    /// SYSCALL carries our key.
    ours: bool,
    /// The last URINGOP that carries our key, in `parts`.
    our_uringop: Option<usize>,
    /// A CONFIG_CHANGE that names our key is here.
    rule_change: bool,
    /// SYSCALL carries another key and a URINGOP may still come.
    undecided: bool,
    eoe: bool,
}

impl Open {
    /// Adds a record, unless it tells that the event is somebody else's or is beyond a bound.
    fn add(&mut self, record: &Record<'_>, key: &Key, keep_raw: bool) -> Added {
        let (line, own_start, own_end) = record.places();
        let own = line.get(own_start..own_end).unwrap_or_default();
        let mut added = Added::default();
        let mut kind = record.kind;
        match kind {
            Kind::Syscall if !self.syscall => {
                self.syscall = true;
                self.ours = key.is_last_of(own);
                self.undecided = !self.ours && field(own, b"syscall").unsigned() == Some(IO_URING_ENTER);
            }
            Kind::Syscall => kind = Kind::Other,
            Kind::Uringop => self.uringop = true,
            Kind::ConfigChange if key.is_in_change(own) => {
                self.rule_change = true;
                added.is_rule_change = true;
            }
            // Of the files that took part the first one is the object itself.
            Kind::Path if field(own, b"item").written() != b"0" => kind = Kind::Other,
            _ => {}
        }
        if self.is_foreign() || (kind == Kind::Other && !keep_raw) {
            return added;
        }
        let is_repeated = matches!(kind, Kind::Execve | Kind::Uringop);
        added.is_cut = self.parts.len() >= MAX_RECORDS
            || self.text.len() + line.len() >= MAX_EVENT_BYTES
            || is_repeated && self.repeated + line.len() > MAX_REPEATED_BYTES;
        if added.is_cut {
            return added;
        }
        if is_repeated {
            self.repeated += line.len();
        }
        if kind == Kind::Uringop && key.is_last_of(own) {
            self.our_uringop = Some(self.parts.len());
        }
        let start = self.text.len();
        self.text.extend_from_slice(line);
        self.parts.push(Part { kind, body: start + own_start, own_end: start + own_end, end: start + line.len() });
        self.text.push(b'\n');
        added.bytes = line.len() + 1;
        added
    }

    const fn has_subject(&self) -> bool {
        self.syscall || self.uringop
    }

    const fn is_ours(&self) -> bool {
        self.ours || self.our_uringop.is_some()
    }

    /// Somebody else's for certain. What the kernel writes comes before SYSCALL where it could change that.
    const fn is_foreign(&self) -> bool {
        self.syscall && !self.is_ours() && !self.uringop && !self.rule_change && !self.undecided
    }

    fn records(&self) -> Records<'_> {
        Records { text: &self.text, parts: &self.parts }
    }
}

/// What became of a record that was to be added.
#[derive(Debug, Default)]
struct Added {
    bytes: usize,
    is_cut: bool,
    is_rule_change: bool,
}

impl Assembler {
    /// Picks the events under `key`, all events where it is empty; `keep_raw` keeps their records for
    /// [`Event::raw`], those that tell nothing else included.
    #[must_use]
    pub fn new(key: &str, keep_raw: bool) -> Self {
        Self {
            key: Key::new(key),
            keep_raw,
            last_id: LastId::default(),
            open: Vec::new(),
            current: 0,
            spare: Vec::new(),
            recent: VecDeque::with_capacity(MAX_RECENT),
            bytes: 0,
            gaps: SerialGaps::default(),
            rule_change: None,
            counts: AssemblyCounts::default(),
        }
    }

    /// What became of the records so far.
    #[must_use]
    pub fn counts(&self) -> AssemblyCounts {
        AssemblyCounts { serial_gaps: self.gaps.count(), ..self.counts }
    }

    /// The last change of a rule under the key since somebody asked, whoever made it.
    pub fn take_rule_change(&mut self) -> Option<RuleChange> {
        self.rule_change.take()
    }

    /// Takes one line of the stream, without its newline, and hands finished events under the key to `out`.
    pub fn push(&mut self, line: &[u8], now: Duration, out: &mut impl FnMut(Event<'_>)) {
        let parsed = self.last_id.parse(line);
        let Some(record) = parsed.ok().filter(|_| line.len() <= MAX_LINE) else {
            self.counts.malformed += 1;
            return;
        };
        self.counts.parsed += 1;
        let may_be_late = record.node.is_some() || self.gaps.see(record.id.serial);
        let node = record.node.unwrap_or_default();
        let at = self.find(record.id, node);
        let wanted = match record.kind {
            Kind::Other | Kind::Eoe => at.is_some(),
            // Every program that loads rules writes many of them; only ours matter.
            Kind::ConfigChange => at.is_some() || self.key.is_in_change(record.own()),
            _ => true,
        };
        if !wanted {
            return;
        }
        let at = match at {
            Some(at) => at,
            None if may_be_late && self.is_late(record.id, node) => {
                self.counts.late += 1;
                return;
            }
            None => self.open(record.id, node, now, out),
        };
        self.current = at;
        if self.append(at, &record) {
            self.finish(at, out);
        }
        while self.bytes > MAX_OPEN_BYTES && !self.open.is_empty() {
            self.finish(0, out);
        }
    }

    /// Finishes what is too old at `now`.
    pub fn expire(&mut self, now: Duration, out: &mut impl FnMut(Event<'_>)) {
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
    pub fn finish_all(&mut self, out: &mut impl FnMut(Event<'_>)) {
        while !self.open.is_empty() {
            self.finish(0, out);
        }
    }

    fn find(&self, id: EventId, node: &[u8]) -> Option<usize> {
        let is_it = |open: &Open| open.id == id && open.node == node;
        if self.open.get(self.current).is_some_and(is_it) {
            return Some(self.current);
        }
        self.open.iter().rposition(is_it)
    }

    fn is_late(&self, id: EventId, node: &[u8]) -> bool {
        self.recent.iter().any(|(of, from)| *of == id && from == node)
    }

    fn open(&mut self, id: EventId, node: &[u8], now: Duration, out: &mut impl FnMut(Event<'_>)) -> usize {
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
    fn append(&mut self, at: usize, record: &Record<'_>) -> bool {
        let Self { key, keep_raw, open, bytes, counts, .. } = self;
        let Some(open) = open.get_mut(at) else { return false };
        open.eoe |= record.kind == Kind::Eoe;
        let tells = !matches!(record.kind, Kind::Eoe | Kind::Other);
        if (tells || *keep_raw) && !open.is_foreign() {
            let added = open.add(record, key, *keep_raw);
            *bytes += added.bytes;
            counts.cut += u64::from(added.is_cut);
            counts.rule_changes += u64::from(added.is_rule_change);
        }
        // A change that no system call made, as one of the kernel's own, has nothing else to wait for.
        open.eoe && (open.has_subject() || open.rule_change)
    }

    fn finish(&mut self, at: usize, out: &mut impl FnMut(Event<'_>)) {
        let mut open = self.open.remove(at);
        self.bytes -= open.text.len();
        let is_whole = open.eoe && open.has_subject();
        self.counts.assembled += u64::from(open.has_subject());
        self.counts.incomplete += u64::from(!(open.rule_change || is_whole));
        if open.rule_change {
            self.rule_change = rule_change(&open, &self.key);
        }
        if open.is_ours() {
            self.counts.matched += 1;
            let event = event(&open, is_whole, self.keep_raw, &mut self.counts);
            out(event);
        }
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((open.id, std::mem::take(&mut open.node)));
        if self.spare.len() < MAX_SPARE {
            open.text.clear();
            open.text.shrink_to(KEEP_CAPACITY);
            open.parts.clear();
            self.spare.push(Open { text: open.text, parts: open.parts, ..Open::default() });
        }
    }
}

/// The event that these records tell.
fn event<'a>(open: &'a Open, is_whole: bool, keep_raw: bool, counts: &mut AssemblyCounts) -> Event<'a> {
    let records = Records { text: &open.text, parts: &open.parts };
    let syscall = records.parts.iter().find(|part| part.kind == Kind::Syscall);
    let call = syscall.map(|part| Call::read(records.own(part)));
    let uringop = open.our_uringop.and_then(|at| records.parts.get(at)).map(|part| records.own(part));
    let read = uringop.map(Call::read);
    let who = Who {
        task: call.or(read).map(|call| call.task).unwrap_or_default(),
        uring_key: uringop.filter(|_| call.is_some()).map(|own| last_key(own).written()).unwrap_or_default(),
        auid_name: syscall.map(|part| auid_name(records.interpretations(part))).unwrap_or_default(),
        title: records.first(Kind::Proctitle).map(|own| field(own, b"proctitle").written()).unwrap_or_default(),
        cwd: records.first(Kind::Cwd).map(|own| field(own, b"cwd").written()).unwrap_or_default(),
        node: &open.node,
    };
    let args = args::read(records.all(Kind::Execve));
    counts.cut += u64::from(args.lost);
    Event { id: open.id, records, call, uringop: read, who, args: args.args, keep_raw, is_whole }
}

/// Who changed which rule, as far as the event tells.
fn rule_change(open: &Open, key: &Key) -> Option<RuleChange> {
    let records = open.records();
    let own = records.all(Kind::ConfigChange).find(|own| key.is_in_change(own))?;
    let (op, _) = op_and_key(own)?;
    let task = records.first(Kind::Syscall).map(|own| Call::read(own).task).unwrap_or_default();
    let subject = Who { task, ..Who::default() }.subject();
    let auid = subject.auid.or_else(|| field(own, b"auid").id());
    Some(RuleChange { op: op.word().map(Bytes::from), subject: Subject { auid, ..subject } })
}

/// What CONFIG_CHANGE says of a rule: `op=… key=… list=… res=…` at its end (`audit_log_rule_change`, kernel/auditfilter.c).
/// They are looked for from the end, since a label of any text stands before them.
fn op_and_key(own: &[u8]) -> Option<(Value<'_>, Value<'_>)> {
    let mut rest = own;
    let mut last = |name: &[u8]| {
        let at = memmem::rfind(rest, name)?;
        let value = rest.get(at + name.len()..)?;
        rest = rest.get(..at)?;
        Some(Value::new(value))
    };
    last(b" res=")?;
    last(b" list=")?;
    let key = last(b" key=")?;
    Some((last(b" op=")?, key))
}

/// The key of the rules whose events are wanted.
#[derive(Debug)]
struct Key {
    key: Vec<u8>,
    /// The end of a record with that key alone, as the kernel writes a key without spaces, quotes and controls.
    written: Option<Vec<u8>>,
}

impl Key {
    fn new(key: &str) -> Self {
        let is_plain = key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        let written = (is_plain && !key.is_empty()).then(|| format!(" key=\"{key}\"").into_bytes());
        Self { key: key.into(), written }
    }

    /// Whether it is among the keys of a SYSCALL or URINGOP.
    fn is_last_of(&self, own: &[u8]) -> bool {
        self.written.as_ref().is_some_and(|written| own.ends_with(written)) || self.is_among(last_key(own))
    }

    /// Whether it is the key of the rule of a CONFIG_CHANGE.
    fn is_in_change(&self, own: &[u8]) -> bool {
        op_and_key(own).is_some_and(|(_, key)| self.is_among(key))
    }

    fn is_among(&self, keys: Value<'_>) -> bool {
        self.key.is_empty()
            || keys
                .strict_text()
                .is_some_and(|keys| keys.split(|&byte| byte == KEY_SEPARATOR).any(|one| one == self.key))
    }
}
