//! Which calls are let in. It is decided before anything else is done for a call, and it is not yet known whose it is.

use std::collections::HashMap;

use zbus::names::OwnedUniqueName;

/// Calls of one connection that are let in at the same time.
pub(super) const MAX_OF_CONNECTION: usize = 32;

/// Of all connections but root's; beside one short call of each, which is let in always: a connection that calls for the
/// first time is kept out by nobody. The bus bounds how many connections there are.
const MAX_OF_ALL: usize = 256;

/// What such a call may take in bytes.
const SHORT: usize = 1024;

/// Those that were let in and are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Calls {
    by_sender: HashMap<OwnedUniqueName, Vec<Call>>,
    of_all: usize,
}

#[derive(Debug)]
struct Call {
    serial: u32,
    wants_reply: bool,
    /// It counts among those of all connections.
    is_counted: bool,
}

impl Calls {
    /// Whether a call is let in. It then has its place until it is answered.
    pub(super) fn admit(
        &mut self,
        sender: &OwnedUniqueName,
        serial: u32,
        bytes: usize,
        wants_reply: bool,
        is_root: bool,
    ) -> bool {
        let own = self.by_sender.get(sender).map_or(0, Vec::len);
        let is_counted = !is_root && (own > 0 || bytes > SHORT);
        if own >= MAX_OF_CONNECTION || (is_counted && self.of_all >= MAX_OF_ALL) {
            return false;
        }
        self.of_all += usize::from(is_counted);
        self.by_sender.entry(sender.clone()).or_default().push(Call { serial, wants_reply, is_counted });
        true
    }

    /// A call is over. Whether its answer is wanted; an answer to no call is.
    pub(super) fn answer(&mut self, sender: &OwnedUniqueName, serial: u32) -> bool {
        let Some(calls) = self.by_sender.get_mut(sender) else { return true };
        let Some(at) = calls.iter().position(|call| call.serial == serial) else { return true };
        let call = calls.swap_remove(at);
        if calls.is_empty() {
            self.by_sender.remove(sender);
        }
        self.of_all -= usize::from(call.is_counted);
        call.wants_reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> OwnedUniqueName {
        format!(":1.{number}").try_into().unwrap()
    }

    #[test]
    fn a_connection_has_its_places_and_keeps_nobody_out() {
        let mut calls = Calls::default();
        let mut admitted = 0;
        for sender in 0..100 {
            for serial in 0..100 {
                admitted += usize::from(calls.admit(&name(sender), serial, 10, true, false));
            }
        }
        assert_eq!(admitted, MAX_OF_ALL + 100);
        // One that calls for the first time; it has no second place now, and root has.
        assert!(calls.admit(&name(200), 1, SHORT, true, false));
        assert!(!calls.admit(&name(200), 2, 10, true, false));
        assert!(!calls.admit(&name(201), 1, SHORT + 1, true, false));
        let of_root = (0..100).filter(|serial| calls.admit(&name(300), *serial, 50_000, true, true)).count();
        assert_eq!(of_root, MAX_OF_CONNECTION);
    }

    #[test]
    fn an_answered_call_gives_its_place_back() {
        let mut calls = Calls::default();
        let sender = name(1);
        for serial in 0..10_000 {
            assert!(calls.admit(&sender, serial, 60_000, serial % 2 == 0, false));
            assert!(calls.admit(&sender, serial, 10, true, false), "a serial that is there already is another call");
            assert_eq!(calls.answer(&sender, serial), serial % 2 == 0);
            assert!(calls.answer(&sender, serial));
        }
        assert!(calls.by_sender.is_empty() && calls.of_all == 0);
        assert!(calls.answer(&sender, 7), "an answer to no call is sent");
    }
}
