//! Whatever the configuration says: an error, or settings within their bounds.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use opensnitch_audit::config::{Config, Socket};

fuzz_target!(|text: &str| {
    let Ok(config) = toml::from_str::<Config>(text) else { return };
    assert!((1..=65_536).contains(&config.max_events) && (1..=1_048_576).contains(&config.history));
    assert!((1..=10_000).contains(&config.signals_per_second) && config.coalesce <= Duration::from_secs(10));
    assert!((1..=31).contains(&config.key.as_str().len()));
    if let Socket::Path(path) = &config.socket {
        assert!(path.is_absolute() && path.as_os_str().len() < 108);
    }
});
