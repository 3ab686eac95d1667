//! Who did it: the process and its user.

use std::borrow::Cow;
use std::fmt;

use crate::args::Args;
#[cfg(feature = "serde")]
use crate::assembler::MAX_EVENT_BYTES;
use crate::near::{Known, Words};
use crate::record::{Fields, field, first_field, is_label, last_key};
use crate::tables::{Arch, EventType};
use crate::value::Value;

/// Bytes as the kernel reported them; they need not be UTF-8.
pub type Bytes = Box<[u8]>;

/// Between several keys of one rule: `AUDIT_KEY_SEPARATOR`, lib/libaudit.h of audit-userspace.
pub(crate) const KEY_SEPARATOR: u8 = 1;

/// The process and its user, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The process: of a thread its thread group, the name of `/proc/PID`.
    pub pid: Option<u32>,
    /// Its parent.
    pub ppid: Option<u32>,
    /// The real user.
    pub uid: Option<u32>,
    /// The real group.
    pub gid: Option<u32>,
    /// The effective user.
    pub euid: Option<u32>,
    /// The effective group.
    pub egid: Option<u32>,
    /// The user who logged in; unset for services.
    pub auid: Option<u32>,
    /// The login user's name, where auditd wrote it.
    pub auid_name: Option<Cow<'a, [u8]>>,
    /// The login session; unset for services.
    pub session: Option<u32>,
    /// The terminal.
    pub tty: Option<Cow<'a, [u8]>>,
    /// The name of the thread that called, at most 15 bytes.
    pub comm: Option<Cow<'a, [u8]>>,
    /// The program's file; the kernel appends ` (deleted)` where it is gone.
    pub exe: Option<Cow<'a, [u8]>>,
}

impl Subject<'_> {
    /// The same, with text of its own.
    #[must_use]
    pub fn into_owned(self) -> Subject<'static> {
        let Subject { pid, ppid, uid, gid, euid, egid, auid, auid_name, session, tty, comm, exe } = self;
        let [auid_name, tty, comm, exe] = [auid_name, tty, comm, exe].map(|text| Some(Cow::Owned(text?.into_owned())));
        Subject { pid, ppid, uid, gid, euid, egid, auid, auid_name, session, tty, comm, exe }
    }
}

/// All that an event says of the process and not of the call, as it is written.
///
/// Equal bytes mean the same state of the same process. A process that makes a thousand connections has one `Who`: a store
/// keeps it once (as [`WhoBuf`]) and decodes it when somebody asks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Who<'a> {
    /// SYSCALL's fields from `ppid=` to its end, or URINGOP's where there is no SYSCALL.
    pub(crate) task: &'a [u8],
    /// The value of URINGOP's `key=`, where there is a SYSCALL too.
    pub(crate) uring_key: &'a [u8],
    /// The login user's name, as auditd interpreted `auid=`.
    pub(crate) auid_name: &'a [u8],
    /// The value of `proctitle=`.
    pub(crate) title: &'a [u8],
    /// The value of `cwd=`.
    pub(crate) cwd: &'a [u8],
    /// The machine's name.
    pub(crate) node: &'a [u8],
}

impl fmt::Debug for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Who")
            .field("task", &self.task.escape_ascii().to_string())
            .field("uring_key", &self.uring_key.escape_ascii().to_string())
            .field("auid_name", &self.auid_name.escape_ascii().to_string())
            .field("title", &self.title.escape_ascii().to_string())
            .field("cwd", &self.cwd.escape_ascii().to_string())
            .field("node", &self.node.escape_ascii().to_string())
            .finish()
    }
}

