//! The rule set as data: which rules we want, how they read, which listed ones are ours.
//!
//! A machine makes system calls in one or two ways, each an [`Arch`] with its own numbers: a 64-bit kernel has a second,
//! 32-bit one for old programs. A rule is **narrowed** when it asks only for the inet families, which keeps the kernel
//! from writing an event for each local socket: that costs twenty times the call itself.
//!
//! A rule has one notation and one encoding, and [`RuleSet`] recognises exactly the encodings this program writes.

use std::fmt;
use std::str::FromStr;

use audit_records::{Arch, EventType, MSG_FASTOPEN, socketcall, uring_op};
use serde::de::{Deserialize, Deserializer, Error as _};

use super::wire::{self, Condition, Field, Op};

/// Bytes of a key. The kernel holds 256 of all keys of a rule together (`AUDIT_MAX_KEY_LEN`); ours is a short word.
const KEY_MAX: usize = 31;

/// `AF_INET` and `AF_INET6`, the same on every architecture.
const INET_FAMILIES: [u32; 2] = [2, 10];

/// Of a datagram's address. The kernel takes `AF_UNSPEC`, 0, for `AF_INET` there (`udp_sendmsg` in net/ipv4/udp.c).
const SENT_FAMILIES: [u32; 3] = [2, 10, 0];

/// `MSG_FASTOPEN`. The registers that a rule looks at are compared in their lower half.
#[expect(clippy::cast_possible_truncation, reason = "a bit of an int")]
const FAST_OPEN: u32 = MSG_FASTOPEN as u32;

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
    /// Messages that are sent to an inet or inet6 address, too: datagrams of unconnected sockets. A TCP Fast Open is always
    /// asked for.
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
        let rule = |filter, calls: &[Call], narrowed: &[Condition]| {
            let (calls, narrowed) = (calls.to_vec(), narrowed.to_vec());
            Rule { filter, calls, narrowed, own_pid, key: key.clone() }
        };
        // One rule for each family.
        let of_families = |families: &[u32], filter, calls: &[Call], first: Option<Condition>| {
            let narrowed = |family: &u32| first.into_iter().chain([saddr_fam(*family)]).collect::<Vec<_>>();
            families.iter().map(|family| rule(filter, calls, &narrowed(family))).collect::<Vec<_>>()
        };
        let mut rules = Vec::new();
        for arch in machine.archs().iter().copied() {
            let filter = Filter::Exit(arch);
            let calls = |names| in_order(arch, names);
            if scope.local {
                rules.push(rule(filter, &calls(&["socket", "connect"]), &[]));
            } else {
                rules.extend(INET_FAMILIES.map(|family| rule(filter, &calls(&["socket"]), &[a0(family)])));
                rules.extend(of_families(&INET_FAMILIES, filter, &calls(&["connect"]), None));
            }
            // Not narrowed to families: of several messages the kernel keeps the address of the last, which may be of any
            // family, and the first one connects. Nobody else sets this flag.
            rules.push(rule(filter, &calls(&["sendto", "sendmmsg"]), &[(Field::Arg3, Op::AnyBit, FAST_OPEN)]));
            rules.push(rule(filter, &calls(&["sendmsg"]), &[(Field::Arg2, Op::AnyBit, FAST_OPEN)]));
            // Narrowed whatever the scope: most messages go to whom the socket is connected to, and name no address.
            if scope.sends {
                rules.extend(of_families(&SENT_FAMILIES, filter, &calls(EventType::Send.syscalls()), None));
            }
            if let Some(number) = arch.syscall_number(SOCKETCALL) {
                let call = [(number, SOCKETCALL)];
                // The family of a socket is behind a pointer here, out of the filter's sight; the address of a
                // connect is not, since the kernel has copied it in by then.
                rules.push(rule(filter, &call, &[a0(socketcall::SOCKET)]));
                if scope.local {
                    rules.push(rule(filter, &call, &[a0(socketcall::CONNECT)]));
                } else {
                    rules.extend(of_families(&INET_FAMILIES, filter, &call, Some(a0(socketcall::CONNECT))));
                }
                if scope.sends {
                    let sent = |one: &u32| of_families(&SENT_FAMILIES, filter, &call, Some(a0(*one)));
                    rules.extend(EventType::Send.socketcalls().iter().flat_map(sent));
                }
            }
            if scope.execve {
                rules.push(rule(filter, &calls(EventType::Execve.syscalls()), &[]));
            }
        }
        // For all architectures: a ring has none. Not narrowed: the kernel copies the address in when the operation is
        // prepared, and where a worker thread performs it, the filter has no family to compare (seen on 6.1).
        rules.push(rule(Filter::IoUring, &[(uring_op::CONNECT, "connect")], &[]));
        // Narrowed, and so without those of worker threads: most that is sent names no address. Of the others that send
        // (`send`, `send_zc`) the kernel reports nothing (`audit_skip` in its io_uring/opdef.c), nor of `socket`.
        let sends = [(uring_op::SENDMSG, "sendmsg"), (uring_op::SENDMSG_ZC, "sendmsg_zc")];
        rules.extend(of_families(&INET_FAMILIES, Filter::IoUring, &sends, None));
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
/// `io_uring` list needs auditctl 3.1, and its `sendmsg_zc` one later than 4.0.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    filter: Filter,
    calls: Vec<Call>,
    /// What is asked for beside the calls.
    narrowed: Vec<Condition>,
    own_pid: u32,
    key: Key,
}

