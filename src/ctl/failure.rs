//! How a command can end, and with which exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use opensnitch_audit_client::error as answers;
use zbus::DBusError;

use super::escape::printable;

/// Why a command failed. The numbers are in the man page; 2 is clap's, for a wrong command line.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    #[error("{0}")]
    Other(String),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NoMatch(String),
    #[error("events do not arrive, or not all")]
    Unwell,
    #[error("{0}")]
    NoRecords(String),
    #[error("{}", answer(.0))]
    Bus(#[from] zbus::Error),
}

impl Failure {
    /// Whether the service does not run, or nobody can be asked for want of a bus.
    pub(super) fn is_without_service(&self) -> bool {
        match self {
            Self::Bus(error) if is_missing(error) => true,
            Self::Bus(error) => !matches!(error, zbus::Error::MethodError(..) | zbus::Error::FDO(_)),
            _ => false,
        }
    }

    /// For scripts: what kind of failure this is.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Io(_) | Self::File(..) | Self::Config(_) | Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::NoMatch(_) => 3,
            Self::Bus(error) if is_any(error, &[answers::NOT_FOUND]) => 3,
            Self::Bus(error) if is_any(error, &DENIED) => 4,
            Self::Bus(error) if is_missing(error) => 5,
            Self::Bus(error) if is_any(error, &[answers::INVALID_ARGS]) => 2,
            Self::Bus(zbus::Error::MethodError(..) | zbus::Error::FDO(_)) => 1,
            Self::Bus(_) => 6,
            Self::Unwell => 7,
            Self::NoRecords(_) => 8,
        })
    }
}

/// The errors of one who may not.
const DENIED: [&str; 2] = [answers::ACCESS_DENIED, answers::INTERACTIVE_AUTHORIZATION_REQUIRED];

/// The errors of the bus where nobody owns the service's name.
const MISSING: [&str; 3] = [
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
];

fn is_any(error: &zbus::Error, names: &[&str]) -> bool {
    names.iter().any(|name| answers::is(error, name))
}

/// Whether the service does not run, or ended meanwhile.
fn is_missing(error: &zbus::Error) -> bool {
    is_any(error, &MISSING) || is_start_failure(error)
}

/// The bus, or systemd for it, could not start the service.
fn is_start_failure(error: &zbus::Error) -> bool {
    let name = match error {
        zbus::Error::MethodError(name, ..) => name.to_string(),
        zbus::Error::FDO(error) => error.name().to_string(),
        _ => return false,
    };
    name.starts_with("org.freedesktop.DBus.Error.Spawn.") || name.starts_with("org.freedesktop.systemd1.")
}

/// What the bus or the service answered, for people.
fn answer(error: &zbus::Error) -> String {
    let silent = |name: &str| format!("the service answered {}", printable(name));
    match error {
        error if is_missing(error) => {
            "the service is not running: start it with 'systemctl start opensnitch-audit', and 'opensnitch-auditctl \
             diagnose' says more"
                .to_owned()
        }
        zbus::Error::FDO(error) => error.description().map_or_else(|| silent(&error.name()), printable),
        zbus::Error::MethodError(_, Some(message), _) => printable(message),
        zbus::Error::MethodError(name, None, _) => silent(name),
        error => format!("the system bus cannot be reached: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use zbus::fdo;

    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let answered = |error: fdo::Error| Failure::Bus(error.into());
        let table = [
            (Failure::Other(String::new()), 1),
            (answered(fdo::Error::Failed(String::new())), 1),
            (Failure::Usage(String::new()), 2),
            (answered(fdo::Error::InvalidArgs(String::new())), 2),
            (Failure::NoMatch(String::new()), 3),
            (answered(fdo::Error::AccessDenied(String::new())), 4),
            (answered(fdo::Error::InteractiveAuthorizationRequired(String::new())), 4),
            (answered(fdo::Error::ServiceUnknown(String::new())), 5),
            (answered(fdo::Error::NoReply(String::new())), 5),
            (answered(fdo::Error::SpawnChildExited(String::new())), 5),
            (Failure::Bus(zbus::Error::InvalidReply), 6),
            (Failure::Unwell, 7),
            (Failure::NoRecords(String::new()), 8),
        ];
        for (failure, code) in table {
            assert_eq!(failure.code(), ExitCode::from(code), "{failure:?}");
        }
    }
}