impl<'a> Who<'a> {
    /// The process and its user, all at once.
    #[must_use]
    pub fn subject(&self) -> Subject<'a> {
        let Task { ppid, pid, auid, uid, gid, euid, egid, tty, ses, comm, exe } = Task::read(self.task);
        let auid = auid.id();
        Subject {
            pid: pid.unsigned(),
            ppid: ppid.unsigned(),
            uid: uid.id(),
            gid: gid.id(),
            euid: euid.id(),
            egid: egid.id(),
            auid,
            auid_name: auid.and(named(self.auid_name)).map(Cow::Borrowed),
            session: ses.id(),
            tty: tty.word().map(Cow::Borrowed),
            comm: comm.text(),
            exe: exe.text(),
        }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        // Where the kernel wrote the fields `ppid` and `pid` come first.
        let mut fields = Fields::new(self.task);
        let pid = fields.named(b"ppid=").and_then(|_| fields.named(b"pid="));
        pid.unwrap_or_else(|| field(self.task, b"pid")).unsigned()
    }

    /// Its parent.
    #[must_use]
    pub fn ppid(&self) -> Option<u32> {
        first_field(self.task, b"ppid=").unsigned()
    }

    /// The real user.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        let [_, uid] = self.users();
        uid.id()
    }

    /// The user who logged in.
    #[must_use]
    pub fn auid(&self) -> Option<u32> {
        let [auid, _] = self.users();
        auid.id()
    }

    /// The program's file.
    #[must_use]
    pub fn exe(&self) -> Option<Cow<'a, [u8]>> {
        field(self.task, b"exe").text()
    }

    /// The name of the thread that called.
    #[must_use]
    pub fn comm(&self) -> Option<Cow<'a, [u8]>> {
        field(self.task, b"comm").text()
    }

    /// The keys of the rules that asked for the event; no key twice.
    #[must_use]
    pub fn keys(&self) -> Vec<Bytes> {
        let mut keys: Vec<Bytes> = Vec::new();
        for value in [last_key(self.task), Value::new(self.uring_key)] {
            let Some(joined) = value.strict_text() else { continue };
            for key in joined.split(|&byte| byte == KEY_SEPARATOR) {
                if !keys.iter().any(|known| **known == *key) {
                    keys.push(key.into());
                }
            }
        }
        keys
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(&self) -> Option<Cow<'a, [u8]>> {
        Value::new(self.cwd).text()
    }

    /// The machine, where auditd names it.
    #[must_use]
    pub fn node(&self) -> Option<&'a [u8]> {
        (!self.node.is_empty()).then_some(self.node)
    }

    /// The arguments as the process showed them (PROCTITLE): what they are at most the beginning of, see
    /// [`Args::from_title`].
    #[must_use]
    pub fn title(&self) -> Option<Args> {
        Args::from_title(Value::new(self.title).text()?.into_owned(), false)
    }

    /// `auid` and `uid`.
    fn users(&self) -> [Value<'a>; 2] {
        users_in_kernel_order(self.task).unwrap_or_else(|| [field(self.task, b"auid"), field(self.task, b"uid")])
    }

    const fn parts(&self) -> [&'a [u8]; PARTS] {
        [self.task, self.uring_key, self.auid_name, self.title, self.cwd, self.node]
    }
}

/// Assumes SYSCALL's fields in the order of the kernel, one space between them.
fn users_in_kernel_order(task: &[u8]) -> Option<[Value<'_>; 2]> {
    let mut fields = Fields::new(task);
    fields.named(b"ppid=")?;
    fields.named(b"pid=")?;
    Some([fields.named(b"auid=")?, fields.named(b"uid=")?])
}

/// The name in auditd's interpretation `AUID="…"`; none where auditd found none.
fn named(name: &[u8]) -> Option<&[u8]> {
    (!name.is_empty() && name != b"unset" && !name.starts_with(b"unknown(")).then_some(name)
}

/// The login user's name as auditd's interpretations give it.
pub(crate) fn auid_name(interpretations: &[u8]) -> &[u8] {
    let value = auid_in_auditds_order(interpretations).or_else(|| auid_in_any_order(interpretations));
    value.and_then(|value| value.written().strip_prefix(b"\"")?.strip_suffix(b"\"")).unwrap_or_default()
}

/// Assumes the order of auditd, one space between them.
fn auid_in_auditds_order(interpretations: &[u8]) -> Option<Value<'_>> {
    let mut fields = Fields::new(interpretations);
    fields.named(b"ARCH=")?;
    fields.named(b"SYSCALL=")?;
    fields.named(b"AUID=")
}

