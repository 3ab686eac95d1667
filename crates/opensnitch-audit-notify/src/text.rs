//! A notice in words, as a notification server takes it.
//!
//! Guarantee: whatever a program chose is escaped and of bounded length. No markup of a program's, no line, no letter that
//! turns the direction of text or cannot be seen gets to the screen.

use fluent_bundle::FluentValue;
use opensnitch_audit_client::printable;

use crate::applications::{Application, last_part};
use crate::herald::{Content, Link, button};
use crate::program::{Destination, Process, Program};
use crate::subject::Subject;
use crate::words::Words;

/// What a notification server can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// More than a title.
    pub(crate) body: bool,
    /// It reads markup in the body, so that `<` has to be escaped.
    pub(crate) markup: bool,
    /// Buttons.
    pub(crate) actions: bool,
}

impl Capabilities {
    /// From the names in the specification.
    pub(crate) fn of(names: &[String]) -> Self {
        let has = |name: &str| names.iter().any(|one| one == name);
        Self { body: has("body"), markup: has("body-markup"), actions: has("actions") }
    }
}

/// What a notice is put into words with.
pub(crate) struct Style<'a> {
    pub(crate) words: &'a Words,
    pub(crate) can: Capabilities,
    /// There is a terminal in which `opensnitch-auditctl top` can be opened.
    pub(crate) has_top: bool,
    /// The application with an id.
    pub(crate) application: &'a dyn Fn(&str) -> Option<Application>,
    /// The name of a user.
    pub(crate) user: &'a dyn Fn(u32) -> Option<String>,
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) title: String,
    pub(crate) body: String,
    /// A name of the icon theme's, or a URI.
    pub(crate) icon: String,
    /// Buttons: their names, and what stands on them.
    pub(crate) buttons: Vec<(&'static str, String)>,
    /// It stays until it is closed.
    pub(crate) stays: bool,
}

/// Characters that are shown of a name, a path, a host and a command line. The whole of a notification then stays below four
/// kilobytes, and a title on two lines.
const MAX_NAME: usize = 60;
const MAX_PATH: usize = 120;
const MAX_HOST: usize = 80;
const MAX_COMMAND: usize = 300;
/// Destinations in the notification of one program: it is read in passing.
const FEW_DESTINATIONS: usize = 3;
/// And in its details.
const MANY_DESTINATIONS: usize = 16;
/// Programs in one notification.
const FEW_PROGRAMS: usize = 5;
/// Ancestors in the details, of which the last ones are the same for all.
const MANY_PARENTS: usize = 4;

/// Where no application has one. These are names that every icon theme has.
const PROGRAM_ICON: &str = "application-x-executable";
const NETWORK_ICON: &str = "network-transmit-receive";
const ERROR_ICON: &str = "network-error";

