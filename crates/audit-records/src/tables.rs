//! The numbers of the kernel's interfaces, and their names.

use syscalls::{Errno, aarch64, arm, loongarch64, powerpc64, riscv64, s390x, x86, x86_64};

use crate::sockaddr::{ByteOrder, Family};

/// The architecture of a record: `AUDIT_ARCH_…` of the kernel's include/uapi/linux/audit.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Arch(
    /// The number, as `arch=` has it in hexadecimal.
    pub u32,
);

impl Arch {
    /// 64-bit x86, the x32 calls included.
    pub const X86_64: Self = Self(0xc000_003e);
    /// 32-bit x86.
    pub const I386: Self = Self(0x4000_0003);
    /// 32-bit Arm, little-endian.
    pub const ARM: Self = Self(0x4000_0028);
    /// 64-bit Arm, little-endian.
    pub const AARCH64: Self = Self(0xc000_00b7);
    /// 64-bit RISC-V.
    pub const RISCV64: Self = Self(0xc000_00f3);
    /// 64-bit IBM Z, big-endian.
    pub const S390X: Self = Self(0x8000_0016);
    /// 64-bit POWER, little-endian.
    pub const PPC64LE: Self = Self(0xc000_0015);
    /// 64-bit LoongArch.
    pub const LOONGARCH64: Self = Self(0xc000_0102);

    /// Those whose system calls are known here.
    pub const ALL: [Self; 8] = [
        Self::X86_64,
        Self::I386,
        Self::ARM,
        Self::AARCH64,
        Self::RISCV64,
        Self::S390X,
        Self::PPC64LE,
        Self::LOONGARCH64,
    ];

    /// Its name as auditd writes it (`ARCH=`); `None` for one without a table here.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::ARM => "arm",
            Self::AARCH64 => "aarch64",
            Self::RISCV64 => "riscv64",
            Self::S390X => "s390x",
            Self::PPC64LE => "ppc64le",
            Self::LOONGARCH64 => "loongarch64",
            _ => return None,
        })
    }

    /// The architecture with that [`name`](Self::name).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == Some(name))
    }

    /// The order of bytes of that machine: the `__AUDIT_ARCH_LE` bit.
    #[must_use]
    pub const fn byte_order(self) -> ByteOrder {
        if self.0 & 0x4000_0000 == 0 { ByteOrder::Big } else { ByteOrder::Little }
    }

    /// The name of the system call with that number there, as the man pages write it.
    ///
    /// ```
    /// use audit_records::Arch;
    ///
    /// assert_eq!(Arch::X86_64.syscall_name(42), Some("connect"));
    /// assert_eq!(Arch::X86_64.syscall_name(0x4000_002a), Some("connect")); // called as x32
    /// assert_eq!(Arch::I386.syscall_name(17), Some("break"));
    /// ```
    #[must_use]
    pub fn syscall_name(self, number: u32) -> Option<&'static str> {
        if self == Self::X86_64 && number & X32_BIT != 0 {
            return x32_name(number & !X32_BIT);
        }
        let number = usize::try_from(number).ok()?;
        let name = match self {
            Self::X86_64 => x86_64::Sysno::new(number)?.name(),
            Self::I386 => x86::Sysno::new(number)?.name(),
            Self::ARM => arm::Sysno::new(number)?.name(),
            Self::AARCH64 => aarch64::Sysno::new(number)?.name(),
            Self::RISCV64 => riscv64::Sysno::new(number)?.name(),
            Self::S390X => s390x::Sysno::new(number)?.name(),
            Self::PPC64LE => powerpc64::Sysno::new(number)?.name(),
            Self::LOONGARCH64 => loongarch64::Sysno::new(number)?.name(),
            _ => return None,
        };
        // Where a call is named like a word of Rust the crate `syscalls` says so.
        Some(name.strip_prefix("r#").unwrap_or(name))
    }

    /// The number of the system call with that name there; of x32 none is given.
    #[must_use]
    pub fn syscall_number(self, name: &str) -> Option<u32> {
        let name = if name == "break" { "r#break" } else { name };
        let id = match self {
            Self::X86_64 => name.parse::<x86_64::Sysno>().ok()?.id(),
            Self::I386 => name.parse::<x86::Sysno>().ok()?.id(),
            Self::ARM => name.parse::<arm::Sysno>().ok()?.id(),
            Self::AARCH64 => name.parse::<aarch64::Sysno>().ok()?.id(),
            Self::RISCV64 => name.parse::<riscv64::Sysno>().ok()?.id(),
            Self::S390X => name.parse::<s390x::Sysno>().ok()?.id(),
            Self::PPC64LE => name.parse::<powerpc64::Sysno>().ok()?.id(),
            Self::LOONGARCH64 => name.parse::<loongarch64::Sysno>().ok()?.id(),
            _ => return None,
        };
        id.try_into().ok()
    }

    /// What this architecture's own calls do, by number.
    const fn calls(self) -> &'static [(u32, EventType)] {
        match self {
            Self::X86_64 => X86_64_CALLS,
            Self::I386 => I386_CALLS,
            Self::ARM => ARM_CALLS,
            Self::AARCH64 => AARCH64_CALLS,
            Self::RISCV64 => RISCV64_CALLS,
            Self::S390X => S390X_CALLS,
            Self::PPC64LE => PPC64LE_CALLS,
            Self::LOONGARCH64 => LOONGARCH64_CALLS,
            _ => &[],
        }
    }

    /// The number of `socketcall`, behind which programs of three architectures can hide all socket calls.
    pub(crate) const fn socketcall(self) -> Option<u32> {
        match self {
            Self::I386 | Self::S390X | Self::PPC64LE => Some(102),
            _ => None,
        }
    }
}