fn auid_in_any_order(interpretations: &[u8]) -> Option<Value<'_>> {
    Fields::new(interpretations).find(|(name, _)| *name == b"AUID").map(|(_, value)| value)
}

/// What `audit_log_task_info` and its callers write of a process (kernel/audit.c). Fields that are absent are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Task<'a> {
    ppid: Value<'a>,
    pid: Value<'a>,
    auid: Value<'a>,
    uid: Value<'a>,
    gid: Value<'a>,
    euid: Value<'a>,
    egid: Value<'a>,
    tty: Value<'a>,
    ses: Value<'a>,
    comm: Value<'a>,
    exe: Value<'a>,
}

impl<'a> Task<'a> {
    fn read(text: &'a [u8]) -> Self {
        Self::in_kernel_order(text).unwrap_or_else(|| Self::in_any_order(text))
    }

    /// Assumes SYSCALL's fields in the order of the kernel, one space between them.
    fn in_kernel_order(text: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(text);
        let ppid = fields.named(b"ppid=")?;
        let pid = fields.named(b"pid=")?;
        let auid = fields.named(b"auid=")?;
        let uid = fields.named(b"uid=")?;
        let gid = fields.named(b"gid=")?;
        let euid = fields.named(b"euid=")?;
        fields.named(b"suid=")?;
        fields.named(b"fsuid=")?;
        let egid = fields.named(b"egid=")?;
        fields.named(b"sgid=")?;
        fields.named(b"fsgid=")?;
        let tty = fields.named(b"tty=")?;
        let ses = fields.named(b"ses=")?;
        let comm = fields.named(b"comm=")?;
        let exe = fields.named(b"exe=")?;
        Some(Self { ppid, pid, auid, uid, gid, euid, egid, tty, ses, comm, exe })
    }

    /// The first field of each name before any label.
    fn in_any_order(text: &'a [u8]) -> Self {
        let mut task = Self::default();
        let mut seen = 0u16;
        for (name, value) in Fields::new(text).before_label() {
            let (bit, field) = match name {
                b"ppid" => (0, &mut task.ppid),
                b"pid" => (1, &mut task.pid),
                b"auid" => (2, &mut task.auid),
                b"uid" => (3, &mut task.uid),
                b"gid" => (4, &mut task.gid),
                b"euid" => (5, &mut task.euid),
                b"egid" => (6, &mut task.egid),
                b"tty" => (7, &mut task.tty),
                b"ses" => (8, &mut task.ses),
                b"comm" => (9, &mut task.comm),
                b"exe" => (10, &mut task.exe),
                _ => continue,
            };
            if seen & 1 << bit == 0 {
                *field = value;
                seen |= 1 << bit;
            }
        }
        task
    }
}

/// What SYSCALL and URINGOP say of the call (`audit_log_exit` and `audit_log_uring`, kernel/auditsc.c), and where they begin
/// to speak of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call<'a> {
    pub(crate) arch: Option<Arch>,
    pub(crate) syscall: Option<u32>,
    pub(crate) uring_op: Value<'a>,
    pub(crate) success: Value<'a>,
    pub(crate) exit: Value<'a>,
    pub(crate) a0: Value<'a>,
    pub(crate) a1: Value<'a>,
    pub(crate) a2: Value<'a>,
    pub(crate) a3: Value<'a>,
    /// From the first field that is the process's to the end.
    pub(crate) task: &'a [u8],
}

impl<'a> Call<'a> {
    /// Of a record's own text.
    pub(crate) fn read(own: &'a [u8], last: &mut LastCall) -> Self {
        match Self::in_kernel_order(own, last) {
            Some(call) => call,
            None => Self::in_any_order(own),
        }
    }

    fn in_kernel_order(own: &'a [u8], last: &mut LastCall) -> Option<Self> {
        Self::of_syscall(own, last).or_else(|| Self::of_uringop(own))
    }

