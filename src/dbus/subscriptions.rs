//! Who wants to hear of which events, and what waits for each.
//!
//! A **subscription** is one connection's; a second one of the same connection replaces it. It has a rate and a count of losses of
//! its own. Nothing is sent to a connection that owes an answer: see [`delivery`](super::delivery).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event as Notifier;
use zbus::message::Header;
use zbus::names::{OwnedUniqueName, UniqueName};

use super::signals::{Outgoing, Room, Signals};
use super::{Error, Limits};
use crate::quota::{Place, Quota};
use crate::store::{Query, Row, Sight};

/// Subscriptions of all users but root, which may have as many again. Each may owe an answer for ever, and the bus stops
/// passing on our calls, all of them, at 128 without an answer, of which polkit may owe 64.
const MAX_SUBSCRIPTIONS: usize = 28;

/// Those of one user: a quarter.
const MAX_OF_USER: usize = 7;

/// What may wait for one of them: more than it is told in a second.
const ROOM: Room = Room { windows: 256, bytes: 256 * 1024 };

/// What one of them is sent, in bytes, before it has to answer. All together stay below what makes the bus hold back a service
/// whose messages nobody reads.
const MAX_UNANSWERED: usize = 32 * 1024;

/// All that there are. The locks are std's, held for one look.
#[derive(Debug)]
pub(super) struct Subscriptions {
    quota: Arc<Quota>,
    by_name: Mutex<HashMap<OwnedUniqueName, Arc<Subscription>>>,
    /// Notified when there may be something to send.
    pub(super) changed: Notifier,
}

/// What one connection wants to hear of.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: OwnedUniqueName,
    query: Query,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Its place; `None` where it ended. Whoever waits for its answer holds the place, too.
    place: Option<Arc<Place>>,
    sight: Sight,
    signals: Signals,
    /// Events that were lost since the beginning, and how many of them nobody has counted yet.
    lost: u64,
    uncounted: u64,
    /// Bytes sent since it last answered.
    unanswered: usize,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self { quota: Quota::new(MAX_SUBSCRIPTIONS, MAX_OF_USER), by_name: Mutex::default(), changed: Notifier::new() }
    }
}

impl Subscriptions {
    /// Opens one for the sender of a message, in place of the one it has.
    ///
    /// # Errors
    /// [`Error::LimitsExceeded`] where there are too many, [`Error::AccessDenied`] where the message has no sender.
    pub(super) fn open(
        &self,
        header: &Header<'_>,
        uid: u32,
        query: Query,
        sight: Sight,
        limits: Limits,
    ) -> Result<Arc<Subscription>, Error> {
        let sender =
            header.sender().ok_or_else(|| Error::AccessDenied("the bus does not tell who calls".to_owned()))?;
        self.open_for(sender.to_owned().into(), uid, query, sight, limits)
    }

    fn open_for(
        &self,
        name: OwnedUniqueName,
        uid: u32,
        query: Query,
        sight: Sight,
        limits: Limits,
    ) -> Result<Arc<Subscription>, Error> {
        let mut by_name = self.lock();
        if let Some(replaced) = by_name.remove(&name) {
            replaced.end();
        }
        let place = self.quota.take(uid).ok_or_else(|| {
            Error::LimitsExceeded(format!(
                "there are too many subscriptions, at most {MAX_OF_USER} of a user and {MAX_SUBSCRIPTIONS} of all: call \
                 Unsubscribe, or close a connection, where one is not needed any more"
            ))
        })?;
        let waiting = Mutex::new(Waiting {
            place: Some(Arc::new(place)),
            sight,
            signals: Signals::new(limits, ROOM),
            lost: 0,
            uncounted: 0,
            unanswered: 0,
        });
        let subscription = Arc::new(Subscription { name: name.clone(), query, waiting });
        by_name.insert(name, subscription.clone());
        Ok(subscription)
    }

    /// Ends that of a connection, where it has one.
    pub(super) fn close(&self, name: &UniqueName<'_>) {
        if let Some(closed) = self.lock().remove(name.as_str()) {
            closed.end();
        }
    }

    /// Ends that one, where it was not replaced.
    pub(super) fn end(&self, subscription: &Arc<Subscription>) {
        let mut by_name = self.lock();
        if by_name.get(&subscription.name).is_some_and(|one| Arc::ptr_eq(one, subscription)) {
            by_name.remove(&subscription.name);
        }
        subscription.end();
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.lock().len() as u64
    }

    /// All of them now.
    pub(super) fn all(&self) -> Vec<Arc<Subscription>> {
        self.lock().values().cloned().collect()
    }

