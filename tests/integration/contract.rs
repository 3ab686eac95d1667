//! One contract: the shipped files, the constants and the running service say the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use opensnitch_audit::polkit::Action;
use opensnitch_audit::store::Statistics;
use opensnitch_audit_client::{Event, GROUP, NAME, PATH, Query, SUBSCRIPTION, action};

use crate::support::World;

fn shipped(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The members of our interfaces, each in one line, with its arguments in order and its annotations.
pub(crate) fn members(xml: &str) -> BTreeSet<String> {
    let mut members = BTreeSet::new();
    let mut inside = false;
    let mut interface = String::new();
    let mut member: Option<String> = None;
    for tag in tags(xml) {
        let (name, end) = tag.strip_prefix('/').map_or((tag.as_str(), false), |name| (name, true));
        let kind = name.split_whitespace().next().unwrap_or_default().trim_end_matches('/').to_owned();
        let of = |attribute: &str| {
            let (_, value) = name.split_once(&format!(" {attribute}=\""))?;
            value.split('"').next().map(str::to_owned)
        };
        match kind.as_str() {
            "interface" => {
                interface = of("name").unwrap_or_default();
                inside = !end && [NAME, SUBSCRIPTION].contains(&interface.as_str());
            }
            "method" | "signal" | "property" if inside => {
                if !end {
                    let name = of("name").unwrap();
                    member = Some(
                        [Some(kind), Some(format!("{interface}.{name}")), of("type"), of("access")]
                            .into_iter()
                            .flatten()
                            .collect::<Vec<_>>()
                            .join(" "),
                    );
                }
                if end || tag.ends_with('/') {
                    members.extend(member.take());
                }
            }
            "arg" if inside => {
                // A signal's arguments go out whether it is written or not.
                let direction = of("direction").filter(|_| !member.as_ref().unwrap().starts_with("signal"));
                let arg = [of("name"), of("type"), direction].into_iter().flatten().collect::<Vec<_>>().join(" ");
                member.as_mut().unwrap().push_str(&format!(", {arg}"));
            }
            // Qt's own: the service's words have none.
            "annotation" if inside && of("name").is_some_and(|name| name.starts_with("org.qtproject.")) => {}
            "annotation" if inside => {
                member.as_mut().unwrap().push_str(&format!(", {} = {}", of("name").unwrap(), of("value").unwrap()));
            }
            _ => {}
        }
    }
    members
}

/// What stands between `<` and `>`, but for comments and declarations.
fn tags(xml: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = xml;
    while let Some((_, behind)) = rest.split_once('<') {
        let (tag, next) = match behind.strip_prefix("!--") {
            Some(comment) => ("", comment.split_once("-->").unwrap().1),
            None => behind.split_once('>').unwrap(),
        };
        if !tag.is_empty() && !tag.starts_with(['!', '?']) {
            tags.push(tag.to_owned());
        }
        rest = next;
    }
    tags
}

#[test]
fn the_running_service_is_as_its_contract_says() {
    let Some(world) = World::start("") else { return };
    let contract = members(&shipped("dbus/org.opensnitch.Audit.xml"));
    assert_eq!(contract.len(), 9 + 2 + 6 + 2);
    assert!(
        contract.contains("method org.opensnitch.Audit.FindEvents, query a{sv} in, events aa{sv} out, next t out"),
        "{contract:?}"
    );
    assert_eq!(members(&world.root().introspect()), contract);
}

#[test]
fn the_contract_names_every_key_and_counter() {
    let xml = shipped("dbus/org.opensnitch.Audit.xml");
    let words: BTreeSet<&str> = xml.split(|one: char| !one.is_ascii_alphanumeric()).collect();
    for (key, _) in Event::KEYS.iter().chain(Query::KEYS) {
        assert!(words.contains(key), "{key}");
    }
    for counter in Statistics::NAMES.iter().chain(&["KernelLost", "KernelBacklog"]) {
        assert!(words.contains(counter), "{counter}");
    }
}

/// Every value of an attribute or a setting in a file: `name="VALUE"` or `name=VALUE`.
fn values(text: &str, name: &str) -> BTreeSet<String> {
    let assignment = format!("{name}=");
    let parts = text.split(&assignment).skip(1);
    let value = |part: &str| match part.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap().to_owned(),
        None => part.split_whitespace().next().unwrap().to_owned(),
    };
    parts.map(value).collect()
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn a_name_is_the_same_in_every_shipped_file() {
    let unit = "opensnitch-audit.service";
    let policy = shipped("dbus/org.opensnitch.Audit.conf");
    for attribute in ["own", "send_destination", "receive_sender", "receive_interface"] {
        assert_eq!(values(&policy, attribute), set(&[NAME]), "{attribute}");
    }
    // By destination alone: a wrong interface is for the service to answer. The one is what the service itself may call.
    assert_eq!(values(&policy, "send_interface"), set(&["org.freedesktop.DBus.Peer"]));
    assert_eq!(values(&policy, "group"), set(&[GROUP]));

    // Nothing starts the service but an administrator and the boot: a call must not bring rules back.
    let install = shipped("packaging/install.mk");
    assert!(!install.lines().any(|line| line.contains("INSTALL") && line.contains("system-services")), "{install}");
    assert_eq!(values(&shipped(&format!("systemd/{unit}")), "BusName"), set(&[NAME]));

    let xml = shipped("dbus/org.opensnitch.Audit.xml");
    assert!(xml.contains(&format!("<node name=\"{PATH}\">")) && xml.contains(&format!("<interface name=\"{NAME}\">")));

    let sysusers = shipped("systemd/opensnitch-audit.sysusers");
    assert!(sysusers.lines().any(|line| line == format!("g {GROUP} -")), "{sysusers}");

    let actions = shipped("polkit/org.opensnitch.audit.policy");
    assert_eq!(values(&actions, "action id"), Action::ALL.map(|action| action.id().to_owned()).into());
    assert_eq!(Action::ALL.map(Action::id), [action::READ_ALL_EVENTS, action::ADD_RULES, action::DELETE_RULES]);
}

/// All Rust below a folder, one after the other.
fn rust_below(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            rust_below(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_test_that_security_names_is_there() {
    let mut rust = String::new();
    for folder in ["src", "tests", "crates"] {
        rust_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut rust);
    }
    let security = shipped("SECURITY.md");
    // Tests are named by whole sentences, and nothing else in it is.
    let is_test = |word: &&str| {
        word.matches('_').count() >= 3 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let named: BTreeSet<&str> = security.split('`').filter(is_test).collect();
    let missing: Vec<_> = named.iter().filter(|name| !rust.contains(&format!("fn {name}()"))).collect();
    assert!(missing.is_empty() && named.len() > 20, "of {}: {missing:?}", named.len());
}
