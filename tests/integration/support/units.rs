//! systemd on a bus of the test's own, which knows one unit.

use tokio::runtime::Runtime;
use zbus::{Connection, OwnedObjectPath};

use super::PrivateBus;

/// Where it has the unit.
const UNIT: &str = "/org/freedesktop/systemd1/unit/one";

/// Who answers for systemd.
pub(crate) struct Units {
    _runtime: Runtime,
    _connection: Connection,
}

impl Units {
    /// One whose unit is in these states: of loading, of running, and how and with what it ended.
    pub(crate) fn start(bus: &PrivateBus, load: &str, active: &str, result: &str, status: i32) -> Self {
        let runtime = Runtime::new().unwrap();
        let unit = Unit { load: load.to_owned(), active: active.to_owned() };
        let service = Service { result: result.to_owned(), status };
        let address = bus.address();
        let connection = runtime.block_on(async {
            let builder = zbus::connection::Builder::address(&*address);
            let builder = builder.serve_at("/org/freedesktop/systemd1", Manager).serve_at(UNIT, unit);
            builder.serve_at(UNIT, service).name("org.freedesktop.systemd1").build().await.unwrap()
        });
        Self { _runtime: runtime, _connection: connection }
    }
}

struct Manager;

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn load_unit(&self, name: &str) -> OwnedObjectPath {
        assert_eq!(name, "opensnitch-audit.service");
        UNIT.try_into().unwrap()
    }
}

struct Unit {
    load: String,
    active: String,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn load_state(&self) -> &str {
        &self.load
    }

    #[zbus(property)]
    fn active_state(&self) -> &str {
        &self.active
    }
}

struct Service {
    result: String,
    status: i32,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> &str {
        &self.result
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.status
    }
}
