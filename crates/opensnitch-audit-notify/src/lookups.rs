//! The names under which addresses were looked up, as systemd-resolved's monitor tells them to whoever may hear.
//!
//! By default that is root: an administrator may allow it to others by polkit's action
//! `org.freedesktop.resolve1.subscribe-query-results`. Nobody is asked for a password.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::say;

/// The monitor's socket: systemd-resolved.service(8).
const SOCKET: &str = "/run/systemd/resolve/io.systemd.Resolve.Monitor";
/// The call that subscribes, as varlink sends it: JSON and a NUL.
const SUBSCRIBE: &[u8] = b"{\"method\":\"io.systemd.Resolve.Monitor.SubscribeQueryResults\",\"more\":true}\0";
/// The longest message that is read, in bytes: the answer of a query is at most 64 kB, and four times that as JSON.
const MAX_MESSAGE: u64 = 1 << 20;
/// Before another try, where there is no resolver now.
const PAUSE: Duration = Duration::from_secs(60);

/// Addresses that are remembered: what a browser looks up in an hour.
const MAX_ADDRESSES: usize = 4096;
/// The longest name that is remembered, in bytes: the longest of DNS, written out.
const MAX_NAME: usize = 1024;

/// Names by address.
#[derive(Debug, Default)]
pub(crate) struct Lookups(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    names: HashMap<IpAddr, String>,
    /// The oldest first.
    order: VecDeque<IpAddr>,
}

impl Lookups {
    /// The name under which this address was looked up last.
    pub(crate) fn name(&self, address: IpAddr) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).names.get(&address).cloned()
    }

    fn take(&self, result: QueryResult) {
        let Some(name) = result.question.into_iter().find_map(|question| question.name) else { return };
        if name.is_empty() || name.len() > MAX_NAME {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for address in result.answer.into_iter().filter_map(|answer| answer.rr?.address()) {
            if known.names.insert(address, name.clone()).is_none() {
                known.order.push_back(address);
            }
            if known.order.len() > MAX_ADDRESSES
                && let Some(oldest) = known.order.pop_front()
            {
                known.names.remove(&oldest);
            }
        }
    }

    /// Follows the monitor; ends where that is refused.
    pub(crate) async fn follow(&self) {
        loop {
            match self.follow_once().await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    say(
                        "the names of destinations are not shown, since systemd-resolved does not tell them to this user",
                    );
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => say(&format!("systemd-resolved's monitor at {SOCKET}: {error}; another try in a minute")),
            }
            sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self) -> io::Result<()> {
        let mut stream = UnixStream::connect(SOCKET).await?;
        stream.write_all(SUBSCRIBE).await?;
        let mut reader = BufReader::new(stream);
        let mut message = Vec::new();
        loop {
            message.clear();
            (&mut reader).take(MAX_MESSAGE).read_until(0, &mut message).await?;
            match message.pop() {
                None => return Ok(()),
                Some(0) => {}
                Some(_) => return Err(io::Error::other("a message without an end")),
            }
            self.hear(&message)?;
        }
    }

    fn hear(&self, message: &[u8]) -> io::Result<()> {
        let reply: Reply = serde_json::from_slice(message)?;
        match reply {
            Reply { error: Some(error), .. } => Err(refusal(&error)),
            Reply { parameters: Some(result), .. } => {
                self.take(result);
                Ok(())
            }
            Reply { .. } => Ok(()),
        }
    }
}

/// An error of varlink's. These are the names for all kinds of "you may not".
fn refusal(name: &str) -> io::Error {
    let is_refused = ["PermissionDenied", "AuthenticationRequired", "MethodNotFound", "InterfaceNotFound"]
        .iter()
        .any(|end| name.ends_with(end));
    let kind = if is_refused { io::ErrorKind::PermissionDenied } else { io::ErrorKind::Other };
    io::Error::new(kind, name.chars().take(100).collect::<String>())
}

/// A message of the monitor's; other fields are not read.
#[derive(Debug, Deserialize)]
struct Reply {
    error: Option<String>,
    parameters: Option<QueryResult>,
}

#[derive(Debug, Deserialize)]
struct QueryResult {
    /// Absent in the first message, which says that the monitor is ready.
    #[serde(default)]
    question: Vec<Question>,
    #[serde(default)]
    answer: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
struct Question {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    rr: Option<Record>,
}

#[derive(Debug, Deserialize)]
struct Record {
    /// The bytes of an A or AAAA record.
    address: Option<Vec<u8>>,
}

impl Record {
    fn address(self) -> Option<IpAddr> {
        let bytes = self.address?;
        let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_name_that_was_asked_for_last() {
        let lookups = Lookups::default();
        let messages: [&[u8]; 6] = [
            br#"{"parameters":{"ready":true},"continues":true}"#,
            br#"{"parameters":{"state":"success","question":[{"class":1,"type":1,"name":"example.org"}],"answer":[
                {"rr":{"key":{"class":1,"type":5,"name":"example.org"},"name":"cdn.example.net"},"raw":"AA=="},
                {"rr":{"key":{"class":1,"type":1,"name":"cdn.example.net"},"address":[192,0,2,1]},"raw":"AA==","ifindex":2}]},
                "continues":true}"#,
            br#"{"parameters":{"state":"success","question":[{"name":"six.example.org"}],"answer":[
                {"rr":{"address":[32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1]}},{"rr":null},{"rr":{"address":[1,2,3]}}]}}"#,
            br#"{"parameters":{"state":"errno","errno":113,"question":[{"name":"nowhere.example"}]}}"#,
            br#"{"parameters":{"answer":[{"rr":{"address":[192,0,2,9]}}]}}"#,
            b"{}",
        ];
        for message in messages {
            lookups.hear(message).unwrap();
        }
        let name = |address: &str| lookups.name(address.parse().unwrap());
        assert_eq!(name("192.0.2.1").as_deref(), Some("example.org"));
        assert_eq!(name("2001:db8::1").as_deref(), Some("six.example.org"));
        assert_eq!(name("192.0.2.9"), None);
    }

    #[test]
    fn a_refusal_is_told_from_a_fault() {
        let lookups = Lookups::default();
        for name in ["org.varlink.service.PermissionDenied", "io.systemd.InteractiveAuthenticationRequired"] {
            let message = format!("{{\"error\":\"{name}\",\"parameters\":{{}}}}");
            assert_eq!(lookups.hear(message.as_bytes()).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{name}");
        }
        for message in
            [&b"{\"error\":\"io.systemd.System\"}"[..], b"", b"[", b"null", b"{\"parameters\":[300]}", b"\xff"]
        {
            assert_ne!(lookups.hear(message).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn a_hundred_thousand_addresses_take_the_room_of_four_thousand() {
        let lookups = Lookups::default();
        for number in 0..100_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            let address = format!("{{\"rr\":{{\"address\":[{a},{b},{c},{d}]}}}}");
            let message =
                format!("{{\"parameters\":{{\"question\":[{{\"name\":\"{number}\"}}],\"answer\":[{address}]}}}}");
            lookups.hear(message.as_bytes()).unwrap();
        }
        let known = lookups.0.into_inner().unwrap();
        assert_eq!((known.names.len(), known.order.len()), (MAX_ADDRESSES, MAX_ADDRESSES));
    }
}
