//! May this caller do this?
//!
//! - The **caller** is the unique name on the bus that a message came from: never a pid, which could be another's by
//!   the time it is looked at.
//! - A **check** is one question to polkit. It is **interactive** when polkit may ask a person, which it may only where the
//!   message itself allows it.
//! - A **refusal** is any outcome of a check other than yes.
//!
//! A caller is authorized only after polkit said yes of that very name, and the bus said, after that, that the name is still
//! there. Every doubt is a refusal. A check that nobody waits for any more is cancelled.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use zbus::fdo::DBusProxy;
use zbus::message::{Flags, Header, Type};
use zbus::names::{UniqueName, WellKnownName};
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, MessageStream};
use zbus_polkit::policykit1::{AuthorityProxy, AuthorizationResult, CheckAuthorizationFlags, Subject};

use crate::quota::Quota;

/// How long polkit may think when it asks nobody: rules take milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// The same where the bus has to start it first, which takes seconds on a busy machine. Most callers wait for 25.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long a person may take to read what is asked and to type a password.
const INTERACTIVE_LIMIT: Duration = Duration::from_secs(2 * 60);

/// Checks under way at the same time. The bus stops passing on our calls, all of them, at 128 without an answer
/// (`max_replies_per_connection` of dbus-daemon's system bus).
const MAX_CHECKS: usize = 64;

/// Interactive ones among them: prompts that nobody answers keep no other check waiting.
const MAX_PROMPTS: usize = 32;

/// Those of one user, so that nobody takes all of them.
const MAX_PROMPTS_OF_USER: usize = 8;

/// What is passed on of an error of polkit's, in characters.
const MAX_ERROR: usize = 300;

/// Polkit's own on the bus.
const NAME: &str = "org.freedesktop.PolicyKit1";

/// What a caller may be allowed to do; the shipped policy file defines the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See events of other users' processes.
    ReadAllEvents,
    /// Load our kernel rules.
    AddRules,
    /// Remove our kernel rules.
    DeleteRules,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ReadAllEvents, Self::AddRules, Self::DeleteRules];

    /// Polkit's name of it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::ReadAllEvents => "org.opensnitch.audit.read-all-events",
            Self::AddRules => "org.opensnitch.audit.add-rules",
            Self::DeleteRules => "org.opensnitch.audit.delete-rules",
        }
    }

    const fn deed(self) -> &'static str {
        match self {
            Self::ReadAllEvents => "read the events of other users' processes",
            Self::AddRules => "add the audit rules",
            Self::DeleteRules => "delete the audit rules",
        }
    }
}

/// A caller was not authorized. Its `Display` says what happened, to what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// To do what.
    pub action: Action,
    /// Why not.
    pub reason: Reason,
}

