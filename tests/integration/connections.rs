//! Whose connection is it? Of real sockets, in networks of the test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{
    CallError, Client, INVALID, NOT_FOUND, Network, Process, Records, User, World, available, eventually, plain,
};

/// Asks whose connection that is.
fn owner(client: &Client, protocol: &str, source: SocketAddr, destination: SocketAddr) -> Result<Value, CallError> {
    let (source_host, destination_host) = (source.ip().to_string(), destination.ip().to_string());
    let (sport, dport) = (source.port().to_string(), destination.port().to_string());
    let arguments = ["ssqsq", protocol, &source_host, &sport, &destination_host, &dport];
    client.call("GetEventByConnection", &arguments).map(|reply| plain(&reply[0]))
}

/// A process of this user that holds what it got as its standard input, and does nothing.
fn holder(user: User, socket: impl Into<Stdio>) -> Process {
    Process::of(user.command("sleep").arg("1000").stdin(socket).stdout(Stdio::null()))
}

#[test]
fn a_service_that_may_only_trace_finds_the_sockets_of_every_user() {
    // As the unit has it: root, but without a right to look into the folders of others.
    let Some(world) = World::start_where("", |_, namespace| namespace.only_tracing()) else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let (source, destination) = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let holder = holder(User::Alice, OwnedFd::from(socket));
    for user in [User::Root, User::Alice] {
        let event = owner(&world.client(user), "udp", source, destination).unwrap();
        assert_eq!((&event["Pid"], &event["Certainty"]), (&json!(holder.pid()), &json!("socket")), "{user:?}: {event}");
    }
}

#[test]
fn the_process_that_holds_the_socket_is_named() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "[::1]"] {
        let stream = TcpStream::connect(format!("{host}:{port}")).unwrap();
        let (source, destination) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let holder = holder(User::Root, OwnedFd::from(stream));
        // No event came of it: what is told is what /proc knows.
        let event = owner(&root, "tcp", source, destination).unwrap();
        let told = [&event["Pid"], &event["Certainty"], &event["Source"], &event["ProcPath"], &event["Running"]];
        let expected = json!([holder.pid(), "socket", "proc", "/usr/bin/sleep", true]);
        assert_eq!(json!(told), expected, "{host}: {event}");

        world.auditd.send(Records::connect(port).pid(holder.pid()).exe("/usr/bin/sleep").text());
        root.wait_for_event_of(holder.pid());
        let event = owner(&root, "tcp", source, destination).unwrap();
        assert_eq!((&event["Pid"], &event["Source"]), (&json!(holder.pid()), &json!("audisp")), "{host}: {event}");
        // In either form of its address.
        if let [SocketAddr::V4(source), SocketAddr::V4(destination)] = [source, destination] {
            let mapped = |one: std::net::SocketAddrV4| SocketAddr::new(one.ip().to_ipv6_mapped().into(), one.port());
            let event = owner(&root, "tcp", mapped(source), mapped(destination)).unwrap();
            assert_eq!(event["Pid"], holder.pid());
        }
    }

    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect("127.0.0.1:9").unwrap();
    let unconnected = UdpSocket::bind("0.0.0.0:0").unwrap();
    let dual = UdpSocket::bind("[::]:0").unwrap();
    let connected6 = UdpSocket::bind("[::1]:0").unwrap();
    connected6.connect("[::1]:9").unwrap();
    let table = [(connected, "127.0.0.1"), (unconnected, "127.0.0.1"), (dual, "127.0.0.1"), (connected6, "::1")];
    for (socket, host) in table {
        let host: IpAddr = host.parse().unwrap();
        let source = SocketAddr::new(host, socket.local_addr().unwrap().port());
        let holder = holder(User::Root, OwnedFd::from(socket));
        let event = owner(&root, "udp", source, SocketAddr::new(host, 9)).unwrap();
        assert_eq!((&event["Pid"], &event["Certainty"]), (&json!(holder.pid()), &json!("socket")), "{event}");
    }
}

#[test]
fn a_connection_in_the_making_has_an_owner_before_its_event_comes() {
    let Some(world) = World::start("") else { return };
    let root = world.root();
    // Who connects to the last of these speaks IPv4 through a socket of IPv6.
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let listener = TcpListener::bind(format!("{host}:0")).unwrap();
        let destination = listener.local_addr().unwrap();
        // One fits in the queue; whoever comes after it gets no answer.
        rustix::net::listen(&listener, 0).unwrap();
        let _first = TcpStream::connect(destination).unwrap();
        let family = if destination.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let second = rustix::net::socket_with(family, SocketType::STREAM, flags, None).unwrap();
        assert_eq!(rustix::net::connect(&second, &destination), Err(Errno::INPROGRESS));
        let second = TcpStream::from(second);
        assert!(second.peer_addr().is_err(), "{host} answered");
        let source = second.local_addr().unwrap();
        let holder = holder(User::Alice, OwnedFd::from(second));
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        for (source, destination) in [(source, destination), (canonical(source), canonical(destination))] {
            for user in [User::Root, User::Alice] {
                let event = owner(&world.client(user), "tcp", source, destination).unwrap();
                assert_eq!((&event["Pid"], &event["Certainty"]), (&json!(holder.pid()), &json!("socket")), "{event}");
            }
        }
        assert_eq!(owner(&world.client(User::Bob), "tcp", source, destination).unwrap_err().name, NOT_FOUND);
        // With the socket the connection is gone, and no event tells who made it.
        drop(holder);
        assert_eq!(owner(&root, "tcp", source, destination).unwrap_err().name, NOT_FOUND, "{host}");
    }
}

