//! Whose connection is it? What a firewall asks with a packet in its hand.

use audit_records::EventType;
use opensnitch_audit_client::Event;

use super::{Error, State, wire};
use crate::process::look;
use crate::socket::{self, Candidate, Holder, Holders, Protocol, Tuple, holders};
use crate::store::{Answer, Row, Sight};

/// How sure an answer is: the values of `Certainty`. One process holds the socket;
const SOCKET: &str = "socket";
/// several do;
const SHARED: &str = "shared";
/// nobody does any more, and one process used the address.
const HISTORY: &str = "history";

/// The owner of a connection, as far as somebody with that sight may know; `None` where there is none. Blocks: it asks the
/// kernel, and may look through all of `/proc`.
///
/// # Errors
/// Where the kernel cannot be asked, or it takes too long.
pub(super) fn owner(state: &State, tuple: &Tuple, sight: Sight) -> Result<Option<Event>, Error> {
    let destination = tuple.destination();
    let used = state.store.users_of(destination.ip(), |row| sight.allows(row) && uses(row, tuple));
    let sockets = state.sockets.as_ref().map_or(Ok(Vec::new()), |sockets| sockets.find(tuple))?;
    if let Some(socket) = sockets.first() {
        let makers = state.store.makers(socket.uid, sight);
        let candidates: Vec<Candidate> = used.iter().chain(&makers).filter_map(candidate).collect();
        if let Some(held) = holders(&sockets, &candidates)? {
            return Ok(of_holders(state, tuple, &held, sight));
        }
    }
    // The socket is gone. Whoever used the address may be meant, if it can only be one.
    let sole = state.store.sole_user_of(destination.ip(), |row| sight.allows(row) && uses(row, tuple));
    Ok(sole.map(|row| {
        let mut event = event(state, row);
        event.certainty = Some(HISTORY.into());
        event
    }))
}

/// The name service is not asked: its own question may be the packet that waits for this answer.
fn event(state: &State, row: Row) -> Event {
    wire::event(&Answer::single(row), |uid| state.accounts.peek(uid).flatten())
}

/// Whether that row is of a call that can have made packets of this connection.
fn uses(row: &Row, tuple: &Tuple) -> bool {
    let protocol = tuple.protocol();
    let to = row.address.as_ref().and_then(|address| address.ip());
    matches!(row.event_type, Some(EventType::Connect | EventType::Send))
        && to.is_some_and(|(host, port)| {
            host.to_canonical() == tuple.destination().ip()
                && (protocol == Protocol::Icmp || port == tuple.destination().port())
        })
        && row.socket.and_then(|one| one.name()).is_none_or(|name| is_named(protocol, name))
}

fn candidate(row: &Row) -> Option<Candidate> {
    let start_time_us = row.process().map(|process| process.start_time_us);
    Some(Candidate { pid: row.origin.pid?, start_time_us, fd: row.fd })
}

fn of_holders(state: &State, tuple: &Tuple, held: &Holders, sight: Sight) -> Option<Event> {
    let mut event = of_holder(state, tuple, held.first, sight)?;
    let is_shared = !held.others.is_empty();
    event.certainty = Some(if is_shared { SHARED } else { SOCKET }.into());
    event.holders = held.others.iter().map(|holder| holder.pid).collect();
    Some(event)
}

/// The event of a process that says most of the connection; where none came, what `/proc` knows.
fn of_holder(state: &State, tuple: &Tuple, holder: Holder, sight: Sight) -> Option<Event> {
    let Holder { pid, start_time_us } = holder;
    let of = |wanted: &dyn Fn(&Row) -> bool| state.store.of_process(pid, start_time_us, wanted);
    let row = of(&|row| uses(row, tuple))
        .or_else(|| of(&|row| row.event_type == Some(EventType::Socket) && !speaks_another(row, tuple)))
        .or_else(|| of(&|_| true));
    match row {
        Some(row) if sight.allows(&row) => Some(event(state, row)),
        Some(_) => None,
        None => {
            let process = look(pid).filter(|process| process.start_time_us == start_time_us)?;
            let may = match sight {
                Sight::All => true,
                Sight::Own(uid) => process.uid == uid,
            };
            may.then(|| wire::process(&process))
        }
    }
}

/// Whether a socket's protocol is known, and is another.
fn speaks_another(row: &Row, tuple: &Tuple) -> bool {
    row.socket.and_then(|one| one.name()).is_some_and(|name| !is_named(tuple.protocol(), name))
}

/// Whether a socket that was asked for with that protocol can send such packets.
fn is_named(protocol: Protocol, name: &str) -> bool {
    let also = match protocol {
        Protocol::Tcp => "mptcp",
        Protocol::Icmp => "icmpv6",
        _ => "",
    };
    name == protocol.name() || name == also
}

impl From<socket::Error> for Error {
    fn from(error: socket::Error) -> Self {
        Self::Failed(format!(
            "{error}. The events of a process can still be found: FindEvents with DstHost and DstPort"
        ))
    }
}
