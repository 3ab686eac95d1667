//! Puts the records of an event together.

use std::time::Duration;

use memchr::memmem;

use crate::args;
use crate::event::{Event, Part, Records, RuleChange, Uringop};
use crate::framing::MAX_LINE;
use crate::line::Line;
use crate::record::{EventId, Kind, LastId, Record, field, first_field, last_key};
use crate::serial::SerialGaps;
use crate::tables::{EAGAIN, EventType, IO_URING_ENTER};
use crate::value::Value;
use crate::who::{Bytes, Call, KEY_SEPARATOR, LastCall, Subject, Who, auid_name};

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
    last_call: LastCall,
    /// The oldest first.
    #[expect(clippy::vec_box, reason = "each is moved from one list to the other and back")]
    open: Vec<Box<Open>>,
    /// Where in `open` the last record went.
    current: usize,
    #[expect(clippy::vec_box, reason = "as above")]
    spare: Vec<Box<Open>>,
    /// Those finished last, and where the oldest of them stands once there are [`MAX_RECENT`].
    recent: Vec<(EventId, Vec<u8>)>,
    oldest: usize,
    /// Of all open events.
    bytes: usize,
    gaps: SerialGaps,
    rule_change: Option<RuleChange>,
    counts: AssemblyCounts,
}

/// What an [`Assembler`] has under way, for another one that goes on from there, in another process even.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AssemblerState {
    key: String,
    keep_raw: bool,
    open: Vec<Open>,
    recent: Vec<(EventId, Vec<u8>)>,
    gaps: SerialGaps,
}

impl AssemblerState {
    /// Whether all of it is within the bounds that hold for an assembler.
    fn is_sound(&self) -> bool {
        let bytes = self.open.iter().map(|open| open.text.len()).sum::<usize>();
        self.open.len() <= MAX_OPEN_EVENTS
            && bytes <= MAX_OPEN_BYTES
            && self.open.iter().all(Open::is_sound)
            && self.recent.len() <= MAX_RECENT
            && self.recent.iter().all(|(_, node)| node.len() <= MAX_LINE)
    }
}

/// An event under way: its records as received, each with a newline behind it.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Open {
    id: EventId,
    /// Empty where auditd names none.
    node: Vec<u8>,
    opened: Duration,
    text: Vec<u8>,
    parts: Vec<Part>,
    state: State,
}

/// What an event's records told so far.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct State {
    /// Bytes of its EXECVE and URINGOP records.
    repeated: usize,
    /// A SYSCALL is here.
    syscall: bool,
    /// A URINGOP is here.
    uringop: bool,
    /// SYSCALL carries our key.
    ours: bool,
    /// The URINGOPs that carry our key.
    operations: Operations,
    /// A CONFIG_CHANGE that names our key is here.
    rule_change: bool,
    /// SYSCALL carries another key and a URINGOP may still come.
    undecided: bool,
    eoe: bool,
}

/// What the operations of a ring did that one system call performed, under our key.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Operations {
    /// Which one is told, in `parts`: the last, since an operation that would block is tried again and reported again.
    told: Option<usize>,
    event_type: Option<EventType>,
    /// Those of that type that came to an end, and those that would block.
    ended: usize,
    blocked: usize,
}

impl Operations {
    fn add(&mut self, at: usize, own: &[u8]) {
        let event_type = field(own, b"uring_op").unsigned().and_then(EventType::of_uring_op);
        // A connect says more than what is sent beside it.
        if self.event_type == Some(EventType::Connect) && event_type != self.event_type {
            return;
        }
        if event_type != self.event_type {
            *self = Self::default();
        }
        self.event_type = event_type;
        self.told = Some(at);
        let count = if field(own, b"exit").signed() == Some(-EAGAIN) { &mut self.blocked } else { &mut self.ended };
        *count += 1;
    }

    /// As far as can be told there was but one, tried twice at the most, so that the event's address is its own.
    const fn is_one(&self) -> bool {
        self.ended <= 1 && self.blocked <= 1
    }
}

