//! Events: what one process did, from all records that share an event id.

use crate::args::Args;
use crate::record::{EventId, Kind, field};
use crate::sockaddr::{Address, ByteOrder, Family, Sockaddr};
use crate::tables::{Arch, EINPROGRESS, EventType, MSG_FASTOPEN, Protocol, SocketType, socketcall};
use crate::value::Value;
use crate::who::{Bytes, Call, Subject, Who};

/// Where a record of an event stands in its text.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    /// Behind its header.
    pub(crate) body: usize,
    /// Before auditd's interpretations.
    pub(crate) own_end: usize,
    pub(crate) end: usize,
}

/// The records of one event, one behind the other, a newline behind each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Records<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) parts: &'a [Part],
}

impl<'a> Records<'a> {
    /// The own texts of the records of that kind.
    pub(crate) fn all(self, kind: Kind) -> impl Iterator<Item = &'a [u8]> {
        self.parts.iter().filter(move |part| part.kind == kind).map(move |part| self.own(part))
    }

    pub(crate) fn first(self, kind: Kind) -> Option<&'a [u8]> {
        self.all(kind).next()
    }

    pub(crate) fn own(self, part: &Part) -> &'a [u8] {
        self.text.get(part.body..part.own_end).unwrap_or_default()
    }

    pub(crate) fn interpretations(self, part: &Part) -> &'a [u8] {
        self.text.get(part.own_end..part.end).and_then(|text| text.get(1..)).unwrap_or_default()
    }
}

/// One finished event, borrowed from the [`Assembler`](crate::Assembler). Absent means unknown: nothing is made up.
///
/// It holds the records as they came; each question decodes what it needs.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub(crate) id: EventId,
    pub(crate) records: Records<'a>,
    /// Of SYSCALL.
    pub(crate) call: Option<Call<'a>>,
    /// Of the last URINGOP under the key: an operation that would block is tried again and reported again.
    pub(crate) uringop: Option<Uringop<'a>>,
    pub(crate) event_type: Option<EventType>,
    pub(crate) who: Who<'a>,
    pub(crate) args: Option<Args>,
    pub(crate) keep_raw: bool,
    pub(crate) is_whole: bool,
}

/// What URINGOP says of its operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uringop<'a> {
    pub(crate) success: Value<'a>,
    pub(crate) exit: Value<'a>,
    /// No other one under the key came to an end in the same system call.
    pub(crate) is_one: bool,
}

/// The file of PATH item 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct File {
    /// Inode number.
    pub inode: Option<u64>,
    /// Device, `major:minor` in hexadecimal as written.
    pub dev: Option<Bytes>,
    /// Type and permissions, octal as written.
    pub mode: Option<Bytes>,
    /// Owner.
    pub ouid: Option<u32>,
    /// Group.
    pub ogid: Option<u32>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Success,
    /// A non-blocking connect that is being made: `success=no exit=-115` is no failure.
    InProgress,
    /// Failed with this error number, where the record tells one.
    Failure(Option<i32>),
}

impl Outcome {
    /// Of a call that succeeded or not, and returned that.
    #[must_use]
    pub fn of(success: bool, exit: Option<i64>) -> Self {
        let error = exit.filter(|exit| *exit < 0).and_then(|exit| i32::try_from(exit.checked_neg()?).ok());
        match (success, error) {
            (true, _) => Self::Success,
            (false, Some(EINPROGRESS)) => Self::InProgress,
            (false, error) => Self::Failure(error),
        }
    }
}

/// A rule under the key was added or removed (CONFIG_CHANGE).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleChange {
    /// What was done: `add_rule`, `remove_rule`.
    pub op: Option<Bytes>,
    /// By whom, as far as the event tells.
    pub subject: Subject<'static>,
}

impl<'a> Event<'a> {
    /// When, and the kernel's number of it.
    #[must_use]
    pub const fn id(&self) -> EventId {
        self.id
    }

    /// What was done; `None` for a system call that is none of [`EventType`].
    #[must_use]
    pub const fn event_type(&self) -> Option<EventType> {
        self.event_type
    }