/// Why a caller is not authorized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Polkit says no.
    Denied,
    /// A person was asked, and did not prove to be the one that polkit asked for.
    NotAuthenticated,
    /// The caller would have to authenticate, and its message does not allow to ask: with interaction allowed the same
    /// call may succeed.
    InteractionRequired,
    /// The caller would have to authenticate, and no authentication agent serves it.
    NoAgent,
    /// The person who was asked did not want to.
    Dismissed,
    /// The caller is not on the bus any more.
    CallerGone,
    /// The bus does not know polkit.
    NoPolkit,
    /// Neither polkit nor, where one was asked, a person answered in this time.
    TimedOut(Duration),
    /// Too many prompts are open already.
    TooMany,
    /// Polkit, or the bus, gave an error or an answer that makes no sense.
    Failed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (deed, id) = (self.action.deed(), self.action.id());
        match &self.reason {
            Reason::Denied => write!(
                f,
                "polkit does not allow you to {deed}: call as root, or have {id} allowed to you by a rule in \
                 /etc/polkit-1/rules.d"
            ),
            Reason::InteractionRequired => write!(
                f,
                "to {deed} one has to authenticate ({id}), and this call does not allow to be asked: call as root, or \
                 allow it (busctl --allow-interactive-authorization=yes)"
            ),
            Reason::NoAgent => write!(
                f,
                "to {deed} one has to authenticate ({id}), and no authentication agent serves you: call as root, or with \
                 opensnitch-auditctl where you are logged in at a terminal, on which it has you asked (su --command takes \
                 the terminal away)"
            ),
            Reason::NotAuthenticated => write!(
                f,
                "the authentication to {deed} failed ({id}): call again, and give the password of the user that is named"
            ),
            Reason::Dismissed => {
                write!(f, "the authentication to {deed} was dismissed ({id}): call again, and authenticate")
            }
            Reason::CallerGone => write!(
                f,
                "the caller left the bus before it was known whether it may {deed} ({id}): stay connected until the \
                 answer comes"
            ),
            Reason::NoPolkit if self.action == Action::ReadAllEvents => write!(
                f,
                "polkit is not there, and without it only root and the group opensnitch-audit may {deed} ({id}): call as \
                 one of them, or install polkitd and start it (systemctl start polkit)"
            ),
            Reason::NoPolkit => write!(
                f,
                "polkit is not there, and without it nobody may {deed} ({id}), root neither: install polkitd, start it \
                 (systemctl start polkit), then call again"
            ),
            Reason::TimedOut(limit) if *limit == INTERACTIVE_LIMIT => write!(
                f,
                "nobody authenticated within {} seconds to {deed} ({id}): call again, and authenticate",
                limit.as_secs()
            ),
            Reason::TimedOut(limit) => write!(
                f,
                "polkit did not say within {} seconds whether you may {deed} ({id}): if it hangs, restart it \
                 (systemctl restart polkit), then call again",
                limit.as_secs()
            ),
            Reason::TooMany => write!(
                f,
                "too many calls wait already for somebody to authenticate, this time to {deed} ({id}): answer the prompts \
                 that are open, or wait until they end, then call again"
            ),
            Reason::Failed(error) => write!(
                f,
                "polkit could not say whether you may {deed} ({id}): {error}. See that \
                 /usr/share/polkit-1/actions/org.opensnitch.audit.policy is there, and its log (journalctl -u polkit)"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

/// The way to polkit.
#[derive(Debug)]
pub struct Polkit {
    last_id: AtomicU64,
    checks: Arc<Semaphore>,
    prompts: Arc<Quota>,
    /// Answers that polkit owes for longer than it may think. While there are any it hangs, and is not waited for again.
    overdue: Arc<AtomicUsize>,
}

impl Default for Polkit {
    fn default() -> Self {
        Self {
            last_id: AtomicU64::new(0),
            checks: Arc::new(Semaphore::new(MAX_CHECKS)),
            prompts: Quota::new(MAX_PROMPTS, MAX_PROMPTS_OF_USER),
            overdue: Arc::default(),
        }
    }
}

impl Polkit {
    /// Whether the sender of a message may do this. Waits for polkit, and for a person if the message allows it and polkit
    /// asks for one.
    ///
    /// # Errors
    /// On any doubt.
    pub async fn authorize(&self, connection: &Connection, header: &Header<'_>, action: Action) -> Result<(), Refusal> {
        let may_prompt = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        // Without a person first: else a polkit that hangs would be given the time of a person.
        let decision = match self.check(connection, header, action, false).await {
            Err(Reason::InteractionRequired) if may_prompt => self.check(connection, header, action, true).await,
            decided => decided,
        };
        decision.map_err(|reason| Refusal { action, reason })
    }

    /// As [`authorize`](Self::authorize), and asks no person whatever the message allows: for lists, which leave out
    /// what the caller may not see.
    ///
    /// # Errors
    /// On any doubt.
    pub async fn authorize_quietly(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        action: Action,
    ) -> Result<(), Refusal> {
        self.check(connection, header, action, false).await.map_err(|reason| Refusal { action, reason })
    }

    async fn check(
        &self,
        connection: &Connection,
        header: &Header<'_>,
        action: Action,
        interactive: bool,
    ) -> Result<(), Reason> {
        let failed = |error: zbus::Error| Reason::Failed(shorten(&error.to_string()));
        let subject = Subject::new_for_message_header(header).map_err(|error| Reason::Failed(error.to_string()))?;
        let caller = header.sender().ok_or_else(|| Reason::Failed("the message has no sender".to_owned()))?.to_owned();

        if self.overdue.load(Ordering::Relaxed) > 0 {
            return Err(Reason::TimedOut(LIMIT));
        }
        // Watched first, then asked for: there is no moment at which it can leave unseen.
        let mut departure = departure(connection, &caller).await.map_err(failed)?;
        let bus = DBusProxy::new(connection).await.map_err(failed)?;
        let uid = bus.get_connection_unix_user(caller.clone().into()).await.map_err(|_| Reason::CallerGone)?;
        let prompt = match interactive {
            true => Some(self.prompts.take(uid).ok_or(Reason::TooMany)?),
            false => None,
        };
        let turn = timeout(LIMIT, self.checks.clone().acquire_owned()).await.map_err(|_| Reason::TimedOut(LIMIT))?;

        let authority = AuthorityProxy::builder(connection).cache_properties(CacheProperties::No);
        let authority = authority.build().await.map_err(failed)?;
        let (flags, limit) = match interactive {
            true => (CheckAuthorizationFlags::ALLOW_USER_INTERACTION, INTERACTIVE_LIMIT),
            false if runs(&bus).await => (CheckAuthorizationFlags::empty(), LIMIT),
            false => (CheckAuthorizationFlags::empty(), START_LIMIT),
        };
        let cancellation_id = self.last_id.fetch_add(1, Ordering::Relaxed).to_string();
        let mut answer = Box::pin({
            let (authority, cancellation_id) = (authority.clone(), cancellation_id.clone());
            async move {
                let _held = (turn, prompt);
                let details = HashMap::new();
                authority.check_authorization(&subject, action.id(), &details, flags, &cancellation_id).await
            }
        });
        let doubt = tokio::select! {
            biased;
            answer = &mut answer => {
                judge(answer, interactive)?;
                let there = bus.name_has_owner(caller.into()).await;
                return if there == Ok(true) { Ok(()) } else { Err(Reason::CallerGone) };
            }
            _ = departure.next() => Reason::CallerGone,
            () = sleep(limit) => Reason::TimedOut(limit),
        };
        // The question is not dropped: a message that is sent half way would end the connection. And it counts as under
        // way until polkit answered, so that one that hangs does not make questions pile up.
        let grace = if doubt == Reason::TimedOut(limit) && !interactive { Duration::ZERO } else { LIMIT };
        let overdue = self.overdue.clone();
        tokio::spawn(async move {
            let cancelled = authority.inner().call_noreply("CancelCheckAuthorization", &cancellation_id);
            let mut settled = pin!(async { tokio::join!(biased; answer, cancelled) });
            if timeout(grace, &mut settled).await.is_err() {
                overdue.fetch_add(1, Ordering::Relaxed);
                let _ = settled.await;
                overdue.fetch_sub(1, Ordering::Relaxed);
            }
        });
        Err(doubt)
    }
}

/// Whether polkit is on the bus. One that the bus can start is started: whether it can is not known before, since its unit
/// may be masked or broken.
pub async fn is_there(connection: &Connection) -> bool {
    let Ok(bus) = DBusProxy::new(connection).await else { return false };
    if runs(&bus).await {
        return true;
    }
    // In a task of its own: a message that is sent half way would end the connection.
    let started = tokio::spawn(async move { bus.start_service_by_name(name(), 0).await.is_ok() });
    matches!(timeout(START_LIMIT, started).await, Ok(Ok(true)))
}

async fn runs(bus: &DBusProxy<'_>) -> bool {
    bus.name_has_owner(name().into()).await == Ok(true)
}

fn name() -> WellKnownName<'static> {
    WellKnownName::from_static_str_unchecked(NAME)
}

/// Yields once the caller is gone. A unique name comes once and never again.
async fn departure(connection: &Connection, caller: &UniqueName<'_>) -> zbus::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, caller.as_str())
        .build()?;
    MessageStream::for_match_rule(rule, connection, Some(NonZeroUsize::MIN)).await
}

/// What polkit's answer means (`CheckAuthorization` in its manual of the D-Bus interface).
fn judge(answer: zbus::Result<AuthorizationResult>, interactive: bool) -> Result<(), Reason> {
    use zbus::fdo::Error::{NameHasNoOwner, ServiceUnknown};

    let answer = match answer {
        Ok(answer) => answer,
        Err(zbus::Error::FDO(error)) if matches!(*error, ServiceUnknown(_) | NameHasNoOwner(_)) => {
            return Err(Reason::NoPolkit);
        }
        Err(error) => return Err(Reason::Failed(shorten(&error.to_string()))),
    };
    match (answer.is_authorized, answer.is_challenge) {
        (true, false) => Ok(()),
        (true, true) => Err(Reason::Failed("it says yes, and that one has to authenticate first".to_owned())),
        // Said of a prompt that its person closed.
        (false, _) if answer.details.contains_key("polkit.dismissed") => Err(Reason::Dismissed),
        (false, true) if interactive => Err(Reason::NoAgent),
        (false, true) => Err(Reason::InteractionRequired),
        // What its rules refuse it refuses before: this was asked as polkit wanted somebody to authenticate.
        (false, false) if interactive => Err(Reason::NotAuthenticated),
        (false, false) => Err(Reason::Denied),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(is_authorized: bool, is_challenge: bool, details: &[&str]) -> zbus::Result<AuthorizationResult> {
        let details = details.iter().map(|key| ((*key).to_owned(), "true".to_owned())).collect();
        Ok(AuthorizationResult { is_authorized, is_challenge, details })
    }

    fn error(error: zbus::fdo::Error) -> zbus::Result<AuthorizationResult> {
        Err(zbus::Error::FDO(Box::new(error)))
    }

    #[test]
    fn only_a_plain_yes_is_a_yes() {
        let retains = "polkit.retains_authorization_after_challenge";
        let table = [
            (answer(true, false, &[]), Ok(()), false),
            (answer(true, false, &["polkit.temporary_authorization_id"]), Ok(()), true),
            (answer(false, false, &[]), Err(Reason::Denied), false),
            (answer(false, false, &[retains]), Err(Reason::NotAuthenticated), true),
            (answer(false, false, &["polkit.dismissed"]), Err(Reason::Dismissed), true),
            (answer(false, true, &["polkit.dismissed"]), Err(Reason::Dismissed), true),
            (answer(false, true, &[retains]), Err(Reason::InteractionRequired), false),
            (answer(false, true, &[retains]), Err(Reason::NoAgent), true),
            (error(zbus::fdo::Error::ServiceUnknown(String::new())), Err(Reason::NoPolkit), false),
            (error(zbus::fdo::Error::NameHasNoOwner(String::new())), Err(Reason::NoPolkit), true),
        ];
        for (answer, expected, interactive) in table {
            assert_eq!(judge(answer, interactive), expected);
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_refusal() {
        let long = "x".repeat(10 * MAX_ERROR);
        for doubtful in
            [answer(true, true, &[]), error(zbus::fdo::Error::NoReply(long)), Err(zbus::Error::InvalidReply)]
        {
            let Err(Reason::Failed(text)) = judge(doubtful, true) else { panic!("not refused as failed") };
            assert!(!text.is_empty() && text.len() <= MAX_ERROR);
        }
    }

    #[test]
    fn the_shipped_policy_has_the_same_actions() {
        let policy = include_str!("../polkit/org.opensnitch.audit.policy");
        let ids: Vec<&str> = policy.split("<action id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(ids, Action::ALL.map(Action::id));
    }

    #[test]
    fn a_refusal_names_the_action_and_says_what_to_do() {
        let reasons = [
            (Reason::Denied, "/etc/polkit-1/rules.d"),
            (Reason::InteractionRequired, "--allow-interactive-authorization=yes"),
            (Reason::NoAgent, "with opensnitch-auditctl"),
            (Reason::NotAuthenticated, "call again"),
            (Reason::Dismissed, "call again"),
            (Reason::CallerGone, "stay connected"),
            (Reason::NoPolkit, "systemctl start polkit"),
            (Reason::TimedOut(LIMIT), "systemctl restart polkit"),
            (Reason::TimedOut(INTERACTIVE_LIMIT), "call again"),
            (Reason::TooMany, "prompts"),
            (Reason::Failed("a reason".to_owned()), "a reason"),
        ];
        for (reason, remedy) in reasons {
            for action in Action::ALL {
                let text = Refusal { action, reason: reason.clone() }.to_string();
                assert!(text.contains(action.id()) && text.contains(remedy), "{text}");
            }
        }
    }
}