impl State {
    const fn has_subject(&self) -> bool {
        self.syscall || self.uringop
    }

    const fn is_ours(&self) -> bool {
        self.ours || self.operations.told.is_some()
    }

    /// Somebody else's for certain. What the kernel writes comes before SYSCALL where it could change that.
    const fn is_foreign(&self) -> bool {
        self.syscall && !self.is_ours() && !self.uringop && !self.rule_change && !self.undecided
    }
}

impl Open {
    /// Adds a record, unless it tells that the event is somebody else's or is beyond a bound.
    /// `header` is the number of its type, where the record came without the header that auditd writes.
    fn add(&mut self, record: &Record<'_>, header: Option<u16>, key: &Key, keep_raw: bool) -> Added {
        let (line, own_start, own_end) = record.places();
        let own = line.get(own_start..own_end).unwrap_or_default();
        // What is kept to be read again says of which type it was.
        let header = match header {
            Some(number) if keep_raw => header_of(record.kind, number),
            _ => String::new(),
        };
        let length = header.len() + line.len();
        let mut added = Added::default();
        let mut kind = record.kind;
        match kind {
            Kind::Syscall if !self.state.syscall => {
                self.state.syscall = true;
                self.state.ours = key.is_last_of(own);
                self.state.undecided = !self.state.ours && field(own, b"syscall").unsigned() == Some(IO_URING_ENTER);
                if self.state.is_foreign() {
                    return added;
                }
            }
            Kind::Syscall => kind = Kind::Other,
            Kind::Uringop => self.state.uringop = true,
            Kind::ConfigChange if key.is_in_change(own) => {
                self.state.rule_change = true;
                added.is_rule_change = true;
            }
            // Of the files that took part the first one is the object itself.
            Kind::Path if first_field(own, b"item=").written() != b"0" => kind = Kind::Other,
            _ => {}
        }
        if kind == Kind::Other && !keep_raw {
            return added;
        }
        let is_repeated = matches!(kind, Kind::Execve | Kind::Uringop);
        added.is_cut = self.parts.len() >= MAX_RECORDS
            || self.text.len() + length >= MAX_EVENT_BYTES
            || is_repeated && self.state.repeated + length > MAX_REPEATED_BYTES;
        if added.is_cut {
            return added;
        }
        if is_repeated {
            self.state.repeated += length;
        }
        if kind == Kind::Uringop && key.is_last_of(own) {
            self.state.operations.add(self.parts.len(), own);
        }
        let start = self.text.len() + header.len();
        if header.is_empty() {
            self.text.extend_from_slice(line);
        } else {
            // As auditd does: one record is one line.
            let in_one_line = line.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
            self.text.extend(header.bytes().chain(in_one_line));
        }
        self.parts.push(Part { kind, body: start + own_start, own_end: start + own_end, end: start + line.len() });
        self.text.push(b'\n');
        added.bytes = length + 1;
        added
    }

    fn records(&self) -> Records<'_> {
        Records { text: &self.text, parts: &self.parts }
    }

    /// Whether it is within the bounds that hold for what [`add`](Self::add) made.
    fn is_sound(&self) -> bool {
        let mut before = 0;
        let parts_are_in_order = self.parts.iter().all(|part| {
            let is_in_order = before <= part.body && part.body <= part.own_end && part.own_end <= part.end;
            before = part.end;
            is_in_order
        });
        let Operations { ended, blocked, .. } = &self.state.operations;
        parts_are_in_order
            && before <= self.text.len()
            && self.text.len() <= MAX_EVENT_BYTES
            && self.parts.len() <= MAX_RECORDS
            && self.state.repeated <= MAX_REPEATED_BYTES
            && (*ended).max(*blocked) <= MAX_RECORDS
            && self.node.len() <= MAX_LINE
    }
}

