//! What happened so far, in numbers: everything that is not handed on is counted here.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One number of the `Statistics` property; its name there is its name here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter { $($(#[$doc])* $name,)* }

        impl Counter {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// Its name on the bus.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

counters! {
    /// Lines found in the stream.
    LinesRead,
    /// Lines that are no records, too long, or binary that made no sense.
    LinesMalformed,
    /// Lines cut off and joined to the next record, or cut off by the end of a connection.
    LinesTorn,
    /// Lines that are records, of whatever type.
    RecordsParsed,
    /// Records that came after their event was finished.
    RecordsLate,
    /// Records and pieces of arguments beyond a bound.
    RecordsCut,
    /// Events of a system call or an io_uring operation, ours or not.
    EventsAssembled,
    /// Events without their end, or without the record that says who did it.
    EventsIncomplete,
    /// Events under our key.
    EventsMatched,
    /// Entries in the cache now.
    EventsCached,
    /// Entries that went because there were too many.
    EventsEvicted,
    /// `EventSeen` signals.
    SignalsSent,
    /// Events that were merged into the signal of another one.
    SignalsCoalesced,
    /// Events that were not signalled: too many.
    SignalsLost,
    /// Connections to auditd after the first one.
    Reconnects,
    /// Events that auditd never passed on, by their missing serials.
    SerialGaps,
    /// Records the kernel lost since boot (`lost` of `auditctl -s`).
    KernelLost,
    /// Records that wait in the kernel now (`backlog`).
    KernelBacklog,
}

/// All counters.
#[derive(Debug, Default)]
pub struct Statistics {
    values: [AtomicU64; Counter::ALL.len()],
}

impl Statistics {
    /// Replaces a number.
    pub fn set(&self, counter: Counter, value: u64) {
        if let Some(number) = self.values.get(counter as usize) {
            number.store(value, Ordering::Relaxed);
        }
    }

    /// Adds to a number.
    pub fn add(&self, counter: Counter, more: u64) {
        if let Some(number) = self.values.get(counter as usize) {
            number.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// A number.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.values.get(counter as usize).map_or(0, |number| number.load(Ordering::Relaxed))
    }
}