impl Rule {
    /// What not every kernel has and this rule needs. Such a kernel refuses it with `EINVAL`.
    pub fn needs(&self) -> Option<Needs> {
        match self.filter {
            Filter::IoUring => Some(Needs::IoUring),
            Filter::Exit(_) => {
                self.narrowed.iter().any(|(field, _, _)| *field == Field::SaddrFam).then_some(Needs::SaddrFam)
            }
        }
    }

    /// The kernel's `struct audit_rule_data`.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.encode_with(&self.conditions(), &self.key.0)
    }

    /// The same with these conditions, and the text of those that have one.
    fn encode_with(&self, conditions: &[Condition], text: &str) -> Vec<u8> {
        let calls: Vec<u32> = self.calls.iter().map(|(number, _)| *number).collect();
        wire::encode(self.filter.list(), &calls, conditions, text.as_bytes())
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
        conditions.extend_from_slice(&self.narrowed);
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
        for (place, (_, call)) in self.calls.iter().enumerate() {
            write!(f, "{}{call}", if place == 0 { " -S " } else { "," })?;
        }
        self.conditions().into_iter().filter_map(notation).try_for_each(|one| write!(f, " -F {one}"))?;
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

impl Filter {
    const fn list(self) -> u32 {
        match self {
            Self::Exit(_) => wire::LIST_EXIT,
            Self::IoUring => wire::LIST_IO_URING,
        }
    }
}

/// A call by its number on the rule's architecture, or an operation of a ring by its own, and its name.
type Call = (u32, &'static str);

/// The first argument is this.
const fn a0(value: u32) -> Condition {
    (Field::Arg0, Op::Equal, value)
}

/// The address is of this family.
const fn saddr_fam(family: u32) -> Condition {
    (Field::SaddrFam, Op::Equal, family)
}

/// A condition as auditctl prints it, but for those two that a rule begins and ends with.
fn notation((field, op, value): Condition) -> Option<String> {
    let op = match op {
        Op::AnyBit => "&",
        Op::Equal => "=",
        Op::NotEqual => "!=",
    };
    Some(match field {
        Field::Arch | Field::Key => return None,
        #[cfg(test)]
        Field::Exe => return None,
        Field::Pid => format!("pid{op}{value}"),
        Field::PPid => format!("ppid{op}{value}"),
        Field::SaddrFam => format!("saddr_fam{op}{value}"),
        Field::Arg0 => format!("a0{op}0x{value:X}"),
        Field::Arg2 => format!("a2{op}0x{value:X}"),
        Field::Arg3 => format!("a3{op}0x{value:X}"),
    })
}

/// Behind it stand all socket calls of old programs of some architectures.
const SOCKETCALL: &str = "socketcall";

/// Those that there are on this architecture, in the order of their numbers, as auditctl prints them.
fn in_order(arch: Arch, names: &[&'static str]) -> Vec<Call> {
    let mut calls: Vec<Call> = names.iter().filter_map(|name| Some((arch.syscall_number(name)?, *name))).collect();
    calls.sort_unstable();
    calls
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
impl Rule {
    /// Its bytes, if it asked for this program alone.
    pub(super) fn encode_for(&self, exe: &str) -> Vec<u8> {
        let mut conditions = self.conditions();
        let length = u32::try_from(exe.len()).unwrap();
        conditions.insert(conditions.len() - 1, (Field::Exe, Op::Equal, length));
        self.encode_with(&conditions, &format!("{exe}{}", self.key))
    }
}

#[cfg(test)]
mod tests;