    /// What it does, of a system call.
    pub(crate) fn event_type(&self) -> Option<EventType> {
        let (arch, syscall) = (self.arch?, self.syscall?);
        let a0 = if arch.socketcall() == Some(syscall) { self.a0.hexadecimal() } else { None };
        EventType::of_syscall(arch, syscall, a0)
    }

    /// Assumes SYSCALL's fields in the order of the kernel, one space between them, none of them absent but `per`.
    #[inline]
    fn of_syscall(own: &'a [u8], last: &mut LastCall) -> Option<Self> {
        let mut words = Words::new(last.strip(own.strip_prefix(b" ").unwrap_or(own))?);
        let mut word = words.next()?;
        if value_of(word, b"per=").is_some() {
            word = words.next()?;
        }
        Some(Self {
            arch: last.arch,
            syscall: last.syscall,
            uring_op: Value::default(),
            success: value_of(word, b"success=")?,
            exit: value_of(words.next()?, b"exit=")?,
            a0: value_of(words.next()?, b"a0=")?,
            a1: value_of(words.next()?, b"a1=")?,
            a2: value_of(words.next()?, b"a2=")?,
            a3: value_of(words.next()?, b"a3=")?,
            task: task_behind_items(words)?,
        })
    }

    /// Assumes URINGOP's fields in the order of the kernel, one space between them, none of them absent.
    fn of_uringop(own: &'a [u8]) -> Option<Self> {
        let mut words = Words::new(own.strip_prefix(b" ").unwrap_or(own));
        Some(Self {
            uring_op: value_of(words.next()?, b"uring_op=")?,
            success: value_of(words.next()?, b"success=")?,
            exit: value_of(words.next()?, b"exit=")?,
            task: task_behind_items(words)?,
            ..Self::default()
        })
    }

    /// The first field of each name before those of the process and before any label: the kernel writes the call first, and
    /// what stands behind it is not the call's, whatever it is named.
    fn in_any_order(own: &'a [u8]) -> Self {
        let mut call = Self::default();
        let [mut of_arch, mut of_syscall] = [Value::default(); 2];
        let mut seen = 0u16;
        let mut fields = Fields::new(own);
        while let Some((name, value)) = fields.next() {
            if is_label(name) || is_of_task(name) {
                let length = name.len() + 1 + value.written().len() + fields.rest().len();
                call.task = own.get(own.len().saturating_sub(length)..).unwrap_or_default();
                break;
            }
            let (bit, field) = match name {
                b"arch" => (0, &mut of_arch),
                b"syscall" => (1, &mut of_syscall),
                b"uring_op" => (2, &mut call.uring_op),
                b"success" => (3, &mut call.success),
                b"exit" => (4, &mut call.exit),
                b"a0" => (5, &mut call.a0),
                b"a1" => (6, &mut call.a1),
                b"a2" => (7, &mut call.a2),
                b"a3" => (8, &mut call.a3),
                _ => continue,
            };
            if seen & 1 << bit == 0 {
                *field = value;
                seen |= 1 << bit;
            }
        }
        Self { arch: arch(of_arch), syscall: of_syscall.unsigned(), ..call }
    }
}

/// The last call's architecture and number, as text and as numbers: most calls are like the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastCall {
    /// `arch=… syscall=… `.
    text: Known,
    arch: Option<Arch>,
    syscall: Option<u32>,
}

impl LastCall {
    /// What stands behind `arch=… syscall=… `, which is the last one from now on.
    #[inline]
    fn strip<'a>(&mut self, own: &'a [u8]) -> Option<&'a [u8]> {
        self.text.strip(own).or_else(|| self.read(own))
    }

    fn read<'a>(&mut self, own: &'a [u8]) -> Option<&'a [u8]> {
        let mut fields = Fields::new(own);
        let (of_arch, of_syscall) = (fields.named(b"arch=")?, fields.named(b"syscall=")?);
        let rest = fields.rest();
        // With the space behind it: `syscall=42` is not the beginning of `syscall=425`.
        let text = own.get(..own.len() - rest.len()).filter(|text| text.ends_with(b" "))?;
        if !self.text.set(text) {
            return None;
        }
        self.arch = arch(of_arch);
        self.syscall = of_syscall.unsigned();
        Some(rest)
    }
}

