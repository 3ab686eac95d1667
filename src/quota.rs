//! Places for what is under way at the same time, in all and of each user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many places, and so many for each user. Root has as many again, for itself: nobody can lock it out.
///
/// The lock is std's, held for one count.
#[derive(Debug)]
pub struct Quota {
    taken: Mutex<HashMap<u32, usize>>,
    all: usize,
    of_user: usize,
}

/// A place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    quota: Arc<Quota>,
    uid: u32,
}

impl Quota {
    /// `all` places for users, `of_user` for each of them, and `all` more for root.
    #[must_use]
    pub fn new(all: usize, of_user: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), all, of_user })
    }

    /// A place for that user; `None` where all or the user's own are taken.
    #[must_use]
    pub fn take(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut taken = self.lock();
        let own = taken.get(&uid).copied().unwrap_or(0);
        let is_full = match uid {
            0 => own >= self.all,
            _ => {
                let others: usize = taken.iter().filter(|(uid, _)| **uid != 0).map(|(_, places)| places).sum();
                own >= self.of_user || others >= self.all
            }
        };
        if is_full {
            return None;
        }
        taken.insert(uid, own + 1);
        Some(Place { quota: self.clone(), uid })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.quota.lock();
        if let Some(places) = taken.get_mut(&self.uid) {
            *places -= 1;
            if *places == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_what_is_meant_for_another() {
        let quota = Quota::new(3, 2);
        let alice: Vec<_> = (0..4).map_while(|_| quota.take(1000)).collect();
        assert_eq!(alice.len(), 2);
        let bob: Vec<_> = (0..4).map_while(|_| quota.take(1001)).collect();
        assert_eq!(bob.len(), 1);
        let root: Vec<_> = (0..4).map_while(|_| quota.take(0)).collect();
        assert_eq!(root.len(), 3);
        drop(alice);
        assert!(quota.take(1001).is_some());
        assert!(quota.take(0).is_none());
    }
}
