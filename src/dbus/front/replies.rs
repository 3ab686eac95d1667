//! Which replies are sent. The bus holds one until its caller has read it, and dbus-daemon takes nothing more from a service
//! of whose messages it holds 127 MiB: so whoever does not read gets no more replies.
//!
//! What is on its way is counted here as it is sent. What has been read by now only the bus knows: somebody asks it for the
//! connections that are [due](Replies::take_due).

use std::collections::HashMap;

use zbus::names::OwnedUniqueName;

/// What may be on its way to the connections of one user, in bytes: a user to whom less is on its way gets one more reply,
/// which has 8 MiB at the most. It is room for two lists, of which one is being read.
const MAX_OF_USER: usize = 16 * 1024 * 1024;

/// The same, of a connection of which nobody has asked yet whose it is: it has had nothing but short replies.
const MAX_OF_UNKNOWN: usize = 64 * 1024;

/// Of all users but root, together: half of what dbus-daemon takes.
const MAX_OF_ALL: usize = 64 * 1024 * 1024;

/// Connections with replies on their way. One more gets none, until the bus was asked who is still there.
const MAX_CONNECTIONS: usize = 4096;

/// A reply of at most so many bytes, an error for example, ...
const SHORT: usize = 1024;

/// ... is sent so often to a connection that gets no others: it has to be told.
const MAX_SHORT: usize = 64;

/// The bus is asked for a connection after so many bytes.
const ASK_AFTER: usize = 256 * 1024;

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent, and counted.
    Send,
    /// In its place the caller is told that it has to read.
    Refuse,
    /// Nothing is sent.
    Drop,
}

/// What is on its way, by connection.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    by_name: HashMap<OwnedUniqueName, OnTheWay>,
    /// Connections of nobody known that were sent a reply, and of which nobody has been told yet.
    strangers: Vec<OwnedUniqueName>,
}

#[derive(Debug, Default)]
struct OnTheWay {
    uid: Option<u32>,
    bytes: usize,
    /// Of these, what was sent since the bus was asked.
    unasked: usize,
    /// Short replies in place of others.
    short: usize,
    is_due: bool,
}

impl Replies {
    /// Whether no more replies are sent to a connection of that user, if it is known.
    pub(crate) fn is_full(&self, caller: &OwnedUniqueName, uid: Option<u32>) -> bool {
        let all = || self.by_name.values().filter(|one| one.uid != Some(0));
        let own = self.by_name.get(caller);
        let is_full = match uid {
            Some(0) => return false,
            Some(_) => all().filter(|one| one.uid == uid).map(|one| one.bytes).sum::<usize>() >= MAX_OF_USER,
            // It may be root.
            None if own.is_none() => return self.by_name.len() >= MAX_CONNECTIONS,
            None => own.is_some_and(|own| own.bytes >= MAX_OF_UNKNOWN),
        };
        is_full
            || all().map(|one| one.bytes).sum::<usize>() >= MAX_OF_ALL
            || (own.is_none() && self.by_name.len() >= MAX_CONNECTIONS)
    }

    /// What becomes of a reply of so many bytes.
    pub(crate) fn judge(&mut self, caller: &OwnedUniqueName, uid: Option<u32>, bytes: usize) -> Verdict {
        let is_full = self.is_full(caller, uid);
        if is_full || self.by_name.len() >= MAX_CONNECTIONS / 2 {
            // Some may have been read meanwhile, and some connections may be gone.
            self.ask_for_all();
        }
        if is_full {
            if bytes > SHORT {
                return Verdict::Refuse;
            }
            if self.by_name.len() >= MAX_CONNECTIONS && !self.by_name.contains_key(caller) {
                return Verdict::Drop;
            }
        }
        let is_new = !self.by_name.contains_key(caller);
        if uid.is_none() && is_new && self.strangers.len() < MAX_CONNECTIONS {
            self.strangers.push(caller.clone());
        }
        let own = self.by_name.entry(caller.clone()).or_default();
        if is_full && own.short >= MAX_SHORT {
            return Verdict::Drop;
        }
        own.short += usize::from(is_full);
        own.uid = uid;
        own.bytes += bytes;
        own.unasked += bytes;
        own.is_due |= own.unasked >= ASK_AFTER;
        Verdict::Send
    }

    /// The connections of which is to be asked now whose they are.
    pub(crate) fn take_strangers(&mut self) -> Vec<OwnedUniqueName> {
        std::mem::take(&mut self.strangers)
    }

    /// The bus is to be asked for every connection.
    pub(crate) fn ask_for_all(&mut self) {
        self.by_name.values_mut().for_each(|one| one.is_due = true);
    }

    /// The connections for which the bus is to be asked now, and what is on its way to each by our own count.
    pub(crate) fn take_due(&mut self) -> Vec<(OwnedUniqueName, usize)> {
        let due = self.by_name.iter_mut().filter(|(_, one)| one.is_due);
        let take = due.map(|(name, one)| {
            one.is_due = false;
            one.unasked = 0;
            (name.clone(), one.bytes)
        });
        take.collect()
    }

