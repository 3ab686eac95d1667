//! The reader's thread: from the sources into the store.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use audit_records::{Assembler, Event, Framer, FramingCounts, RuleChange};
use tracing::{info, warn};

use super::feed::{Feed, Intake, Taken};
use super::kept::{self, Bookmark, Place, Records};
use super::pipeline::Sink;
use crate::config::Config;
use crate::source::{
    Audisp, Choice, HandedOn, Happening, Message, Multicast, Reserve, Seen, Serving, Sources, Storm, Woken,
};
use crate::store::Source;
use crate::text::text;

/// How often a reader with nothing to read says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Messages of the multicast that are taken before auditd's socket is looked at again: a few milliseconds of work.
const MAX_MESSAGES: usize = 1024;

/// Reads the sources into the store.
pub(super) struct Reader {
    sources: Sources,
    choice: Choice,
    seen: Seen,
    audisp: Feed,
    multicast: Feed,
    reserve: Reserve,
    taken: Taken,
    sink: Sink,
    bookmark: Bookmark,
    storm: Storm,
    /// As counted when last looked.
    framing: FramingCounts,
    /// The process that was last named for removing a rule.
    blamed: Option<u32>,
    /// It was told that auditd is not there.
    absent: bool,
}

/// What a reader leaves behind for the next one.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// With what waits in it.
    pub(super) multicast: Option<Multicast>,
    /// What may come once more.
    pub(super) handed_on: HandedOn,
    pub(super) reserve: Reserve,
    pub(super) place: Option<Place>,
}

impl Reader {
    pub(super) fn new(sources: Sources, config: &Config, sink: Sink, bookmark: Bookmark) -> Self {
        Self {
            seen: Seen { wants_audisp: sources.audisp.is_some(), ..Seen::default() },
            sources,
            choice: Choice::default(),
            audisp: Feed::new(Source::Audisp, config.key.clone(), config.keep_raw),
            multicast: Feed::new(Source::Netlink, config.key.clone(), config.keep_raw),
            reserve: Reserve::default(),
            taken: Taken::after(sink.state.store.sequence()),
            sink,
            bookmark,
            storm: Storm::default(),
            framing: FramingCounts::default(),
            blamed: None,
            absent: false,
        }
    }

    /// Goes on where another reader was, by its `connection` to auditd, if it is there still.
    pub(super) fn take_over(&mut self, config: &Config, from: Remains, connection: Option<OwnedFd>) {
        // One that is not wanted is drained all the same: systemd holds it, and what waits in it takes the kernel's memory.
        self.seen.has_multicast = config.source.reads_multicast() && from.multicast.is_some();
        self.sources.multicast = from.multicast;
        (self.taken.handed_on, self.reserve) = (from.handed_on, from.reserve);
        let Some(place) = from.place else { return };
        let now = self.now();
        if place.takes_multicast {
            self.multicast.resume(place.multicast, now);
        } else {
            self.choice = Choice::AUDISP;
        }
        self.audisp.resume(place.audisp, now);
        let taken = connection.zip(self.sources.audisp.as_mut());
        let taken = taken.map(|(connection, audisp)| audisp.take_over(connection, place.framer));
        self.seen.is_connected = matches!(taken, Some(Ok(_)));
        self.seen.is_fruitful = self.seen.is_connected && self.audisp.assembler.highest_serial().is_some();
        let lines = self.sink.state.store.statistics.lines_read.get();
        let socket = taken.as_ref().and_then(|taken| taken.as_deref().ok());
        self.sink.state.source.goes_on(lines, socket);
        match taken {
            None => {}
            Some(Ok(socket)) => info!(socket = %socket.display(), "the connection to auditd was kept over the restart"),
            Some(Err(error)) => {
                warn!(
                    "the connection to auditd that was kept over the restart cannot be used: {error}. Connecting anew"
                );
                kept::forget_connection();
            }
        }
    }

