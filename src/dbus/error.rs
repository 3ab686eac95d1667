//! Errors as clients see them. Every message says what happened, to what, and what to do.

use opensnitch_audit_client::error;
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
            Self::NotFound(message) => (error::NOT_FOUND, message),
            Self::AccessDenied(message) => (error::ACCESS_DENIED, message),
            Self::InteractionRequired(message) => (error::INTERACTIVE_AUTHORIZATION_REQUIRED, message),
            Self::AuditUnavailable(message) => (error::AUDIT_UNAVAILABLE, message),
            Self::RulesLocked(message) => (error::RULES_LOCKED, message),
            Self::RulesFailed(message) => (error::RULES_FAILED, message),
            Self::InvalidArgs(message) => (error::INVALID_ARGS, message),
            Self::LimitsExceeded(message) => (error::LIMITS_EXCEEDED, message),
            Self::Failed(message) => (error::FAILED, message),
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
