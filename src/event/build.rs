//! From the records of one event to the [`Event`].

use super::assemble::KEY_SEPARATOR;
use super::syscall::SOCKETCALL;
use super::{Arch, Args, Bytes, Event, EventType, File, RuleChange, Subject};
use crate::record::{ByteOrder, Chunk, ConfigChange, Data, EventId, Family, Path, Sockaddr, Syscall, Value, parse};

/// The highest number of an argument plus one. A longer vector is cut; what is left reads as it was given.
pub const MAX_ARGS: u32 = 8192;

/// Bytes the arguments of one event may have together, decoded.
pub const MAX_ARGS_BYTES: usize = 256 * 1024;

/// The records of one event, sorted by what they say.
#[derive(Default)]
struct Parts<'a> {
    node: Option<&'a [u8]>,
    syscall: Option<Syscall<'a>>,
    /// The last one: an operation that would block is tried again and reported again.
    uringop: Option<Syscall<'a>>,
    saddr: Option<Value<'a>>,
    socketcall: Option<Value<'a>>,
    cwd: Option<Value<'a>>,
    path: Option<Path<'a>>,
    proctitle: Option<Value<'a>>,
    config_change: Option<ConfigChange<'a>>,
    chunks: Vec<Chunk<'a>>,
    keys: Vec<Bytes>,
}

/// The event the `lines` tell, and how many pieces of arguments were beyond a bound.
pub(super) fn build<'a>(id: EventId, lines: impl Iterator<Item = &'a [u8]>, raw: Option<&[u8]>) -> (Event, u64) {
    let mut parts = Parts::default();
    for line in lines {
        parts.add(line);
    }
    let (args, cut) = parts.args();
    let Parts { syscall, uringop, .. } = &parts;
    let arch =
        syscall.as_ref().and_then(|call| call.arch.hexadecimal()).and_then(|arch| arch.try_into().ok()).map(Arch);
    let number = syscall.as_ref().and_then(|call| call.syscall.unsigned());
    let a0 = syscall.as_ref().and_then(|call| call.a0.hexadecimal());
    let event_type = match uringop {
        Some(uringop) => uringop.uring_op.unsigned().and_then(EventType::from_uring_op),
        None => arch.zip(number).and_then(|(arch, number)| EventType::from_syscall(arch, number, a0)),
    };
    let order = arch.map_or(ByteOrder::Little, Arch::byte_order);
    let sockaddr = parts.saddr.and_then(|saddr| Sockaddr::decode(saddr, order));
    let family = match event_type {
        Some(EventType::Socket | EventType::Socketpair) => {
            let is_socketcall =
                arch.zip(number).and_then(|(arch, number)| arch.syscall_name(number)) == Some(SOCKETCALL);
            let domain = if is_socketcall { parts.socketcall.and_then(Value::hexadecimal) } else { a0 };
            // Of an operation of io_uring no record tells the family.
            domain.filter(|_| uringop.is_none()).and_then(family)
        }
        _ => sockaddr.as_ref().map(|sockaddr| sockaddr.family),
    };
    let outcome = uringop.as_ref().or(syscall.as_ref());
    let event = Event {
        id,
        node: parts.node.map(Bytes::from),
        event_type,
        arch,
        syscall: number,
        success: outcome.and_then(|call| match call.success.written() {
            b"yes" => Some(true),
            b"no" => Some(false),
            _ => None,
        }),
        exit: outcome.and_then(|call| call.exit.signed()),
        subject: syscall.as_ref().or(uringop.as_ref()).map(subject).unwrap_or_default(),
        cwd: parts.cwd.and_then(text),
        args,
        file: parts.path.as_ref().map(file),
        family,
        address: sockaddr.and_then(|sockaddr| sockaddr.address),
        keys: parts.keys,
        raw: raw.map(Bytes::from),
    };
    (event, cut)
}

/// Who changed which rule, as far as the `lines` tell.
pub(super) fn rule_change<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<RuleChange> {
    let mut parts = Parts::default();
    for line in lines {
        parts.add(line);
    }
    let change = parts.config_change?;
    let subject = parts.syscall.as_ref().map(subject).unwrap_or_default();
    let op = text(change.op);
    Some(RuleChange { op, subject: Subject { auid: subject.auid.or(change.auid.id()), ..subject } })
}