    /// Until it is stopped.
    pub(super) fn run(mut self) -> Remains {
        self.sink.state.source.set_serving(self.choice.serving());
        self.choose();
        loop {
            self.sink.heartbeat.fetch_add(1, Ordering::Relaxed);
            let limit = self.limit();
            self.bookmark.set(|| self.place(false));
            let bookmark = &self.bookmark;
            let woken = match self.sources.wait(limit, || bookmark.reading()) {
                Ok(woken) => woken,
                Err(error) => {
                    warn!(%error, "the kernel would not let the reader wait");
                    thread::sleep(Duration::from_secs(1));
                    continue;
                }
            };
            match woken {
                Woken::Stopped => break,
                Woken::Audisp(happening) => self.tell(&happening),
                Woken::Multicast | Woken::Silent => {}
            }
            // Where the connection has just ended, its last line is taken when the reserve was.
            self.choose();
            // The kernel is ahead of auditd: what both brought is no reason to think that auditd is behind.
            let records = self.take_messages() + self.take_lines();
            self.choose();
            thread::sleep(self.storm.linger(records, self.now()));
        }
        let place = self.place(true);
        self.bookmark.set(|| &place);
        let source = &self.sink.state.source;
        source.disconnected(self.sink.state.store.statistics.lines_read.get());
        source.set_serving(Serving::Nobody);
        Remains {
            multicast: self.sources.multicast,
            handed_on: self.taken.handed_on,
            reserve: self.reserve,
            place: Some(place),
        }
    }

    /// How far it is; with all that is under way, where it ends in order.
    fn place(&self, ends: bool) -> Place {
        let takes_multicast = self.choice.serving().takes_multicast();
        let framer = self.sources.audisp.as_ref().map_or_else(|| Framer::default().state(), Audisp::place);
        // What is under way in the other one comes whole from this one.
        let serves = if takes_multicast { &self.multicast } else { &self.audisp };
        Place {
            sequence: self.taken.sequence,
            under_way: if ends { 0 } else { serves.assembler.under_way() as u64 },
            // Who goes on where this one ends in order looks for them still.
            losses: self.sink.state.store.statistics.losses(if ends { 0 } else { serves.assembler.outstanding() }),
            framer: if ends { framer } else { framer.without_rest() },
            audisp: self.audisp.records(ends),
            multicast: match takes_multicast {
                true => self.multicast.records(ends),
                false => Records::Lost(self.reserve.newest()),
            },
            takes_multicast,
            switched: self.sink.state.switch.setting(),
        }
    }

    fn now(&self) -> Duration {
        self.sink.state.now()
    }

    /// How long nothing has to be done.
    fn limit(&self) -> Duration {
        let assemblers = [&self.audisp, &self.multicast].into_iter().filter_map(|feed| feed.assembler.deadline());
        let next = assemblers.chain(self.choice.deadline(&self.seen)).min();
        next.map_or(HEARTBEAT, |next| next.saturating_sub(self.now()).min(HEARTBEAT))
    }

