//! An event as an entry of the journal: fields by name, byte for byte.
//!
//! The form is journald's native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>). It is a dozen lines, and what a
//! log library has of it is for messages: it turns values into text and names them after itself.

use opensnitch_audit_client::Event;

/// journald's socket.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// By this an entry of ours is known: `journalctl MESSAGE_ID=…`.
pub const MESSAGE_ID: &str = "5d0c1f1b7a6e4c5e9f0d3a41c2b8e677";

/// Bytes of one value; what is longer is cut. The longest path and the arguments that are kept have as many.
///
/// So an entry has less than 128 KiB, and one datagram takes it (`net.core.wmem_default` is 208 KiB): it needs no file.
const MAX_VALUE: usize = 4096;

/// What journald gets for an event.
#[must_use]
pub fn entry(event: &Event) -> Vec<u8> {
    let mut entry = Entry(Vec::with_capacity(1024));
    entry.put("MESSAGE", message(event).as_bytes());
    entry.put("MESSAGE_ID", MESSAGE_ID.as_bytes());
    // Informational, syslog(3).
    entry.put("PRIORITY", b"6");
    entry.put("SYSLOG_IDENTIFIER", b"opensnitch-audit");
    entry.number("OSA_TIME", event.timestamp);
    entry.number("OSA_SERIAL", event.serial);
    entry.text("OSA_TYPE", event.event_type.as_deref());
    entry.bytes("OSA_EXE", event.proc_path_raw.as_ref(), event.proc_path.as_ref());
    entry.number("OSA_PID", event.pid);
    entry.number("OSA_PPID", event.ppid);
    entry.number("OSA_UID", event.uid);
    entry.number("OSA_GID", event.gid);
    entry.number("OSA_EUID", event.euid);
    entry.number("OSA_EGID", event.egid);
    entry.number("OSA_AUID", event.audit_uid);
    entry.text("OSA_USER", event.user_name.as_deref());
    entry.number("OSA_SESSION", event.session_id);
    entry.text("OSA_TTY", event.tty.as_deref());
    entry.text("OSA_COMM", event.proc_name.as_deref());
    entry.text("OSA_CMDLINE", event.proc_cmd_line.as_deref());
    entry.bytes("OSA_CWD", event.proc_dir_raw.as_ref(), event.proc_dir.as_ref());
    entry.text("OSA_FAMILY", event.net_family.as_deref());
    entry.text("OSA_SOCKET_TYPE", event.socket_type.as_deref());
    entry.text("OSA_PROTOCOL", event.protocol.as_deref());
    entry.text("OSA_DST", event.dst_host.as_deref());
    entry.number("OSA_DST_PORT", event.dst_port);
    entry.bytes("OSA_DST_PATH", event.dst_path_raw.as_ref(), event.dst_path.as_ref());
    entry.text("OSA_SYSCALL", event.syscall_name.as_deref());
    entry.text("OSA_ARCH", event.arch.as_deref());
    entry.text("OSA_OUTCOME", event.outcome.as_deref());
    entry.text("OSA_ERROR", event.error.as_deref());
    entry.number("OSA_EXIT", event.exit);
    entry.number("OSA_START_TIME", event.start_time);
    entry.text("OSA_UNIT", event.unit.as_deref());
    entry.text("OSA_CGROUP", event.cgroup.as_deref());
    entry.text("OSA_APP", event.app.as_deref());
    entry.text("OSA_CONTAINER", event.container.as_deref());
    entry.text("OSA_NODE", event.node.as_deref());
    entry.text("OSA_SOURCE", event.source.as_deref());
    for key in &event.keys {
        entry.put("OSA_KEY", key.as_bytes());
    }
    for (pid, program) in &event.parents {
        entry.put("OSA_PARENT", format!("{pid} {program}").as_bytes());
    }
    entry.0
}

/// For a reader: `connect /usr/bin/curl[4711] 192.0.2.1:443 (success)`.
fn message(event: &Event) -> String {
    let event_type = event.event_type.as_deref().unwrap_or("?");
    let program = event.proc_path.as_deref().unwrap_or("?");
    let mut message = format!("{event_type} {program}");
    if let Some(pid) = event.pid {
        message.push_str(&format!("[{pid}]"));
    }
    if let Some(destination) = event.destination().or_else(|| event.dst_path.clone()) {
        message.push_str(&format!(" {destination}"));
    }
    if let Some(outcome) = event.error.as_ref().or(event.outcome.as_ref()) {
        message.push_str(&format!(" ({outcome})"));
    }
    message
}