    /// The architecture the process called the kernel with.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        self.call.as_ref()?.arch
    }

    /// The number of the system call on that architecture; of an operation of io_uring the call that submitted it.
    #[must_use]
    pub fn syscall(&self) -> Option<u32> {
        self.call.as_ref()?.syscall
    }

    /// Whether it succeeded; of an io_uring operation its own result.
    #[must_use]
    pub fn success(&self) -> Option<bool> {
        let [success, _] = self.result()?;
        success.truth()
    }

    /// What it returned: a file descriptor, 0, or a negative error number.
    #[must_use]
    pub fn exit(&self) -> Option<i64> {
        let [_, exit] = self.result()?;
        exit.signed()
    }

    /// How it ended, as far as the records tell.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        Some(Outcome::of(self.success()?, self.exit()))
    }

    /// The descriptor: of `socket` and `accept` the new one, of `connect`, `bind` and `send` the one used. io_uring tells
    /// none.
    #[must_use]
    pub fn fd(&self) -> Option<i32> {
        match self.event_type.filter(|_| self.uringop.is_none())? {
            EventType::Socket | EventType::Accept => self.exit()?.try_into().ok().filter(|fd| *fd >= 0),
            EventType::Connect | EventType::Bind | EventType::Send => as_int(self.argument(0)?),
            EventType::Socketpair | EventType::Execve => None,
        }
    }

    /// The type of the socket: of `socket` and `socketpair`, from their own arguments.
    #[must_use]
    pub fn socket_type(&self) -> Option<SocketType> {
        self.makes_socket().then(|| self.argument(1))?.map(SocketType::of_argument)
    }

    /// What the socket speaks: of `socket` and `socketpair`, from their own arguments.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        let number = self.makes_socket().then(|| self.argument(2))??;
        let number = u32::try_from(number & 0xFFFF_FFFF).ok()?;
        Some(Protocol { family: self.family()?, socket_type: self.socket_type()?, number })
    }

    /// The socket's address family: of `socket` and `socketpair` from their own arguments, else from the address.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        if matches!(self.event_type, Some(EventType::Socket | EventType::Socketpair)) {
            // Of an operation of io_uring no record tells it.
            let domain = self.makes_socket().then(|| self.argument(0))??;
            // socket(2) takes an int: of the register only its lower half counts.
            return u16::try_from(domain & 0xFFFF_FFFF).ok().map(Family);
        }
        self.sockaddr().map(|sockaddr| sockaddr.family)
    }

    /// The address it was connected or bound to, sent to or accepted from.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        self.sockaddr()?.address
    }

    /// SOCKADDR, decoded: [`family`](Self::family) and [`address`](Self::address) of a call that takes an address, at once.
    /// Absent too where one system call named several addresses and the record may have another's.
    #[must_use]
    pub fn sockaddr(&self) -> Option<Sockaddr> {
        if !self.has_own_address() {
            return None;
        }
        let own = self.records.first(Kind::Sockaddr)?;
        // What is decoded ends where the digits do: where the value ends need not be looked for.
        let saddr = match own.strip_prefix(b" saddr=") {
            Some(rest) => Value::new(rest),
            None => field(own, b"saddr"),
        };
        Sockaddr::decode(saddr, self.arch().map_or(ByteOrder::Little, Arch::byte_order))
    }

    /// PATH item 0: of execve the program's file, of a local socket its file.
    #[must_use]
    pub fn file(&self) -> Option<File> {
        let own = self.records.first(Kind::Path)?;
        let value = |name: &[u8]| field(own, name);
        Some(File {
            inode: value(b"inode").unsigned(),
            dev: value(b"dev").word().map(Bytes::from),
            mode: value(b"mode").word().map(Bytes::from),
            ouid: value(b"ouid").id(),
            ogid: value(b"ogid").id(),
        })
    }

    /// The arguments of an execve, from its EXECVE records; [empty](Args::is_empty) where the program was started without
    /// any. What other events tell of them is [`Who::title`].
    #[must_use]
    pub fn args(&self) -> Option<Args> {
        self.args.clone()
    }

    /// The records as received, one a line, where the assembler was told to keep them.
    #[must_use]
    pub fn raw(&self) -> Option<&'a [u8]> {
        let text = self.records.text;
        self.keep_raw.then(|| text.strip_suffix(b"\n").unwrap_or(text))
    }

    /// Who did it.
    #[must_use]
    pub const fn who(&self) -> Who<'a> {
        self.who
    }

    /// Whether all of it came: the record that says who did it, and the end of the event (EOE).
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// `success` and `exit`.
    fn result(&self) -> Option<[Value<'a>; 2]> {
        let of_uringop = self.uringop.map(|uringop| [uringop.success, uringop.exit]);
        of_uringop.or(self.call.as_ref().map(|call| [call.success, call.exit]))
    }

    /// It is a `socket` or a `socketpair` whose arguments are told.
    fn makes_socket(&self) -> bool {
        self.uringop.is_none() && matches!(self.event_type, Some(EventType::Socket | EventType::Socketpair))
    }

    /// The kernel keeps the address that a system call named last: of several operations of a ring, or of several messages,
    /// that may be another's than the one that is told.
    fn has_own_address(&self) -> bool {
        match self.uringop {
            Some(uringop) => uringop.is_one,
            None if self.event_type == Some(EventType::Send) && self.is_sendmmsg() => self.is_of_last_message(),
            None => true,
        }
    }

    fn is_sendmmsg(&self) -> bool {
        let Some((call, arch)) = self.call.as_ref().zip(self.arch()) else { return false };
        let number = call.syscall;
        match arch.socketcall() == number {
            true => call.a0.hexadecimal() == Some(socketcall::SENDMMSG.into()),
            false => number.and_then(|number| arch.syscall_name(number)) == Some("sendmmsg"),
        }
    }

    /// Of `sendmmsg`: that the last message it looked at is the one whose result is told. A message that failed behind others
    /// is not; and of a Fast Open the first message connects, whatever address stands in the second.
    fn is_of_last_message(&self) -> bool {
        let int = |index| self.argument(index).map(|value| value & 0xFFFF_FFFF);
        let (Some(messages), Some(exit)) = (int(2), self.exit()) else { return false };
        let fast_open = int(3).is_none_or(|flags| flags & MSG_FASTOPEN != 0);
        messages == 1 || exit < 0 || (u64::try_from(exit) == Ok(messages) && !fast_open)
    }

    /// An argument of the socket call itself, be it made directly or through `socketcall`.
    fn argument(&self, index: u8) -> Option<u64> {
        let call = self.call.as_ref()?;
        if call.arch?.socketcall() == Some(call.syscall?) {
            let own = self.records.first(Kind::Socketcall)?;
            return field(own, [b'a', b'0' + index].as_slice()).hexadecimal();
        }
        let value: &Value<'_> = match index {
            0 => &call.a0,
            1 => &call.a1,
            2 => &call.a2,
            _ => &call.a3,
        };
        value.hexadecimal()
    }
}

