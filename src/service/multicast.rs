//! How the kernel's multicast is had.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::config::{Config, Source};
use crate::dbus::State;
use crate::socket::is_machines_own;
use crate::source::Multicast;

/// The one that systemd passed, if it did.
pub(super) fn of_systemd(passed: Option<OwnedFd>) -> Option<Multicast> {
    let unusable = |error: &_| warn!("the multicast socket that systemd passed cannot be used: {error}");
    Multicast::from_fd(passed?).inspect_err(unusable).inspect(tell_buffer).ok()
}

fn tell_buffer(multicast: &Multicast) {
    if let Some(bytes) = multicast.small_buffer() {
        info!(
            bytes,
            "the kernel's multicast has a small buffer: a burst of events may be lost (net.core.rmem_max, or ReceiveBuffer= \
             of opensnitch-audit-multicast.socket)"
        );
    }
}

/// The multicast as this configuration wants it; `had` is one that is there already.
pub(super) async fn wanted(config: &Config, had: Option<Multicast>, state: &Arc<State>) -> Option<Multicast> {
    state.source.set_no_multicast(None);
    if had.is_some() || !config.source.reads_multicast() {
        return had;
    }
    let opened = {
        let state = state.clone();
        spawn_blocking(move || open(&state)).await.ok()?
    };
    match opened {
        Ok(multicast) => {
            tell_buffer(&multicast);
            Some(multicast)
        }
        Err(why) => {
            match config.source {
                Source::Netlink => warn!("the kernel's multicast cannot be had: {why}. No event arrives"),
                _ => info!("the kernel's multicast cannot be had: {why}. auditd's socket is the only source"),
            }
            state.source.set_no_multicast(Some(why));
            None
        }
    }
}

/// Without systemd.
fn open(state: &State) -> Result<Multicast, String> {
    // A kernel that answers here says that this is no container; then process 1 is the machine's own.
    state.keeper.status().map_err(|error| error.to_string())?;
    if !is_machines_own() {
        return Err(
            "the kernel sends it to the machine's own network namespace only, and this is another one".to_owned()
        );
    }
    Multicast::open().map_err(|error| {
        format!("{error}; it takes CAP_AUDIT_READ, or the socket of opensnitch-audit-multicast.socket")
    })
}