impl<'a> Parts<'a> {
    fn add(&mut self, line: &'a [u8]) {
        let Ok(record) = parse(line) else { return };
        self.node = record.node;
        match record.data() {
            Data::Syscall(call) => {
                self.add_keys(call.key);
                self.syscall.get_or_insert(call);
            }
            Data::Uringop(call) => {
                self.add_keys(call.key);
                self.uringop = Some(call);
            }
            Data::Sockaddr(saddr) => {
                self.saddr.get_or_insert(saddr);
            }
            Data::Socketcall { a0 } => {
                self.socketcall.get_or_insert(a0);
            }
            Data::Cwd(cwd) => {
                self.cwd.get_or_insert(cwd);
            }
            Data::Path(path) if path.item.written() == b"0" => {
                self.path.get_or_insert(path);
            }
            Data::Proctitle(title) => {
                self.proctitle.get_or_insert(title);
            }
            Data::Execve(execve) => self.chunks.extend(execve.chunks()),
            Data::ConfigChange(change) => {
                self.config_change.get_or_insert(change);
            }
            Data::Path(_) | Data::Eoe | Data::Other => {}
        }
    }

    fn add_keys(&mut self, keys: Value<'_>) {
        let Some(keys) = keys.text() else { return };
        for key in keys.split(|&byte| byte == KEY_SEPARATOR) {
            if !self.keys.iter().any(|known| **known == *key) {
                self.keys.push(key.into());
            }
        }
    }

    /// The arguments, and how many pieces of them were left out: those behind a bound or behind a piece that
    /// never came, since an argument at the wrong place would be made up.
    fn args(&mut self) -> (Option<Args>, u64) {
        if self.chunks.is_empty() {
            let title = self.proctitle.and_then(Value::text);
            return (title.and_then(|title| Args::from_title(title.into_owned(), false)), 0);
        }
        self.chunks.sort_by_key(|chunk| (chunk.argument, chunk.chunk));
        self.chunks.dedup_by_key(|chunk| (chunk.argument, chunk.chunk));
        let mut joined: Vec<u8> = Vec::new();
        let mut next = (0, 0);
        let mut taken = 0u64;
        for chunk in &self.chunks {
            let text = chunk.value.text().unwrap_or_default();
            let starts_argument = (chunk.argument, chunk.chunk) == (next.0 + u32::from(next.1 > 0), 0);
            let goes_on = (chunk.argument, chunk.chunk) == next && next.1 > 0;
            let fits = chunk.argument < MAX_ARGS && joined.len() + text.len() + 2 <= MAX_ARGS_BYTES;
            if !fits || !(starts_argument || goes_on) {
                break;
            }
            if starts_argument && taken > 0 {
                joined.push(0);
            }
            joined.extend_from_slice(&text);
            next = (chunk.argument, chunk.chunk + 1);
            taken += 1;
        }
        if taken > 0 {
            joined.push(0);
        }
        (Args::from_nul_terminated(joined, true), self.chunks.len() as u64 - taken)
    }
}

fn subject(call: &Syscall<'_>) -> Subject {
    let auid = call.auid.id();
    Subject {
        pid: call.pid.unsigned(),
        ppid: call.ppid.unsigned(),
        uid: call.uid.id(),
        gid: call.gid.id(),
        euid: call.euid.id(),
        egid: call.egid.id(),
        auid,
        auid_name: auid.and(call.auid_name()).map(Bytes::from),
        session: call.ses.id(),
        tty: call.tty.word().map(Bytes::from),
        comm: text(call.comm),
        exe: text(call.exe),
    }
}

fn file(path: &Path<'_>) -> File {
    File {
        inode: path.inode.unsigned(),
        dev: path.dev.word().map(Bytes::from),
        mode: path.mode.word().map(Bytes::from),
        ouid: path.ouid.id(),
        ogid: path.ogid.id(),
    }
}

fn text(value: Value<'_>) -> Option<Bytes> {
    value.text().map(|text| text.into_owned().into())
}

/// The family as `socket(2)` takes it, an int: of the register only its lower half counts.
fn family(domain: u64) -> Option<Family> {
    u16::try_from(domain & 0xFFFF_FFFF).ok().map(Family)
}
