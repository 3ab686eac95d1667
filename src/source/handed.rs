//! Events that were handed on already.

use std::hash::BuildHasher;

use audit_records::EventId;
use hashbrown::{DefaultHashBuilder, HashTable};

/// So many ids are remembered. What auditd may still bring after the multicast did waits in its netlink socket, in its queue
/// (`q_depth`, auditd.conf(5): 2,000) and in the socket that is read: some 4,000 events, and more where somebody made the queue longer.
pub const MAX_HANDED_ON: usize = 32 * 1024;

/// The ids of the last [`MAX_HANDED_ON`] events, so that none is handed on twice.
///
/// The table holds places and not ids: as every event is looked for, it must stay in the processor's cache.
#[derive(Debug, Default)]
pub struct HandedOn {
    /// In order of arrival, round and round.
    ids: Vec<EventId>,
    /// Where the next one is put once there are as many as may be.
    oldest: usize,
    places: HashTable<u16>,
    hasher: DefaultHashBuilder,
}

impl HandedOn {
    /// Takes the id of an event that is about to be handed on; `false` where it was before.
    pub fn is_new(&mut self, id: EventId) -> bool {
        let Self { ids, oldest, places, hasher } = self;
        let hash = hasher.hash_one(id);
        if places.find(hash, |place| ids.get(usize::from(*place)) == Some(&id)).is_some() {
            return false;
        }
        let place = if ids.len() < MAX_HANDED_ON { ids.len() } else { *oldest };
        // All places fit: there are fewer than u16 counts.
        let Ok(short) = u16::try_from(place) else { return true };
        match ids.get_mut(place) {
            Some(taken) => {
                if let Ok(entry) = places.find_entry(hasher.hash_one(*taken), |other| *other == short) {
                    entry.remove();
                }
                *taken = id;
                *oldest = (place + 1) % MAX_HANDED_ON;
            }
            None => ids.push(id),
        }
        places.insert_unique(hash, short, |place| {
            hasher.hash_one(ids.get(usize::from(*place)).copied().unwrap_or_default())
        });
        true
    }
}

impl Extend<EventId> for HandedOn {
    fn extend<T: IntoIterator<Item = EventId>>(&mut self, ids: T) {
        for id in ids {
            self.is_new(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_new_once_and_the_oldest_are_forgotten() {
        let id = |serial| EventId { milliseconds: 1, serial };
        let mut handed_on = HandedOn::default();
        let most = u32::try_from(MAX_HANDED_ON).unwrap();
        for serial in 0..2 * most {
            assert!(handed_on.is_new(id(serial)));
            assert!(!handed_on.is_new(id(serial)), "{serial}");
            assert!(handed_on.ids.len() <= MAX_HANDED_ON && handed_on.places.len() == handed_on.ids.len());
        }
        assert!(!handed_on.is_new(id(most)));
        assert!(handed_on.is_new(id(0)));
        // The same serial at another time is another event.
        assert!(handed_on.is_new(EventId { milliseconds: 2, serial: 5 }));
    }
}
