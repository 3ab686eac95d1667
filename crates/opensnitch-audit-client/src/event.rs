//! An event: what the service tells of a call.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Deserializer};

use crate::dictionary::{self, Word, dictionary};
use crate::list::Wire;

dictionary! {
    /// What the service knows of one event: a call that opened a socket, connected it, or started a program.
    ///
    /// What is absent (`None`, or an empty list) is unknown; nothing is made up. Text can be anything that a program
    /// chose: [escape](crate::printable) it before you show it.
    ///
    /// On the bus it is an `a{sv}`. In formats for people, as JSON is one, it is a map of the same keys without variants:
    ///
    /// ```
    /// use opensnitch_audit_client::Event;
    ///
    /// let mut event = Event::default();
    /// event.pid = Some(4711);
    /// event.proc_path = Some("/usr/bin/curl".to_owned());
    /// let json = serde_json::to_string(&event)?;
    /// assert_eq!(json, r#"{"Pid":4711,"ProcPath":"/usr/bin/curl"}"#);
    /// assert_eq!(serde_json::from_str::<Event>(&json)?, event);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// A key that this version does not know is left out when an event is read, and so is one whose value has another
    /// type than here: a newer service can still be asked.
    pub struct Event {
        /// When the call was made: microseconds since the epoch, with the milliseconds of the audit event's id.
        "Timestamp" timestamp: Option<u64>,
        /// Number of the audit event.
        "Serial" serial: Option<u32>,
        /// `socket`, `connect`, `socketpair`, `execve` (of execveat too), `bind`, `send` (of a TCP Fast Open too) or
        /// `accept`, whichever way it was called: directly, through socketcall or through io_uring.
        "EventType" event_type: Option<Word>,
        /// The process; of a thread that of its thread group.
        "Pid" pid: Option<u32>,
        /// Its parent when it called.
        "PPid" ppid: Option<u32>,
        /// Real user.
        "UID" uid: Option<u32>,
        /// Real group.
        "Gid" gid: Option<u32>,
        /// Effective user.
        "EUid" euid: Option<u32>,
        /// Effective group.
        "EGid" egid: Option<u32>,
        /// Owner of the file that the call is about: of `execve` the program, of a local socket its file (PATH item 0).
        "OUid" ouid: Option<u32>,
        /// Group of that file.
        "OGid" ogid: Option<u32>,
        /// Name of the login user, whose number is [`audit_uid`](Self::audit_uid).
        "UserName" user_name: Option<String>,
        /// Name of the thread that called, at most 15 bytes; any program can choose its own.
        "ProcName" proc_name: Option<String>,
        /// Path of the program.
        "ProcPath" proc_path: Option<String>,
        /// The same byte for byte, where it is not text; see [`program`](Self::program).
        "ProcPathRaw" proc_path_raw: Option<Vec<u8>>,
        /// Who tells the path: `record`, the kernel when the call was made, or `proc`, `/proc` a little later.
        "ProcPathFrom" proc_path_from: Option<Word>,
        /// The process sees another file system than the machine's: its path is one of its own.
        "MountNamespace" mount_namespace: Option<bool>,
        /// [`args`](Self::args) joined by spaces, for reading.
        "ProcCmdLine" proc_cmd_line: Option<String>,
        /// Working directory.
        "ProcDir" proc_dir: Option<String>,
        /// The same byte for byte, where it is not text.
        "ProcDirRaw" proc_dir_raw: Option<Vec<u8>>,
        /// Type and permissions of the file that the call is about, octal: `0100755`.
        "ProcMode" proc_mode: Option<String>,
        /// Terminal.
        "TTY" tty: Option<String>,
        /// Address family: `inet`, `inet6`, `local`, `netlink`, `vsock`, …, or its number where it has no name.
        "NetFamily" net_family: Option<Word>,
        /// Type of the socket: `stream`, `dgram`, `raw`, `seqpacket`, …
        "SocketType" socket_type: Option<Word>,
        /// `tcp`, `udp`, …
        "Protocol" protocol: Option<Word>,
        /// Address that was connected, sent or bound to, of inet and inet6.
        "DstHost" dst_host: Option<String>,
        /// Its port.
        "DstPort" dst_port: Option<u16>,
        /// Path of a local socket; an abstract name begins with `@`.
        "DstPath" dst_path: Option<String>,
        /// The same byte for byte, where it is not text; an abstract name begins with NUL, as the kernel has it.
        "DstPathRaw" dst_path_raw: Option<Vec<u8>>,
        /// Scope id of an inet6 address.
        "DstScope" dst_scope: Option<u32>,
        /// Whether the call succeeded. A connection that is only being made has not: see [`outcome`](Self::outcome).
        "Success" success: Option<bool>,
        /// What the call returned: a descriptor, 0, or a negative error number.
        "Exit" exit: Option<i64>,
        /// The descriptor: of `socket` the new one, of `connect`, `bind`, `send` the one used.
        "Fd" fd: Option<i32>,
        /// `success`, `in-progress` (EINPROGRESS: the connection is being made) or `failure`.
        "Outcome" outcome: Option<Word>,
        /// `ECONNREFUSED`, …, where it failed.
        "Error" error: Option<Word>,
        /// Number of the system call on [`arch`](Self::arch).
        "Syscall" syscall: Option<u32>,
        /// Its name.
        "SyscallName" syscall_name: Option<Word>,
        /// `x86_64`, `aarch64`, …, or the number that audit gives it, in hexadecimal.
        "Arch" arch: Option<Word>,
        /// Inode of the file that the call is about.
        "INode" inode: Option<u64>,
        /// Device of that file: `major:minor` in hexadecimal.
        "Dev" dev: Option<String>,
        /// Arguments of the program, the first of which is its name.
        "Args" args: Vec<String>,
        /// The arguments are longer than what is kept.
        "ArgsCut" args_cut: Option<bool>,
        /// Login user, who stays the same through `su` and `sudo`.
        "AuditUid" audit_uid: Option<u32>,
        /// Login session.
        "SessionId" session_id: Option<u32>,
        /// Keys of the rule that asked for the event.
        "Keys" keys: Vec<String>,
        /// The machine, where auditd names it.
        "Node" node: Option<String>,
        /// The audit records as received, one a line; only where the service is configured to keep them.
        "RawEvent" raw_event: Option<String>,
        /// Where the event comes from: `audisp`, `netlink`, `log` or `proc`.
        "Source" source: Option<Word>,
        /// When the process started: microseconds since boot. With [`pid`](Self::pid) it names one process for good.
        "StartTime" start_time: Option<u64>,
        /// That very process still runs.
        "Running" running: Option<bool>,
        /// The ancestors of the process, nearest first, at most 16: pid and program.
        "Parents" parents: Vec<(u32, String)>,
        /// systemd unit.
        "Unit" unit: Option<String>,
        /// Path of the cgroup.
        "CGroup" cgroup: Option<String>,
        /// The application that the cgroup names.
        "App" app: Option<String>,
        /// The container that the cgroup names: its kind and id.
        "Container" container: Option<String>,
        /// How many events are merged into this one, which has the newest's values.
        "Count" count: Option<u64>,
        /// When the event, or the newest of those merged, arrived: microseconds since the epoch.
        "LastSeen" last_seen: Option<u64>,
        /// Grows with each event.
        "Sequence" sequence: Option<u64>,
        /// How sure it is that this process owns the connection asked for: `socket`, the kernel says so; `shared`, several
        /// processes hold the socket and this one used it last; `history`, the socket is gone, and only this process is
        /// known to have connected there. Only of `GetEventByConnection`.
        "Certainty" certainty: Option<Word>,
        /// The other processes that hold the socket. Only of `GetEventByConnection`.
        "Holders" holders: Vec<u32>,
    }
}

