//! Our rules in the kernel: load, unload, look.
//!
//! To **load** is to make the kernel's list contain a [`RuleSet`] and no other rule of ours; to **unload** is to remove ours.
//! A change keeps a **journal** of its steps, and when a step fails the journal is undone backwards.
//!
//! Guarantee: a foreign rule is never named in a request; what is reported as loaded was listed by the kernel afterwards;
//! after an error the rules are as before, or [`Error::NotRestored`] says which are not.
//!
//! Rules are appended: the kernel takes the first that matches, and an administrator's `never` before ours is meant.

use rustix::io::Errno;

use super::{
    error::Error,
    requests::{Change, Requests},
    set::{Machine, Rule, RuleSet},
    switch::Setting,
    wire,
};
use crate::netlink::word;

/// Which words of `struct audit_status` are to be set (`AUDIT_STATUS_*`).
const ENABLED: u32 = 1;
const BACKLOG_LIMIT: u32 = 0x10;
const BACKLOG_WAIT_TIME: u32 = 0x20;

/// What the kernel runs on, as `uname` says; `None` if it has no rule set.
///
/// Asked at run time: a 32-bit build on a 64-bit kernel has to watch both kinds of programs.
pub fn running_machine() -> Option<Machine> {
    Machine::named(rustix::system::uname().machine().to_str().ok()?)
}

/// The kernel's audit. Needs `CAP_AUDIT_CONTROL` in the initial user and pid namespaces.
///
/// Every call blocks, until the kernel answered each of its requests: milliseconds, or five seconds of silence.
#[derive(Debug)]
pub struct Kernel {
    requests: Requests,
}

