//! What the benches share: records as auditd writes them, and figures.

use std::time::Duration;

/// A process that connects to a host and a port of 192.0.2.0/24, as three records of auditd's ENRICHED format.
pub(crate) fn connect(serial: u32, pid: u32, host: u8, port: u16) -> String {
    let id = format!("msg=audit(1700000000.000:{serial}):");
    format!(
        "type=SYSCALL {id} arch=c000003e syscall=42 success=yes exit=0 a0=3 a1=7ffd a2=10 a3=0 items=0 ppid=1 pid={pid} \
         auid=1000 uid=1000 gid=1000 euid=1000 suid=1000 fsuid=1000 egid=1000 sgid=1000 fsgid=1000 tty=pts0 ses=3 \
         comm=\"curl\" exe=\"/usr/bin/curl\" subj=unconfined key=\"opensnitch\"\x1dARCH=x86_64 SYSCALL=connect \
         AUID=\"alice\" UID=\"alice\" GID=\"alice\" EUID=\"alice\" SUID=\"alice\" FSUID=\"alice\" EGID=\"alice\" \
         SGID=\"alice\" FSGID=\"alice\"\n\
         type=SOCKADDR {id} saddr=0200{port:04X}C00002{host:02X}0000000000000000\x1dSADDR={{ saddr_fam=inet \
         laddr=192.0.2.{host} lport={port} }}\n\
         type=PROCTITLE {id} proctitle=6375726C002D7300687474703A2F2F6578616D706C652E6F72672F\n\
         type=EOE {id} \n"
    )
}

/// No process has this pid nor a higher one: above the kernel's `PID_MAX_LIMIT`.
pub(crate) const NO_PROCESS: u32 = 5_000_000;

/// Median and 99th of a hundred.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) median: Duration,
    pub(crate) most: Duration,
}

/// Of single times.
pub(crate) fn figures(mut times: Vec<Duration>) -> Figures {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    Figures { median: at(50), most: at(99) }
}