/// What auditd writes before a record of this type.
fn header_of(kind: Kind, number: u16) -> String {
    match kind.name() {
        Some(name) => format!("type={name} msg="),
        None => format!("type=UNKNOWN[{number}] msg="),
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
            last_call: LastCall::default(),
            open: Vec::new(),
            current: 0,
            spare: Vec::new(),
            recent: Vec::with_capacity(MAX_RECENT),
            oldest: 0,
            bytes: 0,
            gaps: SerialGaps::default(),
            rule_change: None,
            counts: AssemblyCounts::default(),
        }
    }

    /// What is under way. What was counted so far is no part of it, nor is the last change of a rule.
    #[must_use]
    pub fn state(&self) -> AssemblerState {
        AssemblerState {
            key: String::from_utf8_lossy(&self.key.key).into_owned(),
            keep_raw: self.keep_raw,
            open: self.open.iter().map(|open| Open::clone(open)).collect(),
            recent: self.recent.iter().cycle().skip(self.oldest).take(self.recent.len()).cloned().collect(),
            gaps: self.gaps.state(),
        }
    }

    /// Goes on where another one was, at the time `now` of the same clock. `None` where it had another key, kept other
    /// records, or cannot have been: then what was under way is lost.
    #[must_use]
    pub fn resume(key: &str, keep_raw: bool, state: AssemblerState, now: Duration) -> Option<Self> {
        if state.key != key || state.keep_raw != keep_raw || !state.is_sound() {
            return None;
        }
        let AssemblerState { open, recent, gaps, .. } = state;
        let bytes = open.iter().map(|open| open.text.len()).sum();
        // By a clock that went back somebody would wait for ever.
        let open = open.into_iter().map(|open| Box::new(Open { opened: open.opened.min(now), ..open })).collect();
        Some(Self { open, recent, bytes, gaps: gaps.state(), ..Self::new(key, keep_raw) })
    }

    /// Picks events as [`new`](Self::new), from the rest of a stream of which somebody else had the beginning: up to this
    /// serial. So the serials that follow are looked at for gaps, and those before are not.
    #[must_use]
    pub fn after(key: &str, keep_raw: bool, serial: Option<u32>) -> Self {
        Self { gaps: SerialGaps::after(serial), ..Self::new(key, keep_raw) }
    }

    /// The highest serial that came, of the kernel's records that name no node; serials wrap.
    #[must_use]
    pub fn highest_serial(&self) -> Option<u32> {
        self.gaps.highest()
    }

    /// The serials that have not come, though later ones have: they are not counted as missing yet, and may still come.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.gaps.outstanding()
    }

    /// The events under the key that are under way, as far as their records tell by now.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.open.iter().filter(|open| open.state.is_ours()).count()
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
    pub fn push<'a>(&mut self, line: impl Into<Line<'a>>, now: Duration, out: &mut impl FnMut(Event<'_>)) {
        let line = line.into();
        let parsed = self.last_id.parse(line);
        let Some(record) = parsed.ok().filter(|_| line.len() <= MAX_LINE) else {
            self.counts.malformed += 1;
            return;
        };
        self.take(&record, None, now, out);
    }

    /// Takes one message of the kernel's, as [`parse_message`](crate::parse_message) reads it, and hands finished events
    /// under the key to `out`.
    pub fn push_message(&mut self, number: u16, text: &[u8], now: Duration, out: &mut impl FnMut(Event<'_>)) {
        let parsed = self.last_id.parse_message(number, text);
        let Some(record) = parsed.ok().filter(|_| text.len() <= MAX_LINE) else {
            self.counts.malformed += 1;
            return;
        };
        self.take(&record, Some(number), now, out);
    }

    /// `header` as for [`Open::add`].
    #[inline]
    fn take(&mut self, record: &Record<'_>, header: Option<u16>, now: Duration, out: &mut impl FnMut(Event<'_>)) {
        self.counts.parsed += 1;
        let may_be_late = record.node.is_some() || record.is_auditds_own() || self.gaps.see(record.id.serial);
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
        if self.append(at, record, header) {
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

    /// Forgets all that is under way, uncounted: something of it is missing, nobody knows of which, and all of it is had from
    /// another source. What still comes of it is late.
    pub fn forget(&mut self) {
        self.bytes = 0;
        for open in std::mem::take(&mut self.open) {
            self.close(open);
        }
    }

    fn find(&self, id: EventId, node: &[u8]) -> Option<usize> {
        // Mostly nobody is named, and to compare nothing with nothing is a slow call.
        let is_named = |open: &Open| !(open.node.is_empty() && node.is_empty());
        let is_it = |open: &Open| open.id == id && (!is_named(open) || open.node == node);
        if self.open.get(self.current).is_some_and(|open| is_it(open)) {
            return Some(self.current);
        }
        self.open.iter().rposition(|open| is_it(open))
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
    fn append(&mut self, at: usize, record: &Record<'_>, header: Option<u16>) -> bool {
        let Self { key, keep_raw, open, bytes, counts, .. } = self;
        let Some(open) = open.get_mut(at) else { return false };
        open.state.eoe |= record.kind == Kind::Eoe;
        let tells = !matches!(record.kind, Kind::Eoe | Kind::Other);
        if (tells || *keep_raw) && !open.state.is_foreign() {
            let added = open.add(record, header, key, *keep_raw);
            *bytes += added.bytes;
            counts.cut += u64::from(added.is_cut);
            counts.rule_changes += u64::from(added.is_rule_change);
        }
        // A change that no system call made, as one of the kernel's own, has nothing else to wait for.
        open.state.eoe && (open.state.has_subject() || open.state.rule_change)
    }

    fn finish(&mut self, at: usize, out: &mut impl FnMut(Event<'_>)) {
        // Mostly it is the last one.
        let open = if at + 1 == self.open.len() { self.open.pop() } else { Some(self.open.remove(at)) };
        let Some(open) = open else { return };
        self.bytes -= open.text.len();
        let is_whole = open.state.eoe && open.state.has_subject();
        self.counts.assembled += u64::from(open.state.has_subject());
        self.counts.incomplete += u64::from(!(open.state.rule_change || is_whole));
        if open.state.rule_change {
            self.rule_change = rule_change(&open, &self.key);
        }
        if open.state.is_ours() {
            self.counts.matched += 1;
            let event = event(&open, is_whole, self.keep_raw, &mut self.last_call, &mut self.counts);
            out(event);
        }
        self.close(open);
    }

    /// It is over: what still comes of it is late.
    fn close(&mut self, mut open: Box<Open>) {
        let finished = (open.id, std::mem::take(&mut open.node));
        if self.recent.len() < MAX_RECENT {
            self.recent.push(finished);
        } else if let Some(oldest) = self.recent.get_mut(self.oldest) {
            *oldest = finished;
            self.oldest = (self.oldest + 1) % MAX_RECENT;
        }
        if self.spare.len() < MAX_SPARE {
            open.text.clear();
            open.text.shrink_to(KEEP_CAPACITY);
            open.parts.clear();
            open.state = State::default();
            self.spare.push(open);
        }
    }
}

/// The event that these records tell.
fn event<'a>(
    open: &'a Open,
    is_whole: bool,
    keep_raw: bool,
    last_call: &mut LastCall,
    counts: &mut AssemblyCounts,
) -> Event<'a> {
    let records = open.records();
    let syscall = records.parts.iter().find(|part| part.kind == Kind::Syscall);
    let call = syscall.map(|part| Call::read(records.own(part), last_call));
    let uringop = open.state.operations.told.and_then(|at| records.parts.get(at)).map(|part| records.own(part));
    let read = uringop.map(|own| Call::read(own, last_call));
    let who = Who {
        task: call.as_ref().or(read.as_ref()).map(|call| call.task).unwrap_or_default(),
        uring_key: uringop.filter(|_| syscall.is_some()).map(|own| last_key(own).written()).unwrap_or_default(),
        auid_name: syscall.map(|part| auid_name(records.interpretations(part))).unwrap_or_default(),
        title: records.first(Kind::Proctitle).map(|own| first_field(own, b"proctitle=").written()).unwrap_or_default(),
        cwd: records.first(Kind::Cwd).map(|own| first_field(own, b"cwd=").written()).unwrap_or_default(),
        node: &open.node,
    };
    let args = match records.first(Kind::Execve) {
        Some(_) => args::read(records.all(Kind::Execve)),
        None => args::Read::default(),
    };
    counts.cut += u64::from(args.lost);
    let event_type = match &read {
        Some(call) => call.uring_op.unsigned().and_then(EventType::of_uring_op),
        None => call.as_ref().and_then(Call::event_type),
    };
    let is_one = open.state.operations.is_one();
    let uringop = read.map(|Call { success, exit, .. }| Uringop { success, exit, is_one });
    Event { id: open.id, records, call, uringop, event_type, who, args: args.args, keep_raw, is_whole }
}

/// Who changed which rule, as far as the event tells.
fn rule_change(open: &Open, key: &Key) -> Option<RuleChange> {
    let records = open.records();
    let own = records.all(Kind::ConfigChange).find(|own| key.is_in_change(own))?;
    let (op, _) = op_and_key(own)?;
    let task =
        records.first(Kind::Syscall).map(|own| Call::read(own, &mut LastCall::default()).task).unwrap_or_default();
    let subject = Who { task, ..Who::default() }.subject();
    let auid = subject.auid.or_else(|| field(own, b"auid").id());
    Some(RuleChange { op: op.word().map(Bytes::from), subject: Subject { auid, ..subject.into_owned() } })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventType;

    const OURS: &str =
        "arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 items=0 ppid=1 pid=10 key=\"opensnitch\"";
    const OTHERS: &str =
        "arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=1 a2=10 a3=0 items=0 ppid=1 pid=11 key=\"other\"";
    const INET: &str = "saddr=020001BBC00002010000000000000000";

    /// An event as the tests compare it: serial, port, whether it is whole.
    type Seen = (u32, Option<u16>, bool);

    struct Harness {
        assembler: Assembler,
        seen: Vec<Seen>,
    }

    impl Harness {
        fn new() -> Self {
            Self { assembler: Assembler::new("opensnitch", false), seen: Vec::new() }
        }

        fn push(&mut self, serial: u32, name: &str, text: &str, now: u64) {
            self.push_line(&format!("type={name} msg=audit(1700000000.000:{serial}): {text}"), now);
        }

        fn push_line(&mut self, line: &str, now: u64) {
            let seen = &mut self.seen;
            self.assembler.push(line.as_bytes(), Duration::from_millis(now), &mut |event| seen.push(see(&event)));
        }

        fn expire(&mut self, now: u64) {
            let seen = &mut self.seen;
            self.assembler.expire(Duration::from_millis(now), &mut |event| seen.push(see(&event)));
        }

        fn finish_all(&mut self) {
            let seen = &mut self.seen;
            self.assembler.finish_all(&mut |event| seen.push(see(&event)));
        }
    }

    fn see(event: &Event<'_>) -> Seen {
        (event.id().serial, event.address().and_then(|address| address.ip()).map(|(_, port)| port), event.is_whole())
    }

    #[test]
    fn what_auditd_tells_of_itself_has_serials_of_its_own() {
        let mut harness = Harness::new();
        for serial in 1..3000 {
            harness.push(serial, "CWD", "cwd=\"/\"", 0);
        }
        harness.push(8216, "DAEMON_END", "op=terminate auid=0 pid=12333 res=success", 0);
        assert_eq!(harness.assembler.highest_serial(), Some(2999));
        for serial in 3000..6000 {
            harness.push(serial, "CWD", "cwd=\"/\"", 0);
        }
        assert_eq!((harness.assembler.highest_serial(), harness.assembler.counts().serial_gaps), (Some(5999), 0));
    }

    #[test]
    fn an_event_ends_with_its_end() {
        let mut harness = Harness::new();
        harness.push(1, "SYSCALL", OURS, 0);
        harness.push(2, "SYSCALL", OTHERS, 0);
        harness.push(1, "SOCKADDR", INET, 0);
        assert_eq!(harness.seen, []);
        harness.push(1, "EOE", "", 0);
        harness.push(2, "EOE", "", 0);
        assert_eq!(harness.seen, [(1, Some(443), true)]);
        let counts = harness.assembler.counts();
        assert_eq!((counts.parsed, counts.assembled, counts.matched, counts.incomplete), (5, 2, 1, 0));
        harness.push(1, "CWD", "cwd=\"/\"", 0);
        assert_eq!((harness.assembler.counts().late, harness.assembler.deadline()), (1, None));
    }

    #[test]
    fn what_waits_too_long_is_finished_as_it_is() {
        let mut harness = Harness::new();
        // The time of the record does not matter: a call that blocked carries the time of its entry.
        harness.push(1, "SYSCALL", OURS, 1000);
        harness.push_line("type=SYSCALL msg=audit(1700009999.000:2): arch=c000003e syscall=41 key=(null)", 1500);
        assert_eq!(harness.assembler.deadline(), Some(Duration::from_millis(3000)));
        harness.expire(2999);
        assert_eq!(harness.seen, []);
        harness.expire(3000);
        assert_eq!(harness.seen, [(1, None, false)]);
        assert_eq!(harness.assembler.counts().incomplete, 1);
        harness.finish_all();
        assert_eq!((harness.assembler.counts().incomplete, harness.assembler.deadline()), (2, None));
    }

    #[test]
    fn only_the_key_of_the_call_counts() {
        for (name, text) in [
            ("NETFILTER_CFG", "table=x key=\"opensnitch\" family=2 key=\"opensnitch\""),
            ("USER_CMD", "pid=1 msg='op=x key=\"opensnitch\"'"),
            ("PATH", "item=0 name=\"x\" key=\"opensnitch\""),
            ("SYSCALL", "arch=c000003e syscall=42 comm=\"key=\" subj=x key=\"opensnitch\" (enforce) key=\"other\""),
            ("SYSCALL", "arch=c000003e syscall=42 comm=\"x\" key=\"opensnitch2\""),
            ("SYSCALL", "arch=c000003e syscall=42 comm=\"x\" key=opensnitch"),
            ("SYSCALL", "arch=c000003e syscall=42 comm=\"x\" key=(null)\x1dUID=\"x key=\"opensnitch\"\""),
        ] {
            let mut harness = Harness::new();
            harness.push(1, name, text, 0);
            harness.push(1, "EOE", "", 0);
            harness.finish_all();
            assert_eq!(harness.seen, [], "{name} {text}");
        }
        for key in ["\"opensnitch\"", "6F70656E736E69746368", "6F74686572016F70656E736E69746368"] {
            let mut harness = Harness::new();
            harness.push(1, "SYSCALL", &format!("arch=c000003e syscall=42 key={key}\x1dARCH=x86_64"), 0);
            harness.push(1, "EOE", "", 0);
            assert_eq!(harness.seen, [(1, None, true)], "{key}");
        }
    }

    #[test]
    fn a_key_of_any_text_is_found() {
        for key in ["two words", "say \"x\"", "ä", "a"] {
            let written =
                if key == "a" { "\"a\"".to_owned() } else { key.bytes().map(|byte| format!("{byte:02X}")).collect() };
            let line = format!("type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=42 key={written}");
            let mut assembler = Assembler::new(key, false);
            assembler.push(line.as_bytes(), Duration::ZERO, &mut |_| {});
            assembler.finish_all(&mut |_| {});
            assert_eq!(assembler.counts().matched, 1, "{key}");
        }
    }

    #[test]
    fn of_two_operations_ours_is_told() {
        let uring = |op: u32, key: &str| format!("uring_op={op} success=yes exit=0 items=0 ppid=1 pid=10 key={key}");
        let (ours, other) = (uring(16, "\"opensnitch\""), uring(18, "\"other\""));
        let enter = "arch=c000003e syscall=426 success=yes exit=1 a0=3 a1=1 a2=0 a3=0 items=0 ppid=1 pid=10 key=(null)";
        let orders: [&[(&str, &str)]; 3] = [
            &[("URINGOP", &ours), ("URINGOP", &other), ("SYSCALL", enter)],
            &[("URINGOP", &other), ("URINGOP", &ours), ("SYSCALL", enter)],
            &[("SYSCALL", enter), ("URINGOP", &other), ("URINGOP", &ours)],
        ];
        for records in orders {
            let mut assembler = Assembler::new("opensnitch", false);
            let mut types = Vec::new();
            for (name, text) in records {
                let line = format!("type={name} msg=audit(1.000:1): {text}");
                assembler.push(line.as_bytes(), Duration::ZERO, &mut |_| {});
            }
            assembler.finish_all(&mut |event| types.push((event.event_type(), event.syscall(), event.who().keys())));
            assert_eq!(types, [(Some(EventType::Connect), Some(426), vec![(*b"opensnitch").into()])]);
        }
    }

    #[test]
    fn who_changed_our_rules() {
        let change = |text: &str, key: &str| {
            let mut assembler = Assembler::new(key, false);
            let lines = [
                format!("type=CONFIG_CHANGE msg=audit(1.000:1): {text}"),
                "type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=44 items=0 ppid=1 pid=77 uid=0 exe=\"/sbin/auditctl\" key=(null)".to_owned(),
                "type=EOE msg=audit(1.000:1): ".to_owned(),
            ];
            for line in lines {
                assembler.push(line.as_bytes(), Duration::ZERO, &mut |_| panic!("no event"));
            }
            assembler.take_rule_change().map(|change| (change.op.unwrap_or_default(), change.subject.pid))
        };
        let (added, removed) = (Some(((*b"add_rule").into(), Some(77))), Some(((*b"remove_rule").into(), Some(77))));
        let table = [
            ("auid=0 ses=1 subj=unconfined op=add_rule key=\"opensnitch\" list=4 res=1", added.clone()),
            ("auid=0 ses=1 subj=unconfined op=remove_rule key=6F74686572016F70656E736E69746368 list=4 res=1", removed),
            (
                "auid=0 ses=1 subj=a op=remove_rule key=\"opensnitch\" list=4 res=1 op=add_rule key=\"other\" list=4 res=1",
                None,
            ),
            (
                "auid=0 ses=1 subj=a op=remove_rule key=\"x\" list=4 res=1 op=add_rule key=\"opensnitch\" list=4 res=1",
                added,
            ),
            ("auid=0 ses=1 op=add_rule key=(null) list=4 res=1", None),
            ("audit_enabled=1 old=1 auid=0 ses=1 key=\"opensnitch\" res=1", None),
        ];
        for (text, expected) in table {
            assert_eq!(change(text, "opensnitch"), expected, "{text}");
        }
    }

    #[test]
    fn bounds_hold_and_what_is_beyond_them_is_counted() {
        let mut harness = Harness::new();
        for serial in 0..5000 {
            harness.push(serial, "SYSCALL", OURS, 0);
            assert!(harness.assembler.open.len() <= MAX_OPEN_EVENTS);
        }
        assert_eq!(harness.seen.len(), 5000 - MAX_OPEN_EVENTS);
        harness.finish_all();
        assert_eq!((harness.seen.len(), harness.assembler.bytes), (5000, 0));

        let mut harness = Harness::new();
        let long = format!("item=0 name={}", "41".repeat(8000));
        for serial in 0..1000 {
            harness.push(serial, "SYSCALL", OURS, 0);
            for _ in 0..20 {
                harness.push(serial, "PATH", &long, 0);
                harness.push(serial, "EXECVE", &format!("a0={}", "41".repeat(4000)), 0);
            }
            let held: usize = harness.assembler.open.iter().map(|open| open.text.capacity()).sum();
            assert!(harness.assembler.bytes <= MAX_OPEN_BYTES && held <= 3 * MAX_OPEN_BYTES, "{held}");
            assert!(harness.assembler.open.iter().all(|open| open.text.len() <= MAX_EVENT_BYTES + MAX_LINE));
        }
        assert!(harness.assembler.counts().cut > 30_000, "{:?}", harness.assembler.counts());
        harness.finish_all();
        let spare: usize = harness.assembler.spare.iter().map(|open| open.text.capacity()).sum();
        assert!(spare <= MAX_SPARE * KEEP_CAPACITY, "{spare}");

        harness.push_line(&format!("type=CWD msg=audit(1.000:1): cwd={}", "x".repeat(MAX_LINE)), 0);
        assert_eq!(harness.assembler.counts().malformed, 1);
    }

    #[test]
    fn who_did_it_is_told_of_any_number_of_operations() {
        let mut harness = Harness::new();
        for _ in 0..4096 {
            harness.push(1, "URINGOP", "uring_op=16 success=yes exit=0 items=0 ppid=1 pid=10 key=\"opensnitch\"", 0);
        }
        let enter = "arch=c000003e syscall=426 success=yes exit=1 a0=3 a1=1 a2=0 a3=0 items=0 ppid=1 pid=10 key=(null)";
        harness.push(1, "SYSCALL", enter, 0);
        harness.push(1, "SOCKADDR", INET, 0);
        harness.push(1, "EOE", "", 0);
        // And not where to: the address is one's of many.
        assert_eq!(harness.seen, [(1, None, true)]);
    }

    #[test]
    fn raw_is_what_came() {
        let lines = [
            "type=SYSCALL msg=audit(1.000:1): arch=c000003e syscall=42 key=\"k\"\x1dARCH=x86_64",
            "type=FD_PAIR msg=audit(1.000:1): fd0=3 fd1=4",
            "type=PATH msg=audit(1.000:1): item=1 name=\"/\"",
            "type=EOE msg=audit(1.000:1): ",
        ];
        for keep_raw in [true, false] {
            let mut assembler = Assembler::new("k", keep_raw);
            let mut raw = None;
            for line in lines {
                assembler.push(line.as_bytes(), Duration::ZERO, &mut |event| raw = event.raw().map(<[u8]>::to_vec));
            }
            assert_eq!(raw, keep_raw.then(|| lines.join("\n").into_bytes()));
        }
    }

    #[test]
    fn what_is_forgotten_makes_no_event_and_is_late() {
        let mut harness = Harness::new();
        harness.push(1, "SYSCALL", OURS, 0);
        harness.push(2, "SYSCALL", OURS, 0);
        harness.assembler.forget();
        for serial in [1, 2] {
            harness.push(serial, "SOCKADDR", INET, 0);
            harness.push(serial, "EOE", "", 0);
        }
        assert_eq!(harness.assembler.deadline(), None);
        harness.push(3, "SYSCALL", OURS, 0);
        harness.push(3, "EOE", "", 0);
        assert_eq!(harness.seen, [(3, None, true)]);
        let counts = harness.assembler.counts();
        assert_eq!((counts.assembled, counts.incomplete, counts.late), (1, 0, 2));
    }

    #[test]
    fn machines_are_told_apart() {
        let mut harness = Harness::new();
        harness.push_line(&format!("node=a type=SYSCALL msg=audit(1.000:1): {OURS}"), 0);
        harness.push_line(&format!("node=b type=SOCKADDR msg=audit(1.000:1): {INET}"), 0);
        harness.push_line("node=a type=EOE msg=audit(1.000:1): ", 0);
        assert_eq!(harness.seen, [(1, None, true)]);
        harness.push_line(&format!("node=a type=SOCKADDR msg=audit(1.000:1): {INET}"), 0);
        assert_eq!(harness.assembler.counts().late, 1);
    }
}