impl Kernel {
    /// Opens the way to the kernel. That the kernel listens there to this process shows with the first question.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where the kernel has no audit or was booted with `audit=0`.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { requests: Requests::open()? })
    }

    /// How the kernel's audit is doing.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::TimedOut`], [`Error::Garbled`], [`Error::Io`].
    pub fn status(&mut self) -> Result<Status, Error> {
        Status::decode(&self.requests.status()?).ok_or(Error::Garbled)
    }

    /// Switches audit on or off (`AUDIT_SET`).
    pub(super) fn set(&mut self, setting: Setting) -> Result<(), Error> {
        let mask = ENABLED | BACKLOG_LIMIT | setting.backlog_wait_time.map_or(0, |_| BACKLOG_WAIT_TIME);
        let mut words = [0; 10];
        words[0] = mask;
        words[1] = setting.enabled.into();
        words[5] = setting.backlog_limit;
        words[9] = setting.backlog_wait_time.unwrap_or(0);
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        match self.requests.change(Change::Set, &bytes)? {
            Ok(()) => Ok(()),
            Err(errno) => Err(Error::of_transport(errno)),
        }
    }

    /// All rules of the kernel, whosesoever they are.
    ///
    /// # Errors
    ///
    /// As [`Kernel::status`].
    pub fn list(&mut self) -> Result<Vec<Listed>, Error> {
        Ok(self.requests.list()?.into_iter().map(Listed).collect())
    }

    /// How much of the set is in the kernel.
    ///
    /// # Errors
    ///
    /// As [`Kernel::status`].
    pub fn state(&mut self, set: &RuleSet) -> Result<State, Error> {
        let ours = self.ours(set)?;
        let missing: Vec<Rule> = set.rules().iter().filter(|rule| !ours.contains(rule)).cloned().collect();
        Ok(match missing.len() {
            0 => State::All,
            all if all == set.rules().len() => State::None,
            _ => State::Partly { missing },
        })
    }

    /// Adds what is missing of the set, then deletes what else of ours there is: rules of an earlier run, or of another scope.
    /// That audit is switched off is no obstacle: auditd switches it on, and the rules hold from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::Refused`], [`Error::Changed`], [`Error::NotRestored`], and as [`Kernel::status`].
    pub fn load(&mut self, set: &RuleSet) -> Result<Loaded, Error> {
        self.all_or_nothing(|kernel, journal| kernel.load_steps(set, journal))
    }

    /// Deletes all rules of ours, of this run or an earlier one. Returns how many there were.
    ///
    /// # Errors
    ///
    /// As [`Kernel::load`].
    pub fn unload(&mut self, set: &RuleSet) -> Result<u32, Error> {
        self.all_or_nothing(|kernel, journal| {
            let mut deleted = 0;
            for rule in kernel.ours(set)? {
                deleted += u32::from(kernel.delete(rule, journal)?);
            }
            match kernel.ours(set)?.first() {
                Some(rule) => Err(Error::Changed { rule: rule.to_string() }),
                None => Ok(deleted),
            }
        })
    }

    fn load_steps(&mut self, set: &RuleSet, journal: &mut Vec<Step>) -> Result<Loaded, Error> {
        let before = self.ours(set)?;
        let mut loaded = Loaded { added: 0, replaced: 0, unsupported: Vec::new() };
        for rule in set.rules().iter().filter(|rule| !before.contains(rule)) {
            match self.add(rule, journal)? {
                Addition::Added => loaded.added += 1,
                Addition::Existed => {}
                Addition::Unsupported => loaded.unsupported.push(rule.clone()),
            }
        }
        // Only now, so that no moment is without rules.
        for rule in before.into_iter().filter(|rule| !set.rules().contains(rule)) {
            loaded.replaced += u32::from(self.delete(rule, journal)?);
        }
        let after = self.ours(set)?;
        let expected = |rule: &&Rule| set.rules().contains(rule) && !loaded.unsupported.contains(rule);
        let lost = set.rules().iter().find(|rule| expected(rule) && !after.contains(rule));
        match lost.or_else(|| after.iter().find(|rule| !expected(rule))) {
            Some(rule) => Err(Error::Changed { rule: rule.to_string() }),
            None => Ok(loaded),
        }
    }

    /// The rules of ours that the kernel lists.
    fn ours(&mut self, set: &RuleSet) -> Result<Vec<Rule>, Error> {
        Ok(self.requests.list()?.iter().filter_map(|listed| set.ours(listed)).collect())
    }

    /// Runs a change, and undoes its steps if it fails.
    fn all_or_nothing<T>(
        &mut self,
        change: impl FnOnce(&mut Self, &mut Vec<Step>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut journal = Vec::new();
        let cause = match change(self, &mut journal) {
            Ok(done) => return Ok(done),
            Err(cause) => cause,
        };
        let mut rules = Vec::new();
        let mut answering = true;
        for step in journal.iter().rev() {
            let undone = if answering { self.undo(step) } else { Ok(false) };
            // One silence is waited for, not one for each step.
            answering &= undone != Err(Error::TimedOut);
            if undone != Ok(true) {
                rules.push(step.rule().to_string());
            }
        }
        if rules.is_empty() { Err(cause) } else { Err(Error::NotRestored { cause: Box::new(cause), rules }) }
    }

    /// Whether the step is undone. A rule that is already so was never changed, or somebody else was faster.
    fn undo(&mut self, step: &Step) -> Result<bool, Error> {
        let (change, already) = match step {
            Step::Added(_) => (Change::Delete, Errno::NOENT),
            Step::Deleted(_) => (Change::Add, Errno::EXIST),
        };
        let result = self.requests.change(change, &step.rule().encode())?;
        Ok(result.is_ok() || result == Err(already))
    }

    fn add(&mut self, rule: &Rule, journal: &mut Vec<Step>) -> Result<Addition, Error> {
        // Written down first: without an answer the rule may be there all the same.
        journal.push(Step::Added(rule.clone()));
        let Err(errno) = self.requests.change(Change::Add, &rule.encode())? else {
            return Ok(Addition::Added);
        };
        journal.pop();
        match errno {
            Errno::EXIST => Ok(Addition::Existed),
            Errno::INVAL if rule.needs().is_some() => Ok(Addition::Unsupported),
            errno => Err(self.refusal(rule, errno)),
        }
    }

    /// Whether it was there. A rule of ours is recognised by being equal to its encoding, so this names it by the very
    /// bytes that the kernel listed.
    fn delete(&mut self, rule: Rule, journal: &mut Vec<Step>) -> Result<bool, Error> {
        let bytes = rule.encode();
        journal.push(Step::Deleted(rule.clone()));
        let Err(errno) = self.requests.change(Change::Delete, &bytes)? else {
            return Ok(true);
        };
        journal.pop();
        match errno {
            Errno::NOENT => Ok(false),
            errno => Err(self.refusal(&rule, errno)),
        }
    }

    /// What it means that the kernel refused to change this rule. `EPERM` is its word for two things.
    fn refusal(&mut self, rule: &Rule, errno: Errno) -> Error {
        match errno {
            Errno::PERM if self.status().is_ok_and(|status| status.enabled == Enabled::Locked) => Error::Locked,
            Errno::PERM | Errno::ACCESS | Errno::CONNREFUSED => Error::Unavailable { errno },
            errno => Error::Refused { rule: rule.to_string(), errno },
        }
    }
}

