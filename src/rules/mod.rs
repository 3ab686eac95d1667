//! Which of the kernel's audit rules are ours, and how they get there.
//!
//! - A **rule** asks the kernel for events of certain system calls. It lives in one of the kernel's *lists*: ours
//!   are in `exit` (system calls) and `io_uring` (operations submitted through a ring).
//! - The **key** is the word that a rule writes into its events. Ours is the administrator's choice.
//! - A rule set is **wanted**: computed from the machine, the key and the [`Scope`]; nothing is read for it.
//! - A listed rule is **ours** when it is byte for byte one that this program writes under our key, for this pid or
//!   that of an earlier run. All others are **foreign** and opaque: never read further, never touched.
//!
//! What this module guarantees: it changes only our own rules, one by one, and when a change fails in the middle the
//! rules are as before, or the error names those that are not.
//!
//! [`RuleSet`] is pure data, [`Keeper`] keeps one set loaded; [`Kernel`] talks to the kernel over netlink, blocks, and bounds each wait. Nothing here knows the rest of the crate.

mod error;
#[cfg(test)]
mod evasion;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keeper;
mod kernel;
#[cfg(test)]
mod live;
mod requests;
mod set;
mod switch;
mod wire;

pub use error::Error;
pub use keeper::{Keeper, Report};
pub use kernel::{Enabled, Kernel, Listed, Loaded, State, Status, running_machine};
pub use set::{Key, KeyError, Machine, Needs, Rule, RuleSet, Scope};
pub use switch::{Setting, Switch};
