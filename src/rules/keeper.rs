//! Our rules during one run of the service: what they should be, and whether the kernel has them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Enabled, Error, Kernel, Listed, Rule, RuleSet, State, Status};

/// Loads, removes and verifies one rule set. Every method but [`is_loaded`](Self::is_loaded) blocks.
#[derive(Debug)]
pub struct Keeper {
    wanted: Mutex<Wanted>,
    loaded: AtomicBool,
    /// They were loaded by us, and not removed by us since.
    expected: AtomicBool,
}

#[derive(Debug, Default)]
struct Wanted {
    /// `None` on a machine whose system calls we do not know.
    set: Option<RuleSet>,
    /// Rules this kernel cannot take; they are not in the set any more.
    unsupported: Vec<Rule>,
}

/// What is wrong with the kernel's audit, if anything, shows here.
#[derive(Debug)]
pub struct Report {
    /// The kernel's own.
    pub status: Status,
    /// Ours.
    pub state: State,
    /// Rules this kernel cannot take.
    pub unsupported: Vec<Rule>,
    /// A rule of somebody else's silences everything.
    pub silenced: bool,
}

impl Keeper {
    /// Nothing is loaded yet.
    #[must_use]
    pub fn new(set: Option<RuleSet>) -> Self {
        Self {
            wanted: Mutex::new(Wanted { set, unsupported: Vec::new() }),
            loaded: AtomicBool::new(false),
            expected: AtomicBool::new(false),
        }
    }

    /// Whether all our rules were in the kernel when last looked.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Relaxed)
    }

    /// Whether we loaded them and did not remove them since: that they are not there now is somebody else's doing.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.expected.load(Ordering::Relaxed)
    }

    /// Loads what is not loaded yet and returns how many rules that was.
    ///
    /// # Errors
    /// As [`Kernel::load`]; the rules are as before then.
    pub fn add(&self) -> Result<u32, Error> {
        let mut wanted = self.wanted();
        let Some(set) = &wanted.set else { return Err(Error::UnknownMachine) };
        let loaded = Kernel::open()?.load(set)?;
        if let Some(set) = wanted.set.take() {
            wanted.set = Some(set.without(&loaded.unsupported));
        }
        wanted.unsupported.extend(loaded.unsupported);
        self.loaded.store(true, Ordering::Relaxed);
        self.expected.store(true, Ordering::Relaxed);
        Ok(loaded.added)
    }

    /// Removes our rules and returns how many there were.
    ///
    /// # Errors
    /// As [`Kernel::unload`]; the rules are as before then.
    pub fn delete(&self) -> Result<u32, Error> {
        let wanted = self.wanted();
        let Some(set) = &wanted.set else { return Ok(0) };
        let deleted = Kernel::open()?.unload(set)?;
        self.loaded.store(false, Ordering::Relaxed);
        self.expected.store(false, Ordering::Relaxed);
        Ok(deleted)
    }

    /// Looks whether the kernel has all our rules.
    ///
    /// # Errors
    /// As [`Kernel::state`]; whether they are there is as it was known before then.
    pub fn verify(&self) -> Result<bool, Error> {
        let wanted = self.wanted();
        let Some(set) = &wanted.set else { return Ok(false) };
        let loaded = matches!(Kernel::open()?.state(set)?, State::All);
        self.loaded.store(loaded, Ordering::Relaxed);
        Ok(loaded)
    }

    /// From now on another set, after the old one was removed from the kernel.
    ///
    /// # Errors
    /// As [`Kernel::unload`]; the old set stays then.
    pub fn replace(&self, set: Option<RuleSet>) -> Result<(), Error> {
        self.delete()?;
        *self.wanted() = Wanted { set, unsupported: Vec::new() };
        Ok(())
    }

    /// Whether the kernel's audit is on.
    ///
    /// # Errors
    /// As [`Kernel::status`].
    pub fn is_enabled(&self) -> Result<bool, Error> {
        Ok(self.status()?.enabled != Enabled::Off)
    }

    /// The kernel's audit status.
    ///
    /// # Errors
    /// As [`Kernel::status`].
    pub fn status(&self) -> Result<Status, Error> {
        Kernel::open()?.status()
    }

    /// All there is to know at once.
    ///
    /// # Errors
    /// As [`Kernel::status`] and [`Kernel::list`].
    pub fn report(&self) -> Result<Report, Error> {
        let wanted = self.wanted();
        let mut kernel = Kernel::open()?;
        let silenced = kernel.list()?.iter().any(Listed::silences_everything);
        let state = match &wanted.set {
            Some(set) => kernel.state(set)?,
            None => State::None,
        };
        Ok(Report { status: kernel.status()?, state, unsupported: wanted.unsupported.clone(), silenced })
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
