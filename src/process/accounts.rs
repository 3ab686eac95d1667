//! Users and groups by the system's name service.

use std::collections::HashMap;
use std::fs;
use std::hash::Hash;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use audit_records::Bytes;

/// Names of users that are remembered, and names of groups. Events come with ids that anybody may choose (user namespaces).
const MAX_REMEMBERED: usize = 1024;

/// How long the name of a user is remembered.
const NAME_GOOD_FOR: Duration = Duration::from_secs(5 * 60);

/// How long it is remembered that a user has no name: a name service that did not answer may do so soon.
const NO_NAME_GOOD_FOR: Duration = Duration::from_secs(30);

/// How long the id of a group is remembered: groups are made while the service runs, and a network's name service tells
/// nobody.
const GROUP_GOOD_FOR: Duration = Duration::from_secs(10);

/// The files that say at once that a group may have changed.
const GROUP_FILES: [&str; 2] = ["/etc/group", "/etc/nsswitch.conf"];

/// What the name service said of late.
///
/// A name service can be slow or hang (LDAP, sssd). It is asked without any lock, so whoever asks waits for it, and nobody
/// else does. It must not be asked on a thread that has other work: ask [`Self::peek`] there.
#[derive(Debug, Default)]
pub struct Accounts {
    users: Mutex<Memory<u32, Option<Bytes>>>,
    group_names: Mutex<Memory<u32, Option<Bytes>>>,
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    ids: Memory<Box<str>, Option<u32>>,
    /// The state of [`GROUP_FILES`] that they are good for.
    files: [Option<Stamp>; 2],
}

/// Tells one state of a file from the next: device, inode, and the time of its last change in seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

impl Accounts {
    /// The name of a user, where it is known without asking; the inner `None` is a user that has none.
    #[must_use]
    pub fn peek(&self, uid: u32) -> Option<Option<Bytes>> {
        lock(&self.users).get(&uid, Instant::now())
    }

    /// The name of a user. **May wait for the name service.**
    #[must_use]
    pub fn name(&self, uid: u32) -> Option<Bytes> {
        named(&self.users, uid, || Some(uzers::get_user_by_uid(uid)?.name().as_encoded_bytes().into()))
    }

    /// The name of a group. **May wait for the name service.**
    #[must_use]
    pub fn group_name(&self, gid: u32) -> Option<Bytes> {
        named(&self.group_names, gid, || Some(uzers::get_group_by_gid(gid)?.name().as_encoded_bytes().into()))
    }

    /// The id of a group, where it is known without asking; the inner `None` is a group that is not there.
    #[must_use]
    pub fn peek_group(&self, name: &str) -> Option<Option<u32>> {
        let files = GROUP_FILES.map(stamp);
        let mut groups = lock(&self.groups);
        if groups.files != files {
            *groups = Groups { ids: Memory::default(), files };
        }
        groups.ids.get(name, Instant::now())
    }

    /// The id of a group. **May wait for the name service.**
    #[must_use]
    pub fn group(&self, name: &str) -> Option<u32> {
        if let Some(id) = self.peek_group(name) {
            return id;
        }
        let files = GROUP_FILES.map(stamp);
        let id = uzers::get_group_by_name(name).map(|group| group.gid());
        let mut groups = lock(&self.groups);
        // It is good for the files as they were before it was asked for.
        if groups.files == files {
            groups.ids.insert(name.into(), id, Instant::now(), GROUP_GOOD_FOR);
        }
        id
    }
}

/// A bounded map whose entries are good until a time of their own.
#[derive(Debug)]
struct Memory<K, V>(HashMap<K, (V, Instant)>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Memory<K, V> {
    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Instant) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).filter(|(_, until)| now < *until).map(|(value, _)| value.clone())
    }

    fn insert(&mut self, key: K, value: V, now: Instant, good_for: Duration) {
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, (_, until)| now < *until);
        }
        if self.0.len() >= MAX_REMEMBERED
            && let Some(first) = self.0.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone())
        {
            self.0.remove(&first);
        }
        self.0.insert(key, (value, now + good_for));
    }
}

/// The name of that user or group, as it is remembered, else as `ask` tells it: the lock is not held meanwhile.
fn named(memory: &Mutex<Memory<u32, Option<Bytes>>>, id: u32, ask: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
    let known = lock(memory).get(&id, Instant::now());
    known.unwrap_or_else(|| {
        let name = ask();
        let good_for = if name.is_some() { NAME_GOOD_FOR } else { NO_NAME_GOOD_FOR };
        lock(memory).insert(id, name.clone(), Instant::now(), good_for);
        name
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamp(path: &str) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_it_is_known_from_then_on() {
        let accounts = Accounts::default();
        assert_eq!(accounts.peek(0), None);
        assert_eq!(accounts.name(0).as_deref(), Some(&b"root"[..]));
        assert_eq!(accounts.peek(0).unwrap().as_deref(), Some(&b"root"[..]));
        assert_eq!(accounts.group("root"), Some(0));
    }

    #[test]
    fn that_there_is_no_such_user_or_group_is_known_too() {
        let accounts = Accounts::default();
        assert_eq!(accounts.name(3_999_999_999), None);
        assert_eq!(accounts.peek(3_999_999_999), Some(None));
        assert_eq!(accounts.group("no such group"), None);
        assert_eq!(lock(&accounts.groups).ids.get("no such group", Instant::now()), Some(None));
    }

    #[test]
    fn ids_of_groups_are_forgotten_when_the_files_change() {
        let accounts = Accounts::default();
        let in_a_minute = Instant::now() + Duration::from_secs(60);
        assert_eq!(accounts.group("root"), Some(0));
        lock(&accounts.groups).ids.0.insert("root".into(), (Some(7), in_a_minute));
        assert_eq!(accounts.group("root"), Some(7));
        lock(&accounts.groups).files[0] = None;
        assert_eq!(accounts.group("root"), Some(0));
    }

    #[test]
    fn what_is_remembered_ends_and_is_bounded() {
        let mut memory = Memory::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        for key in 0..2 * MAX_REMEMBERED {
            memory.insert(key, key, start, second * if key == 0 { 1 } else { 60 });
        }
        assert_eq!(memory.0.len(), MAX_REMEMBERED);
        let last = 2 * MAX_REMEMBERED - 1;
        assert_eq!(memory.get(&0, start), None, "the first to end goes first");
        assert_eq!(memory.get(&last, start), Some(last));
        assert_eq!(memory.get(&last, start + 60 * second), None);
    }
}
