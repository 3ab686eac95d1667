//! Skipping is loud: where a component is missing, the test says so past the capture of its output.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Under this variable a missing component is a failure.
const REQUIRE_ALL: &str = "OPENSNITCH_AUDIT_TEST_REQUIRE_ALL";

/// What every test with a bus needs.
const BASIC: [&str; 5] = ["dbus-daemon", "busctl", "setpriv", "unshare", "mount"];

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// Whether root, mount namespaces, the programs that every test with a bus needs, and these `programs` are here.
pub(crate) fn available(programs: &[&str]) -> bool {
    let missing: Vec<String> = BASIC
        .iter()
        .chain(programs)
        .filter(|program| !is_installed(program))
        .map(|program| (*program).to_owned())
        .chain((!may_unshare()).then(|| "root with mount namespaces".to_owned()))
        .collect();
    if missing.is_empty() {
        return true;
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let missing = missing.join(", ");
    assert!(std::env::var_os(REQUIRE_ALL).is_none(), "{test} needs what is not here: {missing}");
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // Not by a macro: what those print is hidden when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED ({count} so far) {test}: not here: {missing}");
    false
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/polkit-1"]);
    program.starts_with('/') && Path::new(program).exists()
        || folders.into_iter().any(|folder| Path::new(folder).join(program).exists())
}

fn may_unshare() -> bool {
    rustix::process::geteuid().is_root()
        && Command::new("unshare")
            .args(["-m", "--propagation", "private", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}