/// Marks a call as x32: `__X32_SYSCALL_BIT`, arch/x86/include/uapi/asm/unistd.h of the kernel.
const X32_BIT: u32 = 0x4000_0000;

/// The x32 calls with a number of their own, from 512 on: arch/x86/entry/syscalls/syscall_64.tbl of the kernel.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// All other x32 calls have the numbers of x86_64.
fn x32_name(number: u32) -> Option<&'static str> {
    match number.checked_sub(512) {
        Some(own) => X32_OWN.get(usize::try_from(own).ok()?).copied(),
        None => Arch::X86_64.syscall_name(number),
    }
}

/// What the process did, whichever way it called the kernel: directly, through `socketcall`, or through io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum EventType {
    /// Made a socket.
    Socket,
    /// Connected one to an address.
    Connect,
    /// Made a pair of connected sockets.
    Socketpair,
    /// Gave a socket its own address.
    Bind,
    /// Started another program in this process.
    Execve,
    /// Sent a message, perhaps to an address (sendto, sendmsg, sendmmsg); a TCP Fast Open connects by it.
    Send,
    /// Took a connection that somebody else made (accept, accept4).
    Accept,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Socket, Self::Connect, Self::Socketpair, Self::Bind, Self::Execve, Self::Send, Self::Accept];

    /// Its name: that of the simplest system call that does it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Connect => "connect",
            Self::Socketpair => "socketpair",
            Self::Bind => "bind",
            Self::Execve => "execve",
            Self::Send => "send",
            Self::Accept => "accept",
        }
    }

    /// The type with that [`name`](Self::name).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The system calls that do it directly. Not every architecture has each: see [`Arch::syscall_number`].
    #[must_use]
    pub const fn syscalls(self) -> &'static [&'static str] {
        match self {
            Self::Socket => &["socket"],
            Self::Connect => &["connect"],
            Self::Socketpair => &["socketpair"],
            Self::Bind => &["bind"],
            Self::Execve => &["execve", "execveat"],
            Self::Send => &["sendto", "sendmsg", "sendmmsg"],
            Self::Accept => &["accept", "accept4"],
        }
    }

    /// The first arguments of `socketcall` that do it.
    #[must_use]
    pub const fn socketcalls(self) -> &'static [u32] {
        match self {
            Self::Socket => &[socketcall::SOCKET],
            Self::Connect => &[socketcall::CONNECT],
            Self::Socketpair => &[socketcall::SOCKETPAIR],
            Self::Bind => &[socketcall::BIND],
            Self::Execve => &[],
            Self::Send => &[socketcall::SENDTO, socketcall::SENDMSG, socketcall::SENDMMSG],
            Self::Accept => &[socketcall::ACCEPT, socketcall::ACCEPT4],
        }
    }

    /// The operations of io_uring that do it.
    #[must_use]
    pub const fn uring_ops(self) -> &'static [u32] {
        match self {
            Self::Socket => &[uring_op::SOCKET],
            Self::Connect => &[uring_op::CONNECT],
            Self::Bind => &[uring_op::BIND],
            Self::Send => &[uring_op::SENDMSG, uring_op::SEND, uring_op::SEND_ZC, uring_op::SENDMSG_ZC],
            Self::Accept => &[uring_op::ACCEPT],
            Self::Socketpair | Self::Execve => &[],
        }
    }

    /// Of a system call: its architecture, its number there and its first argument, which counts for `socketcall` alone.
    ///
    /// ```
    /// use audit_records::{Arch, EventType};
    ///
    /// assert_eq!(EventType::of_syscall(Arch::I386, 362, None), Some(EventType::Connect));
    /// assert_eq!(EventType::of_syscall(Arch::I386, 102, Some(3)), Some(EventType::Connect));
    /// ```
    #[must_use]
    pub fn of_syscall(arch: Arch, number: u32, a0: Option<u64>) -> Option<Self> {
        if arch.socketcall() == Some(number) {
            let call = u32::try_from(a0?).ok()?;
            return Self::ALL.into_iter().find(|one| one.socketcalls().contains(&call));
        }
        if arch == Arch::X86_64 && number & X32_BIT != 0 {
            let name = x32_name(number & !X32_BIT)?;
            return Self::ALL.into_iter().find(|one| one.syscalls().contains(&name));
        }
        arch.calls().iter().find(|(of, _)| *of == number).map(|(_, one)| *one)
    }

    /// Of an operation of io_uring (`uring_op=`).
    #[must_use]
    pub fn of_uring_op(op: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.uring_ops().contains(&op))
    }
}

