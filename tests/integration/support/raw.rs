//! Somebody who speaks to the bus byte by byte, and need not listen.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use serde::Serialize;
use zbus::Type;
use zbus::message::{Flags, Message};

use super::{AUDIT_GROUP, PrivateBus, User};

const SERVICE: &str = "org.opensnitch.Audit";
const OBJECT: &str = "/org/opensnitch/Audit";
const BUS: &str = "org.freedesktop.DBus";

/// A connection of this user's that nobody reads from.
pub(crate) struct Raw {
    stream: UnixStream,
}

impl User {
    /// A connection to the bus as this user, on which nothing was said yet.
    pub(crate) fn connect(self, bus: &PrivateBus) -> UnixStream {
        let path = bus.folder().join("bus");
        // The bus looks at who connects, and that is a thread.
        let connect = thread::spawn(move || {
            self.take_over_thread();
            UnixStream::connect(path).unwrap()
        });
        connect.join().unwrap()
    }

    /// Makes the calling thread this user's, for good.
    pub(super) fn take_over_thread(self) {
        if self != Self::Root {
            let groups = [Gid::from_raw(AUDIT_GROUP)];
            set_thread_groups(if self == Self::Member { &groups } else { &[] }).unwrap();
            set_thread_gid(Gid::from_raw(self.uid())).unwrap();
            set_thread_uid(Uid::from_raw(self.uid())).unwrap();
        }
    }
}

impl Raw {
    /// Connects and says hello.
    pub(crate) fn connect(bus: &PrivateBus, user: User) -> Self {
        let mut stream = user.connect(bus);
        let uid: String = user.uid().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"OK ");
        stream.write_all(b"BEGIN\r\n").unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut raw = Self { stream };
        let hello = Message::method_call(OBJECT, "Hello").destination(BUS).interface(BUS).build(&()).unwrap();
        assert!(raw.send(&hello));
        raw
    }

    /// Asks the bus for all signals of the service.
    pub(crate) fn subscribe(&mut self) {
        let rule = format!("type='signal',sender='{SERVICE}'");
        let call = Message::method_call(OBJECT, "AddMatch").destination(BUS).interface(BUS).build(&rule).unwrap();
        assert!(self.send(&call));
    }

    /// From now on, somebody reads.
    pub(crate) fn read_on(&self) {
        let mut stream = self.stream.try_clone().unwrap();
        thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
    }

    /// Sends a message; `false` where the bus takes no more of it.
    pub(crate) fn send(&mut self, message: &Message) -> bool {
        self.stream.write_all(message.data()).is_ok()
    }
}

/// A call of any method of the service.
pub(crate) fn call<B: Serialize + Type>(path: &str, interface: &str, method: &str, flags: u8, body: &B) -> Message {
    let call = Message::method_call(path, method).destination(SERVICE).interface(interface);
    let call = if flags == 0 { call } else { call.with_flags(Flags::from_bits_retain(flags)) };
    call.build(body).unwrap()
}
