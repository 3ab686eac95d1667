//! Names of the errors that the service answers with. Each comes with a sentence: what happened, to what, what to do.

use zbus::DBusError as _;

/// Nothing is known of that process or connection, or nothing that the caller may see.
pub const NOT_FOUND: &str = "org.opensnitch.Audit.Error.NotFound";
/// The kernel's audit is off, or refuses.
pub const AUDIT_UNAVAILABLE: &str = "org.opensnitch.Audit.Error.AuditUnavailable";
/// The kernel's audit rules cannot be changed until the next boot.
pub const RULES_LOCKED: &str = "org.opensnitch.Audit.Error.RulesLocked";
/// The kernel refused a rule; the message names it.
pub const RULES_FAILED: &str = "org.opensnitch.Audit.Error.RulesFailed";

/// The caller may not do that.
pub const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
/// The caller would have to authenticate, and its message did not allow to be asked.
pub const INTERACTIVE_AUTHORIZATION_REQUIRED: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
/// An argument is wrong; the message names it.
pub const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";
/// Too many calls at once, or too much in one.
pub const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
/// No property can be set.
pub const PROPERTY_READ_ONLY: &str = "org.freedesktop.DBus.Error.PropertyReadOnly";
/// Something of the service's own went wrong.
pub const FAILED: &str = "org.freedesktop.DBus.Error.Failed";

/// Whether a call was answered with the error of this name.
///
/// ```
/// use opensnitch_audit_client::error;
/// # let answer = zbus::Error::from(zbus::fdo::Error::InvalidArgs("the port is 0".to_owned()));
///
/// if error::is(&answer, error::NOT_FOUND) {
///     println!("nobody's");
/// } else if error::is(&answer, error::INVALID_ARGS) {
///     println!("asked wrongly: {answer}");
/// }
/// # assert!(error::is(&answer, error::INVALID_ARGS) && !error::is(&answer, error::NOT_FOUND));
/// ```
#[must_use]
pub fn is(error: &zbus::Error, name: &str) -> bool {
    match error {
        zbus::Error::MethodError(answered, ..) => answered.as_str() == name,
        zbus::Error::FDO(answered) => answered.name().as_str() == name,
        _ => false,
    }
}