    /// Takes what auditd brought. Returns how many records.
    fn take_lines(&mut self) -> u64 {
        let Some(audisp) = &mut self.sources.audisp else { return 0 };
        let now = self.sink.state.now();
        let has_reserve = self.seen.has_multicast;
        let mut intake = Intake::new(&self.sink, &mut self.taken, now);
        let Feed { source, assembler, passed_over, .. } = &mut self.audisp;
        let mut keep = |event: Event<'_>| {
            // What lacks a part is had whole from the reserve.
            let is_taken = (event.is_whole() || !has_reserve) && intake.take(&event, *source);
            *passed_over += u64::from(!is_taken);
        };
        let mut came = false;
        let mut torn = self.framing.torn;
        // Nobody knows whose record was in a line that was torn. What had begun before it may lack that one, and looks whole.
        let mut forgets = |assembler: &mut Assembler, torn_by_now| {
            if torn_by_now > std::mem::replace(&mut torn, torn_by_now) && has_reserve {
                assembler.forget();
            }
        };
        while let Some((line, torn_by_now)) = audisp.line() {
            came = true;
            forgets(assembler, torn_by_now);
            assembler.push(line, now, &mut keep);
        }
        forgets(assembler, audisp.counts().torn);
        assembler.expire(now, &mut keep);
        intake.hand_on();
        if came {
            self.seen.is_fruitful = self.seen.is_connected;
            self.seen.ahead_since = None;
            self.reserve.auditd_brought();
        }
        self.seen.is_newline_less = audisp.is_newline_less();
        self.sink.state.source.set_newline_less(self.seen.is_newline_less);
        let framing = audisp.counts();
        let before = std::mem::replace(&mut self.framing, framing);
        let statistics = &self.sink.state.store.statistics;
        let lines = framing.lines - before.lines;
        statistics.lines_read.add(lines);
        statistics.lines_malformed.add(framing.oversized - before.oversized);
        let lost = self.audisp.count(&self.sink);
        let torn = framing.torn - before.torn;
        if has_reserve {
            self.seen.is_lossy = torn + lost.sum() > 0;
        } else {
            statistics.lines_torn.add(torn);
            lost.count(&self.sink, torn > 0);
        }
        self.tell_rule_changes();
        lines
    }

    /// Takes what the multicast brought, or keeps it. Returns how many records.
    fn take_messages(&mut self) -> u64 {
        let Some(multicast) = &mut self.sources.multicast else { return 0 };
        let now = self.sink.state.now();
        let serves = self.choice.serving().takes_multicast();
        let mut intake = Intake::new(&self.sink, &mut self.taken, now);
        let Feed { source, assembler, passed_over, .. } = &mut self.multicast;
        let mut keep = |event: Event<'_>| *passed_over += u64::from(!intake.take(&event, *source));
        let (mut records, mut garbage, mut overruns) = (0, 0, 0);
        let mut end = Ok(());
        for _ in 0..MAX_MESSAGES {
            match multicast.receive() {
                Ok(Some(Message::Record(number, text))) => {
                    records += 1;
                    self.seen.ahead_since.get_or_insert(now);
                    if serves {
                        assembler.push_message(number, text, now, &mut keep);
                    } else if self.seen.has_multicast {
                        self.reserve.push(number, text);
                    }
                }
                Ok(Some(Message::Other)) => garbage += 1,
                Ok(Some(Message::Overrun)) => overruns += 1,
                Ok(None) => break,
                Err(error) => {
                    end = Err(error);
                    break;
                }
            }
        }
        match end {
            Ok(()) => assembler.expire(now, &mut keep),
            // Nothing more will come of what is under way.
            Err(_) => assembler.finish_all(&mut keep),
        }
        intake.hand_on();
        let statistics = &self.sink.state.store.statistics;
        statistics.lines_malformed.add(garbage);
        if serves {
            statistics.multicast_overruns.add(overruns);
        }
        self.multicast.count(&self.sink).count(&self.sink, serves && overruns > 0);
        if let Err(error) = end {
            warn!("the kernel's multicast cannot be read any more: {error}. Restart the service to try again");
            self.sink.state.source.set_no_multicast(Some(error.to_string()));
            self.sources.multicast = None;
            self.seen.has_multicast = false;
        }
        self.tell_rule_changes();
        records
    }

    /// Decides who serves, and hands over.
    fn choose(&mut self) {
        let was = self.choice.serving();
        self.seen.is_at_risk = self.reserve.is_at_risk();
        self.choice = self.choice.next(&self.seen, self.now());
        self.seen.is_lossy = false;
        let serving = self.choice.serving();
        if was == serving {
            return;
        }
        match serving {
            Serving::Multicast(why) if !was.takes_multicast() => {
                match was {
                    Serving::Audisp => warn!("events come from the kernel's multicast now: {}", why.text()),
                    _ => info!("events come from the kernel's multicast: {}", why.text()),
                }
                self.take_reserve();
            }
            Serving::Audisp if was.takes_multicast() => {
                info!("events come through auditd's socket now");
                // What is under way here comes whole from auditd.
                self.reserve = Reserve::after(self.multicast.assembler.highest_serial());
                self.multicast.restart();
            }
            _ => {}
        }
        self.sink.state.source.set_serving(serving);
    }

    /// Takes what auditd may not have brought.
    fn take_reserve(&mut self) {
        let now = self.now();
        let missed = self.reserve.missed(self.audisp.assembler.highest_serial());
        let mut intake = Intake::new(&self.sink, &mut self.taken, now);
        let Feed { source, assembler, passed_over, .. } = &mut self.multicast;
        let mut keep = |event: Event<'_>| *passed_over += u64::from(!intake.take(&event, *source));
        for (number, text) in self.reserve.take() {
            assembler.push_message(number, &text, now, &mut keep);
        }
        intake.hand_on();
        let mut missing = self.multicast.count(&self.sink);
        missing.serial_gaps += u64::from(missed);
        missing.count(&self.sink, false);
    }

    fn tell_rule_changes(&mut self) {
        for feed in [&mut self.audisp, &mut self.multicast] {
            if let Some(change) = feed.assembler.take_rule_change() {
                blame(&mut self.blamed, &change);
            }
        }
    }

    fn tell(&mut self, happening: &Happening) {
        let Sink { state, rules_touched, .. } = &self.sink;
        let (store, source) = (&state.store, &state.source);
        let lines = store.statistics.lines_read.get();
        match happening {
            Happening::Connected(socket) => {
                if let Some(connection) = self.sources.audisp.as_ref().and_then(Audisp::connection) {
                    // Whoever goes on with it knows that nothing of it was read.
                    self.bookmark.set(|| self.place(false));
                    kept::keep_connection(connection);
                }
                info!(socket = %socket.display(), "connected to auditd");
                self.absent = false;
                self.seen.is_connected = true;
                self.seen.is_fruitful = false;
                self.seen.ahead_since = None;
                if self.seen.has_multicast {
                    // What is under way came in part, and is had whole from the multicast.
                    self.audisp.restart();
                }
                store.statistics.reconnects.add(u64::from(source.connected(lines, socket) > 0));
                // Debian's auditd flushes all rules when it starts.
                rules_touched.notify(usize::MAX);
            }
            Happening::Disconnected(reason) => {
                kept::forget_connection();
                match reason {
                    Ok(()) => warn!("auditd closed the connection; waiting for it to come back"),
                    Err(error) => warn!(%error, "the connection to auditd broke; waiting for it to come back"),
                }
                self.seen.is_connected = false;
                source.disconnected(lines);
            }
            Happening::Unreachable(refused) => {
                source.refused(refused.iter().map(|(socket, error)| (socket.clone(), error.kind())).collect());
                // A restart of auditd has both: it makes no difference whether its socket is there while nobody listens.
                let is_absent =
                    |error: &io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
                let absent = refused.iter().all(|(_, error)| is_absent(error));
                if std::mem::replace(&mut self.absent, absent) && absent {
                    return;
                }
                let reasons: Vec<String> =
                    refused.iter().map(|(socket, error)| format!("{}: {error}", socket.display())).collect();
                if self.seen.has_multicast {
                    info!("no connection to auditd ({}). Retrying", reasons.join("; "));
                    return;
                }
                warn!(
                    "no connection to auditd ({}). Check that auditd runs and that its af_unix plugin is active \
                     (/etc/audit/plugins.d/af_unix.conf: active = yes, then restart auditd). Retrying",
                    reasons.join("; ")
                );
            }
            Happening::Data => {}
        }
    }
}

/// Names who removed a rule of ours; once for each process, since there are many rules.
fn blame(blamed: &mut Option<u32>, change: &RuleChange) {
    let subject = &change.subject;
    let removed = change.op.as_deref() == Some(b"remove_rule");
    if !removed || subject.pid == Some(std::process::id()) || (subject.pid.is_some() && subject.pid == *blamed) {
        return;
    }
    *blamed = subject.pid;
    let exe = subject.exe.as_deref().map_or("unknown".to_owned(), |exe| text(exe).0);
    warn!(auid = subject.auid, pid = subject.pid, exe, "somebody removed an audit rule of ours");
}