/// An int as a register holds it: its lower half.
fn as_int(register: u64) -> Option<i32> {
    u32::try_from(register & 0xFFFF_FFFF).ok().map(u32::cast_signed).filter(|fd| *fd >= 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Assembler;

    /// What `ask` finds in the event of these records.
    #[track_caller]
    fn ask<T>(records: &[&str], ask: impl Fn(&Event<'_>) -> T) -> T {
        let mut assembler = Assembler::new("", false);
        let mut found = Vec::new();
        for record in records {
            let (name, text) = record.split_once(' ').unwrap_or((record, ""));
            let line = format!("type={name} msg=audit(1.000:1): {text}");
            assembler.push(line.as_bytes(), Duration::ZERO, &mut |event| found.push(ask(&event)));
        }
        assembler.finish_all(&mut |event| found.push(ask(&event)));
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    fn syscall(arch: Arch, name: &str, fields: &str) -> String {
        format!(
            "SYSCALL arch={:x} syscall={} {fields} items=0 ppid=1 pid=2 key=\"k\"",
            arch.0,
            arch.syscall_number(name).unwrap()
        )
    }

    #[test]
    fn descriptors() {
        let table = [
            ("socket", "success=yes exit=5 a0=2 a1=1 a2=0 a3=0", Some(5)),
            ("socket", "success=no exit=-24 a0=2 a1=1 a2=0 a3=0", None),
            ("accept", "success=yes exit=7 a0=3 a1=0 a2=0 a3=0", Some(7)),
            ("connect", "success=no exit=-115 a0=3 a1=7ffe a2=10 a3=0", Some(3)),
            ("connect", "success=no exit=-9 a0=ffffffff a1=7ffe a2=10 a3=0", None),
            ("connect", "a0=ffffffff00000004 a1=0", Some(4)),
            ("bind", "a0=a", Some(10)),
            ("sendto", "success=yes exit=4 a0=6 a1=0 a2=4 a3=0", Some(6)),
            ("socketpair", "success=yes exit=0 a0=1 a1=1 a2=0 a3=7ffe", None),
            ("execve", "success=yes exit=0 a0=55 a1=0 a2=0 a3=0", None),
            ("connect", "", None),
        ];
        for (name, fields, fd) in table {
            assert_eq!(ask(&[&syscall(Arch::X86_64, name, fields)], |event| event.fd()), fd, "{name} {fields}");
        }
        let call = |number: u32| {
            syscall(Arch::I386, "socketcall", &format!("success=yes exit=9 a0={number:x} a1=7ffe a2=0 a3=0"))
        };
        assert_eq!(ask(&[&call(1), "SOCKETCALL nargs=3 a0=2 a1=1 a2=6"], |event| event.fd()), Some(9));
        assert_eq!(ask(&[&call(3), "SOCKETCALL nargs=3 a0=4 a1=7ffe a2=10"], |event| event.fd()), Some(4));
        assert_eq!(ask(&[&call(3)], |event| event.fd()), None);
    }

    #[test]
    fn sockets_say_what_they_are() {
        let what = |event: &Event<'_>| {
            let (socket_type, protocol) = (event.socket_type(), event.protocol());
            (event.family().map(|one| one.0), socket_type.and_then(SocketType::name), protocol.and_then(Protocol::name))
        };
        let direct = |name, fields| ask(&[&syscall(Arch::X86_64, name, fields)], what);
        assert_eq!(direct("socket", "a0=2 a1=80801 a2=0 a3=0"), (Some(2), Some("stream"), Some("tcp")));
        assert_eq!(direct("socket", "a0=a a1=2 a2=88 a3=0"), (Some(10), Some("dgram"), Some("udplite")));
        assert_eq!(direct("socketpair", "a0=1 a1=1 a2=0 a3=7ffe"), (Some(1), Some("stream"), None));
        assert_eq!(direct("connect", "a0=2 a1=1 a2=0 a3=0"), (None, None, None));
        let call = syscall(Arch::S390X, "socketcall", "a0=1 a1=7ffe a2=0 a3=0");
        assert_eq!(ask(&[&call, "SOCKETCALL nargs=3 a0=2 a1=2 a2=0"], what), (Some(2), Some("dgram"), Some("udp")));
        assert_eq!(ask(&[&call], what), (None, None, None));
        let uring = ["URINGOP uring_op=45 success=yes exit=3 items=0 ppid=1 pid=2 key=\"k\""];
        assert_eq!(ask(&uring, what), (None, None, None));
        assert_eq!(ask(&uring, |event| event.fd()), None);
    }

    #[test]
    fn outcomes() {
        let outcome = |fields| ask(&[&syscall(Arch::X86_64, "connect", fields)], |event| event.outcome());
        assert_eq!(outcome("success=yes exit=0"), Some(Outcome::Success));
        assert_eq!(outcome("success=no exit=-115"), Some(Outcome::InProgress));
        assert_eq!(outcome("success=no exit=-111"), Some(Outcome::Failure(Some(111))));
        assert_eq!(outcome("success=no"), Some(Outcome::Failure(None)));
        assert_eq!(outcome("success=no exit=-9223372036854775808"), Some(Outcome::Failure(None)));
        assert_eq!(outcome("exit=-111"), None);
    }

    #[test]
    fn an_operation_of_io_uring_has_its_own_result() {
        let enter = syscall(Arch::X86_64, "io_uring_enter", "success=yes exit=1 a0=3 a1=1 a2=0 a3=0");
        let uring = |exit: &str| format!("URINGOP uring_op=16 {exit} items=0 ppid=1 pid=2 key=\"k\"");
        let records =
            [&*uring("success=no exit=-11"), &uring("success=yes exit=0"), &enter, "SOCKADDR saddr=020001BBC0000201"];
        let what = |event: &Event<'_>| (event.event_type(), event.success(), event.exit(), event.syscall());
        assert_eq!(ask(&records, what), (Some(EventType::Connect), Some(true), Some(0), Some(426)));
        assert_eq!(ask(&records, |event| event.address().unwrap().ip().unwrap().1), 443);
    }

    const TO: &str = "SOCKADDR saddr=020001BBC0000201";

    #[test]
    fn of_several_operations_nobody_knows_whose_the_address_is() {
        let enter = syscall(Arch::X86_64, "io_uring_enter", "success=yes exit=2 a0=3 a1=2 a2=2 a3=1");
        let uring =
            |op: u32, exit: i32| format!("URINGOP uring_op={op} success=yes exit={exit} items=0 pid=2 key=\"k\"");
        let (connect, again, send) = (uring(16, 0), uring(16, -11), uring(9, 5));
        let table: [(&[&str], EventType, bool); 8] = [
            (&[&connect], EventType::Connect, true),
            (&[&again], EventType::Connect, true),
            (&[&again, &connect], EventType::Connect, true),
            (&[&connect, &connect], EventType::Connect, false),
            (&[&again, &again], EventType::Connect, false),
            (&[&again, &again, &connect, &connect], EventType::Connect, false),
            // What is sent beside a connect neither takes its place nor its address.
            (&[&send, &send, &connect, &send], EventType::Connect, true),
            (&[&send, &send], EventType::Send, false),
        ];
        for (operations, event_type, has_address) in table {
            let records = [operations, &[&enter, TO]].concat();
            let found = ask(&records, |event| (event.event_type(), event.address().is_some()));
            assert_eq!(found, (Some(event_type), has_address), "{operations:?}");
        }
    }

    #[test]
    fn of_several_messages_the_last_has_the_address() {
        let direct = |fields: &str| syscall(Arch::X86_64, "sendmmsg", fields);
        let by_socketcall =
            |exit: i32| syscall(Arch::I386, "socketcall", &format!("exit={exit} a0=14 a1=7ffe a2=0 a3=0"));
        let has_address = |records: &[&str]| ask(&[records, &[TO]].concat(), |event| event.address().is_some());
        let table = [
            ("exit=1 a0=3 a1=7ffe a2=1 a3=0", true),
            ("exit=1 a0=3 a1=7ffe a2=1 a3=20000000", true),
            ("exit=2 a0=3 a1=7ffe a2=2 a3=0", true),
            ("exit=-111 a0=3 a1=7ffe a2=2 a3=20000000", true),
            ("exit=1 a0=3 a1=7ffe a2=2 a3=0", false),
            // Also where the other half of the register says something else.
            ("exit=1 a0=3 a1=7ffe a2=ffffffff00000002 a3=0", false),
            ("exit=2 a0=3 a1=7ffe a2=2 a3=20000000", false),
            ("exit=2 a0=3 a1=7ffe a2=2 a3=ffffffff20004000", false),
            ("a0=3 a1=7ffe a2=2 a3=0", false),
        ];
        for (fields, expected) in table {
            assert_eq!(has_address(&[&direct(fields)]), expected, "{fields}");
        }
        assert!(has_address(&[&by_socketcall(2), "SOCKETCALL nargs=4 a0=3 a1=7ffe a2=2 a3=0"]));
        assert!(!has_address(&[&by_socketcall(1), "SOCKETCALL nargs=4 a0=3 a1=7ffe a2=2 a3=0"]));
        assert!(!has_address(&[&by_socketcall(1)]));
        assert!(has_address(&[&syscall(Arch::X86_64, "sendmsg", "exit=1 a0=3 a1=7ffe a2=20000000 a3=0")]));
    }

    #[test]
    fn the_first_file_is_the_object() {
        let records = [
            &*syscall(Arch::X86_64, "execve", ""),
            "PATH item=1 name=\"/lib/ld\" inode=7 dev=fe:00 mode=0100755 ouid=1 ogid=1 nametype=NORMAL",
            "PATH item=0 name=\"/bin/x\" inode=5 dev=fe:01 mode=0100755 ouid=0 ogid=4294967295 nametype=NORMAL",
        ];
        let file = ask(&records, |event| event.file()).unwrap();
        let expected = File {
            inode: Some(5),
            dev: Some((*b"fe:01").into()),
            mode: Some((*b"0100755").into()),
            ouid: Some(0),
            ogid: None,
        };
        assert_eq!(file, expected);
        assert_eq!(ask(&records[..2], |event| event.file()), None);
    }

    #[test]
    fn the_address_is_in_the_order_of_its_machine() {
        for (arch, saddr) in [(Arch::S390X, "0002005 07F000001"), (Arch::X86_64, "02000050 7F000001")] {
            let saddr = format!("SOCKADDR saddr={}", saddr.replace(' ', ""));
            let address = ask(&[&syscall(arch, "connect", ""), &saddr], |event| event.address());
            assert_eq!(address, Some(Address::Inet([127, 0, 0, 1].into(), 80)));
        }
    }
}
