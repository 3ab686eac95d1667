//! Header, type and fields of a record.

use std::fmt;

use memchr::{memchr, memrchr};

use super::Value;
use super::value::{decimal, escape_bounded};

/// The event a record belongs to: `audit(SECONDS.MILLIS:SERIAL)`. All records of one event share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// When it happened, in milliseconds since the epoch.
    pub milliseconds: u64,
    /// The kernel's running number of the event since boot; it wraps.
    pub serial: u32,
}

/// The type of a record: `AUDIT_…` of the kernel's include/uapi/linux/audit.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who called which system call.
    Syscall,
    /// Who did which operation through io_uring.
    Uringop,
    /// The address that was given.
    Sockaddr,
    /// The arguments behind the 32-bit `socketcall`.
    Socketcall,
    /// The working directory.
    Cwd,
    /// A file that took part.
    Path,
    /// The arguments of execve, or a part of them.
    Execve,
    /// The command line as the process shows it now, its first 128 bytes.
    Proctitle,
    /// The event is complete.
    Eoe,
    /// The audit configuration was changed: a rule added or removed, by whom.
    ConfigChange,
    /// Any other type; none of them is an error.
    Other,
}

impl Kind {
    /// By the name auditd gives; a type newer than auditd is `UNKNOWN[NUMBER]`.
    fn from_name(name: &[u8]) -> Self {
        match name {
            b"SYSCALL" | b"UNKNOWN[1300]" => Self::Syscall,
            b"PATH" | b"UNKNOWN[1302]" => Self::Path,
            b"SOCKETCALL" | b"UNKNOWN[1304]" => Self::Socketcall,
            b"SOCKADDR" | b"UNKNOWN[1306]" => Self::Sockaddr,
            b"CWD" | b"UNKNOWN[1307]" => Self::Cwd,
            b"EXECVE" | b"UNKNOWN[1309]" => Self::Execve,
            b"EOE" | b"UNKNOWN[1320]" => Self::Eoe,
            b"PROCTITLE" | b"UNKNOWN[1327]" => Self::Proctitle,
            b"URINGOP" | b"UNKNOWN[1336]" => Self::Uringop,
            b"CONFIG_CHANGE" | b"UNKNOWN[1305]" => Self::ConfigChange,
            _ => Self::Other,
        }
    }
}

/// One line, its header read and its fields not yet.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The machine's name, where auditd's `name_format` is set.
    pub node: Option<&'a [u8]>,
    /// The event it belongs to.
    pub id: EventId,
    /// Its type.
    pub kind: Kind,
    body: &'a [u8],
}

/// Why a line is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What was expected and not there.
    pub expected: &'static str,
    /// The beginning of the line, escaped.
    pub line: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an audit record: {} expected in \"{}\"", self.expected, self.line)
    }
}

impl std::error::Error for Malformed {}

/// Reads the header of a line without its newline; allocates only where it fails.
///
/// # Errors
/// [`Malformed`] where the line does not begin with `[node=NAME ]type=NAME msg=audit(SECONDS.MILLIS:SERIAL):`.
pub fn parse(line: &[u8]) -> Result<Record<'_>, Malformed> {
    header(line).map_err(|expected| Malformed { expected, line: escape_bounded(line) })
}