/// Assumes that `items=` is next, and the process's fields follow.
#[inline]
fn task_behind_items<'a>(mut words: Words<'a>) -> Option<&'a [u8]> {
    value_of(words.next()?, b"items=")?;
    Some(words.rest()).filter(|task| task.starts_with(b"ppid="))
}

/// The value of the field `word`, where it begins with `prefix` (`name=`) and is a word for the other ways of reading too.
#[inline]
fn value_of<'a, const N: usize>(word: &'a [u8], prefix: &[u8; N]) -> Option<Value<'a>> {
    let (begin, value) = word.split_first_chunk()?;
    (begin == prefix && value.first() != Some(&b'"')).then_some(Value::new(value))
}

fn arch(value: Value<'_>) -> Option<Arch> {
    value.hexadecimal()?.try_into().ok().map(Arch)
}

/// For the fuzzers: what is read in the order of the kernel says what is read in any order.
#[cfg(any(test, fuzzing))]
#[cfg_attr(test, expect(unreachable_pub, reason = "it is public where the fuzzers ask for it"))]
pub fn assert_fast_is_slow(text: &[u8]) {
    let mut last = LastCall::default();
    // After no other call, after one that is much alike, and after itself.
    for before in ["", "arch=c000003e syscall=42 ", "arch=c000003e syscall=42"] {
        last.strip(before.as_bytes());
        for _ in 0..2 {
            if let Some(fast) = Call::in_kernel_order(text, &mut last) {
                assert_eq!(fast, Call::in_any_order(text), "{}", text.escape_ascii());
            }
        }
    }
    for task in [text, Call::read(text, &mut last).task] {
        if let Some(fast) = Task::in_kernel_order(task) {
            assert_eq!(fast, Task::in_any_order(task), "{}", task.escape_ascii());
        }
        let who = Who { task, ..Who::default() };
        let slow = Task::in_any_order(task);
        let found = [who.ppid(), who.pid(), who.auid(), who.uid()];
        assert_eq!(found, [slow.ppid.unsigned(), slow.pid.unsigned(), slow.auid.id(), slow.uid.id()], "{who:?}");
    }
    if let Some(fast) = auid_in_auditds_order(text) {
        assert_eq!(Some(fast), auid_in_any_order(text), "{}", text.escape_ascii());
    }
}

/// Whether SYSCALL and URINGOP say this of the process and not of the call.
fn is_of_task(name: &[u8]) -> bool {
    matches!(
        name,
        b"ppid"
            | b"pid"
            | b"auid"
            | b"uid"
            | b"gid"
            | b"euid"
            | b"suid"
            | b"fsuid"
            | b"egid"
            | b"sgid"
            | b"fsgid"
            | b"tty"
            | b"ses"
            | b"comm"
            | b"exe"
            | b"key"
    )
}

const PARTS: usize = 6;

/// An owned [`Who`] in one allocation. Equal and hashed as its [`Who`].
#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "Written"))]
pub struct WhoBuf {
    bytes: Bytes,
    /// Where each part ends in `bytes`.
    ends: [u32; PARTS],
}

impl WhoBuf {
    /// Copies it.
    #[must_use]
    pub fn new(who: Who<'_>) -> Self {
        let parts = who.parts();
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        let ends = parts.map(|part| {
            bytes.extend_from_slice(part);
            // An event has no more than `MAX_EVENT_BYTES`.
            u32::try_from(bytes.len()).unwrap_or(u32::MAX)
        });
        Self { bytes: bytes.into(), ends }
    }

    /// As slices of it.
    #[must_use]
    pub fn as_who(&self) -> Who<'_> {
        let mut start = 0;
        let [task, uring_key, auid_name, title, cwd, node] = self.ends.map(|end| {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            let part = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            part
        });
        Who { task, uring_key, auid_name, title, cwd, node }
    }

    /// What it holds in memory, in bytes, but for the allocator's own.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