/// What the first argument of `socketcall` means: `SYS_…` of the kernel's include/uapi/linux/net.h.
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub mod socketcall {
    pub const SOCKET: u32 = 1;
    pub const BIND: u32 = 2;
    pub const CONNECT: u32 = 3;
    pub const ACCEPT: u32 = 5;
    pub const SOCKETPAIR: u32 = 8;
    pub const SENDTO: u32 = 11;
    pub const SENDMSG: u32 = 16;
    pub const ACCEPT4: u32 = 18;
    pub const SENDMMSG: u32 = 20;
}

/// Operations of io_uring: `IORING_OP_…` of the kernel's include/uapi/linux/io_uring.h.
#[expect(missing_docs, reason = "the names are the kernel's own")]
pub mod uring_op {
    pub const SENDMSG: u32 = 9;
    pub const ACCEPT: u32 = 13;
    pub const CONNECT: u32 = 16;
    pub const SEND: u32 = 26;
    pub const SOCKET: u32 = 45;
    pub const SEND_ZC: u32 = 47;
    pub const SENDMSG_ZC: u32 = 48;
    pub const BIND: u32 = 56;
}

/// The number of `io_uring_enter`, the same on every architecture of [`Arch::ALL`].
pub(crate) const IO_URING_ENTER: u32 = x86_64::Sysno::io_uring_enter as u32;

