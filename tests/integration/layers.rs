//! Who may know whom: the rules of the architecture, over the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use opensnitch_audit_client::Event;

/// Each module of `src/` and the siblings it may name.
const MAY_KNOW: [(&str, &[&str]); 20] = [
    ("proc", &[]),
    ("text", &[]),
    ("queue", &[]),
    ("quota", &[]),
    ("logging", &[]),
    ("options", &[]),
    ("netlink", &[]),
    ("journal", &[]),
    ("source", &["netlink"]),
    ("process", &["proc"]),
    ("socket", &["netlink", "proc", "text"]),
    ("rules", &["netlink"]),
    ("config", &["rules"]),
    ("polkit", &["quota"]),
    ("store", &["process", "text"]),
    ("diagnose", &["rules"]),
    ("dbus", &["diagnose", "polkit", "process", "queue", "quota", "rules", "socket", "source", "store", "text"]),
    ("ctl", &["config", "dbus", "diagnose", "polkit", "proc", "process", "rules", "source", "store", "text"]),
    ("service", &["config", "dbus", "journal", "process", "queue", "rules", "socket", "source", "store", "text"]),
    ("bin", &["config", "ctl", "logging", "options", "service"]),
];

/// Words, and the only places where they may stand. `tokio` and `zbus` are crates, `async` is what they make of code.
const ONLY_IN: [(&str, &[&str]); 14] = [
    ("zbus", &["bin", "ctl", "dbus", "polkit", "service"]),
    ("tokio", &["bin", "ctl", "dbus", "polkit", "service"]),
    ("async", &["bin", "ctl", "dbus", "polkit", "queue", "service"]),
    ("opensnitch_audit_client", &["ctl", "dbus", "journal", "service"]),
    ("audit_records", &["ctl", "dbus", "process", "rules", "service", "source", "store"]),
    // Of the bus's answers one is read by hand, and of ours those with lists are written so.
    (
        "serde",
        &[
            "config",
            "ctl",
            "dbus/caller.rs",
            "dbus/front/lists.rs",
            "process/known.rs",
            "rules",
            "service/kept.rs",
            "store",
        ],
    ),
    ("serde_json", &["ctl"]),
    ("toml", &["config"]),
    ("procfs", &["proc"]),
    (
        "fs",
        &[
            "config",
            "ctl",
            "diagnose/files.rs",
            "logging",
            "proc",
            "process",
            "service/kept.rs",
            "socket",
            "source/audisp.rs",
            "source/log.rs",
        ],
    ),
    ("Instant", &["dbus/state.rs", "netlink", "polkit", "process", "rules", "service", "socket", "source"]),
    ("SystemTime", &["service/pipeline.rs"]),
    ("tracing", &["bin", "dbus", "logging", "polkit", "rules", "service"]),
    // No program is run, no code is unsafe: nowhere.
    ("Command", &["ctl"]),
];

struct Source {
    /// Its path below `src/`.
    path: String,
    /// Without comments, texts and tests.
    code: String,
    /// Without comments and tests.
    with_texts: String,
}

impl Source {
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| *place == self.path || *place == self.module())
    }

    /// Identifiers and keywords.
    fn words(&self) -> BTreeSet<&str> {
        self.code.split(|one: char| !one.is_alphanumeric() && one != '_').collect()
    }

    /// The siblings it names.
    fn knows(&self) -> BTreeSet<String> {
        let mut known = BTreeSet::new();
        for root in ["crate::", "opensnitch_audit::"] {
            for behind in self.code.split(root).skip(1) {
                let names = match behind.strip_prefix('{') {
                    Some(group) => first_names(group),
                    None => vec![behind],
                };
                known.extend(names.into_iter().filter_map(|name| {
                    let name: String = name.chars().take_while(|one| one.is_alphanumeric() || *one == '_').collect();
                    (!name.is_empty() && name != self.module()).then_some(name)
                }));
            }
        }
        known
    }
}