/// An entry that is being written.
struct Entry(Vec<u8>);

impl Entry {
    /// `NAME=value` and a newline; where the value has a newline, its length stands before it.
    fn put(&mut self, name: &str, value: &[u8]) {
        let value = value.get(..MAX_VALUE).unwrap_or(value);
        self.0.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&u64::try_from(value.len()).unwrap_or_default().to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(name, value.as_bytes());
        }
    }

    /// As it is, where it is no text.
    fn bytes(&mut self, name: &str, raw: Option<&Vec<u8>>, text: Option<&String>) {
        if let Some(value) = raw.map(Vec::as_slice).or(text.map(String::as_bytes)) {
            self.put(name, value);
        }
    }

    fn number(&mut self, name: &str, value: Option<impl Into<i128>>) {
        if let Some(value) = value {
            self.put(name, value.into().to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As journald reads it.
    fn fields(mut entry: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut fields = Vec::new();
        while let Some(end) = entry.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&entry[..end], &entry[end + 1..]);
            let (name, value, rest) = match line.iter().position(|&byte| byte == b'=') {
                Some(at) => (&line[..at], &line[at + 1..], rest),
                None => {
                    let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
                    assert_eq!(rest[8 + length], b'\n');
                    (line, &rest[8..8 + length], &rest[8 + length + 1..])
                }
            };
            fields.push((String::from_utf8(name.to_vec()).unwrap(), value.to_vec()));
            entry = rest;
        }
        assert!(entry.is_empty());
        fields
    }

    fn values<'a>(fields: &'a [(String, Vec<u8>)], name: &str) -> Vec<&'a [u8]> {
        fields.iter().filter(|(of, _)| of == name).map(|(_, value)| &value[..]).collect()
    }

    #[test]
    fn an_event_is_an_entry() {
        let mut event = Event::default();
        event.event_type = Some("connect".into());
        event.pid = Some(7);
        event.exit = Some(-111);
        event.error = Some("ECONNREFUSED".into());
        event.proc_path = Some("/usr/bin/curl".to_owned());
        event.dst_host = Some("2001:db8::1".to_owned());
        event.dst_port = Some(443);
        event.keys = vec!["a".to_owned(), "b".to_owned()];
        event.parents = vec![(2, "/bin/sh".to_owned()), (1, "/sbin/init".to_owned())];
        let fields = fields(&entry(&event));
        let message = "connect /usr/bin/curl[7] [2001:db8::1]:443 (ECONNREFUSED)";
        for (name, expected) in [
            ("MESSAGE", &[message][..]),
            ("OSA_EXE", &["/usr/bin/curl"]),
            ("OSA_DST", &["2001:db8::1"]),
            ("OSA_DST_PORT", &["443"]),
            ("OSA_EXIT", &["-111"]),
            ("OSA_KEY", &["a", "b"]),
            ("OSA_PARENT", &["2 /bin/sh", "1 /sbin/init"]),
            ("OSA_UID", &[]),
        ] {
            let expected: Vec<&[u8]> = expected.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(values(&fields, name), expected, "{name}");
        }
    }

    #[test]
    fn no_value_makes_a_field_of_its_own() {
        let hostile = "x\nOSA_UID=0\n_UID=0\n\nMESSAGE\n\0\0\0\0\0\0\0\0".to_owned();
        let mut event = Event::default();
        event.proc_cmd_line = Some(hostile.clone());
        event.proc_path = Some(hostile.clone());
        event.proc_path_raw = Some(b"/\xff\nOSA_UID=0\n".to_vec());
        event.app = Some(hostile.clone());
        event.parents = vec![(1, hostile.clone())];
        let fields = fields(&entry(&event));
        assert!(values(&fields, "OSA_UID").is_empty() && values(&fields, "_UID").is_empty());
        assert_eq!(values(&fields, "OSA_EXE"), [b"/\xff\nOSA_UID=0\n"]);
        assert_eq!(values(&fields, "OSA_CMDLINE"), [hostile.as_bytes()]);
    }

    #[test]
    fn every_value_is_bounded() {
        let mut event = Event::default();
        event.proc_cmd_line = Some("x".repeat(100_000));
        event.dst_path = Some("y\n".repeat(100_000));
        let fields = fields(&entry(&event));
        assert!(fields.iter().all(|(_, value)| value.len() <= MAX_VALUE));
        assert_eq!(values(&fields, "OSA_CMDLINE")[0].len(), MAX_VALUE);
    }
}
