//! What stands between the bus and zbus: it sees every message before zbus has read it, and every answer that leaves.
//!
//! zbus takes whatever the bus delivers and makes a task of every call. Here is decided what of it there is to take: no
//! file descriptor; no message that is too long ([`cut`]); no signal but the bus's own; and only so many calls at a time
//! ([`calls`]). And of what leaves: no more replies to whoever does not read them ([`replies`]); and a list gets its elements
//! ([`lists`]).
//!
//! **No descriptor is ever taken.** We agree to get them, since dbus-broker hangs up on who does not and asks for a caller's
//! credentials. But bytes are read with `read`, and the kernel itself closes what comes beside them: none of them is ever
//! ours, so none can be too many, nor be given to a wrong message.

mod calls;
mod cut;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lists;
mod replies;

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream as StdStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opensnitch_audit_client::PATH;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use zbus::address::Transport;
use zbus::address::transport::UnixSocket;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::message::{Header, Message, Type};
use zbus::names::{BusName, OwnedUniqueName, UniqueName};
use zbus::{Address, Connection, DBusError};

use self::calls::{Calls, MAX_OF_CONNECTION};
use self::cut::{Cut, wants_reply};
use self::lists::Filled;
use super::{BUS, Error, State};
use crate::text::{MAX_EXCERPT, excerpt};

pub(super) use self::cut::{MAX_ARGUMENTS, is_cut};
pub(super) use self::lists::{Listed, Lists};
pub(super) use self::replies::{Replies, Verdict};

/// What is read from the bus at once, in bytes.
const PIECE: usize = 16 * 1024;

/// Errors that wait to be sent to those whose calls were not let in. Beyond it they get no answer.
const MAX_REFUSED: usize = 1024;

/// A connection to the bus at this address.
#[derive(Debug)]
pub(super) struct Front {
    stream: UnixStream,
    state: Arc<State>,
    refused: mpsc::Sender<Message>,
}

impl Front {
    /// Connects to the bus. The errors that calls get which are not let in come out of the receiver, for
    /// [`answer_refused`].
    ///
    /// # Errors
    /// Where nobody listens there, or the address is not of a unix socket.
    pub(super) async fn connect(address: &Address, state: Arc<State>) -> zbus::Result<(Self, mpsc::Receiver<Message>)> {
        let path = match address.transport() {
            Transport::Unix(unix) => unix.path(),
            _ => return Err(zbus::Error::Address("the bus is reached over a unix socket only".to_owned())),
        };
        let stream = match path {
            UnixSocket::File(path) => UnixStream::connect(path).await?,
            UnixSocket::Abstract(name) => {
                let stream = StdStream::connect_addr(&SocketAddr::from_abstract_name(name.as_encoded_bytes())?)?;
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream)?
            }
            _ => return Err(zbus::Error::Address("there is no unix socket of the bus in its address".to_owned())),
        };
        let (refused, receiver) = mpsc::channel(MAX_REFUSED);
        Ok((Self { stream, state, refused }, receiver))
    }
}

/// Sends the errors that tell callers that their calls were not let in.
pub async fn answer_refused(connection: Connection, mut refused: mpsc::Receiver<Message>) {
    while let Some(error) = refused.recv().await {
        // Where the bus is gone, whoever waits for it ends the service.
        let _ = connection.send(&error).await;
    }
}

/// The error for a call of something that cannot be here: no name here is that long. zbus would repeat all of it.
fn too_long_a_name(call: &Header<'_>) -> Option<Error> {
    let names = [
        call.path().map(|path| path.as_str()),
        call.interface().map(|interface| interface.as_str()),
        call.member().map(|member| member.as_str()),
    ];
    let long = names.into_iter().flatten().find(|name| name.len() > MAX_EXCERPT)?;
    Some(Error::InvalidArgs(format!("there is no object, interface or method {}: introspect {PATH}", excerpt(long))))
}

/// The error for a caller who does not read.
fn unread() -> Error {
    Error::LimitsExceeded(
        "too many bytes of answers to your calls were not read yet: read them, and call again".to_owned(),
    )
}

/// The same as a reply to that call.
fn refusal(caller: &UniqueName<'_>, serial: NonZeroU32) -> zbus::Result<Message> {
    let call = Message::method_call(PATH, "Call").sender(caller).build(&())?;
    let mut header = call.header();
    header.primary_mut().set_serial_num(serial);
    unread().create_reply(&header)
}

impl Socket for Front {
    type ReadHalf = Incoming;
    type WriteHalf = Outgoing;

    fn split(self) -> Split<Incoming, Outgoing> {
        let (read, write) = self.stream.into_split();
        let calls = Arc::new(Mutex::new(Calls::default()));
        let bytes = Stream { read, cut: Cut::default(), ready: Vec::new(), taken: 0 };
        let incoming = Incoming { bytes, calls: calls.clone(), state: self.state.clone(), refused: self.refused };
        Split::new(incoming, Outgoing { write, calls, state: self.state })
    }
}

/// The half that receives.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Stream,
    calls: Arc<Mutex<Calls>>,
    state: Arc<State>,
    refused: mpsc::Sender<Message>,
}

/// The bytes of the bus, cut.
#[derive(Debug)]
struct Stream {
    read: OwnedReadHalf,
    cut: Cut,
    /// What may be seen, and how much of it zbus has.
    ready: Vec<u8>,
    taken: usize,
}

