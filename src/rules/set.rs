//! The rule set as data: which rules we want, how they read, which listed ones are ours.
//!
//! A machine makes system calls in one or two ways, each an [`Arch`] with its own numbers: a 64-bit kernel has a second,
//! 32-bit one for old programs. A rule is **narrowed** when it asks only for the inet families, which keeps the kernel
//! from writing an event for each local socket: that costs twenty times the call itself.
//!
//! A rule has one notation and one encoding, and [`RuleSet`] recognises exactly the encodings this program writes.

use std::fmt;
use std::str::FromStr;

use audit_records::{Arch, EventType, socketcall, uring_op};
use serde::de::{Deserialize, Deserializer, Error as _};

use super::wire::{self, Condition, Field, Op};

/// Bytes of a key. The kernel holds 256 of all keys of a rule together (`AUDIT_MAX_KEY_LEN`); ours is a short word.
const KEY_MAX: usize = 31;

/// `AF_INET` and `AF_INET6`, the same on every architecture.
const INET_FAMILIES: [u32; 2] = [2, 10];

/// What the kernel runs on. Others have no rule set yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// With 32-bit x86 programs.
    X86_64,
    /// With 32-bit arm programs.
    Aarch64,
    /// 32-bit only.
    Arm,
    /// 64-bit only.
    Riscv64,
    /// 64-bit only, little-endian.
    Ppc64le,
    /// 64-bit only.
    Loongarch64,
}

impl Machine {
    /// The machine that `uname -m` calls so.
    pub fn named(uname: &str) -> Option<Self> {
        match uname {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            "riscv64" => Some(Self::Riscv64),
            "ppc64le" => Some(Self::Ppc64le),
            "loongarch64" => Some(Self::Loongarch64),
            // armv7l and its relatives.
            _ if uname.starts_with("arm") => Some(Self::Arm),
            _ => None,
        }
    }

    fn archs(self) -> &'static [Arch] {
        match self {
            Self::X86_64 => &[Arch::X86_64, Arch::I386],
            Self::Aarch64 => &[Arch::AARCH64, Arch::ARM],
            Self::Arm => &[Arch::ARM],
            Self::Riscv64 => &[Arch::RISCV64],
            Self::Ppc64le => &[Arch::PPC64LE],
            Self::Loongarch64 => &[Arch::LOONGARCH64],
        }
    }
}

/// The word that our rules write into their events: 1 to 31 letters, digits, `-`, `_` or `.`.
///
/// The kernel takes any bytes. These need no quoting in a shell, in a rules file or in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Key {
    fn default() -> Self {
        Self("opensnitch".to_owned())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_MAX {
            return Err(KeyError::TooLong);
        }
        match text.chars().find(|c| !allowed(*c)) {
            Some(c) => Err(KeyError::Character(c)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has no characters: our events could not be told from others.
    #[error("the key of the rules is empty")]
    Empty,
    /// It is longer than a short word.
    #[error("the key of the rules has more than {KEY_MAX} characters")]
    TooLong,
    /// It holds this character.
    #[error("the key of the rules holds {0:?}; letters, digits, '-', '_' and '.' are allowed")]
    Character(char),
}

/// How much the rules ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Sockets of every family, local ones too, and not only inet and inet6.
    pub local: bool,
    /// Programs that are started, too.
    pub execve: bool,
    /// Messages that are sent to an inet or inet6 address, too: datagrams of unconnected sockets, and TCP Fast Open.
    pub sends: bool,
}

/// The rules of one machine under one key.
///
/// Its `Display` is one rule a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    machine: Machine,
    key: Key,
    rules: Vec<Rule>,
}

