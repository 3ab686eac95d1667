//! The client's side of the interface.

use std::collections::HashMap;

use zbus::OwnedVariant;

/// A row as a client gets it.
type Row = HashMap<String, OwnedVariant>;

/// `org.opensnitch.Audit` as a client sees it.
#[zbus::proxy(
    interface = "org.opensnitch.Audit",
    default_service = "org.opensnitch.Audit",
    default_path = "/org/opensnitch/Audit"
)]
pub trait Audit {
    /// The newest event of that process.
    #[zbus(allow_interactive_auth)]
    fn get_event_by_pid(&self, pid: u32) -> zbus::Result<Row>;

    /// All cached events the caller may see, the newest first.
    fn get_events(&self) -> zbus::Result<Vec<Row>>;

    /// Those that match, and the cursor for the rest, 0 at the end.
    fn find_events(&self, query: HashMap<&str, zbus::Variant<'_>>) -> zbus::Result<(Vec<Row>, u64)>;

    /// Loads the kernel rules that are not loaded yet.
    #[zbus(allow_interactive_auth)]
    fn add_rules(&self) -> zbus::Result<u32>;

    /// Removes our kernel rules.
    #[zbus(allow_interactive_auth)]
    fn delete_rules(&self) -> zbus::Result<u32>;

    /// Why events may not arrive.
    fn diagnose(&self) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;

    /// An event was seen.
    #[zbus(signal)]
    fn event_seen(&self, event_type: String, exe: String, event: Row) -> zbus::Result<()>;

    /// So many events were not signalled.
    #[zbus(signal)]
    fn events_lost(&self, count: u64) -> zbus::Result<()>;

    /// The service's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;

    /// Where events come from.
    #[zbus(property)]
    fn source(&self) -> zbus::Result<String>;

    /// Whether there is a connection to auditd.
    #[zbus(property)]
    fn connected(&self) -> zbus::Result<bool>;

    /// Whether all kernel rules are loaded.
    #[zbus(property)]
    fn rules_loaded(&self) -> zbus::Result<bool>;

    /// Counters.
    #[zbus(property(emits_changed_signal = "false"))]
    fn statistics(&self) -> zbus::Result<HashMap<String, u64>>;
}
