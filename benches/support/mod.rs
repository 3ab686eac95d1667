//! What the benches share.

#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "programs for people")]

pub(crate) mod bench;
pub(crate) mod plot;
pub(crate) mod records;
#[path = "../../crates/audit-records/benches/support/rival.rs"]
pub(crate) mod rival;

use std::time::{Duration, Instant};

/// Median and 99th of a hundred.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) median: Duration,
    pub(crate) most: Duration,
}

/// Of single times.
pub(crate) fn figures(mut times: Vec<Duration>) -> Figures {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    Figures { median: at(50), most: at(99) }
}

/// How long a call takes.
pub(crate) async fn taken<T>(call: impl Future<Output = T>) -> Duration {
    let start = Instant::now();
    call.await;
    start.elapsed()
}
