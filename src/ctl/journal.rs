//! Audit records as the journal has them, turned back into lines of audit's.
//!
//! journald takes a record apart: `_AUDIT_TYPE`, `_AUDIT_ID` and the time stand in fields of their own, and `MESSAGE` has the
//! type's name and the record's own text (systemd, src/journal/journald-audit.c).

use std::io::{self, BufRead, Cursor, Read};

use serde::Deserialize;

/// An entry of the journal, in bytes: a record has 9 kB, and each byte that is no text takes five.
const MAX_ENTRY: usize = 256 * 1024;

/// Stands for an entry that is no audit record, so that it is counted as a line that is none.
const NONE: &[u8] = b"no audit record\n";

/// Reads `journalctl --output=json`, an entry a line, and gives out lines of audit's.
pub(super) struct Journal<R> {
    input: R,
    /// The last line, as far as it was not given out.
    line: Cursor<Vec<u8>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "_AUDIT_TYPE")]
    kind: String,
    #[serde(rename = "_AUDIT_ID")]
    serial: String,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP")]
    time: String,
    #[serde(rename = "MESSAGE")]
    message: Message,
}

/// What is no printable text comes as numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Bytes(Vec<u8>),
}

impl<R: BufRead> Journal<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Cursor::default() }
    }

    /// The next entry, as a line; an empty one at the end.
    fn next(&mut self) -> io::Result<()> {
        let mut entry = Vec::new();
        let limit = u64::try_from(MAX_ENTRY).unwrap_or(u64::MAX);
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut entry)?;
        if read == MAX_ENTRY && entry.last() != Some(&b'\n') {
            self.skip_line()?;
        }
        self.line = Cursor::new(match read {
            0 => Vec::new(),
            _ => record(&entry).unwrap_or_else(|| NONE.to_vec()),
        });
        Ok(())
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.input.fill_buf()?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (taken, ended) = end.map_or((bytes.len(), bytes.is_empty()), |end| (end + 1, true));
            self.input.consume(taken);
            if ended {
                return Ok(());
            }
        }
    }
}

impl<R: BufRead> Read for Journal<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let given = self.line.read(buffer)?;
        if given > 0 || buffer.is_empty() {
            return Ok(given);
        }
        self.next()?;
        self.line.read(buffer)
    }
}

/// The line of an entry. A line end in its text begins no line.
fn record(entry: &[u8]) -> Option<Vec<u8>> {
    let entry: Entry = serde_json::from_slice(entry).ok()?;
    let message = match entry.message {
        Message::Text(text) => text.into_bytes(),
        Message::Bytes(bytes) => bytes,
    };
    let text = message.splitn(2, |byte| *byte == b' ').nth(1)?;
    let (kind, serial): (u32, u32) = (entry.kind.parse().ok()?, entry.serial.parse().ok()?);
    let ms = entry.time.parse::<u64>().ok()? / 1000;
    let mut line = format!("type={kind} msg=audit({}.{:03}:{serial}): ", ms / 1000, ms % 1000).into_bytes();
    line.extend(text.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
    line.push(b'\n');
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(entries: &str) -> String {
        let mut lines = String::new();
        Journal::new(entries.as_bytes()).read_to_string(&mut lines).unwrap();
        lines
    }

    #[test]
    fn an_entry_becomes_a_line() {
        let entry = r#"{"_AUDIT_TYPE":"1300","_AUDIT_TYPE_NAME":"SYSCALL","_AUDIT_ID":"77","_TRANSPORT":"audit",
            "_SOURCE_REALTIME_TIMESTAMP":"1795344941704000","MESSAGE":"SYSCALL arch=c000003e key=\"k\""}"#;
        let entry = entry.replace('\n', "");
        let expected = "type=1300 msg=audit(1795344941.704:77): arch=c000003e key=\"k\"\n";
        let bytes = entry.replace(r#""SYSCALL arch=c000003e key=\"k\"""#, &format!("{:?}", b"SYSCALL a\nb\xff"));
        assert_eq!(lines(&format!("{entry}\n{entry}")), expected.repeat(2));
        let mut read = Vec::new();
        Journal::new(bytes.as_bytes()).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"type=1300 msg=audit(1795344941.704:77): a b\xff\n");
    }

    #[test]
    fn what_is_no_record_is_a_line_that_is_none() {
        let long = format!("{{\"MESSAGE\":\"{}\"}}", "x".repeat(2 * MAX_ENTRY));
        for entry in ["{", "{}", "", r#"{"MESSAGE":"SYSCALL x"}"#, &long] {
            assert_eq!(lines(&format!("{entry}\n")).as_bytes(), NONE, "{}", entry.len());
        }
        assert_eq!(lines(""), "");
    }
}