#[async_trait]
impl ReadHalf for Stream {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        while self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
            let mut piece = [0; PIECE];
            self.read.readable().await?;
            match self.read.try_read(&mut piece) {
                Ok(0) => return Ok((0, Vec::new())),
                Ok(length) => self.cut.take(piece.get(..length).unwrap_or_default(), &mut self.ready),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let rest = self.ready.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.taken += length;
        Ok((length, Vec::new()))
    }
}

impl Incoming {
    /// Whether zbus gets to see a message.
    fn admits(&self, message: &Message) -> bool {
        let header = message.header();
        match message.message_type() {
            Type::MethodCall => {}
            Type::Signal => return header.sender().is_some_and(|sender| sender.as_str() == BUS),
            Type::MethodReturn | Type::Error => return true,
        }
        let Some(sender) = header.sender() else { return false };
        let sender: OwnedUniqueName = sender.to_owned().into();
        let serial = message.primary_header().serial_num().get();
        let uid = self.state.callers.uid(&sender);
        let wants_reply = wants_reply(message);
        let refused = too_long_a_name(&header);
        let refused = refused.or_else(|| self.state.unread.is_full(&sender, uid).then(unread));
        let refused = refused.or_else(|| {
            let bytes = message.body().len();
            let is_admitted = lock(&self.calls).admit(&sender, serial, bytes, wants_reply, uid == Some(0));
            let refused = || {
                Error::LimitsExceeded(format!(
                    "too many calls are being answered, at most {MAX_OF_CONNECTION} of one connection: call again when one \
                     was"
                ))
            };
            (!is_admitted).then(refused)
        });
        let Some(refused) = refused else { return true };
        self.state.store.statistics.calls_refused.add(1);
        if wants_reply {
            // There may be no room for it: then there is no answer.
            let _ = refused.create_reply(&header).map(|error| self.refused.try_send(error));
        }
        false
    }
}

#[async_trait]
impl ReadHalf for Incoming {
    async fn receive_message(
        &mut self,
        sequence: u64,
        received: &mut Vec<u8>,
        received_fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        loop {
            let message = self.bytes.receive_message(sequence, received, received_fds).await?;
            self.state.store.statistics.calls_refused.add(std::mem::take(&mut self.bytes.cut.thrown_away));
            if self.admits(&message) {
                return Ok(message);
            }
        }
    }

    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.bytes.recvmsg(buffer).await
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// The half that sends.
#[derive(Debug)]
pub(super) struct Outgoing {
    write: OwnedWriteHalf,
    calls: Arc<Mutex<Calls>>,
    state: Arc<State>,
}

/// What is sent of a message.
#[derive(Debug)]
enum Leaving {
    AsItIs(Message),
    WithList(Filled),
}

impl Leaving {
    /// Its bytes, one part after the other.
    fn parts(&self) -> [&[u8]; 3] {
        match self {
            Self::AsItIs(message) => [message.data(), &[], &[]],
            Self::WithList(filled) => filled.parts(),
        }
    }

    fn length(&self) -> usize {
        self.parts().map(<[u8]>::len).iter().sum()
    }
}

impl Outgoing {
    /// What is sent in place of this message; `None` where nothing is. A call that it answers is over.
    fn to_send(&self, message: &Message) -> zbus::Result<Option<Leaving>> {
        let as_it_is = || Leaving::AsItIs(message.clone());
        let header = message.header();
        let (caller, serial) = match (message.message_type(), header.destination(), header.reply_serial()) {
            (Type::MethodReturn | Type::Error, Some(BusName::Unique(caller)), Some(serial)) => (caller, serial),
            (Type::Signal, ..) => {
                self.state.unread.signalled(message.data().len());
                return Ok(Some(as_it_is()));
            }
            _ => return Ok(Some(as_it_is())),
        };
        let sender: OwnedUniqueName = caller.to_owned().into();
        if !lock(&self.calls).answer(&sender, serial.get()) {
            return Ok(None);
        }
        let uid = self.state.callers.uid(&sender);
        let list = self.state.lists.of(message, &sender, serial);
        let judge = |leaving: Leaving| (self.state.unread.judge(&sender, uid, leaving.length()), leaving);
        let (mut verdict, mut leaving) = judge(list.map_or_else(as_it_is, Leaving::WithList));
        if verdict == Verdict::Refuse {
            self.state.store.statistics.calls_refused.add(1);
            (verdict, leaving) = judge(Leaving::AsItIs(refusal(caller, serial)?));
        }
        Ok((verdict == Verdict::Send).then_some(leaving))
    }
}

#[async_trait]
impl WriteHalf for Outgoing {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        let Some(leaving) = self.to_send(message)? else { return Ok(()) };
        for mut rest in leaving.parts() {
            while !rest.is_empty() {
                let sent = self.sendmsg(rest, &[]).await?;
                rest = rest.get(sent..).unwrap_or_default();
            }
        }
        Ok(())
    }

    async fn sendmsg(&mut self, buffer: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        loop {
            self.write.writable().await?;
            match self.write.try_write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        rustix::net::shutdown(self.write.as_ref(), rustix::net::Shutdown::Both).map_err(Into::into)
    }
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}
