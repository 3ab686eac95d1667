//! Methods, properties and signals.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::info;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedVariant, Variant, interface};

use super::caller::{Caller, Calls, Sight};
use super::state::entry_is_running;
use super::wire::{Context, Listed, Row};
use super::{Error, Query, State};
use crate::diagnose::{self, Facts, Files};
use crate::polkit::{self, Action, Polkit};
use crate::process::{Entry, user_name};
use crate::statistics::Counter;

/// Lists made at the same time: each may take [`MAX_REPLY`] and again as much on its way.
const MAX_LISTS: usize = 2;

/// A reply's size in bytes; the bus cuts off who sends more than 32 MiB, and clients rarely expect as much.
const MAX_REPLY: usize = 8 * 1024 * 1024;

/// `org.opensnitch.Audit`.
#[derive(Debug)]
pub struct Audit {
    state: Arc<State>,
    calls: Calls,
    lists: Semaphore,
    polkit: Polkit,
}

impl Audit {
    /// Answers from this state.
    #[must_use]
    pub fn new(state: Arc<State>) -> Self {
        Self { state, calls: Calls::default(), lists: Semaphore::new(MAX_LISTS), polkit: Polkit::default() }
    }

    /// What the caller of a list may see. Polkit is asked, quietly, only where there is something to hide.
    async fn sight(&self, caller: &Caller<'_>, connection: &Connection, header: &Header<'_>) -> Sight {
        let now = self.state.now();
        let hides = self.state.cache().newest_first(u64::MAX, now).any(|entry| !caller.sight.allows(&entry.event));
        if hides && self.polkit.authorize_quietly(connection, header, Action::ReadAllEvents).await.is_ok() {
            return Sight::All;
        }
        caller.sight
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
        let state = self.state.clone();
        let result = spawn_blocking(move || change(&state)).await.map_err(|_| stopping())?;
        self.state.changed.notify(usize::MAX);
        result
    }

    /// The rows of these entries, as many as fit into a reply; and whether all did.
    async fn rows(
        &self,
        find: impl FnOnce(&State) -> Vec<Entry> + Send + 'static,
    ) -> Result<(Vec<Listed>, Option<u64>), Error> {
        let _permit = self.lists.acquire().await.map_err(|_| stopping())?;
        let state = self.state.clone();
        // `/proc` and the name service may take their time: not on the bus's own threads.
        spawn_blocking(move || {
            let mut bytes = 0;
            let mut rows = Vec::new();
            let mut last = None;
            let mut running = HashMap::new();
            for entry in find(&state) {
                let process = (entry.event.subject.pid, entry.start_time());
                let running = *running.entry(process).or_insert_with(|| entry_is_running(&entry));
                let listed = Listed { entry, running };
                bytes += listed.row().size();
                if bytes > MAX_REPLY {
                    return (rows, last);
                }
                last = Some(listed.entry.sequence);
                rows.push(listed);
            }
            (rows, None)
        })
        .await
        .map_err(|_| stopping())
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
    ) -> Result<Row, Error> {
        let caller = self.calls.enter(connection, &header).await?;
        let entry = self.state.cache().newest_of(pid, self.state.now()).cloned();
        let entry = entry.ok_or_else(|| {
            Error::NotFound(format!(
                "no event of process {pid} is known: it made no connection in the last ten minutes, or has ended since"
            ))
        })?;
        if !caller.sight.allows(&entry.event) {
            let refused = self.polkit.authorize(connection, &header, Action::ReadAllEvents).await;
            refused.map_err(|refusal| Error::refused(&refusal, &format!("process {pid} belongs to another user")))?;
        }
        let row = spawn_blocking(move || Row::new(&entry.event, Context::of(&entry, entry_is_running(&entry))));
        row.await.map_err(|_| stopping())
    }

