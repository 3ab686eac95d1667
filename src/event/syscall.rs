//! What a system call does, by the record's own architecture and never by the host's.

use syscalls::{Errno, aarch64, arm, riscv64, s390x, x86, x86_64};

use crate::record::ByteOrder;

/// The architecture of a record: `AUDIT_ARCH_…` of the kernel's include/uapi/linux/audit.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch(pub u32);

impl Arch {
    /// 64-bit x86.
    pub const X86_64: Self = Self(0xc000_003e);
    /// 32-bit x86.
    pub const I386: Self = Self(0x4000_0003);
    /// 32-bit Arm, little-endian.
    pub const ARM: Self = Self(0x4000_0028);
    /// 64-bit Arm, little-endian.
    pub const AARCH64: Self = Self(0xc000_00b7);
    /// 64-bit RISC-V.
    pub const RISCV64: Self = Self(0xc000_00f3);
    /// 64-bit IBM Z.
    pub const S390X: Self = Self(0x8000_0016);

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
            _ => return None,
        })
    }

    /// The order of bytes of that machine: the `__AUDIT_ARCH_LE` bit.
    #[must_use]
    pub const fn byte_order(self) -> ByteOrder {
        if self.0 & 0x4000_0000 == 0 { ByteOrder::Big } else { ByteOrder::Little }
    }

    /// The name of a system call there.
    #[must_use]
    pub fn syscall_name(self, number: u32) -> Option<&'static str> {
        let number = usize::try_from(number).ok()?;
        match self {
            Self::X86_64 => x86_64::Sysno::new(number).map(|call| call.name()),
            Self::I386 => x86::Sysno::new(number).map(|call| call.name()),
            Self::ARM => arm::Sysno::new(number).map(|call| call.name()),
            Self::AARCH64 => aarch64::Sysno::new(number).map(|call| call.name()),
            Self::RISCV64 => riscv64::Sysno::new(number).map(|call| call.name()),
            Self::S390X => s390x::Sysno::new(number).map(|call| call.name()),
            _ => None,
        }
    }
}

/// What the process did, whichever way it called the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// Made a socket.
    Socket,
    /// Connected one to an address.
    Connect,
    /// Made a pair of connected sockets.
    Socketpair,
    /// Gave a socket its own address.
    Bind,
    /// Started another program in this process (execve, execveat).
    Execve,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Socket, Self::Connect, Self::Socketpair, Self::Bind, Self::Execve];

    /// Its name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Connect => "connect",
            Self::Socketpair => "socketpair",
            Self::Bind => "bind",
            Self::Execve => "execve",
        }
    }

    /// Of a direct system call, by the name the table of its architecture gives it.
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "socket" => Self::Socket,
            "connect" => Self::Connect,
            "socketpair" => Self::Socketpair,
            "bind" => Self::Bind,
            "execve" | "execveat" => Self::Execve,
            _ => return None,
        })
    }

    /// Of the 32-bit `socketcall` by its first argument: `SYS_…` of the kernel's include/uapi/linux/net.h.
    const fn from_socketcall(call: u64) -> Option<Self> {
        Some(match call {
            1 => Self::Socket,
            2 => Self::Bind,
            3 => Self::Connect,
            8 => Self::Socketpair,
            _ => return None,
        })
    }

    /// Of an io_uring operation: `IORING_OP_…` of the kernel's include/uapi/linux/io_uring.h.
    #[must_use]
    pub const fn from_uring_op(op: u32) -> Option<Self> {
        Some(match op {
            16 => Self::Connect,
            45 => Self::Socket,
            56 => Self::Bind,
            _ => return None,
        })
    }

    /// Of a system call: its architecture, its number there and its first argument.
    #[must_use]
    pub fn from_syscall(arch: Arch, number: u32, a0: Option<u64>) -> Option<Self> {
        match arch.syscall_name(number)? {
            SOCKETCALL => Self::from_socketcall(a0?),
            name => Self::from_name(name),
        }
    }
}

/// The system call behind which 32-bit programs hide all socket calls.
pub(super) const SOCKETCALL: &str = "socketcall";

/// The connection is being made: what a non-blocking connect returns instead of success.
pub(super) const EINPROGRESS: i32 = 115;

/// The name of an error, `ECONNREFUSED` for 111. The same on all architectures of [`Arch`].
#[must_use]
pub fn error_name(number: i32) -> Option<&'static str> {
    Errno::new(number).name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_architecture() {
        use EventType::{Connect, Execve, Socket, Socketpair};
        let table = [
            (Arch::X86_64, [41, 42, 53, 59, 322], None),
            (Arch::I386, [359, 362, 360, 11, 358], Some(102)),
            (Arch::ARM, [281, 283, 288, 11, 387], None),
            (Arch::AARCH64, [198, 203, 199, 221, 281], None),
            (Arch::RISCV64, [198, 203, 199, 221, 281], None),
            (Arch::S390X, [359, 362, 360, 11, 354], Some(102)),
        ];
        for (arch, numbers, socketcall) in table {
            let expected = [Socket, Connect, Socketpair, Execve, Execve];
            for (number, expected) in numbers.into_iter().zip(expected) {
                assert_eq!(EventType::from_syscall(arch, number, None), Some(expected), "{arch:?} {number}");
            }
            for (a0, expected) in
                [(1, Some(Socket)), (2, Some(EventType::Bind)), (3, Some(Connect)), (8, Some(Socketpair)), (4, None)]
            {
                assert_eq!(
                    socketcall.and_then(|number| EventType::from_syscall(arch, number, Some(a0))),
                    socketcall.and(expected)
                );
            }
            assert_eq!(EventType::from_syscall(arch, 0x4000_0000, None), None);
        }
        assert_eq!(EventType::from_syscall(Arch(1), 41, None), None);
    }

    #[test]
    fn byte_orders() {
        assert_eq!(Arch::S390X.byte_order(), ByteOrder::Big);
        for arch in [Arch::X86_64, Arch::I386, Arch::ARM, Arch::AARCH64, Arch::RISCV64] {
            assert_eq!(arch.byte_order(), ByteOrder::Little);
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