impl Event {
    /// Path of the program, byte for byte, whether it is text or not.
    #[must_use]
    pub fn program(&self) -> Option<&Path> {
        let bytes = self.proc_path_raw.as_deref().or(self.proc_path.as_deref().map(str::as_bytes))?;
        Some(Path::new(OsStr::from_bytes(bytes)))
    }

    /// Address and port of the destination: `192.0.2.1:443`, `[2001:db8::1]:443`.
    #[must_use]
    pub fn destination(&self) -> Option<String> {
        let (host, port) = (self.dst_host.as_deref()?, self.dst_port?);
        Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }

    /// Not less than what the event takes on the bus, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        Wire::size_of(self)
    }
}

/// Reads an event; a key that is not known, or whose value has another type than here, is left out.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        dictionary::deserialize(deserializer)
    }
}

/// Bytes as the text that D-Bus can carry, where what is not UTF-8, and NUL, is written as `\xHH`; and, only where the two
/// differ, the bytes themselves. These are the values of `ProcPath` and `ProcPathRaw`, and of the other keys with a `Raw`.
///
/// ```
/// use opensnitch_audit_client::text;
///
/// assert_eq!(text(b"/usr/bin/curl"), ("/usr/bin/curl".to_owned(), None));
/// assert_eq!(text(b"/tmp/\xff"), ("/tmp/\\xff".to_owned(), Some(b"/tmp/\xff".to_vec())));
/// ```
#[must_use]
pub fn text(bytes: &[u8]) -> (String, Option<Vec<u8>>) {
    if let Ok(text) = str::from_utf8(bytes)
        && !text.contains('\0')
    {
        return (text.to_owned(), None);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for (at, part) in chunk.valid().split('\0').enumerate() {
            if at > 0 {
                text.push_str("\\x00");
            }
            text.push_str(part);
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    (text, Some(bytes.to_vec()))
}
