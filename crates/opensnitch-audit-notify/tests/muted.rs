//! What is muted, from the command line.

#![allow(clippy::unwrap_used, reason = "a test that goes wrong says so")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn run(config: &Path, language: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opensnitch-audit-notify"));
    command.env("XDG_CONFIG_HOME", config).env("LANGUAGE", language).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_muted_is_listed_and_undone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("opensnitch-audit/muted.toml");
    assert_eq!(out(&run(folder.path(), "en", &["muted"])), "Nothing is muted.\n");
    assert_eq!(out(&run(folder.path(), "de", &["muted"])), "Nichts ist stummgeschaltet.\n");

    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = "programs = [\"/usr/bin/curl\", \"/tmp/a\\u001Bb\"]\napplications = [\"org.mozilla.firefox\"]\nsandboxed = [\"/app/x\"]\n";
    fs::write(&file, text).unwrap();
    let listed = "/tmp/a\\u{1b}b (programa)\n/usr/bin/curl (programa)\norg.mozilla.firefox (aplicación)\n/app/x (en un entorno aislado)\n";
    assert_eq!(out(&run(folder.path(), "es_ES.UTF-8", &["muted"])), listed);

    // As the list shows it.
    let undone = run(folder.path(), "en", &["muted", "undo", "/tmp/a\\u{1b}b", "org.mozilla.firefox"]);
    assert!(undone.status.success());
    assert_eq!(out(&run(folder.path(), "en", &["muted"])), "/usr/bin/curl (program)\n/app/x (in a sandbox)\n");
    let unknown = run(folder.path(), "en", &["muted", "undo", "/usr/bin/wget"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("Not muted, and so left as it is: /usr/bin/wget"));
}

#[test]
fn a_file_with_a_mistake_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("opensnitch-audit")).unwrap();
    fs::write(folder.path().join("opensnitch-audit/muted.toml"), "programs = \"curl\"").unwrap();
    let output = run(folder.path(), "en", &["muted"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("muted.toml is not a list of programs") && error.contains("Mend or remove it"), "{error}");
}
