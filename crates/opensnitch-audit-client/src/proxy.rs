//! The interface as a client calls it.

use std::net::SocketAddr;

use crate::{Event, Finding, Protocol, Query, Statistics, error};

/// The service `org.opensnitch.Audit`, as the system bus knows it.
///
/// The macro makes [`AuditProxy`] of this.
#[zbus::proxy(
    interface = "org.opensnitch.Audit",
    default_service = "org.opensnitch.Audit",
    default_path = "/org/opensnitch/Audit"
)]
pub trait Audit {
    /// The newest event of that process.
    ///
    /// polkit may ask the caller's user for permission meanwhile.
    ///
    /// # Errors
    /// [`NOT_FOUND`](crate::error::NOT_FOUND) where none is known that the caller may see.
    #[zbus(allow_interactive_auth)]
    fn get_event_by_pid(&self, pid: u32) -> zbus::Result<Event>;

    /// The newest event of each process and type that the caller may see, the newest first, as many as fit into a reply
    /// of 8 MiB. For more than a look use [`find_events`](AuditProxy::find_events).
    fn get_events(&self) -> zbus::Result<Vec<Event>>;

    /// The events that match and that the caller may see, the newest first, and the [cursor](Query::cursor) that
    /// continues, which is 0 at the end.
    ///
    /// # Errors
    /// [`INVALID_ARGS`](crate::error::INVALID_ARGS) names the key whose value is out of range or has no meaning.
    fn find_events(&self, query: &Query) -> zbus::Result<(Vec<Event>, u64)>;

    /// Whose connection this is; see [`owner`](AuditProxy::owner), which takes typed addresses and asks nobody for
    /// permission. Addresses are text without brackets.
    ///
    /// polkit may ask the caller's user for permission meanwhile.
    ///
    /// # Errors
    /// [`NOT_FOUND`](crate::error::NOT_FOUND) where there is no such connection that the caller may see;
    /// [`INVALID_ARGS`](crate::error::INVALID_ARGS) where the protocol, an address or a port is none.
    #[zbus(allow_interactive_auth)]
    fn get_event_by_connection(
        &self,
        protocol: &str,
        source: &str,
        sport: u16,
        destination: &str,
        dport: u16,
    ) -> zbus::Result<Event>;

    /// Loads those of the service's kernel rules that are not loaded, and returns how many that were.
    ///
    /// polkit may ask the caller's user for permission meanwhile: [`ADD_RULES`](crate::action::ADD_RULES).
    ///
    /// # Errors
    /// [`AUDIT_UNAVAILABLE`](crate::error::AUDIT_UNAVAILABLE), [`RULES_LOCKED`](crate::error::RULES_LOCKED),
    /// [`RULES_FAILED`](crate::error::RULES_FAILED).
    #[zbus(allow_interactive_auth)]
    fn add_rules(&self) -> zbus::Result<u32>;

    /// Removes the service's kernel rules and no others, and returns how many there were.
    ///
    /// polkit may ask the caller's user for permission meanwhile: [`DELETE_RULES`](crate::action::DELETE_RULES).
    ///
    /// # Errors
    /// As of [`add_rules`](AuditProxy::add_rules).
    #[zbus(allow_interactive_auth)]
    fn delete_rules(&self) -> zbus::Result<u32>;

    /// From now on this connection receives the signals of [`SubscriptionProxy`](crate::SubscriptionProxy), for events that
    /// match and that the caller may see; see [`follow`](AuditProxy::follow), which makes a stream of them.
    ///
    /// polkit is asked whether the caller may see the events of others, and nobody else is.
    ///
    /// # Errors
    /// [`INVALID_ARGS`](crate::error::INVALID_ARGS) names the key that is wrong,
    /// [`LIMITS_EXCEEDED`](crate::error::LIMITS_EXCEEDED) where there are too many subscriptions.
    fn subscribe(&self, query: &Query) -> zbus::Result<()>;

    /// Ends what [`subscribe`](AuditProxy::subscribe) began. The end of the connection does so, too.
    fn unsubscribe(&self) -> zbus::Result<()>;

    /// Why events may not arrive, or not be seen by the caller. Empty where nothing is wrong.
    fn diagnose(&self) -> zbus::Result<Vec<Finding>>;

    /// An event was seen. Only root and the members of the [group](crate::GROUP) receive this. `event_type` and `exe`
    /// repeat the event's, and are empty where those are unknown, so that a match rule can choose by them.
    #[zbus(signal)]
    fn event_seen(&self, event_type: String, exe: String, event: Event) -> zbus::Result<()>;

    /// So many events were not signalled since the last of these. The service has not lost them: ask for them.
    #[zbus(signal)]
    fn events_lost(&self, count: u64) -> zbus::Result<()>;

    /// Version of the service.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;

    /// Where events come from: `audisp`, `netlink`, or empty while nothing can be read.
    #[zbus(property)]
    fn source(&self) -> zbus::Result<String>;

    /// The path of auditd's socket, where that is where events come from; else empty.
    #[zbus(property)]
    fn socket(&self) -> zbus::Result<String>;

    /// Whether events can be read.
    #[zbus(property)]
    fn connected(&self) -> zbus::Result<bool>;

    /// Whether all of the service's rules are in the kernel.
    #[zbus(property)]
    fn rules_loaded(&self) -> zbus::Result<bool>;

    /// What the service counted since its start, by name.
    #[zbus(property(emits_changed_signal = "false"))]
    fn statistics(&self) -> zbus::Result<Statistics>;
}

impl AuditProxy<'_> {
    /// Whose connection this is: what a firewall asks with a packet in its hand. `source` is the end on this machine.
    /// Nothing where no connection is known that the caller may see.
    ///
    /// Nobody is asked for permission meanwhile: a packet does not wait for a person.
    ///
    /// ```no_run
    /// # use opensnitch_audit_client::{AuditProxy, Protocol};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let audit = AuditProxy::new(&zbus::Connection::system().await?).await?;
    /// let (source, destination) = ("192.0.2.7:51234".parse()?, "198.51.100.1:443".parse()?);
    /// if let Some(event) = audit.owner(Protocol::Tcp, source, destination).await? {
    ///     println!("{:?} of user {:?}", event.program(), event.uid);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Every error but [`NOT_FOUND`](crate::error::NOT_FOUND).
    pub async fn owner(
        &self,
        protocol: Protocol,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> zbus::Result<Option<Event>> {
        let (from, to) = (source.ip().to_string(), destination.ip().to_string());
        let tuple = (protocol.name(), from, source.port(), to, destination.port());
        match self.inner().call("GetEventByConnection", &tuple).await {
            Ok(event) => Ok(Some(event)),
            Err(refused) if error::is(&refused, error::NOT_FOUND) => Ok(None),
            Err(refused) => Err(refused),
        }
    }
}