fn header(line: &[u8]) -> Result<Record<'_>, &'static str> {
    let (node, rest) = match line.strip_prefix(b"node=") {
        Some(rest) => split_at(rest, b' ').map(|(node, rest)| (Some(node), rest)).ok_or("a space after node=")?,
        None => (None, line),
    };
    let rest = rest.strip_prefix(b"type=").ok_or("type=")?;
    let (name, rest) = split_at(rest, b' ').ok_or("a space after type=")?;
    let rest = rest.strip_prefix(b"msg=audit(").ok_or("msg=audit(")?;
    let (seconds, rest) = split_at(rest, b'.').ok_or("the seconds")?;
    let (milliseconds, rest) = split_at(rest, b':').ok_or("the milliseconds")?;
    let (serial, rest) = split_at(rest, b')').ok_or("the serial")?;
    let body = rest.strip_prefix(b":").ok_or("a colon after the event id")?;
    let seconds = decimal(seconds).ok_or("the seconds")?;
    let milliseconds = decimal(milliseconds).filter(|&part| part < 1000).ok_or("the milliseconds")?;
    let milliseconds = seconds
        .checked_mul(1000)
        .and_then(|whole| whole.checked_add(milliseconds))
        .filter(|&time| time <= MAX_MILLISECONDS)
        .ok_or("the seconds")?;
    let serial = decimal(serial).and_then(|serial| serial.try_into().ok()).ok_or("the serial")?;
    Ok(Record { node, id: EventId { milliseconds, serial }, kind: Kind::from_name(name), body })
}

/// The latest time a record may claim: so that it can be told in microseconds in 64 bits.
const MAX_MILLISECONDS: u64 = u64::MAX / 1000;

/// What stands before and behind the first `byte`. Headers are short: a loop beats a vector search.
#[inline]
fn split_at(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == byte)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Begins auditd's interpretations in the ENRICHED format.
const ENRICHED_SEPARATOR: u8 = 0x1D;

impl<'a> Record<'a> {
    /// The record's own fields and auditd's interpretations of them.
    #[inline]
    fn parts(&self) -> (Fields<'a>, &'a [u8]) {
        let end = memchr(ENRICHED_SEPARATOR, self.body).unwrap_or(self.body.len());
        let (own, enriched) = self.body.split_at(end);
        (Fields { rest: own }, enriched)
    }

    /// The `key` field of this record and of nothing else: a program that names itself `key="…"` has no say, since
    /// the kernel hides a quote or a space in a name. `None` where the record has no such field.
    #[must_use]
    pub fn key(&self) -> Option<Value<'a>> {
        let (mut fields, _) = self.parts();
        // The kernel writes it last (audit_log_exit, kernel/auditsc.c).
        let own = fields.rest.trim_ascii_end();
        let last = memrchr(b' ', own).map_or(own, |space| own.get(space + 1..).unwrap_or_default());
        if let Some(value) = last.strip_prefix(b"key=") {
            return Some(Value::new(value));
        }
        fields.find(|(name, _)| *name == b"key").map(|(_, value)| value)
    }

    /// Splits the fields by the record's type. Their values stay undecoded.
    #[must_use]
    pub fn data(&self) -> Data<'a> {
        match self.kind {
            Kind::Syscall => Data::Syscall(self.syscall()),
            Kind::Uringop => Data::Uringop(self.syscall()),
            Kind::Sockaddr => Data::Sockaddr(self.field(b"saddr")),
            Kind::Socketcall => Data::Socketcall { a0: self.field(b"a0") },
            Kind::Cwd => Data::Cwd(self.field(b"cwd")),
            Kind::Path => Data::Path(self.path()),
            Kind::Execve => Data::Execve(Execve { fields: self.parts().0 }),
            Kind::Proctitle => Data::Proctitle(self.field(b"proctitle")),
            Kind::Eoe => Data::Eoe,
            Kind::ConfigChange => Data::ConfigChange(self.config_change()),
            Kind::Other => Data::Other,
        }
    }

    fn field(&self, wanted: &[u8]) -> Value<'a> {
        self.parts().0.find(|(name, _)| *name == wanted).map_or(Value::default(), |(_, value)| value)
    }

    fn syscall(&self) -> Syscall<'a> {
        let (fields, enriched) = self.parts();
        let mut syscall = Syscall::default();
        for (name, value) in fields {
            let field = match name {
                b"arch" => &mut syscall.arch,
                b"syscall" => &mut syscall.syscall,
                b"uring_op" => &mut syscall.uring_op,
                b"success" => &mut syscall.success,
                b"exit" => &mut syscall.exit,
                b"a0" => &mut syscall.a0,
                b"ppid" => &mut syscall.ppid,
                b"pid" => &mut syscall.pid,
                b"auid" => &mut syscall.auid,
                b"uid" => &mut syscall.uid,
                b"gid" => &mut syscall.gid,
                b"euid" => &mut syscall.euid,
                b"egid" => &mut syscall.egid,
                b"tty" => &mut syscall.tty,
                b"ses" => &mut syscall.ses,
                b"comm" => &mut syscall.comm,
                b"exe" => &mut syscall.exe,
                b"key" => &mut syscall.key,
                _ => continue,
            };
            *field = value;
        }
        syscall.enriched = enriched;
        syscall
    }

    fn path(&self) -> Path<'a> {
        let mut path = Path::default();
        for (name, value) in self.parts().0 {
            match name {
                b"item" => path.item = value,
                b"inode" => path.inode = value,
                b"dev" => path.dev = value,
                b"mode" => path.mode = value,
                b"ouid" => path.ouid = value,
                b"ogid" => path.ogid = value,
                // Behind it the kernel writes only file capabilities.
                b"nametype" => break,
                _ => {}
            }
        }
        path
    }

    fn config_change(&self) -> ConfigChange<'a> {
        let mut change = ConfigChange::default();
        for (name, value) in self.parts().0 {
            match name {
                b"op" => change.op = value,
                b"key" => change.key = value,
                b"auid" => change.auid = value,
                b"res" => change.res = value,
                _ => {}
            }
        }
        change
    }
}