/// A [`WhoBuf`] as somebody wrote it down; perhaps not by this crate.
#[cfg(feature = "serde")]
#[derive(serde::Deserialize)]
struct Written {
    bytes: Bytes,
    ends: [u32; PARTS],
}

#[cfg(feature = "serde")]
impl TryFrom<Written> for WhoBuf {
    type Error = &'static str;

    fn try_from(Written { bytes, ends }: Written) -> Result<Self, Self::Error> {
        let [.., last] = ends;
        if bytes.len() > MAX_EVENT_BYTES || usize::try_from(last) != Ok(bytes.len()) || !ends.is_sorted() {
            return Err("parts of a process's description that do not make up the whole");
        }
        Ok(Self { bytes, ends })
    }
}

impl fmt::Debug for WhoBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_who().fmt(f)
    }
}

impl PartialEq for WhoBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_who() == other.as_who()
    }
}

impl Eq for WhoBuf {}

impl std::hash::Hash for WhoBuf {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_who().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSCALL: &str = concat!(
        " arch=c000003e syscall=42 per=8 success=no exit=-111 a0=3 a1=7ffe a2=10 a3=0 items=1 ppid=1 pid=2 auid=1000 uid=5 ",
        "gid=6 euid=7 suid=8 fsuid=9 egid=10 sgid=11 fsgid=12 tty=pts0 ses=4 comm=6120622063 exe=\"/bin/x\" ",
        "subj=unconfined key=\"opensnitch\""
    );

