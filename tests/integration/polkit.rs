//! Who may do what: the real polkitd, and a service that could not change the machine's rules if it wanted to.
//!
//! A caller that polkit allows to change the rules gets as far as the kernel, which refuses the service: then the error
//! is `AuditUnavailable`, and no longer one of polkit's.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Agent, CallError, Calling, Client, Person, Polkit, PrivateBus, Records, User, Waiting, World, available, eventually,
};

/// What answers "at once" on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
const INTERACTION_REQUIRED: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
const AUDIT_UNAVAILABLE: &str = "org.opensnitch.Audit.Error.AuditUnavailable";

/// Bob may read all events, the group may add the rules; all others have to authenticate.
const RULES: &str = r#"polkit.addRule(function(action, subject) {
    if (action.id == "org.opensnitch.audit.read-all-events" && subject.user == "bob") return polkit.Result.YES;
    if (action.id == "org.opensnitch.audit.add-rules" && subject.isInGroup("opensnitch-audit")) return polkit.Result.YES;
    if (action.id == "org.opensnitch.audit.delete-rules" && subject.user == "bob") return polkit.Result.NO;
});"#;

/// A service with polkit beside it, and an event of a process of root's.
struct Court {
    world: World,
    polkit: Polkit,
    event: Records,
}

impl Court {
    fn open() -> Option<Self> {
        if !available(&["polkitd"]) {
            return None;
        }
        let bus = PrivateBus::with_polkit();
        let polkit = Polkit::start(&bus, RULES);
        let mut world = World::on(bus, "");
        let event = Records::connect(443);
        world.auditd.send(event.text());
        world.root().wait_for_event_of(event.pid);
        Some(Self { world, polkit, event })
    }

    /// Will ask for the event of root's.
    fn asks_for_event(&self, user: User, interactive: bool) -> Waiting {
        Waiting::new(&self.world.client(user), interactive, "GetEventByPid", &["u", &self.event.pid.to_string()])
    }

    fn calls(&self, user: User, interactive: bool, method: &str) -> Waiting {
        Waiting::new(&self.world.client(user), interactive, method, &[])
    }

    fn agent(&self, person: Person) -> Agent {
        Agent::new(&self.world.bus, person)
    }
}

#[track_caller]
fn assert_error(result: &Result<Value, CallError>, name: &str, pieces: &[&str]) {
    let error = result.as_ref().unwrap_err();
    assert_eq!(error.name, name, "{error:?}");
    for piece in pieces {
        assert!(error.message.contains(piece), "{piece:?} is not in {error:?}");
    }
}

/// Asserts that this is answered at once.
#[track_caller]
fn at_once<T>(call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = call();
    let took = start.elapsed();
    assert!(took < AT_ONCE, "it took {took:?}");
    answer
}

/// Calls that have nothing to do with polkit go on.
#[track_caller]
fn everyday_calls_go_on(world: &World) {
    for user in [User::Root, User::Member] {
        assert_eq!(at_once(|| world.client(user).events()).len(), 1);
    }
    let alice = world.client(User::Alice);
    assert_eq!(at_once(|| alice.property("Connected")), true);
    assert_eq!(at_once(|| alice.counter("Reconnects")), 0);
    at_once(|| alice.introspect());
    let member = world.client(User::Member);
    let unknown = at_once(|| member.call("GetEventByPid", &["u", "4999999"]));
    assert_error(&unknown, "org.opensnitch.Audit.Error.NotFound", &[]);
}

#[test]
fn rules_of_polkit_decide() {
    let Some(court) = Court::open() else { return };
    let root = court.world.root();
    assert!(root.event_of(court.event.pid).is_ok());
    for interactive in [false, true] {
        assert!(court.asks_for_event(User::Member, interactive).call().is_ok());
        // By a rule, without being asked.
        assert!(court.asks_for_event(User::Bob, interactive).call().is_ok());
        let added = court.calls(User::Member, interactive, "AddRules").call();
        assert_error(&added, AUDIT_UNAVAILABLE, &[]);
        let denied = court.calls(User::Bob, interactive, "DeleteRules").call();
        assert_error(&denied, ACCESS_DENIED, &["org.opensnitch.audit.delete-rules", "/etc/polkit-1/rules.d"]);
    }
    // Root is always allowed, by polkit.
    assert_error(&court.calls(User::Root, false, "AddRules").call(), AUDIT_UNAVAILABLE, &[]);
}

