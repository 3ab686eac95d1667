//! Methods, properties and signals.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use opensnitch_audit_client::{Event, EventList, Finding};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::info;
use zbus::message::{Flags, Header};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedVariant, interface};

use super::caller::Caller;
use super::front::Listed;
use super::tasks::source_and_socket;
use super::{Error, State, connection, delivery, query, wire};
use crate::diagnose::{self, Facts, Files};
use crate::polkit::{self, Action, Polkit};
use crate::socket::{SockDiag, Tuple};
use crate::source::Serving;
use crate::store::{Answer, Sight, Statistics};

/// Lists that are made or on their way to the bus at the same time: each may take [`MAX_REPLY`].
const MAX_LISTS: usize = 2;

/// Look-ups of connections under way at the same time. Each may take a while, where all of `/proc` is looked through.
const MAX_LOOK_UPS: usize = 4;

/// A reply's size in bytes; the bus cuts off who sends more than 32 MiB, and clients rarely expect as much.
const MAX_REPLY: usize = 8 * 1024 * 1024;

/// `org.opensnitch.Audit`.
#[derive(Debug)]
pub(super) struct Audit {
    state: Arc<State>,
    lists: Arc<Semaphore>,
    look_ups: Semaphore,
    polkit: Polkit,
}

impl Audit {
    /// The names of the properties.
    pub(super) const PROPERTIES: [&str; 6] = ["Version", "Source", "Socket", "Connected", "RulesLoaded", "Statistics"];

    /// Answers from this state.
    #[must_use]
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            lists: Arc::new(Semaphore::new(MAX_LISTS)),
            look_ups: Semaphore::new(MAX_LOOK_UPS),
            polkit: Polkit::default(),
        }
    }

    /// What the caller of a list may see. Polkit is asked quietly: lists never prompt.
    async fn sight_of_list(&self, caller: &Caller, connection: &Connection, header: &Header<'_>) -> Sight {
        match caller.sight() {
            Sight::All => Sight::All,
            _ if self.polkit.authorize_quietly(connection, header, Action::ReadAllEvents).await.is_ok() => Sight::All,
            own => own,
        }
    }

    /// What else the caller of a single row may see, where what it sees by itself was not enough. It is asked before
    /// anybody looks whether there is more: nothing of the answer depends on what is there.
    ///
    /// # Errors
    /// Where somebody could be asked and did not say yes.
    async fn wider_sight(
        &self,
        caller: &Caller,
        connection: &Connection,
        header: &Header<'_>,
    ) -> Result<Option<Sight>, Error> {
        if caller.sight() == Sight::All {
            return Ok(None);
        }
        let may_prompt = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        match self.polkit.authorize(connection, header, Action::ReadAllEvents).await {
            Ok(()) => Ok(Some(Sight::All)),
            Err(refusal) if may_prompt => Err(Error::refused(&refusal, "no such event of your own is known")),
            Err(_) => Ok(None),
        }
    }

    async fn may_change_rules(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        action: Action,
    ) -> Result<(), Error> {
        let refused = self.polkit.authorize(connection, header, action).await;
        refused.map_err(|refusal| Error::refused(&refusal, "the audit rules stay as they are"))
    }

    /// Changes the kernel's rules, away from the bus's own threads.
    async fn change_rules(
        &self,
        change: impl FnOnce(&State) -> Result<u32, Error> + Send + 'static,
    ) -> Result<u32, Error> {
        let result = self.blocking(change).await?;
        self.state.rules_changed.notify(usize::MAX);
        result
    }

    /// Runs what may block away from the bus's own threads.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&State) -> T + Send + 'static) -> Result<T, Error> {
        let state = self.state.clone();
        spawn_blocking(move || work(&state)).await.map_err(|_| stopping())
    }

    /// The events that `find` hands on, until the reply is full; and what it returns.
    async fn list<T: Send + 'static>(
        &self,
        call: &Header<'_>,
        find: impl FnOnce(&State, &mut dyn FnMut(Answer) -> bool) -> T + Send + 'static,
    ) -> Result<(Listed<'_>, T), Error> {
        let place = self.lists.clone().acquire_owned().await.map_err(|_| stopping())?;
        let list = self.blocking(move |state| {
            let mut events = EventList::default();
            let end = find(state, &mut |answer| {
                events.push_within(MAX_REPLY, &wire::event(&answer, |uid| state.accounts.name(uid)))
            });
            (events, end)
        });
        let (events, end) = list.await?;
        Ok((self.state.lists.keep(call, events, place), end))
    }
}

