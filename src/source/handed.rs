//! Events that were handed on already.

use audit_records::EventId;

/// So many serials are remembered. What auditd may still bring after the multicast did waits in its netlink socket, in its queue
/// (`q_depth`, auditd.conf(5): 2,000) and in the socket that is read: some 4,000 events, and more where somebody made the queue longer.
pub const MAX_HANDED_ON: usize = 32 * 1024;

/// The ids of the events with the last [`MAX_HANDED_ON`] serials, so that none is handed on twice.
///
/// The kernel numbers all events one after the other: two that have the same place here are as many serials apart. And those
/// that come one after the other lie side by side, in the processor's cache.
#[derive(Debug, Default)]
pub struct HandedOn {
    /// By serial, round and round; empty before the first.
    ids: Vec<EventId>,
}

impl HandedOn {
    /// Takes the id of an event that is about to be handed on; `false` where it was before.
    pub fn is_new(&mut self, id: EventId) -> bool {
        if self.ids.is_empty() {
            // In each place one that never belongs there.
            let nobodys = (1..).map(|serial| EventId { milliseconds: 0, serial });
            self.ids.extend(nobodys.take(MAX_HANDED_ON));
        }
        let last = self.ids.get_mut(id.serial as usize % MAX_HANDED_ON);
        last.is_none_or(|last| std::mem::replace(last, id) != id)
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
            assert_eq!(handed_on.ids.len(), MAX_HANDED_ON);
        }
        assert!(!handed_on.is_new(id(most)));
        assert!(handed_on.is_new(id(0)));
        // The same serial at another time is another event.
        assert!(handed_on.is_new(EventId { milliseconds: 2, serial: 5 }));
    }
}