    /// The bus holds so many bytes for that connection, ours and those of others. By our own count there were `counted` when it
    /// was asked.
    pub(crate) fn told(&mut self, caller: &OwnedUniqueName, counted: usize, held: u32) {
        let held = held as usize;
        let Some(one) = self.by_name.get_mut(caller) else { return };
        // What was sent since then may not have been read.
        let since = one.bytes.saturating_sub(counted);
        if held < counted {
            one.short = 0;
        }
        one.bytes = held.min(counted) + since;
        if one.bytes == 0 {
            self.by_name.remove(caller);
        }
    }

    /// That connection is gone.
    pub(crate) fn forget(&mut self, caller: &str) {
        self.by_name.remove(caller);
    }

    /// Everything was read, as far as anybody can know.
    pub(crate) fn clear(&mut self) {
        self.by_name.clear();
    }

    /// What is on its way to one connection.
    pub(crate) fn of(&self, caller: &OwnedUniqueName) -> usize {
        self.by_name.get(caller).map_or(0, |one| one.bytes)
    }

    /// All that is on its way.
    pub(crate) fn total(&self) -> usize {
        self.by_name.values().map(|one| one.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: usize = 8 * 1024 * 1024;

    fn name(number: u32) -> OwnedUniqueName {
        format!(":1.{number}").try_into().unwrap()
    }

    #[test]
    fn who_does_not_read_gets_no_more_and_others_do() {
        let mut replies = Replies::default();
        let mut verdicts = Vec::new();
        for sender in 0..4 {
            verdicts.push(replies.judge(&name(sender), Some(1000), LIST));
        }
        assert_eq!(verdicts, [Verdict::Send, Verdict::Send, Verdict::Refuse, Verdict::Refuse]);
        let told = (0..100).filter(|_| replies.judge(&name(0), Some(1000), SHORT) == Verdict::Send).count();
        assert_eq!(told, MAX_SHORT);
        assert_eq!(replies.judge(&name(9), Some(1000), 100), Verdict::Send, "each connection is told");
        for (uid, expected) in [(1001, Verdict::Send), (0, Verdict::Send), (1000, Verdict::Refuse)] {
            assert_eq!(replies.judge(&name(100 + uid), Some(uid), LIST), expected, "{uid}");
        }
        for uid in 2000..2100 {
            for _ in 0..10 {
                replies.judge(&name(uid), Some(uid), LIST);
            }
        }
        assert!(replies.total() < MAX_OF_ALL + 3 * LIST, "{}", replies.total());
        assert_eq!(replies.judge(&name(6000), Some(0), LIST), Verdict::Send);
        // One that calls for the first time may be root: who it is gets asked.
        assert!(!replies.is_full(&name(5000), None));
        assert!(replies.is_full(&name(5000), Some(3000)));
    }

    #[test]
    fn whose_a_connection_is_gets_asked_once_at_its_first_reply() {
        let mut replies = Replies::default();
        for _ in 0..2 {
            replies.judge(&name(1), None, 100);
            replies.judge(&name(2), Some(1000), 100);
        }
        assert_eq!(replies.take_strangers(), [name(1)]);
        assert!(replies.take_strangers().is_empty());
        assert_eq!(replies.judge(&name(1), None, MAX_OF_UNKNOWN), Verdict::Send);
        assert_eq!(replies.judge(&name(1), None, 2 * SHORT), Verdict::Refuse, "a stranger has had enough");
        assert_eq!(replies.judge(&name(1), Some(1000), LIST), Verdict::Send, "it is known now");
    }

    #[test]
    fn what_was_read_makes_room() {
        let mut replies = Replies::default();
        let (one, other) = (name(1), name(2));
        for _ in 0..2 {
            assert_eq!(replies.judge(&one, Some(1000), LIST), Verdict::Send);
        }
        assert_eq!(replies.take_due(), [(one.clone(), 2 * LIST)]);
        assert_eq!(replies.take_due(), []);
        // Sent between question and answer.
        assert_eq!(replies.judge(&other, Some(1000), LIST), Verdict::Refuse);
        assert_eq!(replies.judge(&one, Some(1000), 100), Verdict::Send);
        // What others sent to it is not ours.
        replies.told(&one, 2 * LIST, u32::MAX);
        assert_eq!(replies.total(), 2 * LIST + 100);
        replies.told(&one, 2 * LIST, LIST.try_into().unwrap());
        assert_eq!(replies.total(), LIST + 100);
        assert_eq!(replies.judge(&other, Some(1000), LIST), Verdict::Send);
        for caller in [&one, &other] {
            replies.told(caller, LIST + 100, 0);
        }
        assert!(replies.by_name.is_empty());
    }

    #[test]
    fn nothing_grows_with_connections_that_are_gone() {
        let mut replies = Replies::default();
        for sender in 0..10_000 {
            replies.judge(&name(sender), None, 300);
        }
        assert_eq!(replies.by_name.len(), MAX_CONNECTIONS);
        for (name, counted) in replies.take_due() {
            replies.told(&name, counted, 0);
        }
        assert_eq!(replies.judge(&name(1), None, 300), Verdict::Send);
        assert_eq!(replies.by_name.len(), 1);
    }
}