/// The fields of a record, split by its type.
#[derive(Clone, Debug)]
pub enum Data<'a> {
    /// SYSCALL.
    Syscall(Syscall<'a>),
    /// URINGOP: of a system call's fields those that the kernel knows there.
    Uringop(Syscall<'a>),
    /// `saddr` of SOCKADDR.
    Sockaddr(Value<'a>),
    /// SOCKETCALL.
    Socketcall {
        /// The first argument of the socket call itself: of `socket` the family.
        a0: Value<'a>,
    },
    /// `cwd` of CWD.
    Cwd(Value<'a>),
    /// PATH.
    Path(Path<'a>),
    /// EXECVE.
    Execve(Execve<'a>),
    /// `proctitle` of PROCTITLE.
    Proctitle(Value<'a>),
    /// EOE.
    Eoe,
    /// CONFIG_CHANGE.
    ConfigChange(ConfigChange<'a>),
    /// A type passed over.
    Other,
}

/// SYSCALL or URINGOP (`audit_log_task_info`, `audit_log_uring` in the kernel). Fields that are absent are empty.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub struct Syscall<'a> {
    pub arch: Value<'a>,
    pub syscall: Value<'a>,
    pub uring_op: Value<'a>,
    pub success: Value<'a>,
    pub exit: Value<'a>,
    pub a0: Value<'a>,
    pub ppid: Value<'a>,
    pub pid: Value<'a>,
    pub auid: Value<'a>,
    pub uid: Value<'a>,
    pub gid: Value<'a>,
    pub euid: Value<'a>,
    pub egid: Value<'a>,
    pub tty: Value<'a>,
    pub ses: Value<'a>,
    pub comm: Value<'a>,
    pub exe: Value<'a>,
    pub key: Value<'a>,
    enriched: &'a [u8],
}

impl<'a> Syscall<'a> {
    /// The login user's name, where auditd resolved it (ENRICHED) and found one.
    #[must_use]
    pub fn auid_name(&self) -> Option<&'a [u8]> {
        let mut fields = Fields { rest: self.enriched.get(1..)? };
        let (_, value) = fields.find(|(name, _)| *name == b"AUID")?;
        let name = value.written().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        (name != b"unset" && !name.starts_with(b"unknown(")).then_some(name)
    }
}

/// PATH (`audit_log_name` in the kernel).
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub struct Path<'a> {
    pub item: Value<'a>,
    pub inode: Value<'a>,
    pub dev: Value<'a>,
    pub mode: Value<'a>,
    pub ouid: Value<'a>,
    pub ogid: Value<'a>,
}

/// CONFIG_CHANGE (`audit_log_rule_change` in the kernel).
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub struct ConfigChange<'a> {
    pub op: Value<'a>,
    pub key: Value<'a>,
    pub auid: Value<'a>,
    pub res: Value<'a>,
}

/// EXECVE, or one of the records it was split into (`audit_log_execve_info` in the kernel).
#[derive(Clone, Debug)]
pub struct Execve<'a> {
    fields: Fields<'a>,
}

/// A piece of an argument: `aN="…"`, or `aN[M]="…"` where the argument is spread over records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// Which argument.
    pub argument: u32,
    /// Which piece of it, from 0.
    pub chunk: u32,
    /// Its text.
    pub value: Value<'a>,
}

impl<'a> Execve<'a> {
    /// The pieces of arguments in this record, as they come; `argc` and `aN_len` are passed over: no
    /// allocation hangs on a number.
    pub fn chunks(self) -> impl Iterator<Item = Chunk<'a>> {
        self.fields.filter_map(|(name, value)| {
            let number = name.strip_prefix(b"a")?;
            let (argument, chunk) = match number.strip_suffix(b"]") {
                Some(number) => split_at(number, b'[')?,
                None => (number, &b"0"[..]),
            };
            Some(Chunk {
                argument: decimal(argument)?.try_into().ok()?,
                chunk: decimal(chunk)?.try_into().ok()?,
                value,
            })
        })
    }
}

