//! What README and the manual pages tell people to type, typed.

use std::fs;
use std::process::Command;

use crate::support::{Listener, PrivateBus, Records, User, World, available, eventually};

fn document(file: &str) -> String {
    fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A command, and what is shown beneath it.
#[derive(Debug)]
struct Example {
    command: String,
    output: String,
}

/// The blocks of README in this language: what stands between two fences.
fn blocks(language: &str) -> Vec<String> {
    let text = document("README.md");
    let fenced = text.split("```").skip(1).step_by(2);
    fenced
        .filter_map(|block| block.split_once('\n'))
        .filter(|(of, _)| *of == language)
        .map(|(_, block)| block.to_owned())
        .collect()
}

/// README's sessions.
fn sessions() -> Vec<Example> {
    let blocks = blocks("");
    let session = blocks.iter().filter_map(|block| block.strip_prefix("$ ")?.split_once('\n'));
    session.map(|(command, output)| Example { command: command.to_owned(), output: output.to_owned() }).collect()
}

/// The commands in README's sentences, but for those with a word in place of a value.
fn in_sentences() -> Vec<String> {
    let text = document("README.md");
    let sentences: String = text.split("```").step_by(2).collect();
    let codes = sentences.split('`').skip(1).step_by(2).map(|code| words(code).join(" "));
    let begins = |code: &String| ["opensnitch-auditctl ", "find --"].iter().any(|program| code.starts_with(program));
    let is_whole = |code: &String| !["PID", "FILE", "|"].iter().any(|word| code.contains(word));
    let commands = codes.filter(|code| begins(code) && is_whole(code));
    commands.map(|code| if code.starts_with("find") { format!("opensnitch-auditctl {code}") } else { code }).collect()
}

/// The commands among a manual page's examples.
fn of_page(file: &str) -> Vec<String> {
    let page = document(file);
    let (_, examples) = page.split_once(".SH EXAMPLES\n").unwrap();
    let (examples, _) = examples.split_once(".SH ").unwrap();
    let plain = [("\\e\n", ""), ("\\-", "-"), ("\\(aq", "'"), ("\\(dq", "\"")];
    let examples = plain.iter().fold(examples.to_owned(), |text, (roff, plain)| text.replace(roff, plain));
    let command = |line: &str| {
        let line = line.strip_prefix(".B ").unwrap_or(line);
        ["opensnitch-auditctl ", "busctl ", "journalctl "]
            .iter()
            .any(|program| line.starts_with(program))
            .then(|| line.to_owned())
    };
    examples.lines().filter_map(command).collect()
}

/// A shell of root's, where our program is installed and the test's own users are known.
fn shell(bus: &PrivateBus, command: &str) -> Command {
    let (programs, _) = env!("CARGO_BIN_EXE_opensnitch-auditctl").rsplit_once('/').unwrap();
    let mut shell = bus.namespace().command("sh");
    shell.args(["-c", command]).current_dir(env!("CARGO_MANIFEST_DIR")).env("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
    shell.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap())).env_remove("COLUMNS").env("TZ", "UTC");
    shell
}

/// Words without the line breaks between them.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A world in which what the documents ask for has happened, auditd's log included.
fn as_documented() -> Option<World> {
    let mut world = World::start("coalesce_ms = 0")?;
    let asked_for = [
        Records::connect(631).pid(25747).exe("/usr/bin/curl"),
        Records::connect(9003),
        Records::connect(443).pid(4711),
        // To 198.51.100.1, port 443.
        Records::connect(443).without("SOCKADDR").and("SOCKADDR saddr=020001BBC63364010000000000000000"),
    ];
    for records in &asked_for {
        world.auditd.send(records.text());
        world.root().wait_for_event_of(records.pid);
    }
    fs::write(world.bus.folder().join("log/audit/audit.log"), asked_for[0].text()).unwrap();
    Some(world)
}

#[test]
fn each_command_of_a_document_is_one() {
    let Some(mut world) = as_documented() else { return };
    let pages = ["packaging/man/opensnitch-auditctl.more", "packaging/man/org.opensnitch.Audit.5"];
    let of_readme = sessions().into_iter().map(|example| example.command).chain(blocks("sh")).chain(in_sentences());
    let commands: Vec<String> = pages.into_iter().flat_map(of_page).chain(of_readme).collect();
    assert!(commands.len() >= 20, "{commands:?}");
    for command in &commands {
        if command.contains(" watch") || command.contains(" monitor") {
            let listener = Listener::to(&mut shell(&world.bus, command));
            eventually(&format!("an event from {command}"), || {
                world.auditd.send(Records::connect(80).text());
                listener.has_heard("/usr/bin/client").then_some(())
            });
            continue;
        }
        let output = shell(&world.bus, command).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let fine = match output.status.code() {
            Some(0) => true,
            // Nothing matches; events come from a test's auditd; and this machine's journal has no audit records.
            Some(3) => [" find ", " owner "].iter().any(|verb| command.contains(verb)),
            Some(7) => command.contains(" diagnose"),
            Some(8) => command.starts_with("journalctl "),
            // Of README, and shown to fail.
            _ => command.contains("Colour"),
        };
        assert!(fine, "{command}: {} {said}", output.status);
    }
}

#[test]
fn what_readme_shows_is_what_they_print() {
    let Some(world) = as_documented() else { return };
    let sessions = sessions();
    let shown = |piece: &str| sessions.iter().find(|example| example.command.contains(piece)).unwrap();
    let run = |example: &Example| shell(&world.bus, &example.command).output().unwrap();

    let decode = shown("decode");
    let (shown_rows, _) = decode.output.split_once('…').unwrap();
    let printed = String::from_utf8(run(decode).stdout).unwrap();
    assert!(printed.starts_with(shown_rows), "{printed}");

    let mistake = shown("Colour");
    assert_eq!(words(&String::from_utf8(run(mistake).stderr).unwrap()), words(&mistake.output));

    // Of an event, its keys in their order: their values are of another process, which was seen to end.
    let event = shown("GetEventByPid");
    let keys = |text: &str| {
        text.split('"')
            .skip(1)
            .step_by(2)
            .filter(|word| word.starts_with(char::is_uppercase))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let shown_keys = keys(&event.output);
    let order: Vec<String> = keys(&String::from_utf8(run(event).stdout).unwrap());
    let both: Vec<&String> = shown_keys.iter().filter(|key| order.contains(key)).collect();
    assert_eq!(both, order.iter().filter(|key| shown_keys.contains(key)).collect::<Vec<_>>());
}

#[test]
fn the_subscriber_in_python_hears() {
    if !available(&["/usr/bin/python3", "/usr/lib/python3/dist-packages/dbus", "/usr/lib/python3/dist-packages/gi"]) {
        return;
    }
    let Some(mut world) = World::start("") else { return };
    let [script] = blocks("python").try_into().unwrap();
    let mut python = world.client(User::Alice).command("/usr/bin/python3");
    let listener = Listener::to(python.args(["-c", &script]).env("PYTHONIOENCODING", "utf-8"));
    world.root().wait_for_counter("Subscriptions", 1);
    world.auditd.send(Records::connect(631).uid(User::Alice.uid()).text());
    listener.wait_for("/usr/bin/client → 127.0.0.1 631");
}

#[test]
fn the_subscriber_in_rust_is_the_one_that_is_compiled() {
    let [shown] = blocks("rust").try_into().unwrap();
    let library = document("crates/opensnitch-audit-client/src/lib.rs").replace("//! ", "");
    let (_, subscribes) = shown.split_once('\n').unwrap();
    assert!(library.contains(subscribes), "{subscribes}");
}