#[test]
fn what_a_process_and_its_child_share_is_whose_used_it_last() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let (source, destination) = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let script = ["-c", "sleep 1000; true"];
    let parent = Process::of(User::Root.command("sh").args(script).stdin(OwnedFd::from(socket)));
    let children = format!("/proc/{0}/task/{0}/children", parent.pid());
    let child: u32 = eventually("a child", || fs::read_to_string(&children).unwrap().trim().parse().ok());
    let both = [parent.pid(), child];
    // Who used it last is named, and the other is told.
    for (user, other) in [(child, parent.pid()), (parent.pid(), child)] {
        let records = Records::connect(9).pid(user);
        world.auditd.send(records.text());
        root.wait_for_event_of(user);
        let event = eventually("both holders", || {
            let event = owner(&root, "udp", source, destination).unwrap();
            (event["Serial"] == records.serial).then_some(event)
        });
        let told = [&event["Pid"], &event["Certainty"], &event["Holders"]];
        assert_eq!(json!(told), json!([user, "shared", [other]]), "of {both:?}: {event}");
    }
    let _ = kill_process(Pid::from_raw(child.cast_signed()).unwrap(), Signal::KILL);
}

#[test]
fn an_echo_request_has_an_owner() {
    if !available(&["ip", "nsenter", "ping"]) {
        return;
    }
    let network = Network::new();
    let world = World::start_where("", |_, namespace| namespace.on_network(&network)).unwrap();
    let root = world.root();
    for host in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(host.parse().unwrap(), 0);
        let ping = Process::of(network.command("ping").arg(host).stdout(Stdio::null()));
        let event = eventually("an owner", || owner(&root, "icmp", address, address).ok());
        assert_eq!((&event["Pid"], &event["ProcPath"]), (&json!(ping.pid()), &json!("/usr/bin/ping")), "{event}");
    }
}

