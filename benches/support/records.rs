//! Records as auditd writes them.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// A process of root's that lives connects now, as the records of auditd's RAW format.
pub(crate) fn connect_of(pid: u32, serial: u32, destination: SocketAddr) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let id = format!("msg=audit({}.{:03}:{serial}):", now.as_secs(), now.subsec_millis());
    format!(
        "type=SYSCALL {id} arch=c000003e syscall=42 success=yes exit=0 a0=0 a1=1 a2=10 a3=0 items=0 ppid=1 pid={pid} \
         auid=4294967295 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=4294967295 \
         comm=\"sleep\" exe=\"/usr/bin/sleep\" subj=unconfined key=\"opensnitch\"\n\
         type=SOCKADDR {id} saddr=0200{:04X}7F0000010000000000000000\ntype=EOE {id} \n",
        destination.port()
    )
}
