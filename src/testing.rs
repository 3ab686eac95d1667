//! What the tests of several modules need.

use std::io::Write;
use std::path::Path;

/// A line for whoever runs the tests, past the capture of their output.
pub(crate) fn say(line: &str) {
    // Nobody is told where there is no standard error.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether a test may run, by what is here of what it needs. Skipping is loud, and fails where everything must be here.
pub(crate) fn may(needed: &str, is_here: bool) -> bool {
    if !is_here {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        assert!(std::env::var_os("OPENSNITCH_AUDIT_TEST_REQUIRE_ALL").is_none(), "{test} needs {needed}");
        say(&format!("SKIPPED {test}: needs {needed}"));
    }
    is_here
}

/// Makes sure that a socket unit has these lines, and that the service is passed what it opens.
pub(crate) fn assert_passed(unit: &str, lines: &[String]) {
    let read =
        |unit: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit)).unwrap();
    let text = read(unit);
    for line in lines {
        assert!(text.lines().any(|one| one == line), "{line}");
    }
    let service = read("opensnitch-audit.service");
    let sockets = service.lines().find_map(|line| line.strip_prefix("Sockets=")).unwrap();
    assert!(sockets.split(' ').any(|socket| socket == unit), "{sockets}");
}