impl RuleSet {
    /// The rules we want.
    ///
    /// `own_pid` is the service itself: neither it nor what it starts has events. The kernel compares the thread group's
    /// id as the initial pid namespace sees it (`audit_filter_rules` in `kernel/auditsc.c`).
    pub fn wanted(machine: Machine, key: Key, scope: Scope, own_pid: u32) -> Self {
        let rule = |arch: Arch, calls: &[&'static str], a0, family| {
            let filter = Filter::Exit(arch);
            Rule { filter, calls: in_order(arch, calls), a0, family, own_pid, key: key.clone() }
        };
        let mut rules = Vec::new();
        for arch in machine.archs().iter().copied() {
            if scope.local {
                rules.push(rule(arch, &["socket", "connect"], None, None));
            } else {
                rules.extend(INET_FAMILIES.map(|family| rule(arch, &["socket"], Some(family), None)));
                rules.extend(INET_FAMILIES.map(|family| rule(arch, &["connect"], None, Some(family))));
            }
            // Narrowed whatever the scope: most messages go to whom the socket is connected to, and name no address.
            if scope.sends {
                rules.extend(INET_FAMILIES.map(|family| rule(arch, EventType::Send.syscalls(), None, Some(family))));
            }
            if arch.syscall_number(SOCKETCALL).is_some() {
                let call = |a0, family| rule(arch, &[SOCKETCALL], Some(a0), family);
                // The family of a socket is behind a pointer here, out of the filter's sight; the address of a
                // connect is not, since the kernel has copied it in by then.
                rules.push(call(socketcall::SOCKET, None));
                let families = if scope.local { vec![None] } else { INET_FAMILIES.map(Some).to_vec() };
                rules.extend(families.into_iter().map(|family| call(socketcall::CONNECT, family)));
                if scope.sends {
                    let each = |a0| INET_FAMILIES.map(|family| call(a0, Some(family)));
                    rules.extend(EventType::Send.socketcalls().iter().copied().flat_map(each));
                }
            }
            if scope.execve {
                rules.push(rule(arch, EventType::Execve.syscalls(), None, None));
            }
        }
        // One for all architectures: a ring has none. Not narrowed: the kernel copies the address in when the operation
        // is prepared, and where a worker thread performs it, the filter has no family to compare (seen on 6.1).
        rules.push(Rule {
            filter: Filter::IoUring,
            calls: vec!["connect"],
            a0: None,
            family: None,
            own_pid,
            key: key.clone(),
        });
        Self { machine, key, rules }
    }

    /// The rules, in the order in which they are added.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// This set without some of its rules: those that the kernel turned out not to support (see
    /// [`Loaded::unsupported`](super::Loaded::unsupported)). Whose rules are ours does not change.
    #[must_use]
    pub fn without(mut self, unsupported: &[Rule]) -> Self {
        self.rules.retain(|rule| !unsupported.contains(rule));
        self
    }

    /// The rule that these bytes of the kernel's are, if this program wrote them: now or in an earlier run with another
    /// pid or another scope, under this key.
    ///
    /// Any other rule under our key is an administrator's, and stays.
    pub(super) fn ours(&self, listed: &[u8]) -> Option<Rule> {
        // Cheap, and true of nearly every foreign rule.
        if listed.len() != wire::FIXED + self.key.0.len() {
            return None;
        }
        [false, true].into_iter().find_map(|local| {
            let scope = Scope { local, execve: true, sends: true };
            let shapes = Self::wanted(self.machine, self.key.clone(), scope, 0).rules;
            shapes.into_iter().find_map(|shape| shape.read(listed))
        })
    }
}

impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}

/// One rule of ours.
///
/// Its `Display` is auditctl's notation, as `auditctl -l` prints it: behind `auditctl ` it adds the rule (the
/// `io_uring` list needs auditctl 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    filter: Filter,
    /// In the order of their numbers, as auditctl prints them.
    calls: Vec<&'static str>,
    a0: Option<u32>,
    family: Option<u32>,
    own_pid: u32,
    key: Key,
}

impl Rule {
    /// What not every kernel has and this rule needs. Such a kernel refuses it with `EINVAL`.
    pub fn needs(&self) -> Option<Needs> {
        match self.filter {
            Filter::IoUring => Some(Needs::IoUring),
            Filter::Exit(_) => self.family.map(|_| Needs::SaddrFam),
        }
    }