#[test]
fn who_cannot_be_asked_is_told_so() {
    let Some(court) = Court::open() else { return };
    // Nothing tells whether there is such an event.
    let alice = court.asks_for_event(User::Alice, false).call();
    assert_error(&alice, "org.opensnitch.Audit.Error.NotFound", &["that you may see"]);
    let alice = court.asks_for_event(User::Alice, true).call();
    assert_error(&alice, ACCESS_DENIED, &["read-all-events", "other users", "opensnitch-auditctl"]);
    for (user, method) in [(User::Alice, "AddRules"), (User::Alice, "DeleteRules"), (User::Member, "DeleteRules")] {
        assert_error(&court.calls(user, false, method).call(), INTERACTION_REQUIRED, &[]);
        assert_error(&court.calls(user, true, method).call(), ACCESS_DENIED, &["opensnitch-auditctl"]);
    }
}

#[test]
fn a_person_decides() {
    let Some(court) = Court::open() else { return };
    for (person, name, piece) in [
        (Person::Grants, AUDIT_UNAVAILABLE, ""),
        (Person::Refuses, ACCESS_DENIED, "failed"),
        (Person::Dismisses, ACCESS_DENIED, "dismissed"),
    ] {
        let agent = court.agent(person);
        let mut expected = Vec::new();
        for (method, action, message) in [
            ("AddRules", "org.opensnitch.audit.add-rules", "to add OpenSnitch's audit rules"),
            ("DeleteRules", "org.opensnitch.audit.delete-rules", "to remove OpenSnitch's audit rules"),
        ] {
            let caller = court.calls(User::Alice, true, method);
            agent.serve(&caller);
            assert_error(&caller.call(), name, &[piece]);
            expected.push((action, message));
        }
        let caller = court.asks_for_event(User::Alice, true);
        agent.serve(&caller);
        let result = caller.call();
        match person {
            Person::Grants => assert_eq!(result.unwrap()[0]["Pid"]["data"], court.event.pid),
            _ => assert_error(&result, name, &[piece]),
        }
        expected.push(("org.opensnitch.audit.read-all-events", "other users"));
        let prompts = agent.prompts();
        assert_eq!(prompts.len(), expected.len());
        for ((action, message), (expected, piece)) in prompts.iter().zip(&expected) {
            assert_eq!(action, expected);
            assert!(message.contains(piece), "{message}");
        }

        // Who did not allow to be asked is not asked, whoever is there.
        let caller = court.calls(User::Alice, false, "AddRules");
        agent.serve(&caller);
        assert_error(&caller.call(), INTERACTION_REQUIRED, &[]);
        assert_eq!(agent.prompts().len(), expected.len());
    }
}

#[test]
fn lists_never_prompt() {
    let Some(mut court) = Court::open() else { return };
    let own = Records::connect(80).uid(User::Alice.uid());
    court.world.auditd.send(own.text());
    court.world.root().wait_for_event_of(own.pid);
    let agent = court.agent(Person::Grants);
    for (user, rows) in [(User::Alice, 1), (User::Bob, 2), (User::Member, 2), (User::Root, 2)] {
        for (method, arguments) in [("GetEvents", &[][..]), ("FindEvents", &["a{sv}", "0"])] {
            let caller = Waiting::new(&court.world.client(user), true, method, arguments);
            agent.serve(&caller);
            assert_eq!(caller.call().unwrap()[0].as_array().unwrap().len(), rows, "{method} as {user:?}");
        }
    }
    assert_eq!(agent.prompts(), []);
}