impl Style<'_> {
    /// Puts a notice into words.
    pub(crate) fn write(&self, content: &Content) -> Text {
        let words = self.words;
        let (title, lines, icon) = match content {
            Content::Program(program) => self.program(program),
            Content::Several(programs) => (
                words.fill("several", [("count", programs.len().into())]),
                self.list(programs, |program| vec![self.in_one_line(program)]),
                NETWORK_ICON.to_owned(),
            ),
            Content::Details(programs) => match programs.as_slice() {
                [program] => {
                    let (name, icon) = self.name_and_icon(program);
                    (words.fill("details-of", [("name", name.into())]), self.details(program), icon)
                }
                programs => {
                    let lines = self.list(programs, |program| {
                        let more = self.destinations(program, FEW_DESTINATIONS);
                        [vec![self.name_and_icon(program).0], more].concat()
                    });
                    (words.say("details-of-several"), lines, NETWORK_ICON.to_owned())
                }
            },
            Content::Lost(count) => (
                words.say("lost-title"),
                vec![words.fill("lost", [("count", (*count).into())])],
                NETWORK_ICON.to_owned(),
            ),
            Content::Link(Link::Gone) => (words.say("gone-title"), vec![words.say("gone")], ERROR_ICON.to_owned()),
            Content::Link(Link::Silent) => {
                (words.say("silent-title"), vec![words.say("silent")], ERROR_ICON.to_owned())
            }
            Content::Link(Link::Watching) => {
                (words.say("back-title"), vec![words.say("back")], NETWORK_ICON.to_owned())
            }
            Content::Problem(text) => {
                (words.say("problem-title"), vec![shown(text, MAX_COMMAND)], ERROR_ICON.to_owned())
            }
        };
        let body = lines.join("\n");
        let (title, body) = match self.can {
            Capabilities { body: false, .. } => (format!("{title}: {}", lines.join("; ")), String::new()),
            Capabilities { markup: true, .. } => (title, escaped(&body)),
            Capabilities { markup: false, .. } => (title, body),
        };
        let stays = matches!(content, Content::Details(_) | Content::Link(Link::Gone | Link::Silent));
        Text { title, body, icon, buttons: self.buttons(content), stays }
    }

    fn buttons(&self, content: &Content) -> Vec<(&'static str, String)> {
        if !self.can.actions {
            return Vec::new();
        }
        let button = |name: &'static str, text: &str| (name, self.words.say(text));
        let details = [button(button::DEFAULT, "button-details"), button(button::DETAILS, "button-details")];
        let mute = [button(button::MUTE, "button-mute")];
        let mut buttons = match content {
            Content::Program(_) => [&details[..], &mute].concat(),
            Content::Several(_) => details.to_vec(),
            Content::Details(programs) if programs.len() == 1 => mute.to_vec(),
            Content::Link(_) | Content::Problem(_) => return Vec::new(),
            Content::Details(_) | Content::Lost(_) => Vec::new(),
        };
        if self.has_top {
            buttons.push(button(button::TOP, "button-top"));
        }
        buttons
    }

    fn program(&self, program: &Program) -> (String, Vec<String>, String) {
        let words = self.words;
        let (name, icon) = self.name_and_icon(program);
        let newest = program.destinations.back();
        let title = match (program.connections, newest) {
            (1, Some(to)) => words.fill("connects-to", [("name", name.into()), ("destination", host(to).into())]),
            (count, _) => words.fill("connections", [("name", name.into()), ("count", count.into())]),
        };
        let mut lines = match (program.connections, newest) {
            // The title has its name.
            (1, Some(to)) => vec![self.address(to)],
            _ => self.destinations(program, FEW_DESTINATIONS),
        };
        lines.push(shown(&program.process.path, MAX_PATH));
        if !self.can.actions
            && let Some(command) = &program.process.command
        {
            lines.push(words.fill("detail-command", [("command", shown(command, MAX_COMMAND).into())]));
        }
        lines.extend(self.who(&program.process));
        (title, lines, icon)
    }

    fn in_one_line(&self, program: &Program) -> String {
        let (name, _) = self.name_and_icon(program);
        let destination = program.destinations.back().map(host).unwrap_or_default();
        self.words.fill("program-destination", [("name", name.into()), ("destination", destination.into())])
    }

    /// Some lines of each program, and how many more there are.
    fn list(&self, programs: &[Program], lines: impl Fn(&Program) -> Vec<String>) -> Vec<String> {
        let mut all: Vec<String> = programs.iter().take(FEW_PROGRAMS).flat_map(lines).collect();
        let more = programs.len().saturating_sub(FEW_PROGRAMS);
        if more > 0 {
            all.push(self.words.fill("more-programs", [("count", more.into())]));
        }
        all
    }

    fn details(&self, program: &Program) -> Vec<String> {
        let Process { path, app, uid, command, folder, parents, .. } = &program.process;
        let detail =
            |id: &str, name: &'static str, value: String| self.words.fill(id, [(name, FluentValue::from(value))]);
        let starters = || {
            let starters = parents.iter().take(MANY_PARENTS);
            starters.map(|(pid, path)| format!("{} ({pid})", shown(last_part(path), MAX_NAME))).collect::<Vec<_>>()
        };
        let lines = [
            Some(detail("detail-program", "path", shown(path, MAX_PATH))),
            command.as_deref().map(|command| detail("detail-command", "command", shown(command, MAX_COMMAND))),
            folder.as_deref().map(|folder| detail("detail-folder", "folder", shown(folder, MAX_PATH))),
            app.as_deref().map(|app| detail("detail-application", "application", shown(app, MAX_NAME))),
            uid.map(|uid| detail("detail-user", "user", self.user(uid))),
            (!parents.is_empty()).then(|| detail("detail-starters", "starters", starters().join(" ← "))),
            Some(self.words.fill("detail-connections", [("count", program.connections.into())])),
            Some(self.words.say("detail-destinations")),
        ];
        lines.into_iter().flatten().chain(self.destinations(program, MANY_DESTINATIONS)).collect()
    }

    /// The newest destinations, and how many more there are.
    fn destinations(&self, program: &Program, at_most: usize) -> Vec<String> {
        let all = &program.destinations;
        let mut lines: Vec<String> = all.iter().rev().take(at_most).map(|to| self.destination(to)).collect();
        let more = all.len().saturating_sub(at_most);
        if program.had_more {
            lines.push(self.words.say("earlier-destinations"));
        } else if more > 0 {
            lines.push(self.words.fill("more-destinations", [("count", more.into())]));
        }
        lines
    }

    fn destination(&self, to: &Destination) -> String {
        match &to.name {
            None => self.address(to),
            Some(name) => {
                let (name, destination) = (shown(name, MAX_HOST), self.address(to));
                self.words.fill("named-destination", [("name", name.into()), ("destination", destination.into())])
            }
        }
    }

    fn address(&self, to: &Destination) -> String {
        let (address, port) = (to.address.to_string(), to.port.to_string());
        let (address, port) = (("address", FluentValue::from(address)), ("port", FluentValue::from(port)));
        match &to.protocol {
            None => self.words.fill("address-port", [address, port]),
            Some(protocol) => {
                let protocol = shown(protocol, MAX_NAME);
                self.words.fill("address-port-protocol", [address, port, ("protocol", protocol.into())])
            }
        }
    }

    /// Whose process it is, and what started it.
    fn who(&self, process: &Process) -> Option<String> {
        let starter = process.parents.first().map(|(_, path)| shown(last_part(path), MAX_NAME));
        let user = process.uid.map(|uid| self.user(uid));
        Some(match (user, starter) {
            (Some(user), Some(starter)) => {
                self.words.fill("user-starter", [("user", user.into()), ("starter", starter.into())])
            }
            (Some(user), None) => self.words.fill("user", [("user", user.into())]),
            (None, Some(starter)) => self.words.fill("starter", [("starter", starter.into())]),
            (None, None) => return None,
        })
    }

    fn user(&self, uid: u32) -> String {
        (self.user)(uid).map_or_else(|| uid.to_string(), |name| shown(&name, MAX_NAME))
    }

    /// What a person calls it. The application lends its name and icon to its own program and to what is shut in with it; a
    /// program that was started in it, as in a terminal, keeps its own. Any program may say that it is of an application:
    /// the path stands in the notification too.
    fn name_and_icon(&self, program: &Program) -> (String, String) {
        let Process { path, app, is_sandboxed, .. } = &program.process;
        let own = match last_part(path) {
            "" => self.words.say("name-unknown"),
            own => shown(own, MAX_NAME),
        };
        let Some(application) = app.as_deref().and_then(self.application) else {
            let name = match &program.subject {
                Subject::Application(id) => shown(id, MAX_NAME),
                _ => own,
            };
            return (name, PROGRAM_ICON.to_owned());
        };
        let name = shown(&application.name, MAX_NAME);
        let is_its_program = application.program.as_deref() == Some(last_part(path)) || own.eq_ignore_ascii_case(&name);
        if *is_sandboxed || is_its_program {
            return (name, application.icon.and_then(icon).unwrap_or_else(|| PROGRAM_ICON.to_owned()));
        }
        let name = self.words.fill("name-in", [("name", own.into()), ("application", name.into())]);
        (name, PROGRAM_ICON.to_owned())
    }
}

