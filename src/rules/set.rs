//! The rule set as data: which rules we want, how they read, which listed ones are ours.
//!
//! An **ABI** is one way of a machine to make system calls, with its own numbers: a 64-bit kernel has a second,
//! 32-bit one for old programs. A rule is **narrowed** when it asks only for the inet families, which
//! keeps the kernel from writing an event for each local socket: that costs twenty times the call itself.
//!
//! Guarantee: a rule has one notation and one encoding, and [`RuleSet`] recognises exactly the encodings this
//! program writes.

use std::{fmt, str::FromStr};

use super::wire::{self, Condition, Field, Op};

/// Bytes of a key: `AUDIT_MAX_KEY_LEN` of the kernel.
const KEY_MAX: usize = 256;

/// `AF_INET` and `AF_INET6`, the same on every architecture.
const INET_FAMILIES: [u32; 2] = [2, 10];

/// The call's number in `socketcall` (`SYS_SOCKET`, `SYS_CONNECT` in `linux/net.h`).
const SOCKETCALL_SOCKET: u32 = 1;
const SOCKETCALL_CONNECT: u32 = 3;

/// `IORING_OP_CONNECT`.
const IO_URING_CONNECT: u32 = 16;

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
}

impl Machine {
    /// The machine that `uname -m` calls so.
    pub fn named(uname: &str) -> Option<Self> {
        match uname {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            "riscv64" => Some(Self::Riscv64),
            // armv7l and its relatives.
            _ if uname.starts_with("arm") => Some(Self::Arm),
            _ => None,
        }
    }

    fn abis(self) -> &'static [Abi] {
        match self {
            Self::X86_64 => &[X86_64, I386],
            Self::Aarch64 => &[AARCH64, ARM],
            Self::Arm => &[ARM],
            Self::Riscv64 => &[RISCV64],
        }
    }
}

/// The word that our rules write into their events: 1 to 256 letters, digits and `-_.:@+/`.
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

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:@+/".contains(c);
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

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It has no characters: our events could not be told from others.
    Empty,
    /// It is longer than the kernel takes.
    TooLong,
    /// It holds this character.
    Character(char),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the key of the rules is empty"),
            Self::TooLong => write!(f, "the key of the rules has more than {KEY_MAX} bytes"),
            Self::Character(c) => {
                write!(f, "the key of the rules holds {c:?}; letters, digits and -_.:@+/ are allowed")
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// How much the rules ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Sockets of every family, local ones too, and not only inet and inet6.
    pub local: bool,
    /// Programs that are started, too.
    pub execve: bool,
    /// s
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
        let rule = |filter, calls, a0, family| Rule { filter, calls, a0, family, own_pid, key: key.clone() };
        let mut rules = Vec::new();
        for abi in machine.abis() {
            let exit = Filter::Exit(abi);
            if scope.local {
                rules.push(rule(exit, &[Call::Socket, Call::Connect], None, None));
            } else {
                let narrowed = |call: &'static [Call], by_a0: bool| {
                    INET_FAMILIES.map(|family| match by_a0 {
                        true => rule(exit, call, Some(family), None),
                        false => rule(exit, call, None, Some(family)),
                    })
                };
                rules.extend(narrowed(&[Call::Socket], true));
                rules.extend(narrowed(&[Call::Connect], false));
            }
            if abi.socketcall.is_some() {
                // The family of a socket is behind a pointer here, out of the filter's sight; the address of a
                // connect is not, since the kernel has copied it in by then.
                rules.push(rule(exit, &[Call::Socketcall], Some(SOCKETCALL_SOCKET), None));
                let families = if scope.local { vec![None] } else { INET_FAMILIES.map(Some).to_vec() };
                let connect = |family| rule(exit, &[Call::Socketcall], Some(SOCKETCALL_CONNECT), family);
                rules.extend(families.into_iter().map(connect));
            }
            if scope.execve {
                rules.push(rule(exit, &[Call::Execve, Call::Execveat], None, None));
            }
        }
        // One for all ABIs: a ring has none. Not narrowed: the kernel copies the address in when the operation is
        // prepared, and where a worker thread performs it, the filter has no family to compare (seen on 6.1).
        rules.push(rule(Filter::IoUring, &[Call::Connect], None, None));
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
            let scope = Scope { local, execve: true, sends: false };
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
    calls: &'static [Call],
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
        let (list, calls): (_, Vec<u32>) = match self.filter {
            Filter::Exit(abi) => (wire::LIST_EXIT, self.calls.iter().filter_map(|call| abi.number(*call)).collect()),
            Filter::IoUring => (wire::LIST_IO_URING, vec![IO_URING_CONNECT]),
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
        if let Filter::Exit(abi) = self.filter {
            conditions.push((Field::Arch, Op::Equal, abi.elf));
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
            Filter::Exit(abi) => write!(f, "-a always,exit -F arch={}", abi.bits)?,
            Filter::IoUring => f.write_str("-a always,io_uring")?,
        }
        for (place, call) in self.calls.iter().enumerate() {
            write!(f, "{}{}", if place == 0 { " -S " } else { "," }, call.name())?;
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
    Exit(&'static Abi),
    IoUring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Socket,
    Connect,
    Socketcall,
    Execve,
    Execveat,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Connect => "connect",
            Self::Socketcall => "socketcall",
            Self::Execve => "execve",
            Self::Execveat => "execveat",
        }
    }
}

/// Numbers of system calls, from the kernel's tables (`arch/*/**/syscall*.tbl`).
#[derive(Debug, PartialEq, Eq)]
struct Abi {
    /// `AUDIT_ARCH_*`: the ELF machine, with bits for 64-bit and little-endian.
    elf: u32,
    /// What auditctl calls it.
    bits: &'static str,
    socket: u32,
    connect: u32,
    execve: u32,
    execveat: u32,
    /// Behind it stand all socket calls of old 32-bit x86 programs.
    socketcall: Option<u32>,
}

impl Abi {
    fn number(&self, call: Call) -> Option<u32> {
        match call {
            Call::Socket => Some(self.socket),
            Call::Connect => Some(self.connect),
            Call::Socketcall => self.socketcall,
            Call::Execve => Some(self.execve),
            Call::Execveat => Some(self.execveat),
        }
    }
}

const X86_64: Abi =
    Abi { elf: 0xC000_003E, bits: "b64", socket: 41, connect: 42, execve: 59, execveat: 322, socketcall: None };
const I386: Abi =
    Abi { elf: 0x4000_0003, bits: "b32", socket: 359, connect: 362, execve: 11, execveat: 358, socketcall: Some(102) };
const AARCH64: Abi =
    Abi { elf: 0xC000_00B7, bits: "b64", socket: 198, connect: 203, execve: 221, execveat: 281, socketcall: None };
const ARM: Abi =
    Abi { elf: 0x4000_0028, bits: "b32", socket: 281, connect: 283, execve: 11, execveat: 387, socketcall: None };
const RISCV64: Abi =
    Abi { elf: 0xC000_00F3, bits: "b64", socket: 198, connect: 203, execve: 221, execveat: 281, socketcall: None };

#[cfg(test)]
impl RuleSet {
    /// This set with a rule in its middle that no kernel takes, like the first that needs this: its key is too long.
    pub(super) fn with_a_refused_rule(mut self, needs: Option<Needs>) -> (Self, Rule) {
        let mut rule = self.rules.iter().find(|rule| rule.needs() == needs).cloned().unwrap();
        rule.key = Key("x".repeat(KEY_MAX + 1));
        self.rules.insert(self.rules.len() / 2, rule.clone());
        (self, rule)
    }
}

#[cfg(test)]
mod tests;
