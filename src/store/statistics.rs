//! What happened so far, in numbers: everything that is not handed on is counted here.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// One number. It only grows, but for those that say how many there are now, or when.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Replaces it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        /// All counters since the start of the service. Their names on the bus are in [`Statistics::NAMES`].
        #[derive(Debug, Default)]
        pub struct Statistics { $($(#[$doc])* pub $field: Counter,)* }

        impl Statistics {
            /// The names in the contract.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The one that tells nothing of what users do.
            pub const RECONNECTS: &str = "Reconnects";

            /// Goes on from what these were, in the order of [`Self::NAMES`]; but for what is now and not a sum. Whether
            /// they are as many.
            pub fn restore(&self, values: &[u64]) -> bool {
                let mut values = values.iter();
                $(if let Some(value) = values.next() { self.$field.set(*value) } else { return false })*
                self.subscriptions.set(0);
                values.next().is_none()
            }

            /// Each name with its value.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field.get())),*].into_iter()
            }
        }
    };
}

counters! {
    /// Lines found in the stream.
    lines_read: "LinesRead",
    /// Lines that are no records, too long, or binary that made no sense.
    lines_malformed: "LinesMalformed",
    /// Lines joined to another record, or cut off by the end of a connection. They are thrown away.
    lines_torn: "LinesTorn",
    /// Lines that are records, of whatever type.
    records_parsed: "RecordsParsed",
    /// Records that came after their event was finished.
    records_late: "RecordsLate",
    /// Records and pieces of arguments beyond a bound.
    records_cut: "RecordsCut",
    /// Events of a system call or an io_uring operation, ours or not.
    events_assembled: "EventsAssembled",
    /// Events without their end, or without the record that says who did it.
    events_incomplete: "EventsIncomplete",
    /// Events under our key.
    events_matched: "EventsMatched",
    /// Entries among the newest of each process and type now.
    events_cached: "EventsCached",
    /// Entries that went because there were too many.
    events_evicted: "EventsEvicted",
    /// Events in the history now.
    events_remembered: "EventsRemembered",
    /// When the oldest of them happened, in microseconds since the epoch; 0 where there is none.
    oldest_event: "OldestEvent",
    /// Events that went from the history because it was full.
    events_forgotten: "EventsForgotten",
    /// Events that the history has from auditd's log, of the time before the service began.
    events_recalled: "EventsRecalled",
    /// Events that a crash of the service took with it: they had arrived since its state was last written.
    events_unsaved: "EventsUnsaved",
    /// Looks at `/proc` that were not taken: too many were waiting, or one hung.
    visits_lost: "VisitsLost",
    /// Calls that were not answered as asked: too many at a time, or too long.
    calls_refused: "CallsRefused",
    /// `EventSeen` signals.
    signals_sent: "SignalsSent",
    /// Events that were merged into the signal of another one.
    signals_coalesced: "SignalsCoalesced",
    /// Events that were not signalled: too many.
    signals_lost: "SignalsLost",
    /// Connections that have subscribed now.
    subscriptions: "Subscriptions",
    /// Events that one of them was not told: too many, or it did not read.
    subscriptions_lost: "SubscriptionsLost",
    /// Events written to the journal.
    journal_sent: "JournalSent",
    /// Events that were to be written there and were not: too many, or journald does not take them.
    journal_lost: "JournalLost",
    /// Since when all of this is counted, in microseconds since the epoch.
    since: "Since",
    /// When a loss of events was noticed last, in microseconds since the epoch; 0 where none was.
    last_loss: "LastLoss",
    /// Records that the kernel lost since then.
    kernel_lost_since: "KernelLostSince",
    /// Times that the kernel threw records away because this service did not read its multicast fast enough.
    multicast_overruns: "MulticastOverruns",
    /// Connections to auditd after the first one.
    reconnects: "Reconnects",
    /// Events that never came, by their missing serials.
    serial_gaps: "SerialGaps",
}

/// What never came, by the counters that say so. A process that was killed knew of more than its last snapshot tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    serial_gaps: u64,
    events_incomplete: u64,
    lines_torn: u64,
    multicast_overruns: u64,
}

impl Statistics {
    /// As they are now; so many serials are `outstanding`, and who goes on elsewhere in the stream will not look for them.
    #[must_use]
    pub fn losses(&self, outstanding: u32) -> Losses {
        Losses {
            serial_gaps: self.serial_gaps.get().saturating_add(outstanding.into()),
            events_incomplete: self.events_incomplete.get(),
            lines_torn: self.lines_torn.get(),
            multicast_overruns: self.multicast_overruns.get(),
        }
    }

    /// Counts what the last process knew of and is not counted here. Whether there was any.
    pub fn knew_of(&self, losses: &Losses) -> bool {
        let known = [
            (&self.serial_gaps, losses.serial_gaps),
            (&self.events_incomplete, losses.events_incomplete),
            (&self.lines_torn, losses.lines_torn),
            (&self.multicast_overruns, losses.multicast_overruns),
        ];
        let mut is_news = false;
        for (counter, known) in known.into_iter().filter(|(counter, known)| *known > counter.get()) {
            counter.set(known);
            is_news = true;
        }
        is_news
    }
}
