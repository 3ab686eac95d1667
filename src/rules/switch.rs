//! The kernel's audit, switched on where nobody else does it.
//!
//! auditd switches audit on when it starts. Without one it is off, unless the kernel was started with `audit=1` or somebody
//! else switches it on (systemd-journald does where `Audit=yes`). Guarantee: what was on, or belongs to an auditd, is not
//! touched; what was changed is set back, unless somebody else has changed it since.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Enabled, Error, Kernel, Status};

/// Messages that may wait in the kernel while it is ours: as Debian's rules for auditd have it. The kernel's own 64 are less
/// than one busy moment.
const BACKLOG: u32 = 8192;

/// How long the kernel lets a program wait where its queue is full: not at all. What does not fit is lost, and counted.
const BACKLOG_WAIT_TIME: u32 = 0;

/// Switches audit on, and back.
#[derive(Debug, Default)]
pub struct Switch(Mutex<Option<Setting>>);

/// What is switched, all in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Setting {
    pub(super) enabled: bool,
    pub(super) backlog_limit: u32,
    /// Not of kernels before 3.14.
    pub(super) backlog_wait_time: Option<u32>,
}

impl Setting {
    fn of(status: &Status) -> Self {
        Self {
            enabled: status.enabled != Enabled::Off,
            backlog_limit: status.backlog_limit,
            backlog_wait_time: status.backlog_wait_time,
        }
    }

    /// How it is while it is ours.
    fn ours(self) -> Self {
        Self {
            enabled: true,
            // 0 is no limit.
            backlog_limit: if self.backlog_limit == 0 { 0 } else { self.backlog_limit.max(BACKLOG) },
            backlog_wait_time: self.backlog_wait_time.map(|_| BACKLOG_WAIT_TIME),
        }
    }
}

/// What to set so that audit is on; `None` where that is nobody's task here.
fn to_set_on(status: &Status) -> Option<Setting> {
    (status.enabled == Enabled::Off && status.pid == 0).then(|| Setting::of(status).ours())
}

/// What to set so that all is as it was `before`; `None` where somebody else has it by now.
fn to_set_back(before: Setting, status: &Status) -> Option<Setting> {
    (status.pid == 0 && status.enabled != Enabled::Locked && Setting::of(status) == before.ours()).then_some(before)
}

impl Switch {
    /// Switches audit on where it is off and no auditd is there. Whether it did.
    ///
    /// # Errors
    /// As [`Kernel::status`].
    pub fn on(&self) -> Result<bool, Error> {
        let mut before = self.before();
        // Once: whoever switches it off after us wants it off.
        if before.is_some() {
            return Ok(false);
        }
        let mut kernel = Kernel::open()?;
        let status = kernel.status()?;
        let Some(setting) = to_set_on(&status) else { return Ok(false) };
        kernel.set(setting)?;
        *before = Some(Setting::of(&status));
        Ok(true)
    }

    /// Takes that back. Whether there was something to take back.
    ///
    /// # Errors
    /// As [`Kernel::status`].
    pub fn back(&self) -> Result<bool, Error> {
        let Some(before) = self.before().take() else { return Ok(false) };
        let mut kernel = Kernel::open()?;
        let Some(setting) = to_set_back(before, &kernel.status()?) else { return Ok(false) };
        kernel.set(setting)?;
        Ok(true)
    }

    /// How it was before, where audit is on because of us.
    #[must_use]
    pub fn setting(&self) -> Option<Setting> {
        *self.before()
    }

    /// A process before this one switched it on; it was so before.
    pub fn goes_on(&self, before: Option<Setting>) {
        *self.before() = before;
    }

    fn before(&self) -> MutexGuard<'_, Option<Setting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Status = Status {
        enabled: Enabled::Off,
        failure: 1,
        pid: 0,
        rate_limit: 0,
        backlog_limit: 64,
        lost: 0,
        backlog: 0,
        features: 0x7f,
        backlog_wait_time: Some(15_000),
    };
    const BEFORE: Setting = Setting { enabled: false, backlog_limit: 64, backlog_wait_time: Some(15_000) };
    const OURS: Setting = Setting { enabled: true, backlog_limit: BACKLOG, backlog_wait_time: Some(0) };

    #[test]
    fn only_what_is_off_and_nobodys_is_switched_on() {
        let large = Setting { backlog_limit: 10_000, ..OURS };
        let table = [
            (OFF, Some(OURS)),
            (Status { pid: 77, ..OFF }, None),
            (Status { enabled: Enabled::On, ..OFF }, None),
            (Status { enabled: Enabled::Locked, ..OFF }, None),
            (Status { backlog_limit: 10_000, ..OFF }, Some(large)),
            (Status { backlog_limit: 0, ..OFF }, Some(Setting { backlog_limit: 0, ..OURS })),
            (Status { backlog_wait_time: None, ..OFF }, Some(Setting { backlog_wait_time: None, ..OURS })),
        ];
        for (status, expected) in table {
            assert_eq!(to_set_on(&status), expected, "{status:?}");
        }
    }

    #[test]
    fn what_somebody_else_has_by_now_is_left_alone() {
        let on = Status { enabled: Enabled::On, backlog_limit: BACKLOG, backlog_wait_time: Some(0), ..OFF };
        let table = [
            (on, Some(BEFORE)),
            (Status { pid: 77, ..on }, None),
            (Status { enabled: Enabled::Locked, ..on }, None),
            (Status { enabled: Enabled::Off, ..on }, None),
            (Status { backlog_limit: 10_000, ..on }, None),
            (Status { backlog_wait_time: Some(60_000), ..on }, None),
        ];
        for (status, expected) in table {
            assert_eq!(to_set_back(BEFORE, &status), expected, "{status:?}");
        }
    }
}