    #[zbus(out_args("events"))]
    async fn get_events(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<Listed>, Error> {
        let caller = self.calls.enter(connection, &header).await?;
        let sight = self.sight(&caller, connection, &header).await;
        let find = move |state: &State| {
            let cache = state.cache();
            cache.newest_first(u64::MAX, state.now()).filter(|entry| sight.allows(&entry.event)).cloned().collect()
        };
        Ok(self.rows(find).await?.0)
    }

    #[zbus(out_args("events", "next"))]
    async fn find_events(
        &self,
        query: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(Vec<Listed>, u64), Error> {
        let caller = self.calls.enter(connection, &header).await?;
        let query = Query::new(&query)?;
        let sight = self.sight(&caller, connection, &header).await;
        let limit = query.limit;
        // One more than wanted: whether there is a next page.
        let find = move |state: &State| {
            let cache = state.cache();
            let entries = cache.newest_first(query.before, state.now());
            entries
                .filter(|entry| sight.allows(&entry.event) && query.matches(entry))
                .take(limit + 1)
                .cloned()
                .collect()
        };
        let (mut rows, next) = self.rows(find).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(|row| row.entry.sequence) } else { next };
        Ok((rows, next.unwrap_or(0)))
    }

    #[zbus(out_args("added"))]
    async fn add_rules(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<u32, Error> {
        let _caller = self.calls.enter(connection, &header).await?;
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
        let _caller = self.calls.enter(connection, &header).await?;
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
    ) -> Result<Vec<BTreeMap<&'static str, Variant<'static>>>, Error> {
        let caller = self.calls.enter(connection, &header).await?;
        let polkit = polkit::is_there(connection).await;
        let (uid, is_member) = (caller.uid, caller.is_member);
        let state = self.state.clone();
        let _permit = self.lists.acquire().await.map_err(|_| stopping())?;
        let findings = spawn_blocking(move || {
            let name = user_name(uid).map(|name| super::wire::text(&name).0);
            let setup = state.setup();
            let kernel = state.keeper.report();
            let daemon = kernel.as_ref().map_or(0, |report| report.status.pid);
            let facts = Facts {
                link: state.link(),
                kernel,
                lost_before: state.lost_before(),
                files: Files::read(Path::new("/"), daemon),
                key: setup.key,
                manages_rules: setup.manages_rules,
                watches_sends: setup.watches_sends,
                finds_sockets: true,
                caller: diagnose::Caller { uid, name, is_member },
                polkit,
            };
            diagnose::diagnose(&facts)
        });
        let findings = findings.await.map_err(|_| stopping())?.into_iter().map(|finding| {
            BTreeMap::from([
                ("Id", finding.id.into()),
                ("Severity", finding.severity.name().into()),
                ("Message", finding.message.into()),
                ("Remedy", finding.remedy.into()),
            ])
        });
        Ok(findings.collect())
    }

    #[zbus(signal)]
    async fn event_seen(emitter: &SignalEmitter<'_>, event_type: &str, exe: &str, event: Row) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn events_lost(emitter: &SignalEmitter<'_>, count: u64) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property)]
    fn source(&self) -> &'static str {
        self.state.source()
    }

    #[zbus(property)]
    fn connected(&self) -> bool {
        !self.state.source().is_empty()
    }

    #[zbus(property)]
    fn rules_loaded(&self) -> bool {
        self.state.keeper.is_loaded()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn statistics(&self) -> BTreeMap<&'static str, u64> {
        let state = self.state.clone();
        let kernel = spawn_blocking(move || state.kernel_status()).await.ok().flatten();
        let counters = Counter::ALL.into_iter().map(|counter| (counter.name(), self.state.counter(counter)));
        // The kernel's own are absent where it does not tell them.
        let of_kernel = [Counter::KernelLost.name(), Counter::KernelBacklog.name()];
        let mut all: BTreeMap<_, _> = counters.filter(|(name, _)| !of_kernel.contains(name)).collect();
        if let Some(status) = kernel {
            all.insert(Counter::KernelLost.name(), status.lost.into());
            all.insert(Counter::KernelBacklog.name(), status.backlog.into());
        }
        all
    }
}

fn stopping() -> Error {
    Error::Failed("the service is stopping: call again when it has started".to_owned())
}
