//! Errors as clients see them. Every message says what happened, to what, and what to do.

use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use crate::polkit::{Reason, Refusal};
use crate::rules;

/// An error reply: a name of the contract and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No such process in the cache.
    NotFound(String),
    /// The caller may not.
    AccessDenied(String),
    /// An argument is wrong; the message names it.
    InvalidArgs(String),
    /// The caller would have to authenticate, and the call does not allow to be asked.
    InteractionRequired(String),
    /// The kernel's audit is off, or refuses.
    AuditUnavailable(String),
    /// The kernel's rules are immutable until the next boot.
    RulesLocked(String),
    /// The kernel refused a rule; the message names it.
    RulesFailed(String),
    /// Too many calls at once.
    LimitsExceeded(String),
    /// Something of ours went wrong.
    Failed(String),
}

impl Error {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::NotFound(message) => ("org.opensnitch.Audit.Error.NotFound", message),
            Self::AccessDenied(message) => ("org.freedesktop.DBus.Error.AccessDenied", message),
            Self::InteractionRequired(message) => {
                ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", message)
            }
            Self::AuditUnavailable(message) => ("org.opensnitch.Audit.Error.AuditUnavailable", message),
            Self::RulesLocked(message) => ("org.opensnitch.Audit.Error.RulesLocked", message),
            Self::RulesFailed(message) => ("org.opensnitch.Audit.Error.RulesFailed", message),
            Self::InvalidArgs(message) => ("org.freedesktop.DBus.Error.InvalidArgs", message),
            Self::LimitsExceeded(message) => ("org.freedesktop.DBus.Error.LimitsExceeded", message),
            Self::Failed(message) => ("org.freedesktop.DBus.Error.Failed", message),
        }
    }
}

// Not derived: the derive puts one prefix before every name, and half of these are the standard ones.
impl zbus::DBusError for Error {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        let (name, message) = self.parts();
        Message::error(call, name).build(&(message,))
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_static_str_unchecked(self.parts().0)
    }

    fn description(&self) -> Option<&str> {
        Some(self.parts().1)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.parts().1)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// A refusal, and to what it was.
    pub(super) fn refused(refusal: &Refusal, what: &str) -> Self {
        let message = format!("{what}: {refusal}");
        match refusal.reason {
            Reason::InteractionRequired => Self::InteractionRequired(message),
            Reason::TooMany => Self::LimitsExceeded(message),
            _ => Self::AccessDenied(message),
        }
    }
}

impl From<rules::Error> for Error {
    fn from(error: rules::Error) -> Self {
        use rules::Error::{Changed, Locked, NotRestored, Refused, UnknownMachine};
        match &error {
            Locked => Self::RulesLocked(format!("{error}: change them after a reboot")),
            Refused { .. } | Changed { .. } => {
                Self::RulesFailed(format!("{error}. The rules are as before; call Diagnose for what to do"))
            }
            NotRestored { .. } => Self::RulesFailed(format!("{error}. Call DeleteRules, then AddRules")),
            UnknownMachine => Self::RulesFailed(error.to_string()),
            _ => Self::AuditUnavailable(format!(
                "{error}. Check that the kernel was not started with audit=0, and that 'auditctl -s' answers"
            )),
        }
    }
}

/// The beginning of what a caller wrote, for a message: quoted, escaped, at most [`MAX_EXCERPT`] characters of it.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_EXCERPT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Characters of a caller's own text in a message: enough to know it again, and no message grows with what it answers.
const MAX_EXCERPT: usize = 100;
