//! Lists that leave from where they were written.
//!
//! zbus makes two copies of what is sent, and a list has up to 8 MiB. So an answer with a list is an empty one to zbus, and
//! gets its elements on the way out.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opensnitch_audit_client::EventList;
use serde::ser::{Serialize, Serializer};
use tokio::sync::OwnedSemaphorePermit;
use zbus::Type;
use zbus::message::{Header, Message, Type as MessageType};
use zbus::names::OwnedUniqueName;
use zbus::wire::Signature;

/// Those on their way, the oldest first: as many as there are places.
#[derive(Debug, Default)]
pub(in crate::dbus) struct Lists {
    waiting: Mutex<VecDeque<Arc<Waiting>>>,
}

/// A list, and the call that it answers.
#[derive(Debug)]
struct Waiting {
    caller: OwnedUniqueName,
    serial: NonZeroU32,
    list: EventList,
}

/// An empty list for zbus, with which the body of an answer begins. It has to live until that was sent.
#[derive(Debug)]
pub(in crate::dbus) struct Listed<'a> {
    lists: &'a Lists,
    waiting: Option<Arc<Waiting>>,
    _place: OwnedSemaphorePermit,
}

impl Lists {
    /// Keeps the list for the answer to that call. Its place is taken until the answer was sent.
    pub(in crate::dbus) fn keep(&self, call: &Header<'_>, list: EventList, place: OwnedSemaphorePermit) -> Listed<'_> {
        // The bus names every sender. Without one the answer stays empty.
        let waiting = call.sender().map(|caller| {
            Arc::new(Waiting { caller: caller.to_owned().into(), serial: call.primary().serial_num(), list })
        });
        self.lock().extend(waiting.clone());
        Listed { lists: self, waiting, _place: place }
    }

    /// What is sent in place of this answer, where it begins with an empty list and there is another one.
    pub(super) fn of(&self, answer: &Message, caller: &OwnedUniqueName, serial: NonZeroU32) -> Option<Filled> {
        let mut waiting = self.lock();
        let place = waiting.iter().position(|one| one.caller == *caller && one.serial == serial)?;
        // A caller who numbers two calls alike may get the list of the other one: it is a list, and the caller's own.
        if answer.message_type() != MessageType::MethodReturn || !begins_with_empty_list(answer) {
            return None;
        }
        Some(Filled::new(answer, waiting.remove(place)?))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed<'_> {
    /// Where no answer was sent: the caller wants none, say.
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            self.lists.lock().retain(|one| !Arc::ptr_eq(one, waiting));
        }
    }
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        EventList::default().serialize(serializer)
    }
}

impl Type for Listed<'_> {
    const SIGNATURE: &'static Signature = EventList::SIGNATURE;
}

/// Where in a message the length of its body stands.
const BODY_LENGTH: Range<usize> = 4..8;

/// What follows a list is a number of so many bytes, which stands at a multiple of them.
const NUMBER: usize = size_of::<u64>();

fn begins_with_empty_list(answer: &Message) -> bool {
    let body = answer.body();
    [EventList::SIGNATURE, <(EventList, u64)>::SIGNATURE].contains(&body.signature())
        && body.data().starts_with(&length(0))
}

/// An answer with its list.
#[derive(Debug)]
pub(super) struct Filled {
    /// Up to the elements, and what follows them.
    head: Vec<u8>,
    waiting: Arc<Waiting>,
    tail: Vec<u8>,
}

impl Filled {
    /// The answer begins with an empty list.
    fn new(answer: &Message, waiting: Arc<Waiting>) -> Self {
        let all: &[u8] = answer.data();
        let (header, body) = all.split_at(all.len() - answer.body().len());
        let elements = waiting.list.elements();
        let mut tail = Vec::new();
        if let Some(number) = body.get(NUMBER..).filter(|number| !number.is_empty()) {
            let end = length(0).len() + elements.len();
            tail.resize(end.next_multiple_of(NUMBER) - end, 0);
            tail.extend_from_slice(number);
        }
        let mut head = header.to_vec();
        if let Some(body_length) = head.get_mut(BODY_LENGTH) {
            body_length.copy_from_slice(&length(length(0).len() + elements.len() + tail.len()));
        }
        head.extend_from_slice(&length(elements.len()));
        Self { head, waiting, tail }
    }

