//! The pages are written without a word of mandoc's, which is Debian's strictest reader of them.

#![allow(clippy::unwrap_used, reason = "a test that goes wrong says so")]

use std::path::Path;
use std::process::Command;
use std::{env, fs};

#[test]
fn mandoc_has_nothing_to_say() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&folder).unwrap();
    let mut pages = Command::new(env!("CARGO_BIN_EXE_opensnitch-audit-pages"));
    assert!(pages.arg(&folder).arg("2026-11-24").status().unwrap().success());
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 16, "{files:?}");
    let Ok(lint) = Command::new("mandoc").arg("-Tlint").args(&files).output() else {
        assert!(env::var_os("OPENSNITCH_AUDIT_TEST_REQUIRE_ALL").is_none(), "mandoc is not here");
        return;
    };
    // A reference to a page of this same package, which is not installed here, is fine.
    let said = String::from_utf8_lossy(&lint.stdout).into_owned();
    let said: Vec<&str> = said.lines().filter(|line| !line.contains("referenced manual not found")).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}