/// An icon as a notification takes it: a name, or a file by its URI. One that would have to be encoded is left out.
fn icon(icon: String) -> Option<String> {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "/._-+".contains(one);
    if icon.is_empty() || icon.len() > MAX_PATH || !icon.chars().all(is_plain) {
        return None;
    }
    Some(if icon.starts_with('/') { format!("file://{icon}") } else { icon })
}

/// The name of a destination, else its address.
fn host(to: &Destination) -> String {
    to.name.as_deref().map_or_else(|| to.address.to_string(), |name| shown(name, MAX_HOST))
}

/// Somebody else's text: escaped, and at most so many characters of it. What is too long loses its middle: a path says the
/// most at its ends.
fn shown(text: &str, most: usize) -> String {
    let text = printable(text);
    let count = text.chars().count();
    if count <= most {
        return text;
    }
    let half = most / 2;
    text.chars().take(half).chain(['…']).chain(text.chars().skip(count - half)).collect()
}

/// Text as a server takes it that reads markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::program::Connection;
    use crate::program::tests::event;

    const ALL: Capabilities = Capabilities { body: true, markup: true, actions: true };

    /// As it reads, in English: without the marks that keep variables apart.
    fn read(can: Capabilities, content: &Content) -> Text {
        let firefox = |program: &str| Application {
            name: "Firefox".to_owned(),
            icon: Some("firefox".to_owned()),
            program: Some(program.to_owned()),
        };
        let application = |id: &str| match id {
            "org.mozilla.firefox" => Some(firefox("firefox-esr")),
            "org.kde.konsole" => Some(Application { name: "Konsole".to_owned(), icon: None, program: None }),
            _ => None,
        };
        let words = Words::of(["en".to_owned()].into_iter());
        let style = Style {
            words: &words,
            can,
            has_top: true,
            application: &application,
            user: &|uid| (uid == 1000).then(|| "alice".to_owned()),
        };
        let Text { title, body, icon, buttons, stays } = style.write(content);
        let plain = |text: String| text.replace(['\u{2068}', '\u{2069}'], "");
        Text { title: plain(title), body: plain(body), icon, buttons, stays }
    }

    fn curl() -> Connection {
        let mut event = event("/usr/bin/curl", "192.0.2.1");
        event.uid = Some(1000);
        event.parents = vec![(812, "/usr/bin/bash".to_owned()), (1, "/usr/lib/systemd/systemd".to_owned())];
        event.proc_cmd_line = Some("curl -s https://example.org/?a&b".to_owned());
        event.proc_dir = Some("/home/alice".to_owned());
        Connection::of(&event, |_| Some("example.org".to_owned())).unwrap()
    }

    fn names(text: &Text) -> Vec<&str> {
        text.buttons.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn a_first_connection_reads_as_a_person_would_say_it() {
        let text = read(ALL, &Content::Program(Box::new(Program::new(curl()))));
        assert_eq!(text.title, "curl connects to example.org");
        assert_eq!(text.body, "192.0.2.1, port 443, tcp\n/usr/bin/curl\nUser alice, started by bash");
        assert_eq!(text.icon, "application-x-executable");
        assert_eq!(names(&text), ["default", "details", "mute", "top"]);
    }

    #[test]
    fn later_ones_are_counted_and_the_newest_destinations_are_named() {
        let mut program = Program::new(curl());
        for host in ["192.0.2.2", "192.0.2.3", "192.0.2.4", "2001:db8::5"] {
            program.add(Connection::of(&event("/usr/bin/curl", host), |_| None).unwrap());
        }
        let text = read(ALL, &Content::Program(Box::new(program.clone())));
        assert_eq!(text.title, "curl: 5 connections");
        assert_eq!(
            text.body,
            "2001:db8::5, port 443, tcp\n192.0.2.4, port 443, tcp\n192.0.2.3, port 443, tcp\nand 2 more destinations\n\
             /usr/bin/curl"
        );
        let text = read(ALL, &Content::Details(vec![program]));
        assert!(
            text.body.ends_with("192.0.2.2, port 443, tcp\nexample.org: 192.0.2.1, port 443, tcp"),
            "{}",
            text.body
        );
    }

    #[test]
    fn details_are_all_that_is_known() {
        let text = read(ALL, &Content::Details(vec![Program::new(curl())]));
        assert_eq!(text.title, "curl: details");
        assert_eq!(
            text.body,
            "Program: /usr/bin/curl\nCommand: curl -s https://example.org/?a&amp;b\nFolder: /home/alice\nUser: alice\n\
             Started by: bash (812) ← systemd (1)\nConnections: 1\nDestinations:\nexample.org: 192.0.2.1, port 443, tcp"
        );
        assert_eq!((names(&text), text.stays), (vec!["mute", "top"], true));
    }

    #[test]
    fn without_buttons_the_command_is_there_and_without_a_body_the_title_has_all() {
        let program = Content::Program(Box::new(Program::new(curl())));
        let text = read(Capabilities { actions: false, markup: false, ..ALL }, &program);
        assert!(text.body.contains("Command: curl -s https://example.org/?a&b\n"), "{}", text.body);
        assert!(text.buttons.is_empty());
        let text = read(Capabilities::default(), &program);
        assert!(text.title.starts_with("curl connects to example.org: 192.0.2.1, port 443, tcp; /usr/bin/curl; "));
        assert_eq!(text.body, "");
    }

    #[test]
    fn several_programs_are_a_line_each() {
        let programs: Vec<Program> = (0..7)
            .map(|number| Connection::of(&event(&format!("/bin/p{number}"), "192.0.2.1"), |_| None).unwrap())
            .map(Program::new)
            .collect();
        let text = read(ALL, &Content::Several(programs));
        assert_eq!(text.title, "7 programs connect to the network");
        assert!(text.body.starts_with("p0 → 192.0.2.1\np1 → ") && text.body.ends_with("\nand 2 more"), "{}", text.body);
        assert_eq!(names(&text), ["default", "details", "top"]);
    }

    #[test]
    fn an_application_lends_its_name_to_its_own_program_only() {
        let table = [
            ("/usr/lib/firefox-esr/firefox-esr", "org.mozilla.firefox", false, "Firefox", "firefox"),
            ("/app/lib/firefox/helper", "org.mozilla.firefox", true, "Firefox", "firefox"),
            ("/tmp/curl", "org.mozilla.firefox", false, "curl (in Firefox)", PROGRAM_ICON),
            ("/usr/bin/konsole", "org.kde.konsole", false, "Konsole", PROGRAM_ICON),
            ("/usr/bin/curl", "org.kde.konsole", false, "curl (in Konsole)", PROGRAM_ICON),
            ("/usr/bin/curl", "unknown", false, "curl", PROGRAM_ICON),
            ("/app/bin/x", "unknown", true, "unknown", PROGRAM_ICON),
            ("", "unknown", false, "A program without a name", PROGRAM_ICON),
        ];
        for (path, app, sandboxed, name, icon) in table {
            let mut event = event(path, "192.0.2.1");
            event.app = Some(app.to_owned());
            event.mount_namespace = sandboxed.then_some(true);
            let program = Program::new(Connection::of(&event, |_| None).unwrap());
            let text = read(ALL, &Content::Program(Box::new(program)));
            assert_eq!((text.title, text.icon.as_str()), (format!("{name} connects to 192.0.2.1"), icon), "{path}");
        }
    }

    #[test]
    fn an_icon_is_a_name_or_a_plain_file() {
        let table = [
            ("firefox", Some("firefox")),
            ("/usr/share/pixmaps/x.png", Some("file:///usr/share/pixmaps/x.png")),
            ("/tmp/a b", None),
            ("http://example.org/x", None),
            ("", None),
        ];
        for (given, expected) in table {
            assert_eq!(icon(given.to_owned()).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn hostile_names_stay_text() {
        let name = "/tmp/<b>x</b>&amp;\n\u{202e}gpj.\u{200b}exe";
        let mut event = event(name, "192.0.2.1");
        event.parents = vec![(1, name.to_owned())];
        let program = Program::new(Connection::of(&event, |_| Some(name.to_owned())).unwrap());
        for content in [Content::Program(Box::new(program.clone())), Content::Details(vec![program])] {
            let text = read(ALL, &content);
            let escaped = "&lt;b&gt;x&lt;/b&gt;&amp;amp;\\u{a}\\u{202e}gpj.\\u{200b}exe";
            assert!(text.body.contains(escaped), "{}", text.body);
            assert!(!text.body.contains('<') && !text.body.contains(['\u{202e}', '\u{200b}']), "{}", text.body);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A notification is of bounded size, has only its own lines, and no markup of a program's, whatever the program
        /// calls itself, its folder, its arguments and its destination.
        #[test]
        fn no_name_breaks_out(texts in prop::collection::vec("(\\PC|[<>&\n\r\u{202e}\u{2066}\u{0}\u{1b}\u{9b}]){0,400}", 7), sandboxed: bool) {
            let [path, app, folder, command, parent, lookup, protocol] = texts.try_into().expect("seven");
            let mut event = event(&path, "2001:db8::1");
            event.app = Some(app);
            event.proc_dir = Some(folder);
            event.proc_cmd_line = Some(command);
            event.protocol = Some(protocol.into());
            event.parents = vec![(1, parent); 16];
            event.mount_namespace = sandboxed.then_some(true);
            let program = Program::new(Connection::of(&event, |_| Some(lookup)).unwrap());
            let contents = [
                Content::Program(Box::new(program.clone())),
                Content::Several(vec![program.clone(); 9]),
                Content::Details(vec![program.clone(); 9]),
                Content::Details(vec![program]),
            ];
            for (content, lines) in contents.iter().zip([3, 6, 11, 9]) {
                let text = read(ALL, content);
                prop_assert!(text.title.chars().count() < 200 && text.body.len() < 16 * 1024, "{text:?}");
                prop_assert!(!text.title.contains(opensnitch_audit_client::is_unprintable), "{text:?}");
                prop_assert!(text.body.lines().count() <= lines, "{text:?}");
                for line in text.body.split('\n') {
                    prop_assert!(!line.contains(opensnitch_audit_client::is_unprintable), "{text:?}");
                }
                let marks = text.body.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
                prop_assert!(!marks.contains(['<', '>', '&']), "{text:?}");
            }
        }
    }
}
