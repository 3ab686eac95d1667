//! Errors as clients see them. Every message says what happened, to what, and what to do.

use zbus::message::{Header, Message};
use zbus::names::ErrorName;

/// An error reply: a name of the contract and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No such process in the cache.
    NotFound(String),
    /// The caller may not.
    AccessDenied(String),
    /// An argument is wrong; the message names it.
    InvalidArgs(String),
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