/// A table of calls, the frequent ones first: it is searched from its beginning for each event.
macro_rules! calls {
    ($table:ident, $arch:ident, $($call:ident $event:ident)*) => {
        const $table: &[(u32, EventType)] = &[
            (number($arch::Sysno::connect.id()), EventType::Connect),
            (number($arch::Sysno::socket.id()), EventType::Socket),
            (number($arch::Sysno::execve.id()), EventType::Execve),
            (number($arch::Sysno::sendto.id()), EventType::Send),
            (number($arch::Sysno::sendmsg.id()), EventType::Send),
            (number($arch::Sysno::sendmmsg.id()), EventType::Send),
            (number($arch::Sysno::bind.id()), EventType::Bind),
            (number($arch::Sysno::accept4.id()), EventType::Accept),
            (number($arch::Sysno::socketpair.id()), EventType::Socketpair),
            (number($arch::Sysno::execveat.id()), EventType::Execve),
            $((number($arch::Sysno::$call.id()), EventType::$event),)*
        ];
    };
}

calls!(X86_64_CALLS, x86_64, accept Accept);
calls!(I386_CALLS, x86,);
calls!(ARM_CALLS, arm, accept Accept);
calls!(AARCH64_CALLS, aarch64, accept Accept);
calls!(RISCV64_CALLS, riscv64, accept Accept);
calls!(S390X_CALLS, s390x,);
calls!(PPC64LE_CALLS, powerpc64, accept Accept);
calls!(LOONGARCH64_CALLS, loongarch64, accept Accept);

#[expect(clippy::cast_sign_loss, reason = "evaluated by the compiler, of numbers that are never negative")]
const fn number(id: i32) -> u32 {
    id as u32
}

/// The type of a socket: `SOCK_…` of the kernel's include/linux/net.h, without its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SocketType(
    /// The number, without `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
    pub u8,
);

impl SocketType {
    /// `SOCK_STREAM`.
    pub const STREAM: Self = Self(1);
    /// `SOCK_DGRAM`.
    pub const DGRAM: Self = Self(2);
    /// `SOCK_RAW`.
    pub const RAW: Self = Self(3);
    /// `SOCK_SEQPACKET`.
    pub const SEQPACKET: Self = Self(5);

    /// From the second argument of `socket`: its lowest four bits (`SOCK_TYPE_MASK`); the rest are flags.
    #[must_use]
    pub const fn of_argument(argument: u64) -> Self {
        Self((argument & 0xF) as u8)
    }

    /// Its name in lower case.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "stream",
            2 => "dgram",
            3 => "raw",
            4 => "rdm",
            5 => "seqpacket",
            6 => "dccp",
            10 => "packet",
            _ => return None,
        })
    }
}

/// What a socket speaks: the third argument of `socket`, beside the two that say what 0 means there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Protocol {
    /// The socket's family.
    pub family: Family,
    /// Its type.
    pub socket_type: SocketType,
    /// The protocol as it was asked for; 0 is the usual one of family and type.
    pub number: u32,
}

impl Protocol {
    /// The protocol's name in lower case, as `/etc/protocols` has it.
    ///
    /// Only inet and inet6 have one. `None` for a protocol that is not in the table here: no number is given as a name.
    /// A raw socket has the name of the protocol whose packets it sees.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        if !matches!(self.family, Family::INET | Family::INET6) {
            return None;
        }
        Some(match (self.number, self.socket_type) {
            (0, SocketType::STREAM) | (6, _) => "tcp",
            (0, SocketType::DGRAM) | (17, _) => "udp",
            (0, SocketType::SEQPACKET) | (132, _) => "sctp",
            (1, _) => "icmp",
            (2, _) => "igmp",
            (4, _) => "ipip",
            (33, _) => "dccp",
            (41, _) => "ipv6",
            (47, _) => "gre",
            (50, _) => "esp",
            (51, _) => "ah",
            (58, _) => "icmpv6",
            (103, _) => "pim",
            (115, _) => "l2tp",
            (136, _) => "udplite",
            (255, _) => "raw",
            (262, _) => "mptcp",
            _ => return None,
        })
    }
}

/// The connection is being made: what a non-blocking connect returns instead of success.
pub(crate) const EINPROGRESS: i32 = 115;

/// What an operation of a ring returns that would block, before it is tried again.
pub(crate) const EAGAIN: i64 = 11;