/// What each path in `{…}` begins with.
fn first_names(group: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, one) in group.char_indices() {
        match one {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(group[start..at].trim());
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let texts: Vec<(PathBuf, String)> =
        paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    // Modules that are there for tests only are declared so.
    let is_test = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        texts.iter().any(|(_, text)| text.contains(&format!("#[cfg(test)]\nmod {name};")))
    };
    let sources: Vec<Source> = texts
        .iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| {
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let (code, with_texts) = strip(text);
            Source { path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), code, with_texts }
        })
        .collect();
    assert!(sources.len() > 30);
    sources
}

/// Without comments and texts, and without comments.
fn strip(text: &str) -> (String, String) {
    let (mut code, mut with_texts) = (String::new(), String::new());
    let mut rest = text.chars().peekable();
    while let Some(one) = rest.next() {
        match one {
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|one| *one != '\n').is_some() {},
            '"' => {
                with_texts.push('"');
                while let Some(one) = rest.next() {
                    with_texts.push(one);
                    match one {
                        '"' => break,
                        '\\' => with_texts.extend(rest.next()),
                        _ => {}
                    }
                }
                code.push(' ');
            }
            // A quote as a character begins no text; a lifetime has no end.
            '\'' => {
                let character: String = rest.clone().take(3).collect();
                let length = if character.starts_with('\\') { 3 } else { 2 };
                if character.chars().nth(length - 1) == Some('\'') {
                    rest.nth(length - 1);
                }
                code.push(' ');
                with_texts.push(' ');
            }
            one => {
                code.push(one);
                with_texts.push(one);
            }
        }
    }
    (code, with_texts)
}

#[test]
fn a_module_knows_only_whom_it_may() {
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let (_, may) = MAY_KNOW
            .iter()
            .find(|(module, _)| *module == source.module())
            .unwrap_or_else(|| panic!("{} is in no layer", source.path));
        for known in source.knows() {
            assert!(may.contains(&known.as_str()), "{} knows {known}", source.path);
        }
        assert!(!source.code.contains("super::super"), "{} reaches over its folder", source.path);
        let is_single = !source.path.contains('/');
        assert!(!is_single || !source.code.contains("super::"), "{} knows a sibling by way of super", source.path);
    }
}

#[test]
fn a_word_stands_only_where_it_may() {
    let sources = sources();
    for (word, places) in ONLY_IN {
        for source in sources.iter().filter(|source| source.words().contains(word)) {
            assert!(source.is_in(places), "{word} in {}", source.path);
        }
    }
    for source in &sources {
        assert!(!source.words().contains("unsafe"), "{}", source.path);
        // By the crate procfs, and once by hand for a machine that is not this one.
        assert!(
            !source.with_texts.contains("proc/") || source.is_in(&["diagnose/files.rs", "proc", "socket"]),
            "{}",
            source.path
        );
    }
}

#[test]
fn the_client_crate_alone_names_the_keys() {
    // Queries have keys of the same names, and who shows an event names columns.
    let may = ["dbus/query.rs", "dbus/interface.rs", "dbus/tasks.rs", "ctl"];
    for source in sources().iter().filter(|source| !source.is_in(&may)) {
        for (key, _) in Event::KEYS {
            assert!(!source.with_texts.contains(&format!("\"{key}\"")), "{key} in {}", source.path);
        }
    }
}

#[test]
fn no_method_of_the_interface_keeps_others_out() {
    let sources = sources();
    let interface = sources.iter().find(|source| source.path == "dbus/interface.rs").unwrap();
    assert!(!interface.code.contains("&mut self"));
}

#[test]
fn what_only_people_need_is_not_in_roots_program() {
    let folder = tempfile::tempdir().unwrap();
    let holds = |program: &str| {
        let bare = folder.path().join("bare");
        // Without what is there for a debugger alone.
        assert!(Command::new("strip").arg("-o").arg(&bare).arg(program).status().unwrap().success());
        let bytes = fs::read(bare).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        ["ratatui", "crossterm"].map(|library| text.contains(library))
    };
    assert_eq!(holds(env!("CARGO_BIN_EXE_opensnitch-auditd")), [false, false]);
    assert_eq!(holds(env!("CARGO_BIN_EXE_opensnitch-auditctl")), [true, true]);
}

#[test]
fn what_only_packages_need_is_not_shipped() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for library in ["clap_mangen", "clap_complete"] {
        assert!(!manifest.lines().any(|line| line.starts_with(library)), "{library} is in the programs");
    }
}