    /// Its bytes, one part after the other.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [&self.head, self.waiting.list.elements(), &self.tail]
    }
}

/// As it stands before a body and before an array. No message is as long as u32 counts.
fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use opensnitch_audit_client::Event;
    use tokio::sync::Semaphore;
    use zbus::fdo;

    use super::*;

    /// So many events, with names of that length.
    fn list(events: usize, length: usize) -> EventList {
        let mut event = Event::default();
        event.proc_name = Some("x".repeat(length));
        let mut list = EventList::default();
        (0..events).for_each(|_| assert!(list.push_within(usize::MAX, &event)));
        list
    }

    fn call() -> Message {
        Message::method_call("/", "Call").sender(":1.7").build(&()).unwrap()
    }

    fn place() -> OwnedSemaphorePermit {
        Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
    }

    fn answer(call: &Message, body: &(impl Serialize + zbus::DynamicType)) -> Message {
        Message::method_return(&call.header()).sender(":1.2").build(body).unwrap()
    }

    /// The bytes of the answer with its list, where there is one.
    fn filled(lists: &Lists, call: &Message, answer: &Message) -> Option<Vec<u8>> {
        let caller = call.header().sender().unwrap().to_owned().into();
        let filled = lists.of(answer, &caller, call.primary_header().serial_num());
        filled.map(|filled| filled.parts().concat())
    }

    /// But for their serials, which are new for each.
    #[track_caller]
    fn are_alike(bytes: Option<Vec<u8>>, message: &Message) {
        let but_serial = |bytes: &[u8]| [&bytes[..8], &bytes[12..]].concat();
        assert_eq!(but_serial(&bytes.unwrap()), but_serial(message.data()));
    }

    #[test]
    fn an_answer_leaves_as_if_zbus_had_written_its_list() {
        let lists = Lists::default();
        for (events, length) in (0..4).flat_map(|events| (0..20).map(move |length| (events, length))) {
            let call = call();
            let listed = lists.keep(&call.header(), list(events, length), place());
            are_alike(filled(&lists, &call, &answer(&call, &listed)), &answer(&call, &list(events, length)));
            let listed = (lists.keep(&call.header(), list(events, length), place()), 7u64);
            are_alike(filled(&lists, &call, &answer(&call, &listed)), &answer(&call, &(list(events, length), 7u64)));
        }
        assert!(lists.lock().is_empty());
    }

    #[test]
    fn a_list_is_for_one_answer_of_its_call_and_for_no_other() {
        let lists = Lists::default();
        let (one, other) = (call(), call());
        let listed = lists.keep(&one.header(), list(2, 3), place());
        let error = fdo::Error::Failed("no".to_owned());
        assert_eq!(filled(&lists, &other, &answer(&other, &listed)), None);
        assert_eq!(filled(&lists, &one, &answer(&one, &())), None);
        assert_eq!(filled(&lists, &one, &answer(&one, &list(1, 1))), None);
        assert_eq!(filled(&lists, &one, &answer(&one, &0u32)), None);
        assert_eq!(filled(&lists, &one, &zbus::DBusError::create_reply(&error, &one.header()).unwrap()), None);
        assert!(filled(&lists, &one, &answer(&one, &listed)).is_some());
        assert_eq!(filled(&lists, &one, &answer(&one, &listed)), None);
    }

    #[test]
    fn calls_that_are_numbered_alike_get_a_list_each() {
        let lists = Lists::default();
        let call = call();
        let first = lists.keep(&call.header(), list(1, 1), place());
        let second = lists.keep(&call.header(), list(2, 2), place());
        are_alike(filled(&lists, &call, &answer(&call, &first)), &answer(&call, &list(1, 1)));
        drop(first);
        are_alike(filled(&lists, &call, &answer(&call, &second)), &answer(&call, &list(2, 2)));
    }

    #[test]
    fn what_was_never_sent_is_forgotten_and_gives_its_place_back() {
        let (lists, places) = (Lists::default(), Arc::new(Semaphore::new(1)));
        let listed = lists.keep(&call().header(), list(2, 3), places.clone().try_acquire_owned().unwrap());
        assert_eq!((lists.lock().len(), places.available_permits()), (1, 0));
        drop(listed);
        assert_eq!((lists.lock().len(), places.available_permits()), (0, 1));
    }
}
