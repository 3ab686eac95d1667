//! What auditd says.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The records of one event, as a real auditd writes them.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    /// In milliseconds since the epoch.
    pub(crate) time: u64,
    pub(crate) serial: u32,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) comm: String,
    pub(crate) exe: String,
    pub(crate) key: String,
    /// The number of the call on x86-64.
    syscall: u32,
    /// Between SYSCALL and EOE.
    others: Vec<String>,
}

/// No process has this pid nor a higher one: above the kernel's `PID_MAX_LIMIT`.
pub(crate) const NO_PROCESS: u32 = 5_000_000;

static SERIAL: AtomicU32 = AtomicU32::new(1);

impl Records {
    fn new(syscall: u32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self {
            time: now.as_millis().try_into().unwrap(),
            serial,
            pid: NO_PROCESS + serial,
            uid: 0,
            comm: "client".to_owned(),
            exe: "/usr/bin/client".to_owned(),
            key: "opensnitch".to_owned(),
            syscall,
            others: Vec::new(),
        }
    }

    /// Somebody connected to 127.0.0.1 just now: no process that still runs, by root.
    pub(crate) fn connect(port: u16) -> Self {
        let mut records = Self::new(42);
        records.others = vec![
            format!("SOCKADDR saddr=0200{port:04X}7F0000010000000000000000"),
            "CWD cwd=\"/\"".to_owned(),
            "PROCTITLE proctitle=\"client\"".to_owned(),
        ];
        records
    }

    /// Somebody connected to `::1` or a link-local address.
    pub(crate) fn connect6(address: std::net::Ipv6Addr, port: u16, scope: u32) -> Self {
        let mut records = Self::connect(port);
        let (address, scope) = (address.to_bits(), scope.swap_bytes());
        records.others[0] = format!("SOCKADDR saddr=0A00{port:04X}00000000{address:032X}{scope:08X}");
        records
    }

    /// To this address instead, at the same port.
    pub(crate) fn to(mut self, [a, b, c, d]: [u8; 4]) -> Self {
        self.others[0] = self.others[0].replace("7F000001", &format!("{a:02X}{b:02X}{c:02X}{d:02X}"));
        self
    }

    /// Somebody made a socket.
    pub(crate) fn socket() -> Self {
        Self::new(41)
    }

    /// Somebody started a program with these arguments.
    pub(crate) fn execve(arguments: &[&str]) -> Self {
        let mut records = Self::new(59);
        // The kernel quotes what is nothing.
        let hex = |text: &str| match text {
            "" => "\"\"".to_owned(),
            text => text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>(),
        };
        let list: String = arguments.iter().enumerate().map(|(at, text)| format!(" a{at}={}", hex(text))).collect();
        records.others = vec![format!("EXECVE argc={}{list}", arguments.len())];
        records
    }

    /// A worker thread of the kernel's did it for a process's ring. Nothing tells which program that was, nor where to.
    pub(crate) fn by_ring(&self) -> String {
        let Self { pid, uid, key, .. } = self;
        let id = self.id();
        format!(
            "type=URINGOP msg=audit({id}): uring_op=16 success=yes exit=0 items=0 ppid=1 pid={pid} uid={uid} gid={uid} \
             euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid} subj=unconfined key=\"{key}\"\n\
             type=EOE msg=audit({id}): \n"
        )
    }

    /// The same happens again: another event.
    pub(crate) fn again(&self) -> Self {
        let Self { time, serial, .. } = Self::new(self.syscall);
        Self { time, serial, ..self.clone() }
    }

    /// Of this process: if it runs, its program.
    pub(crate) fn pid(mut self, pid: u32) -> Self {
        self.pid = pid;
        if let Ok(exe) = std::fs::read_link(format!("/proc/{pid}/exe")) {
            self.exe = exe.to_str().unwrap().to_owned();
        }
        self
    }

    pub(crate) fn uid(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    pub(crate) fn exe(mut self, exe: &str) -> Self {
        self.exe = exe.to_owned();
        self
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.key = key.to_owned();
        self
    }

    /// In milliseconds since the epoch.
    pub(crate) fn at(mut self, time: u64) -> Self {
        self.time = time;
        self
    }

    /// Under this process title instead of its own, in the one form that takes every byte.
    pub(crate) fn title(mut self, title: &str) -> Self {
        let hex: String = title.bytes().map(|byte| format!("{byte:02X}")).collect();
        self.others.retain(|record| !record.starts_with("PROCTITLE "));
        self.and(&format!("PROCTITLE proctitle={hex}"))
    }

    /// Without its records of this name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.others.retain(|record| record.split(' ').next() != Some(name));
        self
    }

    /// One more record, `NAME FIELDS`, before the end.
    pub(crate) fn and(mut self, record: &str) -> Self {
        self.others.push(record.to_owned());
        self
    }

    /// The id of the event, as audit writes it.
    pub(crate) fn id(&self) -> String {
        format!("{}.{:03}:{}", self.time / 1000, self.time % 1000, self.serial)
    }

    /// Its records without newlines, EOE last.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self { pid, uid, comm, exe, key, syscall, .. } = self;
        let first = format!(
            "SYSCALL arch=c000003e syscall={syscall} success=yes exit=0 a0=2 a1=0 a2=10 a3=0 items=0 ppid=1 pid={pid} \
             auid=4294967295 uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid} \
             tty=(none) ses=4294967295 comm=\"{comm}\" exe=\"{exe}\" subj=unconfined key=\"{key}\""
        );
        let id = self.id();
        let line = |record: &str| {
            let (name, fields) = record.split_once(' ').unwrap_or((record, ""));
            format!("type={name} msg=audit({id}): {fields}")
        };
        [first].iter().chain(&self.others).chain([&"EOE".to_owned()]).map(|record| line(record)).collect()
    }

    /// As a stream, a newline behind each record.
    pub(crate) fn text(&self) -> String {
        self.lines().into_iter().map(|line| line + "\n").collect()
    }

    /// As a stream without what comes last: an event that goes on.
    pub(crate) fn unfinished(&self) -> String {
        let lines = self.lines();
        lines[..lines.len() - 1].iter().map(|line| format!("{line}\n")).collect()
    }
}