#[interface(name = "org.opensnitch.Audit", introspection_docs = false)]
impl Audit {
    #[zbus(out_args("event"))]
    async fn get_event_by_pid(
        &self,
        pid: u32,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Event, Error> {
        let caller = self.state.callers.enter(connection, &header).await?;
        let mut answer = self.state.store.of_pid(pid, caller.sight(), self.state.now());
        if answer.is_none()
            && let Some(sight) = self.wider_sight(&caller, connection, &header).await?
        {
            answer = self.state.store.of_pid(pid, sight, self.state.now());
        }
        let answer = answer.ok_or_else(|| {
            Error::NotFound(format!(
                "no event of process {pid} that you may see is known: it made no connection since the service began, or so \
                 long ago that it was forgotten"
            ))
        })?;
        wire::event_of(&self.state, answer).await.ok_or_else(stopping)
    }

    #[zbus(out_args("events"))]
    async fn get_events(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Listed<'_>, Error> {
        let caller = self.state.callers.enter(connection, &header).await?;
        let sight = self.sight_of_list(&caller, connection, &header).await;
        Ok(self.list(&header, move |state, take| state.store.newest(sight, state.now(), take)).await?.0)
    }

    #[zbus(out_args("events", "next"))]
    async fn find_events(
        &self,
        query: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(Listed<'_>, u64), Error> {
        let caller = self.state.callers.enter(connection, &header).await?;
        let query = query::query(query)?;
        let sight = self.sight_of_list(&caller, connection, &header).await;
        self.list(&header, move |state, take| state.store.find(&query, sight, take)).await
    }

    #[expect(clippy::too_many_arguments, reason = "the contract has five, and zbus hands in what it knows of the call")]
    #[zbus(out_args("event"))]
    async fn get_event_by_connection(
        &self,
        protocol: &str,
        source: &str,
        sport: u16,
        destination: &str,
        dport: u16,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Event, Error> {
        let caller = self.state.callers.enter(connection, &header).await?;
        let tuple = Tuple::parse(protocol, source, sport, destination, dport)
            .map_err(|error| Error::InvalidArgs(error.to_string()))?;
        let _permit = self.look_ups.acquire().await.map_err(|_| stopping())?;
        let own = caller.sight();
        let mut owner = self.blocking(move |state| connection::owner(state, &tuple, own)).await??;
        if owner.is_none()
            && let Some(sight) = self.wider_sight(&caller, connection, &header).await?
        {
            owner = self.blocking(move |state| connection::owner(state, &tuple, sight)).await??;
        }
        owner.ok_or_else(|| {
            Error::NotFound(format!(
                "no process that you may see is known to hold the {} connection from {} to {}: there is no such socket, it \
                 is in another network namespace, or several processes can have had it",
                tuple.protocol().name(),
                tuple.source(),
                tuple.destination()
            ))
        })
    }

    #[zbus(out_args("added"))]
    async fn add_rules(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<u32, Error> {
        let _caller = self.state.callers.enter(connection, &header).await?;
        self.may_change_rules(connection, &header, Action::AddRules).await?;
        let added = self.change_rules(|state| {
            if !state.keeper.is_enabled()? {
                return Err(Error::AuditUnavailable(
                    "the kernel's audit is switched off: 'auditctl -e 1' switches it on, as auditd does when it starts"
                        .to_owned(),
                ));
            }
            Ok(state.keeper.add()?)
        });
        let added = added.await?;
        info!(added, "audit rules were added by a call");
        Ok(added)
    }

    #[zbus(out_args("deleted"))]
    async fn delete_rules(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<u32, Error> {
        let _caller = self.state.callers.enter(connection, &header).await?;
        self.may_change_rules(connection, &header, Action::DeleteRules).await?;
        let deleted = self.change_rules(|state| Ok(state.keeper.delete()?)).await?;
        info!(deleted, "audit rules were deleted by a call");
        Ok(deleted)
    }

    #[zbus(out_args("findings"))]
    async fn diagnose(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<Finding>, Error> {
        let caller = self.state.callers.enter(connection, &header).await?;
        let polkit = polkit::is_there(connection).await;
        let (uid, is_member) = (caller.uid, caller.is_member);
        let _permit = self.lists.acquire().await.map_err(|_| stopping())?;
        self.blocking(move |state| {
            let name = state.accounts.name(uid).map(|name| crate::text::text(&name).0);
            let caller = diagnose::Caller { uid, name, is_member };
            let findings = diagnose::diagnose(&facts(state, caller, polkit)).into_iter();
            findings.map(wire::finding).collect()
        })
        .await
    }

    async fn subscribe(
        &self,
        query: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let caller = self.state.callers.enter(connection, &header).await?;
        let query = query::of_subscription(query)?;
        let is_of_own = query.uid == Some(caller.uid);
        let (sight, limits) = (caller.sight(), self.state.limits());
        let subscription = self.state.subscriptions.open(&header, caller.uid, query, sight, limits)?;
        // It may have left before it was known here.
        if !delivery::is_there(connection, &subscription.name).await {
            self.state.subscriptions.close(&subscription.name);
        } else if sight != Sight::All
            && !is_of_own
            && self.polkit.authorize(connection, &header, Action::ReadAllEvents).await.is_ok()
        {
            subscription.see(Sight::All);
        }
        Ok(())
    }

    async fn unsubscribe(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let _caller = self.state.callers.enter(connection, &header).await?;
        if let Some(caller) = header.sender() {
            self.state.subscriptions.close(caller);
        }
        Ok(())
    }

    #[zbus(signal)]
    pub(super) async fn event_seen(
        emitter: &SignalEmitter<'_>,
        event_type: &str,
        exe: &str,
        event: &Event,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn events_lost(emitter: &SignalEmitter<'_>, count: u64) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property)]
    fn source(&self) -> &'static str {
        self.state.source.source()
    }

    #[zbus(property)]
    fn socket(&self) -> String {
        source_and_socket(&self.state).1
    }

    #[zbus(property)]
    fn connected(&self) -> bool {
        !self.state.source.source().is_empty()
    }

    #[zbus(property)]
    fn rules_loaded(&self) -> bool {
        self.state.keeper.is_loaded()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn statistics(
        &self,
        #[zbus(header)] header: Option<Header<'_>>,
        #[zbus(connection)] connection: &Connection,
    ) -> BTreeMap<&'static str, u64> {
        // Counters tell when others do something, and how much of it.
        let caller = match &header {
            Some(header) => self.state.callers.enter(connection, header).await.ok(),
            None => None,
        };
        if caller.is_none_or(|caller| caller.sight() != Sight::All) {
            let reconnects = self.state.store.statistics.reconnects.get();
            return BTreeMap::from([(Statistics::RECONNECTS, reconnects)]);
        }
        let kernel = self.blocking(State::kernel_status).await.ok().flatten();
        self.state.store.statistics.subscriptions.set(self.state.subscriptions.count());
        let mut all: BTreeMap<_, _> = self.state.store.counters().into_iter().collect();
        // The kernel's own are absent where it does not tell them.
        if let Some(status) = kernel {
            all.insert("KernelLost", status.lost.into());
            all.insert("KernelBacklog", status.backlog.into());
        }
        all
    }
}

fn facts(state: &State, caller: diagnose::Caller, polkit: bool) -> Facts {
    let setup = state.setup();
    let kernel = state.keeper.report();
    let daemon = kernel.as_ref().map_or(0, |report| report.status.pid);
    let link = state.source.link();
    let statistics = &state.store.statistics;
    let lines = statistics.lines_read.get();
    Facts {
        link: diagnose::Link {
            by_multicast: match link.serving {
                Serving::Multicast(why) => Some(why.text()),
                _ => None,
            },
            no_multicast: link.no_multicast,
            without_audisp: setup.sockets.is_empty(),
            sockets: setup.sockets,
            connected: link.connected.map(|(since, before)| (since, lines.saturating_sub(before))),
            refused: link.refused,
            dismissed: link.dismissed,
            assembled: statistics.events_assembled.get(),
            late: statistics.records_late.get(),
            without_newlines: link.newline_less,
        },
        kernel,
        lost_before: state.lost_before(),
        files: Files::read(Path::new("/"), daemon),
        key: setup.key,
        manages_rules: setup.manages_rules,
        watches_sends: setup.sends,
        watches_local: setup.local,
        switched_on: state.switch.setting().is_some(),
        finds_sockets: state.sockets.as_ref().is_some_and(SockDiag::sees_machine),
        listener: state.unread.listener(),
        caller,
        polkit,
    }
}

fn stopping() -> Error {
    Error::Failed("the service is stopping: call again when it has started".to_owned())
}
