//! Commands that ask the service.

use std::io::{self, Write};

use opensnitch_audit_client::{AuditProxy, Event, GROUP, NAME};
use rustix::process::{getegid, geteuid, getgroups};
use zbus::Connection;
use zbus::fdo::DBusProxy;

use super::agent::Agent;
use super::column::Merged;
use super::escape::json;
use super::filter::{Filter, Wanted};
use super::options::{Appearance, Command, Order, Rules};
use super::screen::Screen;
use super::table::{Look, Table};
use super::tuple::Tuple;
use super::{Failure, diagnose, rules, show, status, top, watch};

/// Rows asked for at once.
const PAGE: u32 = 1000;

/// The bus, the service on it, and how answers look.
pub(super) struct Session<'a> {
    pub(super) connection: Connection,
    pub(super) audit: AuditProxy<'a>,
    pub(super) look: &'a Look,
    no_pager: bool,
}

pub(super) fn run(command: Command, appearance: &Appearance) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if matches!(command, Command::Diagnose) {
            return diagnose::run(&appearance.look).await;
        }
        let connection = Connection::system().await?;
        let audit = AuditProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?;
        let session = Session { connection, audit, look: &appearance.look, no_pager: appearance.no_pager };
        match command {
            Command::List { order, filter } => session.list(&order, &filter).await,
            Command::Find { order, limit, filter } => session.find(&order, limit, &filter).await,
            Command::Show { process, filter } => show::process(&session, process, *filter).await,
            Command::Owner { connection } => show::owner(&session, Tuple::parse(&connection)?).await,
            Command::Watch { filter } => watch::run(&session, &filter).await,
            Command::Top { filter } => top::run(&session, *filter).await,
            Command::Status { check } => status::run(&session, check).await,
            Command::Rules { action: Rules::Add } => {
                let _agent = Agent::start();
                session.told("Added", session.audit.add_rules().await?, "rules were added")
            }
            Command::Rules { action: Rules::Delete } => {
                let _agent = Agent::start();
                session.told("Deleted", session.audit.delete_rules().await?, "rules were deleted")
            }
            Command::Rules { action: Rules::List { config } } => rules::list(&session, config.as_deref()).await,
            // These never come here.
            Command::Diagnose | Command::Decode(_) | Command::Complete { .. } => Ok(()),
        }
    })
}

impl Session<'_> {
    /// Where rows go.
    pub(super) fn screen(&self) -> Screen {
        Screen::open(self.no_pager)
    }

    /// The service's process; nothing where it does not run.
    pub(super) async fn service_pid(&self) -> Option<u32> {
        let bus = DBusProxy::new(&self.connection).await.ok()?;
        bus.get_connection_unix_process_id(NAME.try_into().ok()?).await.ok()
    }

    fn told(&self, key: &str, count: u32, what: &str) -> Result<(), Failure> {
        let mut out = io::stdout();
        if self.look.as_json {
            json(out, &serde_json::json!({ key: count }))?;
        } else {
            writeln!(out, "{count} {what}")?;
        }
        Ok(())
    }

    async fn list(&self, order: &Order, filter: &Filter) -> Result<(), Failure> {
        let wanted = filter.wanted(self.look.shown.clock.now())?;
        let mut events = self.audit.get_events().await?;
        events.retain(|event| wanted.holds(event));
        self.sort(order, &mut events);
        let mut screen = self.screen();
        let mut table = Table::new(&mut screen, self.look, Merged::ByType);
        for event in &events {
            table.row(event)?;
        }
        table.flush()?;
        let rows = table.rows();
        screen.close()?;
        self.say_hidden();
        some(rows, filter)
    }

    /// Prints page after page.
    async fn find(&self, order: &Order, limit: Option<usize>, filter: &Filter) -> Result<(), Failure> {
        let wanted = filter.wanted(self.look.shown.clock.now())?;
        let mut screen = self.screen();
        let mut table = Table::new(&mut screen, self.look, Merged::ByType);
        if order.sort.is_some() || order.reverse {
            let mut events = Vec::new();
            self.pages(&wanted, limit, |page| {
                events.extend(page);
                Ok(())
            })
            .await?;
            self.sort(order, &mut events);
            events.iter().try_for_each(|event| table.row(event))?;
        } else {
            let show = |page: Vec<Event>| {
                page.iter().try_for_each(|event| table.row(event))?;
                table.flush()
            };
            self.pages(&wanted, limit, show).await?;
        }
        table.flush()?;
        let rows = table.rows();
        screen.close()?;
        if limit.is_none() {
            self.say_hidden();
        }
        some(rows, filter)
    }

    /// Hands on what is wanted, page after page, the newest first.
    pub(super) async fn pages(
        &self,
        wanted: &Wanted,
        limit: Option<usize>,
        mut take: impl FnMut(Vec<Event>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut query = wanted.query().limit(PAGE);
        let mut left = limit.unwrap_or(usize::MAX);
        while left > 0 {
            let (mut events, next) = self.audit.find_events(&query).await?;
            events.retain(|event| wanted.holds(event));
            events.truncate(left);
            left -= events.len();
            take(events)?;
            if next == 0 {
                break;
            }
            query = query.cursor(next);
        }
        Ok(())
    }

    fn sort(&self, order: &Order, events: &mut [Event]) {
        if let Some(column) = order.sort {
            events.sort_by(|left, right| column.compare(left, right, &self.look.shown));
        }
        if order.reverse {
            events.reverse();
        }
    }

    /// Says that rows of others are not shown; how many there are is not told to whoever may not see them.
    pub(super) fn say_hidden(&self) {
        if !self.look.as_json && self.look.legend && !self.sees_all() {
            eprintln!(
                "opensnitch-auditctl: rows of other users are hidden: 'pkexec opensnitch-auditctl …' shows them, and so does \
                 membership of the group {GROUP}"
            );
        }
    }

    /// Root and the members of the group.
    pub(super) fn sees_all(&self) -> bool {
        let is_member = || {
            let group = self.look.shown.accounts.group(GROUP)?;
            let groups = getgroups().ok()?;
            Some(groups.iter().chain([&getegid()]).any(|own| own.as_raw() == group))
        };
        geteuid().is_root() || is_member().unwrap_or(false)
    }
}

/// That no row was shown is told.
fn some(rows: u64, filter: &Filter) -> Result<(), Failure> {
    match rows {
        0 if filter.is_empty() => Err(Failure::NoMatch("no event that you may see is known".to_owned())),
        0 => Err(Failure::NoMatch("no event that you may see matches".to_owned())),
        _ => Ok(()),
    }
}