    /// The kernel's `struct audit_rule_data`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = |arch: Arch| self.calls.iter().filter_map(|call| arch.syscall_number(call)).collect();
        let (list, calls): (_, Vec<u32>) = match self.filter {
            Filter::Exit(arch) => (wire::LIST_EXIT, numbers(arch)),
            Filter::IoUring => (wire::LIST_IO_URING, vec![uring_op::CONNECT]),
        };
        wire::encode(list, &calls, &self.conditions(), self.key.0.as_bytes())
    }

    /// This rule with the pid that the bytes have in its place, if they are exactly that.
    fn read(mut self, listed: &[u8]) -> Option<Self> {
        let place = self.conditions().iter().position(|(field, _, _)| *field == Field::Pid)?;
        self.own_pid = wire::value(listed, place)?;
        (self.encode() == listed).then_some(self)
    }

    fn conditions(&self) -> Vec<Condition> {
        let key_length = u32::try_from(self.key.0.len()).unwrap_or(u32::MAX);
        let mut conditions = Vec::new();
        if let Filter::Exit(arch) = self.filter {
            conditions.push((Field::Arch, Op::Equal, arch.0));
        }
        conditions.extend(self.a0.map(|a0| (Field::Arg0, Op::Equal, a0)));
        conditions.extend(self.family.map(|family| (Field::SaddrFam, Op::Equal, family)));
        conditions.push((Field::Pid, Op::NotEqual, self.own_pid));
        if self.excludes_children() {
            conditions.push((Field::PPid, Op::NotEqual, self.own_pid));
        }
        conditions.push((Field::Key, Op::Equal, key_length));
        conditions
    }

    /// The kernel takes `ppid` in every list, but auditctl only in `exit` (`audit_rule_fieldpair_data` in its
    /// `lib/libaudit.c`), and our notation is for it.
    fn excludes_children(&self) -> bool {
        matches!(self.filter, Filter::Exit(_))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.filter {
            Filter::Exit(arch) => write!(f, "-a always,exit -F arch={}", bits(arch))?,
            Filter::IoUring => f.write_str("-a always,io_uring")?,
        }
        for (place, call) in self.calls.iter().enumerate() {
            write!(f, "{}{}", if place == 0 { " -S " } else { "," }, call)?;
        }
        if let Some(a0) = self.a0 {
            write!(f, " -F a0=0x{a0:X}")?;
        }
        if let Some(family) = self.family {
            write!(f, " -F saddr_fam={family}")?;
        }
        write!(f, " -F pid!={}", self.own_pid)?;
        if self.excludes_children() {
            write!(f, " -F ppid!={}", self.own_pid)?;
        }
        write!(f, " -F key={}", self.key.0)
    }
}

/// What a kernel must have for a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The field `saddr_fam`: Linux 5.2. Without it no narrowed connect is seen.
    SaddrFam,
    /// The list `io_uring`: Linux 5.16. Without it no connect through a ring is seen.
    IoUring,
}

/// Which of the kernel's lists a rule is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Exit(Arch),
    IoUring,
}

/// Behind it stand all socket calls of old programs of some architectures.
const SOCKETCALL: &str = "socketcall";

/// Those that there are on this architecture, in the order of their numbers.
fn in_order(arch: Arch, calls: &[&'static str]) -> Vec<&'static str> {
    let mut calls: Vec<_> = calls.iter().filter_map(|call| Some((arch.syscall_number(call)?, *call))).collect();
    calls.sort_unstable();
    calls.into_iter().map(|(_, call)| call).collect()
}

/// What auditctl calls it: `__AUDIT_ARCH_64BIT` in `include/uapi/linux/audit.h`.
fn bits(arch: Arch) -> &'static str {
    if arch.0 & 0x8000_0000 == 0 { "b32" } else { "b64" }
}

#[cfg(test)]
impl RuleSet {
    /// This set with a rule in its middle that no kernel takes, like the first that needs this: its key is too long.
    pub(super) fn with_a_refused_rule(mut self, needs: Option<Needs>) -> (Self, Rule) {
        let mut rule = self.rules.iter().find(|rule| rule.needs() == needs).cloned().unwrap();
        rule.key = Key("x".repeat(257));
        self.rules.insert(self.rules.len() / 2, rule.clone());
        (self, rule)
    }
}

#[cfg(test)]
mod tests;
