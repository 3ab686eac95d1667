//! What happens, told one after the other: events, losses, and whether the service is there. It ends never: where the service or
//! the bus goes, both are tried again.

use std::time::Duration;

use futures_util::StreamExt;
use opensnitch_audit_client::{AuditProxy, Event, Loss, Seen};
use tokio::sync::mpsc::Sender;
use tokio::time::{interval, sleep};
use zbus::Connection;
use zbus::proxy::CacheProperties;

use crate::ctl::Failure;
use crate::ctl::filter::Wanted;

/// How long it takes until the service is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How often the service is asked how it fares.
const ASKED: Duration = Duration::from_secs(5);

/// Events of the time before that are asked for: one page of the service's.
const REMEMBERED: u32 = 1000;

/// What happened.
#[derive(Debug)]
pub(super) enum Told {
    /// The service is there. These events came before, the newest first, and there are more.
    Here(Vec<Event>, bool),
    /// An event was seen.
    Seen(Box<Event>),
    /// So many were too many to be told.
    Lost(u64),
    /// Whether events arrive at the service, and what it knows to be lost, where it tells that.
    Fares(bool, Option<Loss>),
    /// The service is not there.
    Away(Failure),
}

/// Tells it until nobody listens any more. What happened `since` a time, in microseconds since the epoch, is told first.
pub(super) async fn follow(wanted: Wanted, since: u64, tell: Sender<Told>) {
    let mut since = Some(since);
    while !tell.is_closed() {
        let Err(failure) = follow_once(&wanted, &mut since, &tell).await else { return };
        if tell.send(Told::Away(failure)).await.is_err() {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// The same until the service goes, or nobody listens.
async fn follow_once(wanted: &Wanted, since: &mut Option<u64>, tell: &Sender<Told>) -> Result<(), Failure> {
    // A bus that went takes its connections with it.
    let connection = Connection::system().await?;
    let audit = AuditProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;
    let mut subscription = audit.follow(&wanted.query()).await?;
    let mut before = Vec::new();
    let mut there_is_more = false;
    if let Some(since) = since.take() {
        let mut query = wanted.query().limit(REMEMBERED);
        query.since = query.since.max(Some(since));
        let (events, next) = audit.find_events(&query).await?;
        before = events;
        before.retain(|event| wanted.holds(event));
        there_is_more = next > 0;
    }
    let mut told = tell.send(Told::Here(before, there_is_more)).await.is_ok();
    let mut asked = interval(ASKED);
    while told {
        let happened = tokio::select! {
            seen = subscription.next() => match seen {
                Some(Ok(Seen::Event(event))) if !wanted.holds(&event) => continue,
                Some(Ok(Seen::Event(event))) => Told::Seen(event),
                Some(Ok(Seen::Lost(count))) => Told::Lost(count),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Failure::Other("The service stopped: it is looked for again.".to_owned())),
            },
            _ = asked.tick() => {
                let statistics = audit.statistics().await?;
                let loss = statistics.contains_key("EventsMatched").then(|| Loss::of(&statistics));
                Told::Fares(audit.connected().await?, loss)
            }
        };
        told = tell.send(happened).await.is_ok();
    }
    Ok(())
}
