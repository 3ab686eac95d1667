//! Waiting for what must come, without a guess at how long it takes.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Whatever takes longer does not come. Generous: a busy machine is no bug.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "this never came: {what}");
        sleep(Duration::from_millis(20));
    }
}