    /// Events were seen.
    pub(super) fn offer<'a>(&self, rows: impl IntoIterator<Item = &'a Row> + Copy, now: Duration) {
        let all = self.all();
        for subscription in &all {
            rows.into_iter().for_each(|row| subscription.offer(row, now));
        }
        if !all.is_empty() {
            self.changed.notify(usize::MAX);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OwnedUniqueName, Arc<Subscription>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// From now on it hears of these events.
    pub(super) fn see(&self, sight: Sight) {
        self.lock().sight = sight;
    }

    fn offer(&self, row: &Row, now: Duration) {
        let mut waiting = self.lock();
        if !waiting.sight.allows(row) || !self.query.matches(row) {
            return;
        }
        if waiting.signals.is_full() {
            waiting.lose(1);
        } else {
            waiting.signals.push(row.clone(), now);
        }
    }

    /// The next signal to send, unless an answer is owed, or it ended.
    pub(super) fn next(&self, limits: Limits, now: Duration) -> Option<Outgoing> {
        let mut waiting = self.lock();
        if waiting.is_silent() {
            return None;
        }
        waiting.signals.set_limits(limits);
        let signal = waiting.signals.next(now);
        let lost = waiting.signals.take_told().lost;
        waiting.lose(lost);
        // Where this is the first look after a loss, it is told at once.
        signal.or_else(|| waiting.signals.next(now))
    }

    /// When [`next`](Self::next) should be asked again though nothing happens.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let waiting = self.lock();
        if waiting.is_silent() { None } else { waiting.signals.deadline() }
    }

    /// How many events were lost since the last call.
    pub(super) fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.lock().uncounted)
    }

    /// A signal of so many bytes was sent. Where an answer is owed from now on: the place, to be held until it came.
    pub(super) fn sent(&self, bytes: usize) -> Option<Arc<Place>> {
        let mut waiting = self.lock();
        waiting.unanswered += bytes;
        waiting.place.clone().filter(|_| waiting.owes_an_answer())
    }

    /// It answered.
    pub(super) fn answered(&self) {
        self.lock().unanswered = 0;
    }

    fn end(&self) {
        self.lock().place = None;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn owes_an_answer(&self) -> bool {
        self.unanswered >= MAX_UNANSWERED
    }

    fn is_silent(&self) -> bool {
        self.place.is_none() || self.owes_an_answer()
    }

    fn lose(&mut self, events: u64) {
        self.lost += events;
        self.uncounted += events;
        self.signals.set_lost(self.lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::connect;

    const LIMITS: Limits = Limits { per_second: 10_000, coalesce: Duration::ZERO };
    const NOW: Duration = Duration::ZERO;

    fn open(subscriptions: &Subscriptions, connection: u32, uid: u32) -> Result<Arc<Subscription>, Error> {
        let name = format!(":1.{connection}").try_into().unwrap();
        subscriptions.open_for(name, uid, Query::default(), Sight::All, LIMITS)
    }

    /// The events and the losses that are to be told now.
    fn told(subscription: &Subscription) -> (u64, u64) {
        let (mut seen, mut lost) = (0, 0);
        while let Some(signal) = subscription.next(LIMITS, NOW) {
            match signal {
                Outgoing::EventSeen(answer) => seen += answer.count,
                Outgoing::EventsLost(count) => lost += count,
            }
        }
        (seen, lost)
    }

    #[test]
    fn each_user_has_its_places_and_a_connection_one() {
        let subscriptions = Subscriptions::default();
        let opened = |uid: u32| (0..1000).filter(|one| open(&subscriptions, uid * 1000 + one, uid).is_ok()).count();
        assert_eq!([1, 2, 3, 4, 5].map(opened), [7, 7, 7, 7, 0]);
        assert_eq!(opened(0), 28);
        assert_eq!(subscriptions.count(), 56);
        assert!(open(&subscriptions, 1000, 1).is_ok(), "in place of its own");
        subscriptions.close(&":1.1000".try_into().unwrap());
        assert!(open(&subscriptions, 5000, 5).is_ok());
    }

    #[test]
    fn an_answer_that_is_owed_takes_the_place_of_a_subscription_that_ended() {
        let subscriptions = Subscriptions::default();
        let again = || (0..1000).map_while(|_| open(&subscriptions, 1, 1).ok());
        assert_eq!(again().collect::<Vec<_>>().len(), 1000, "whoever looks at it does not keep it");
        let owed: Vec<_> = again().map(|one| one.sent(MAX_UNANSWERED).unwrap()).collect();
        assert_eq!(owed.len(), MAX_OF_USER);
        drop(owed);
        assert!(open(&subscriptions, 1, 1).is_ok());
    }

    #[test]
    fn while_an_answer_is_owed_nothing_is_told_and_what_does_not_fit_is_counted() {
        let subscriptions = Subscriptions::default();
        let subscription = open(&subscriptions, 1, 1).unwrap();
        let offer = |events: u32| {
            let rows: Vec<Row> = (0..events).map(|pid| connect(pid, 80)).collect();
            subscriptions.offer(&rows, NOW);
        };
        offer(3);
        assert_eq!(told(&subscription), (3, 0));
        assert!(subscription.sent(MAX_UNANSWERED - 1).is_none());
        offer(1);
        assert_eq!(told(&subscription), (1, 0));
        assert!(subscription.sent(1).is_some());
        offer(5000);
        assert_eq!((told(&subscription), subscription.deadline()), ((0, 0), None));
        subscription.answered();
        let (seen, lost) = told(&subscription);
        assert!(seen + lost == 5000 && (1..=256).contains(&seen), "{seen} {lost}");
        assert_eq!((subscription.take_lost(), subscription.take_lost()), (lost, 0));
    }

    #[test]
    fn nobody_hears_of_what_it_may_not_see() {
        let subscriptions = Subscriptions::default();
        let of = |uid: u32, sight| {
            let name = format!(":1.{uid}").try_into().unwrap();
            subscriptions.open_for(name, uid, Query::default(), sight, LIMITS).unwrap()
        };
        let row = connect(7, 80);
        let owner = row.origin.uid.unwrap();
        let (own, other, all) = (of(owner, Sight::Own(owner)), of(owner + 1, Sight::Own(owner + 1)), of(0, Sight::All));
        subscriptions.offer(&[row], NOW);
        assert_eq!([own, other, all].map(|one| told(&one).0), [1, 0, 1]);
    }
}