/// A rule as the kernel lists it: `struct audit_rule_data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed(Vec<u8>);

impl Listed {
    /// The rule is `-a task,never` without conditions, as several distributions ship it: processes born under it
    /// have no events, whatever other rules say.
    pub fn silences_everything(&self) -> bool {
        wire::silences_everything(&self.0)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The kernel's `struct audit_status` (`AUDIT_GET`, what `auditctl -s` prints).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether audit is on.
    pub enabled: Enabled,
    /// What the kernel does when it cannot write an event: 0 nothing, 1 print it, 2 panic.
    pub failure: u32,
    /// auditd's pid, 0 for none.
    pub pid: u32,
    /// Messages a second, 0 for no limit.
    pub rate_limit: u32,
    /// Messages that may wait for auditd.
    pub backlog_limit: u32,
    /// Messages lost since boot, or since somebody reset the counter.
    pub lost: u32,
    /// Messages that wait for auditd now.
    pub backlog: u32,
    /// `AUDIT_FEATURE_BITMAP_*`: what this kernel has; there is no bit for `saddr_fam` nor for the `io_uring` list.
    pub features: u32,
    /// How long a program may wait where too many messages do, in ticks of the kernel's clock; `None` of old kernels.
    pub backlog_wait_time: Option<u32>,
}

impl Status {
    /// Old kernels send nothing behind `backlog` and have no features; new ones send more than is read here.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |place| word(bytes, place);
        // The first word is a mask that only has a meaning towards the kernel.
        Some(Self {
            enabled: match word(1)? {
                0 => Enabled::Off,
                2 => Enabled::Locked,
                _ => Enabled::On,
            },
            failure: word(2)?,
            pid: word(3)?,
            rate_limit: word(4)?,
            backlog_limit: word(5)?,
            lost: word(6)?,
            backlog: word(7)?,
            features: word(8).unwrap_or(0),
            backlog_wait_time: word(9),
        })
    }
}

/// Whether the kernel's audit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enabled {
    /// No events. Rules can be changed, and hold as soon as it is on.
    Off,
    /// Events.
    On,
    /// Events, and no change until the next boot ("immutable").
    Locked,
}

/// How much of a rule set is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Each rule.
    All,
    /// Some rules, without these.
    Partly {
        /// In the order of the set.
        missing: Vec<Rule>,
    },
    /// No rule.
    None,
}

/// What [`Kernel::load`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Rules that were added; 0 when all were there.
    pub added: u32,
    /// Rules of an earlier run or of another scope that were deleted.
    pub replaced: u32,
    /// Rules that this kernel does not understand, and whose events are not seen; [`Rule::needs`] says why. To ask for the
    /// [`State`] of the others see [`RuleSet::without`].
    pub unsupported: Vec<Rule>,
}

/// One entry of the journal: this was done, or begun.
#[derive(Debug)]
enum Step {
    Added(Rule),
    Deleted(Rule),
}

impl Step {
    fn rule(&self) -> &Rule {
        match self {
            Self::Added(rule) | Self::Deleted(rule) => rule,
        }
    }
}

enum Addition {
    Added,
    Existed,
    Unsupported,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn status_of_old_and_new_kernels() {
        let words = [0, 1, 1, 77, 100, 8192, 5, 3, 0x7f, 15000, 9];
        let expected = Status {
            enabled: Enabled::On,
            failure: 1,
            pid: 77,
            rate_limit: 100,
            backlog_limit: 8192,
            lost: 5,
            backlog: 3,
            features: 0x7f,
            backlog_wait_time: Some(15_000),
        };
        assert_eq!(Status::decode(&bytes(&words)), Some(expected));
        assert_eq!(
            Status::decode(&bytes(&words[..8])),
            Some(Status { features: 0, backlog_wait_time: None, ..expected })
        );
        assert_eq!(Status::decode(&bytes(&words)[..31]), None);
        for (enabled, expected) in [(0, Enabled::Off), (1, Enabled::On), (2, Enabled::Locked)] {
            let status = Status::decode(&bytes(&[0, enabled, 0, 0, 0, 0, 0, 0])).unwrap();
            assert_eq!(status.enabled, expected);
        }
    }

    proptest! {
        #[test]
        fn no_status_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(Status::decode(&bytes).is_some(), bytes.len() >= 32);
        }
    }
}
