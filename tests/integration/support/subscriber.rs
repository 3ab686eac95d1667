//! Somebody who subscribes, and need not read.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use opensnitch_audit_client::{AuditProxy, Event, Query, Seen, Subscription};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use zbus::Connection;

use super::{PrivateBus, User};

/// How long something may take that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection of a user's. It reads, and answers, while one of its methods runs, and at no other time.
pub(crate) struct Subscriber {
    subscription: Option<Subscription>,
    pub(crate) connection: Connection,
    runtime: Runtime,
}

impl Subscriber {
    pub(crate) fn connect(bus: &PrivateBus, user: User) -> Self {
        let path = bus.folder().join("bus");
        let connect = thread::spawn(move || {
            // The bus and zbus ask who this is, and that is a thread.
            user.take_over_thread();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let connection = runtime.block_on(async {
                let stream = UnixStream::connect(path).unwrap();
                zbus::connection::Builder::unix_stream(stream).build().await.unwrap()
            });
            (runtime, connection)
        });
        let (runtime, connection) = connect.join().unwrap();
        Self { subscription: None, connection, runtime }
    }

    /// Subscribes; the error is the service's.
    pub(crate) fn follow(&mut self, query: &Query) -> zbus::Result<()> {
        let followed = self.runtime.block_on(async {
            let audit = AuditProxy::new(&self.connection).await?;
            timeout(PATIENCE, audit.follow(query)).await.expect("an answer")
        });
        self.subscription = Some(followed?);
        Ok(())
    }

    /// The same, of all that it may see.
    pub(crate) fn following(bus: &PrivateBus, user: User) -> Self {
        let mut subscriber = Self::connect(bus, user);
        subscriber.follow(&Query::new()).unwrap();
        subscriber
    }

    /// Calls a method of the service.
    pub(crate) fn call<B: serde::Serialize + zbus::Type>(&self, method: &str, body: &B) -> zbus::Result<()> {
        let (name, path) = (opensnitch_audit_client::NAME, opensnitch_audit_client::PATH);
        let call = self.connection.call_method(Some(name), path, Some(name), method, body);
        self.runtime.block_on(async { timeout(PATIENCE, call).await.expect("an answer") }).map(|_| ())
    }

    /// Calls a method that every object has, and takes the answer.
    pub(crate) fn introspect(&self) -> zbus::Result<()> {
        let (name, path) = (opensnitch_audit_client::NAME, opensnitch_audit_client::PATH);
        let interface = Some("org.freedesktop.DBus.Introspectable");
        let call = self.connection.call_method(Some(name), path, interface, "Introspect", &());
        self.runtime.block_on(async { timeout(PATIENCE, call).await.expect("an answer") }).map(|_| ())
    }

    /// What it is told next.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Seen> {
        let next = async { timeout(PATIENCE, self.subscription.as_mut().unwrap().next()).await };
        self.runtime.block_on(next).expect("something is told").map(Result::unwrap)
    }

    /// The event that it is told next.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        match self.next() {
            Some(Seen::Event(event)) => *event,
            other => panic!("{other:?} is no event"),
        }
    }
}