#[test]
fn a_prompt_without_an_answer_stops_nobody_else() {
    let Some(court) = Court::open() else { return };
    let agent = court.agent(Person::Hangs);
    let caller = court.asks_for_event(User::Alice, true);
    agent.serve(&caller);
    let mut call = caller.go();
    eventually("a prompt", || (agent.prompts().len() == 1).then_some(()));
    everyday_calls_go_on(&court.world);
    // As do those that ask polkit.
    assert_eq!(at_once(|| court.world.client(User::Alice).events()).len(), 0);
    assert_error(&at_once(|| court.calls(User::Alice, false, "AddRules").call()), INTERACTION_REQUIRED, &[]);
    assert!(call.is_under_way());
    assert_eq!(agent.cancelled(), 0);

    // Nobody waits for the answer any more: the prompt goes away.
    call.leave();
    eventually("the end of the prompt", || (agent.cancelled() == 1).then_some(()));
    // An agent that is deaf to that, too, does not make polkit one that hangs: what it owes is overdue by then.
    let left = Instant::now();
    sleep(Duration::from_secs(6));
    eventually("polkit's word on others", || court.asks_for_event(User::Bob, false).call().ok());
    // Polkit itself gives the agent 25.
    let took = left.elapsed();
    assert!(took < Duration::from_secs(20), "only after {took:?}");
}

#[test]
fn one_user_cannot_open_prompts_without_end() {
    let Some(court) = Court::open() else { return };
    let agent = court.agent(Person::Hangs);
    let open: Vec<_> = (0..8)
        .map(|_| {
            let caller = court.calls(User::Alice, true, "AddRules");
            agent.serve(&caller);
            caller.go()
        })
        .collect();
    eventually("prompts", || (agent.prompts().len() == open.len()).then_some(()));
    let one_more = court.calls(User::Alice, true, "AddRules").call();
    assert_error(&one_more, "org.freedesktop.DBus.Error.LimitsExceeded", &["answer the prompts"]);
    // Others can, and calls without a prompt go on.
    assert_error(&court.calls(User::Bob, true, "AddRules").call(), ACCESS_DENIED, &["opensnitch-auditctl"]);
    assert_error(&court.calls(User::Alice, false, "AddRules").call(), INTERACTION_REQUIRED, &[]);
    let count = open.len();
    open.into_iter().for_each(Calling::leave);
    eventually("the end of the prompts", || (agent.cancelled() == count).then_some(()));
}

#[test]
fn a_polkit_that_hangs_is_waited_for_once() {
    let Some(court) = Court::open() else { return };
    court.polkit.hang();
    let start = Instant::now();
    let call = court.calls(User::Alice, false, "AddRules").go();
    everyday_calls_go_on(&court.world);
    assert_error(&call.wait(), ACCESS_DENIED, &["within 5 seconds", "systemctl restart polkit"]);
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(15), "refused after {took:?}");

    // From now on it is known to hang.
    assert_eq!(at_once(|| court.world.client(User::Bob).events()).len(), 0);
    let alices = at_once(|| court.asks_for_event(User::Alice, false).call());
    assert_error(&alices, "org.opensnitch.Audit.Error.NotFound", &[]);
    for interactive in [false, true] {
        let refused = at_once(|| court.calls(User::Root, interactive, "DeleteRules").call());
        assert_error(&refused, ACCESS_DENIED, &["within 5 seconds"]);
    }

    court.polkit.go_on();
    eventually("polkit's answers", || court.asks_for_event(User::Bob, false).call().ok());
}

#[test]
fn a_polkit_that_hangs_is_not_waited_for_as_if_it_were_a_person() {
    let Some(court) = Court::open() else { return };
    court.polkit.hang();
    let start = Instant::now();
    let refused = court.asks_for_event(User::Alice, true).call();
    assert_error(&refused, ACCESS_DENIED, &["within 5 seconds", "systemctl restart polkit"]);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(15), "refused after {took:?}");
}

/// Its start is no thinking.
#[test]
fn a_polkit_that_has_to_be_started_is_waited_for() {
    if !available(&["polkitd"]) {
        return;
    }
    let world = World::on(PrivateBus::with_polkit(), "");
    world.bus.starts("org.freedesktop.PolicyKit1");
    let mut call = Waiting::new(&world.client(User::Member), false, "AddRules", &[]).go();
    // Longer than it may think.
    sleep(Duration::from_secs(6));
    assert!(call.is_under_way());
    let _polkit = Polkit::start(&world.bus, RULES);
    assert_error(&call.wait(), AUDIT_UNAVAILABLE, &[]);
}