    fn subject(task: &str) -> Subject<'_> {
        Who { task: task.as_bytes(), ..Who::default() }.subject()
    }

    #[test]
    fn a_call_and_its_process() {
        let call = Call::read(SYSCALL.as_bytes(), &mut LastCall::default());
        assert_eq!((call.arch, call.syscall, call.exit.signed()), (Some(Arch::X86_64), Some(42), Some(-111)));
        assert_eq!([call.a0, call.a1, call.a2].map(Value::hexadecimal), [Some(3), Some(0x7ffe), Some(16)]);
        let who = Who { task: call.task, auid_name: b"alice", ..Who::default() };
        let expected = Subject {
            pid: Some(2),
            ppid: Some(1),
            uid: Some(5),
            gid: Some(6),
            euid: Some(7),
            egid: Some(10),
            auid: Some(1000),
            auid_name: Some(b"alice".into()),
            session: Some(4),
            tty: Some(b"pts0".into()),
            comm: Some(b"a b c".into()),
            exe: Some(b"/bin/x".into()),
        };
        assert_eq!(who.subject(), expected);
        assert_eq!((who.pid(), who.ppid(), who.uid(), who.auid()), (Some(2), Some(1), Some(5), Some(1000)));
        assert_eq!((who.exe().as_deref(), who.comm().as_deref()), (expected.exe.as_deref(), expected.comm.as_deref()));
        assert_eq!(who.keys(), [Bytes::from(*b"opensnitch")]);
    }

    #[test]
    fn the_kernels_order_is_read_as_any_other() {
        for own in [SYSCALL, "uring_op=16 success=yes exit=0 items=0 ppid=1 pid=2 uid=0 subj=x key=\"y\""] {
            let own = own.trim_ascii_start().as_bytes();
            let call = Call::in_kernel_order(own, &mut LastCall::default()).unwrap();
            assert_eq!(call, Call::in_any_order(own));
            // Whatever stands at one place: the fast way says the same or nothing.
            for at in 0..own.len() {
                for byte in *b" =\"'xabs\t" {
                    let mut changed = own.to_vec();
                    changed[at] = byte;
                    assert_fast_is_slow(&changed);
                }
            }
        }
        // Where the number of a call ends is not where one like it ended.
        assert_fast_is_slow(SYSCALL.trim_ascii_start().replace("=42 per=8 ", "=42").as_bytes());
        // What stands behind the process's fields is not the call's.
        assert_fast_is_slow(format!("{} uring_op=16 a0=7", SYSCALL.trim_ascii_start()).as_bytes());
        assert!(Task::in_kernel_order(Call::read(SYSCALL.as_bytes(), &mut LastCall::default()).task).is_some());
        let interpretations = b"ARCH=x86_64 SYSCALL=connect AUID=\"alice\" UID=\"root\"";
        for at in 0..interpretations.len() {
            for byte in *b" =\"'xA\t" {
                let mut changed = interpretations.to_vec();
                changed[at] = byte;
                assert_fast_is_slow(&changed);
            }
        }
    }

    #[test]
    fn a_label_names_nobody() {
        let label = "ppid=1 pid=2 subj=:c://p pid=3 uid=0 exe=\"/usr/sbin/sshd\" comm=\"sshd\" (enforce) key=\"k\"";
        assert_eq!(subject(label), Subject { ppid: Some(1), pid: Some(2), ..Subject::default() });
        let only_label = Call::read(b"arch=c000003e subj=x pid=3 success=yes key=\"k\"", &mut LastCall::default());
        assert_eq!(
            (only_label.success.written(), subject(str::from_utf8(only_label.task).unwrap()).pid),
            (&b""[..], None)
        );
        assert_eq!(last_key(only_label.task).written(), b"\"k\"");
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(subject(""), Subject::default());
        let unset = "pid=x uid=4294967295 auid=4294967295 tty=(none) ses=4294967295 comm=(null) exe=(null)";
        assert_eq!(subject(unset), Subject::default());
        assert_eq!(subject("pid=4294967296"), Subject::default());
        assert_eq!(Who::default().keys(), [] as [Bytes; 0]);
        assert_eq!((Who::default().node(), Who::default().cwd(), Who::default().title()), (None, None, None));
    }

    #[test]
    fn a_name_that_auditd_did_not_find_is_none() {
        for name in ["\"unset\"", "\"unknown(1000)\"", "unset", ""] {
            let interpretations = format!("ARCH=x86_64 AUID={name} UID=\"root\"");
            let who = Who { task: b"auid=1000", auid_name: auid_name(interpretations.as_bytes()), ..Who::default() };
            assert_eq!(who.subject().auid_name, None, "{name}");
        }
        assert_eq!(auid_name(b"ARCH=x86_64 AUID=\"alice\""), b"alice");
        let unset = Who { task: b"auid=4294967295", auid_name: b"alice", ..Who::default() };
        assert_eq!(unset.subject().auid_name, None);
    }

    #[test]
    fn keys_of_both_records_and_none_twice() {
        let keys = |task: &str, uring_key: &str| -> Vec<String> {
            let who = Who { task: task.as_bytes(), uring_key: uring_key.as_bytes(), ..Who::default() };
            who.keys().iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
        };
        assert_eq!(keys("pid=1 key=6F7468657201610162", ""), ["other", "a", "b"]);
        assert_eq!(keys("pid=1 key=(null)", "\"a\""), ["a"]);
        assert_eq!(keys("pid=1 key=\"a\"", "\"a\""), ["a"]);
        assert_eq!(keys("pid=1 key=(null)ARCH=x86_64", ""), [] as [&str; 0]);
    }

    #[test]
    fn owned_and_borrowed_are_equal_and_hash_alike() {
        use std::hash::{BuildHasher, RandomState};
        let who = Who { task: b"pid=1", uring_key: b"", auid_name: b"a", title: b"6100", cwd: b"\"/\"", node: b"vm" };
        let owned = WhoBuf::new(who);
        assert_eq!(owned.as_who(), who);
        let state = RandomState::new();
        assert_eq!(state.hash_one(&owned), state.hash_one(who));
        // The same bytes at another place are another one.
        let moved = Who { task: b"pid=1a", auid_name: b"", ..who };
        assert_ne!(WhoBuf::new(moved), owned);
        assert_eq!(WhoBuf::new(Who::default()).as_who(), Who::default());
        assert!(owned.size() >= size_of::<WhoBuf>() + 5 + 1 + 4 + 3 + 2);
    }
}
