//! The service's unit, as systemd knows it.

use zbus::{Connection, OwnedObjectPath, Proxy};

use crate::config::EXIT_UNUSABLE;
use crate::diagnose::{Finding, Severity};

const UNIT: &str = "opensnitch-audit.service";

const SYSTEMD: &str = "org.freedesktop.systemd1";

/// What systemd says of it; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// `loaded`, `not-found`, `masked`, `bad-setting`, …
    load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    active: String,
    /// Why it ended: `success`, `exit-code`, `signal`, `watchdog`, `start-limit-hit`, …
    result: String,
    /// With what its process ended.
    status: i32,
}

impl Unit {
    /// Asks systemd.
    pub(super) async fn of_service(connection: &Connection) -> Self {
        // A machine without systemd tells nothing.
        Self::asked(connection).await.unwrap_or_default()
    }

    async fn asked(connection: &Connection) -> zbus::Result<Self> {
        let manager = format!("{SYSTEMD}.Manager");
        let manager = Proxy::new(connection, SYSTEMD, "/org/freedesktop/systemd1", manager).await?;
        let path: OwnedObjectPath = manager.call("LoadUnit", &(UNIT,)).await?;
        let unit = Proxy::new(connection, SYSTEMD, &path, format!("{SYSTEMD}.Unit")).await?;
        let service = Proxy::new(connection, SYSTEMD, &path, format!("{SYSTEMD}.Service")).await?;
        Ok(Self {
            load: unit.get_property("LoadState").await?,
            active: unit.get_property("ActiveState").await?,
            // A unit that is not there has none.
            result: service.get_property("Result").await.unwrap_or_default(),
            status: service.get_property("ExecMainStatus").await.unwrap_or_default(),
        })
    }

    /// Why the service does not run, and what to do.
    pub(super) fn finding(&self) -> Finding {
        let Self { load, active, result, status } = self;
        let found = |id, message: String, remedy: &str| Finding {
            id,
            severity: Severity::Error,
            message,
            remedy: remedy.to_owned(),
        };
        let start = "systemctl start opensnitch-audit.service";
        let look = "journalctl --unit=opensnitch-audit.service --lines=20 --no-pager";
        match (&**load, &**active) {
            ("not-found", _) => found(
                "service-not-installed",
                format!(
                    "systemd knows no {UNIT}: the service is not installed, or systemd has not looked since it was"
                ),
                "systemctl daemon-reload && systemctl enable --now opensnitch-audit.service",
            ),
            ("masked", _) => found(
                "service-masked",
                format!("{UNIT} is masked: somebody wanted that nothing starts it"),
                "systemctl unmask opensnitch-audit.service && systemctl start opensnitch-audit.service",
            ),
            ("bad-setting" | "error", _) => found(
                "service-unit-bad",
                format!("systemd cannot use {UNIT} as it is written"),
                "systemd-analyze verify opensnitch-audit.service",
            ),
            (_, "failed") if *status == i32::from(EXIT_UNUSABLE) && result == "exit-code" => found(
                "service-failed",
                format!("{UNIT} failed: its configuration cannot be used. This shows what it said"),
                look,
            ),
            (_, "failed") => {
                let how = match &**result {
                    "exit-code" => format!("its process ended with {status}"),
                    "signal" | "core-dump" => format!("its process was ended by signal {status}"),
                    "watchdog" => "it did not answer systemd's watchdog".to_owned(),
                    "oom-kill" => "it took more memory than it may".to_owned(),
                    "start-limit-hit" => "it ended too often in a short time".to_owned(),
                    other => format!("systemd calls it {other}"),
                };
                found("service-failed", format!("{UNIT} failed: {how}. This shows what it said"), look)
            }
            (_, "activating") => found(
                "service-starting",
                format!("{UNIT} is being started, or started again: it is not on the bus yet. This shows what it says"),
                look,
            ),
            (_, "active") => found(
                "service-not-on-bus",
                format!("{UNIT} runs, and is not on this bus. This shows what it says"),
                look,
            ),
            _ => found(
                "service-stopped",
                "the service does not run: nobody sees events, and its rules are not in the kernel".to_owned(),
                start,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_a_sentence_and_a_remedy() {
        let table = [
            (("", "", "", 0), "service-stopped", "does not run", "systemctl start "),
            (("loaded", "inactive", "success", 0), "service-stopped", "does not run", "systemctl start "),
            (("not-found", "inactive", "", 0), "service-not-installed", "not installed", "daemon-reload"),
            (("masked", "inactive", "", 0), "service-masked", "is masked", "unmask"),
            (("bad-setting", "inactive", "", 0), "service-unit-bad", "cannot use", "verify"),
            (("loaded", "failed", "exit-code", 78), "service-failed", "configuration", "journalctl"),
            (("loaded", "failed", "exit-code", 1), "service-failed", "ended with 1.", "journalctl"),
            (("loaded", "failed", "signal", 9), "service-failed", "signal 9", "journalctl"),
            (("loaded", "failed", "watchdog", 6), "service-failed", "watchdog", "journalctl"),
            (("loaded", "failed", "resources", 0), "service-failed", "resources", "journalctl"),
            (("loaded", "activating", "exit-code", 1), "service-starting", "started again", "journalctl"),
            (("loaded", "active", "success", 0), "service-not-on-bus", "not on this bus", "journalctl"),
        ];
        for ((load, active, result, status), id, message, remedy) in table {
            let unit = Unit { load: load.to_owned(), active: active.to_owned(), result: result.to_owned(), status };
            let finding = unit.finding();
            assert_eq!(finding.id, id, "{unit:?}");
            assert!(finding.message.contains(message) && finding.remedy.contains(remedy), "{finding:?}");
        }
    }
}