/// `name=value` by `name=value`. A value ends at a space, a quoted one at its quote; words without `=` are passed over.
#[derive(Clone, Debug)]
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.trim_ascii_start();
            if rest.is_empty() {
                return None;
            }
            // Names are a few bytes: a loop beats a vector search.
            let at = rest.iter().position(|&byte| byte == b'=' || byte == b' ').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(at);
            let Some((b'=', rest)) = rest.split_first() else {
                self.rest = rest;
                continue;
            };
            let length = match rest.split_first() {
                Some((b'"', text)) => memchr(b'"', text).map_or(rest.len(), |quote| quote + 2),
                _ => memchr(b' ', rest).unwrap_or(rest.len()),
            };
            let (value, rest) = rest.split_at_checked(length)?;
            self.rest = rest;
            return Some((name, Value::new(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Record<'_> {
        parse(line.as_bytes()).unwrap()
    }

    fn syscall(line: &str) -> Syscall<'_> {
        match parsed(line).data() {
            Data::Syscall(syscall) | Data::Uringop(syscall) => syscall,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn headers() {
        let record = parsed("type=EOE msg=audit(1795345120.740:1623): ");
        assert_eq!(record.id, EventId { milliseconds: 1_795_345_120_740, serial: 1623 });
        assert_eq!((record.kind, record.node), (Kind::Eoe, None));
        let record = parsed("node=vm type=UNKNOWN[1336] msg=audit(0.001:4294967295):");
        assert_eq!((record.kind, record.node), (Kind::Uringop, Some(&b"vm"[..])));
        assert_eq!(record.id, EventId { milliseconds: 1, serial: u32::MAX });
        assert_eq!(parsed("type=NEVER_HEARD_OF msg=audit(1.0:1): a=b").kind, Kind::Other);
    }

    #[test]
    fn what_is_no_header_says_so() {
        let table = [
            ("", "type="),
            ("node=vm", "a space after node="),
            ("node=vm node=vm type=EOE msg=audit(1.0:1):", "type="),
            ("type=EOE", "a space after type="),
            ("type=EOE  msg=audit(1.0:1):", "msg=audit("),
            ("type=EOE msg=audit(16523210---):", "the seconds"),
            ("type=EOE msg=audit(1.1000:1):", "the milliseconds"),
            ("type=EOE msg=audit(1.000:4294967296):", "the serial"),
            ("type=EOE msg=audit(1.000:-1):", "the serial"),
            ("type=EOE msg=audit(99999999999999999999.000:1):", "the seconds"),
            ("type=EOE msg=audit(18446744073709551.000:1):", "the seconds"),
            ("type=EOE msg=audit(1.000:1)", "a colon after the event id"),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line.as_bytes()).unwrap_err().expected, expected, "{line}");
        }
        let error = parse(&[0xFF; 300]).unwrap_err().to_string();
        assert!(error.len() < 400 && error.is_ascii() || error.contains('…'), "{error}");
    }

    #[test]
    fn fields_of_a_system_call() {
        let syscall = syscall(concat!(
            "type=SYSCALL msg=audit(1.000:1):  arch=c000003e syscall=42 per=8 success=no exit=-111 a0=3 junk ppid=1 pid=2 ",
            "auid=1000 uid=0 tty=pts0 ses=4 comm=6120622063 exe=\"/bin/x\" subj==unconfined key=\"opensnitch\"",
            "\x1dARCH=x86_64 SYSCALL=connect AUID=\"alice\" UID=\"root\""
        ));
        assert_eq!(syscall.arch.hexadecimal(), Some(0xc000_003e));
        assert_eq!(syscall.exit.signed(), Some(-111));
        assert_eq!(syscall.a0.hexadecimal(), Some(3));
        assert_eq!(syscall.comm.text().as_deref(), Some(&b"a b c"[..]));
        assert_eq!(syscall.exe.text().as_deref(), Some(&b"/bin/x"[..]));
        assert_eq!(syscall.key.text().as_deref(), Some(&b"opensnitch"[..]));
        assert_eq!(syscall.gid.unsigned::<u32>(), None);
        assert_eq!(syscall.auid_name(), Some(&b"alice"[..]));
    }

    #[test]
    fn a_name_that_auditd_did_not_find_is_none() {
        for name in ["\"unset\"", "\"unknown(1000)\"", "unset", ""] {
            let line = format!("type=SYSCALL msg=audit(1.000:1): auid=1000\x1dAUID={name}");
            assert_eq!(syscall(&line).auid_name(), None, "{name}");
        }
        assert_eq!(syscall("type=SYSCALL msg=audit(1.000:1): auid=1 AUID=\"me\"").auid_name(), None);
    }

    #[test]
    fn only_the_own_key_counts() {
        let table: &[(&str, Option<&str>)] = &[
            ("comm=\"x\" key=\"ours\"", Some("\"ours\"")),
            ("comm=\"x\" key=\"ours\" ", Some("\"ours\"")),
            ("comm=\"x\" key=(null)\x1dkey=\"ours\"", Some("(null)")),
            ("key=\"first\" subj=x", Some("\"first\"")),
            ("comm=\"x\" monkey=\"ours\"", None),
            ("a1=\"key=ours\"", None),
            ("a1=\"two words key=ours\" b=c", None),
            ("", None),
        ];
        for (fields, key) in table {
            let line = format!("type=SYSCALL msg=audit(1.000:1): {fields}");
            assert_eq!(parsed(&line).key(), key.map(|key| Value::new(key.as_bytes())), "{fields}");
        }
    }

    #[test]
    fn pieces_of_arguments() {
        let line = "type=EXECVE msg=audit(1.0:1):  a1[2]=4243 argc=3 a2_len=8 a2[0]=\"x\" a12=\"y\" a=1 ab=2 a1[=3 a99999999999=4";
        let Data::Execve(execve) = parsed(line).data() else { panic!() };
        let chunks: Vec<_> = execve.chunks().map(|c| (c.argument, c.chunk, c.value.written())).collect();
        assert_eq!(chunks, [(1, 2, &b"4243"[..]), (2, 0, b"\"x\""), (12, 0, b"\"y\"")]);
    }
}