/// Of the flags of `sendto`, `sendmsg` and `sendmmsg`: a TCP Fast Open, which connects and sends in one
/// (include/linux/socket.h of the kernel).
pub const MSG_FASTOPEN: u64 = 0x2000_0000;

/// The name of an error, `ECONNREFUSED` for 111. The same on all architectures of [`Arch::ALL`].
#[must_use]
pub fn error_name(number: i32) -> Option<&'static str> {
    Errno::new(number).name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_architecture() {
        use EventType::{Accept, Bind, Connect, Execve, Send, Socket, Socketpair};
        // socket, connect, socketpair, execve, execveat, bind, accept4, sendto, sendmsg, sendmmsg; accept; socketcall.
        let table = [
            (Arch::X86_64, [41, 42, 53, 59, 322, 49, 288, 44, 46, 307], Some(43), None),
            (Arch::I386, [359, 362, 360, 11, 358, 361, 364, 369, 370, 345], None, Some(102)),
            (Arch::ARM, [281, 283, 288, 11, 387, 282, 366, 290, 296, 374], Some(285), None),
            (Arch::AARCH64, [198, 203, 199, 221, 281, 200, 242, 206, 211, 269], Some(202), None),
            (Arch::RISCV64, [198, 203, 199, 221, 281, 200, 242, 206, 211, 269], Some(202), None),
            (Arch::S390X, [359, 362, 360, 11, 354, 361, 364, 369, 370, 358], None, Some(102)),
            (Arch::PPC64LE, [326, 328, 333, 11, 362, 327, 344, 335, 341, 349], Some(330), Some(102)),
            (Arch::LOONGARCH64, [198, 203, 199, 221, 281, 200, 242, 206, 211, 269], Some(202), None),
        ];
        let types = [Socket, Connect, Socketpair, Execve, Execve, Bind, Accept, Send, Send, Send];
        for (arch, numbers, accept, socketcall) in table {
            for (number, expected) in numbers.into_iter().zip(types) {
                assert_eq!(EventType::of_syscall(arch, number, None), Some(expected), "{arch:?} {number}");
            }
            assert_eq!(accept.and_then(|number| EventType::of_syscall(arch, number, None)), accept.map(|_| Accept));
            assert_eq!(arch.socketcall(), socketcall, "{arch:?}");
            assert_eq!(arch.syscall_number("socketcall"), socketcall, "{arch:?}");
            assert_eq!(arch.syscall_number("io_uring_enter"), Some(IO_URING_ENTER));
            assert_eq!(EventType::of_syscall(arch, u32::MAX, None), None);
            assert_eq!(EventType::of_syscall(arch, 426, None), None);
        }
        assert_eq!(EventType::of_syscall(Arch(1), 41, None), None);
    }

    #[test]
    fn the_fast_tables_say_what_the_names_say() {
        for arch in Arch::ALL {
            for number in (0..1000).chain(X32_BIT..X32_BIT + 1000) {
                let name = arch.syscall_name(number).unwrap_or_default();
                let by_name = EventType::ALL.into_iter().find(|one| one.syscalls().contains(&name));
                assert_eq!(EventType::of_syscall(arch, number, None), by_name, "{arch:?} {number} {name}");
                if number < X32_BIT && !name.is_empty() {
                    assert_eq!(arch.syscall_number(name), Some(number), "{arch:?} {name}");
                }
            }
        }
    }

    #[test]
    fn socketcalls() {
        use EventType::{Accept, Bind, Connect, Send, Socket, Socketpair};
        let table = [
            (1, Socket),
            (2, Bind),
            (3, Connect),
            (5, Accept),
            (8, Socketpair),
            (11, Send),
            (16, Send),
            (18, Accept),
            (20, Send),
        ];
        for call in 0..25 {
            let expected = table.iter().find(|(number, _)| *number == call).map(|(_, expected)| *expected);
            for arch in [Arch::I386, Arch::S390X, Arch::PPC64LE] {
                assert_eq!(EventType::of_syscall(arch, 102, Some(call)), expected, "{call}");
            }
        }
        assert_eq!(EventType::of_syscall(Arch::I386, 102, None), None);
        assert_eq!(EventType::of_syscall(Arch::I386, 102, Some(1 << 32 | 3)), None);
    }

    #[test]
    fn operations_of_io_uring() {
        use EventType::{Accept, Bind, Connect, Send, Socket};
        let table =
            [(9, Send), (13, Accept), (16, Connect), (26, Send), (45, Socket), (47, Send), (48, Send), (56, Bind)];
        for op in 0..100 {
            let expected = table.iter().find(|(number, _)| *number == op).map(|(_, expected)| *expected);
            assert_eq!(EventType::of_uring_op(op), expected, "{op}");
        }
    }

    #[test]
    fn x32_calls_are_their_calls() {
        for (number, name) in [
            (42, "connect"),
            (59, "execve"),
            (518, "sendmsg"),
            (520, "execve"),
            (538, "sendmmsg"),
            (545, "execveat"),
            (547, "pwritev2"),
        ] {
            assert_eq!(Arch::X86_64.syscall_name(X32_BIT | number), Some(name));
            assert!(name == "pwritev2" || EventType::of_syscall(Arch::X86_64, X32_BIT | number, None).is_some());
        }
        assert_eq!(Arch::X86_64.syscall_name(X32_BIT | 548), None);
        assert_eq!(Arch::X86_64.syscall_name(u32::MAX), None);
        assert_eq!(Arch::AARCH64.syscall_name(X32_BIT | 203), None);
    }

    #[test]
    fn names_lead_back() {
        for arch in Arch::ALL {
            assert_eq!(Arch::named(arch.name().unwrap()), Some(arch));
        }
        for one in EventType::ALL {
            assert_eq!(EventType::named(one.name()), Some(one));
        }
        assert_eq!((Arch::named("vax"), EventType::named("open")), (None, None));
        assert_eq!(Arch(1).name(), None);
        assert_eq!(Arch::I386.syscall_name(17), Some("break"));
    }

    #[test]
    fn byte_orders() {
        for arch in Arch::ALL {
            let expected = if arch == Arch::S390X { ByteOrder::Big } else { ByteOrder::Little };
            assert_eq!(arch.byte_order(), expected);
        }
    }

    #[test]
    fn socket_types_without_their_flags() {
        for (argument, name) in [
            (1, Some("stream")),
            (0x80801, Some("stream")),
            (0x80002, Some("dgram")),
            (10, Some("packet")),
            (7, None),
            (0, None),
        ] {
            assert_eq!(SocketType::of_argument(argument).name(), name);
        }
    }

    #[test]
    fn protocols() {
        let table = [
            (Family::INET, 1, 0, Some("tcp")),
            (Family::INET6, 2, 0, Some("udp")),
            (Family::INET, 5, 0, Some("sctp")),
            (Family::INET, 3, 0, None),
            (Family::INET, 1, 6, Some("tcp")),
            (Family::INET, 2, 17, Some("udp")),
            (Family::INET, 2, 136, Some("udplite")),
            (Family::INET, 1, 132, Some("sctp")),
            (Family::INET, 6, 33, Some("dccp")),
            (Family::INET, 3, 1, Some("icmp")),
            (Family::INET6, 3, 58, Some("icmpv6")),
            (Family::INET, 3, 255, Some("raw")),
            (Family::INET, 1, 262, Some("mptcp")),
            (Family::INET, 3, 200, None),
            (Family::LOCAL, 1, 0, None),
            (Family(16), 3, 9, None),
        ];
        for (family, socket_type, number, name) in table {
            let protocol = Protocol { family, socket_type: SocketType(socket_type), number };
            assert_eq!(protocol.name(), name, "{protocol:?}");
        }
    }

    #[test]
    fn errors() {
        assert_eq!(error_name(111), Some("ECONNREFUSED"));
        assert_eq!(error_name(EINPROGRESS), Some("EINPROGRESS"));
        assert_eq!(error_name(2), Some("ENOENT"));
        assert_eq!(error_name(11), Some("EAGAIN"));
        assert_eq!(error_name(99_999), None);
    }
}
