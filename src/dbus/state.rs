//! What answers are made from.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event as Notifier;
use rustix::time::{ClockId, clock_gettime};

use super::Limits;
use super::caller::Callers;
use super::front::Lists;
use super::seen::Seen;
use super::subscriptions::Subscriptions;
use super::unread::Unread;
use crate::process::Accounts;
use crate::rules::{Keeper, Status as KernelStatus, Switch};
use crate::socket::SockDiag;
use crate::source::Status;
use crate::store::{Row, Store};

/// How long the kernel's status is good for: a client that asks all the time costs the kernel nothing.
const STATUS_GOOD_FOR: Duration = Duration::from_secs(1);

/// Over how long a time the kernel's losses are looked at.
const LOST_SPAN: Duration = Duration::from_secs(10 * 60);

/// What the bus side needs of the configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How often signals are sent.
    pub limits: Limits,
    /// The key of our rules.
    pub key: String,
    /// Whether the service loads its rules by itself.
    pub manages_rules: bool,
    /// Whether the rules ask for datagrams.
    pub sends: bool,
    /// Whether they ask for sockets of every family.
    pub local: bool,
    /// Where auditd's socket is looked for; nowhere, where it is not wanted.
    pub sockets: Vec<PathBuf>,
}

/// Everything that answers are made from, shared with whoever fills it.
#[derive(Debug)]
pub struct State {
    /// The events.
    pub store: Arc<Store>,
    /// The connection they come through.
    pub source: Arc<Status>,
    /// Our rules.
    pub keeper: Arc<Keeper>,
    /// The kernel's audit, switched on and back.
    pub switch: Switch,
    /// Names of users and groups.
    pub accounts: Arc<Accounts>,
    /// The kernel's sockets, where it can be asked for them.
    pub sockets: Option<SockDiag>,
    pub(super) seen: Seen,
    pub(super) subscriptions: Subscriptions,
    /// Notified when our rules may have changed.
    pub rules_changed: Notifier,
    pub(super) callers: Callers,
    pub(super) unread: Unread,
    pub(super) lists: Lists,
    setup: Mutex<Setup>,
    kernel: Mutex<Kernel>,
}

/// What the kernel's audit said last.
#[derive(Debug, Default)]
struct Kernel {
    status: Option<(Instant, Option<KernelStatus>)>,
    /// Its count of lost records some time ago.
    lost_before: Option<(Instant, u32)>,
}

impl State {
    /// Made from these.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        source: Arc<Status>,
        keeper: Arc<Keeper>,
        accounts: Arc<Accounts>,
        sockets: Option<SockDiag>,
        setup: Setup,
    ) -> Self {
        Self {
            callers: Callers::new(accounts.clone()),
            unread: Unread::default(),
            lists: Lists::default(),
            store,
            source,
            keeper,
            switch: Switch::default(),
            accounts,
            sockets,
            seen: Seen::new(setup.limits),
            subscriptions: Subscriptions::default(),
            rules_changed: Notifier::new(),
            setup: Mutex::new(setup),
            kernel: Mutex::default(),
        }
    }

    /// The time that the store counts in: since the machine began. It goes on over a restart of the service.
    #[must_use]
    pub fn now(&self) -> Duration {
        Self::clock()
    }

    /// As [`now`](Self::now), where there is no state yet.
    #[must_use]
    pub fn clock() -> Duration {
        Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
    }

    /// Events were seen: whoever wants to hear of them will be told. Waits for nobody.
    pub fn see(&self, rows: Vec<Row>) {
        let now = self.now();
        self.subscriptions.offer(&rows, now);
        self.seen.push(rows, now);
    }

    /// What the configuration says.
    #[must_use]
    pub fn setup(&self) -> Setup {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often signals are sent.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).limits
    }

    /// The configuration says something else from now on.
    pub fn set_setup(&self, setup: Setup) {
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = setup;
    }

    /// The kernel's audit status, asked for at most once a second. Blocks.
    #[must_use]
    pub fn kernel_status(&self) -> Option<KernelStatus> {
        let last = self.kernel.lock().unwrap_or_else(PoisonError::into_inner).status;
        if let Some((at, status)) = last
            && at.elapsed() < STATUS_GOOD_FOR
        {
            return status;
        }
        let status = self.keeper.status().ok();
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner).status = Some((Instant::now(), status));
        status
    }

    /// Remembers what the kernel has lost by now, to tell later whether it loses more. Blocks.
    pub fn remember_lost(&self) {
        let lost = self.kernel_status().map(|status| (Instant::now(), status.lost));
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        if kernel.lost_before.is_none_or(|(at, _)| at.elapsed() >= LOST_SPAN) {
            kernel.lost_before = lost;
        }
    }

    /// What the kernel had lost some time ago, and how long ago that was.
    #[must_use]
    pub fn lost_before(&self) -> Option<(u32, Duration)> {
        let kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        kernel.lost_before.map(|(at, lost)| (lost, at.elapsed()))
    }
}