#[test]
fn all_who_hold_a_socket_are_told() {
    let Some(world) = World::start("") else { return };
    let root = world.root();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let source = socket.local_addr().unwrap();
    let holders: Vec<_> = (0..2).map(|_| holder(User::Root, OwnedFd::from(socket.try_clone().unwrap()))).collect();
    drop(socket);
    let event = owner(&root, "udp", source, "127.0.0.1:9".parse().unwrap()).unwrap();
    assert_eq!(event["Certainty"], "shared", "{event}");
    let mut told: BTreeSet<u64> = event["Holders"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    told.extend(event["Pid"].as_u64());
    assert_eq!(told, holders.iter().map(|holder| u64::from(holder.pid())).collect());
}

#[test]
fn a_socket_that_is_gone_is_answered_from_the_history_if_one_process_can_be_meant() {
    let Some(mut world) = World::start("") else { return };
    let root = world.root();
    let (source, destination) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:4242".parse().unwrap());
    assert_eq!(owner(&root, "tcp", source, destination).unwrap_err().name, NOT_FOUND);
    let first = Records::connect(4242).uid(User::Alice.uid());
    for records in [&first, &first.again()] {
        world.auditd.send(records.text());
    }
    root.wait_for_counter("EventsMatched", 2);
    for user in [User::Root, User::Member, User::Alice] {
        let event = owner(&world.client(user), "tcp", source, destination).unwrap();
        assert_eq!((&event["Pid"], &event["Certainty"]), (&json!(first.pid), &json!("history")), "{user:?}: {event}");
    }
    assert_eq!(owner(&world.client(User::Bob), "tcp", source, destination).unwrap_err().name, NOT_FOUND);
    // Another port is another connection.
    assert_eq!(owner(&root, "tcp", source, "127.0.0.1:4243".parse().unwrap()).unwrap_err().name, NOT_FOUND);
    // With a second process nobody can tell; but alice has made only one, and learns nothing of the other.
    world.auditd.send(Records::connect(4242).text());
    root.wait_for_counter("EventsMatched", 3);
    assert_eq!(owner(&root, "tcp", source, destination).unwrap_err().name, NOT_FOUND);
    assert!(owner(&world.client(User::Alice), "tcp", source, destination).is_ok());
}

#[test]
fn the_connection_of_another_user_is_as_if_it_were_not_there() {
    let Some(mut world) = World::start("") else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let (source, destination) = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
    let holder = holder(User::Alice, OwnedFd::from(socket));
    for _ in 0..2 {
        for user in [User::Root, User::Member, User::Alice] {
            assert_eq!(
                owner(&world.client(user), "udp", source, destination).unwrap()["Pid"],
                holder.pid(),
                "{user:?}"
            );
        }
        // And once more when an event of it is known.
        let records = Records::socket().pid(holder.pid()).uid(User::Alice.uid());
        world.auditd.send(records.text());
        world.root().wait_for_event_of(holder.pid());
    }
    let bob = world.client(User::Bob);
    let there = owner(&bob, "udp", source, destination).unwrap_err();
    let not_there = owner(&bob, "udp", "127.0.0.1:1".parse().unwrap(), destination).unwrap_err();
    assert_eq!(there.name, NOT_FOUND);
    assert_eq!(there.message.replace(&source.to_string(), "X"), not_there.message.replace("127.0.0.1:1 ", "X "));
}

#[test]
fn what_is_no_connection_is_refused_and_named() {
    let Some(world) = World::start("") else { return };
    let long = "x".repeat(10_000);
    let table: [([&str; 5], &str); 9] = [
        (["tcpp", "127.0.0.1", "1", "127.0.0.1", "1"], "protocol"),
        (["", "127.0.0.1", "1", "127.0.0.1", "1"], "protocol"),
        ([&long, "127.0.0.1", "1", "127.0.0.1", "1"], "protocol"),
        (["tcp", "localhost", "1", "127.0.0.1", "1"], "source"),
        (["tcp", "127.0.0.1", "1", "127.0.0.1:80", "1"], "destination"),
        (["tcp", "127.0.0.1", "1", &long, "1"], "destination"),
        (["tcp", "127.0.0.1", "0", "127.0.0.1", "1"], "source"),
        (["udp", "127.0.0.1", "1", "127.0.0.1", "0"], "destination"),
        (["tcp", "127.0.0.1", "1", "::1", "1"], "destination"),
    ];
    for user in [User::Root, User::Alice] {
        for (arguments, named) in table {
            let call = [&["ssqsq"][..], &arguments].concat();
            let CallError { name, message } = world.client(user).call("GetEventByConnection", &call).unwrap_err();
            assert_eq!(name, INVALID, "{message}");
            assert!(message.contains(named) && message.len() < 400, "{named}: {message}");
            assert!(message.matches('x').count() <= 100, "{message}");
        }
    }
}

/// The client crate's example, built with the features of the whole workspace: `cargo test --workspace` has compiled it so
/// already.
fn firewall() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--workspace", "--example", "firewall"])
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.is_ok_and(|status| status.success()));
    let program = Path::new(env!("CARGO_BIN_EXE_opensnitch-auditd")).with_file_name("examples").join("firewall");
    assert!(program.exists(), "{} is not there", program.display());
    program
}

#[test]
fn a_firewall_names_every_one_of_a_thousand_short_lived_processes() {
    const PROCESSES: usize = 1000;
    if !available(&["ip", "nsenter", "iptables-legacy", "bash"]) {
        return;
    }
    let program = firewall();
    let network = Network::new();
    let world = World::start_where("", |_, namespace| namespace.on_network(&network)).unwrap();
    network.run(&["iptables-legacy", "-A", "OUTPUT", "-p", "tcp", "--syn", "-j", "NFQUEUE", "--queue-num", "7"]);
    let mut firewall = network
        .command(program)
        .arg("7")
        .env("DBUS_SYSTEM_BUS_ADDRESS", world.bus.address())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let answers = BufReader::new(firewall.stderr.take().unwrap()).lines();
    eventually("the firewall on the bus", || {
        let queues = network.command("cat").arg("/proc/net/netfilter/nfnetlink_queue").output().unwrap();
        String::from_utf8_lossy(&queues.stdout).split_whitespace().next().map(|queue| assert_eq!(queue, "7"))
    });

    // Each connects to a port of its own where nobody listens, and is gone. It is asked about while it waits for its packet.
    let script = format!(
        "for i in $(seq {PROCESSES}); do bash -c 'echo $$ $0; exec 3<>/dev/tcp/127.0.0.1/$0' $((20000 + i)) 2>/dev/null; done"
    );
    let output = network.command("bash").args(["-c", &script]).output().unwrap();
    let made: BTreeMap<u16, u32> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(pid, port)| (port.parse().unwrap(), pid.parse().unwrap()))
        .collect();
    assert_eq!(made.len(), PROCESSES);

    let mut named: BTreeMap<u16, u32> = BTreeMap::new();
    for line in answers.map_while(Result::ok) {
        // tcp 127.0.0.1:34512 → 127.0.0.1:20001: "/usr/bin/bash" 4711
        let (connection, owner) = line.split_once(": ").unwrap();
        let port = connection.rsplit(':').next().unwrap().parse().unwrap();
        let pid = owner.strip_prefix("\"/usr/bin/bash\" ").unwrap_or_else(|| panic!("{line}"));
        named.insert(port, pid.parse().unwrap());
        if named.len() == PROCESSES {
            break;
        }
    }
    let _ = firewall.kill();
    let _ = firewall.wait();
    assert_eq!(named, made);
}