#[test]
fn without_polkit_nobody_is_allowed() {
    if !available(&[]) {
        return;
    }
    let mut world = World::on(PrivateBus::with_polkit(), "");
    let event = Records::connect(443);
    world.auditd.send(event.text());
    world.root().wait_for_event_of(event.pid);
    for user in [User::Root, User::Member, User::Alice] {
        for interactive in [false, true] {
            for method in ["AddRules", "DeleteRules"] {
                let refused = Waiting::new(&world.client(user), interactive, method, &[]).call();
                assert_error(&refused, ACCESS_DENIED, &["polkit is not there", "systemctl start polkit"]);
            }
        }
    }
    // What polkit has no say in goes on.
    assert!(world.client(User::Member).event_of(event.pid).is_ok());
    let alice = world.client(User::Alice);
    assert_error(&alice.event_of(event.pid), "org.opensnitch.Audit.Error.NotFound", &[]);
    let asked = Waiting::new(&alice, true, "GetEventByPid", &["u", &event.pid.to_string()]).call();
    assert_error(&asked, ACCESS_DENIED, &["polkit is not there"]);
    assert_eq!(alice.events().len(), 0);
}

/// A value for each type of an argument.
fn example(signature: &str) -> &'static [&'static str] {
    match signature {
        "" => &[],
        "u" => &["u", "1"],
        "a{sv}" => &["a{sv}", "0"],
        "ssqsq" => &["ssqsq", "tcp", "127.0.0.1", "1", "127.0.0.1", "1"],
        other => panic!("no example of {other}"),
    }
}

/// Who answered a call, if only with an error: `sender` of the reply.
fn answerer(client: &Client, arguments: &[&str]) -> String {
    let output = client.busctl(arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let reply = log
        .lines()
        .rfind(|line| line.contains("Got message type=method_return") || line.contains("Got message type=error"));
    let sender = reply.and_then(|line| line.split("sender=").nth(1)?.split(' ').next());
    sender.unwrap_or_else(|| panic!("no answer to {arguments:?}: {log}")).to_owned()
}

#[test]
fn the_bus_lets_every_call_through() {
    if !available(&[]) {
        return;
    }
    let world = World::on(PrivateBus::with_polkit(), "");
    let alice = world.client(User::Alice);
    let (service, path) = ("org.opensnitch.Audit", "/org/opensnitch/Audit");
    let bus = ["call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", "s"];
    let owner = alice.busctl(&[&bus[..], &[service]].concat()).output().unwrap();
    let owner: Value = serde_json::from_slice(&owner.stdout).unwrap();
    let owner = owner["data"][0].as_str().unwrap();

    let mut methods = 0;
    let mut properties = 0;
    for interface in alice.introspect().split("<interface ").skip(1) {
        let attribute = |tag: &str, name: &str| {
            let value = tag.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
            Some(value.to_owned())
        };
        let name = attribute(interface, "name").unwrap();
        for method in interface.split("<method ").skip(1) {
            let method = method.split("</method>").next().unwrap();
            let member = attribute(method, "name").unwrap();
            let inputs = method.split("<arg ").skip(1).filter(|arg| arg.contains("direction=\"in\""));
            let signature: String = inputs.map(|arg| attribute(arg, "type").unwrap()).collect();
            let arguments: &[&str] = match &*member {
                "Get" => &["ss", service, "Version"],
                "GetAll" => &["s", service],
                "Set" => &["ssv", service, "Version", "s", "1"],
                _ => example(&signature),
            };
            let call = [&["call", service, path, &name, &member][..], arguments].concat();
            assert_eq!(answerer(&alice, &call), owner, "{name}.{member}");
            methods += 1;
        }
        for property in interface.split("<property ").skip(1) {
            let member = attribute(property, "name").unwrap();
            assert_eq!(answerer(&alice, &["get-property", service, path, &name, &member]), owner, "{name}.{member}");
            properties += 1;
        }
    }
    assert!(methods >= 5 + 7 && properties >= 5, "{methods} methods, {properties} properties");

    // What is none of ours is the service's to refuse, in its own words.
    let foreign = ["call", service, path, "org.example.Foreign", "Method"];
    assert_eq!(answerer(&alice, &foreign), owner);
}
