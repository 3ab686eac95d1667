//! Sockets of the kernel that the test runs on, in a network namespace of each test's own.
//!
//! A test runs itself again under `unshare -n`, where no other test has descriptors or children; that needs root.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::fstat;
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, sendto, socket_with, sockopt};

use super::*;
use crate::testing::{may, say};

const INSIDE: &str = "OPENSNITCH_AUDIT_TEST_NETNS";

/// Whether this is the process in a network namespace of its own; if not, it runs the test there first.
fn is_inside(test: &str) -> bool {
    is_inside_of(test, &[])
}

fn is_inside_of(test: &str, words: &[&str]) -> bool {
    if env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        return true;
    }
    let myself = env::current_exe().unwrap();
    let name = format!("socket::live::{test}");
    let is_here = Command::new("unshare").args(["-n", "true"]).output().is_ok_and(|output| output.status.success());
    if !may("root and unshare(1)", is_here) {
        return false;
    }
    let output = Command::new("unshare")
        .arg("-n")
        .arg(myself)
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .args(words)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    for line in text.lines().filter(|line| line.starts_with("SKIPPED") || line.starts_with("SPEED")) {
        say(line);
    }
    false
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
}

fn inode(socket: impl AsFd) -> u64 {
    fstat(socket).unwrap().st_ino
}

fn tuple(protocol: &str, source: SocketAddr, destination: SocketAddr) -> Tuple {
    let (from, to) = (source.ip().to_string(), destination.ip().to_string());
    Tuple::parse(protocol, &from, source.port(), &to, destination.port()).unwrap()
}

/// The inodes that the kernel has for it.
fn find(diag: &SockDiag, protocol: &str, source: SocketAddr, destination: SocketAddr) -> Vec<u64> {
    let found = diag.find(&tuple(protocol, source, destination)).unwrap();
    assert!(found.iter().all(|socket| socket.uid == 0), "{found:?}");
    found.iter().map(|socket| socket.inode).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp(local: &str) -> UdpSocket {
    UdpSocket::bind(address(local)).unwrap()
}

/// With the port of another.
fn port_of(address: &str, socket: &UdpSocket) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), socket.local_addr().unwrap().port())
}

#[test]
fn tcp_connections_have_their_socket() {
    if !is_inside("tcp_connections_have_their_socket") {
        return;
    }
    let diag = SockDiag::open().unwrap();
    for (listen, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "::ffff:127.0.0.1")] {
        let listener = TcpListener::bind(address(listen)).unwrap();
        let server = SocketAddr::new(to.parse().unwrap(), listener.local_addr().unwrap().port());
        let client = TcpStream::connect(server).unwrap();
        let us = client.local_addr().unwrap();
        assert_eq!(find(&diag, "tcp", us, server), [inode(&client)], "{us} to {server}");
        // Nobody has accepted it yet.
        assert_eq!(find(&diag, "tcp", server, us), [inode(&listener)], "{server} to {us}");
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(find(&diag, "tcp", server, us), [inode(&accepted)], "{server} to {us}");

        let other = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() ^ 1);
        assert_eq!(find(&diag, "tcp", us, other(server)), [0; 0]);
        assert_eq!(find(&diag, "tcp", server, other(us)), [0; 0], "the listener is not the connection");
        assert_eq!(find(&diag, "udp", us, server), [0; 0]);
        drop(client);
        assert_eq!(find(&diag, "tcp", us, server), [0; 0], "closed; the other end is not");
        drop(accepted);
        assert_eq!(find(&diag, "tcp", server, us), [0; 0]);
    }
}

#[test]
fn a_connection_that_is_blocked_has_its_socket() {
    if !is_inside("a_connection_that_is_blocked_has_its_socket") {
        return;
    }
    run("nft", &["add table inet t; add chain inet t out { type filter hook output priority 0; }"]);
    run("nft", &["add rule inet t out tcp dport 9 drop"]);
    let diag = SockDiag::open().unwrap();
    for (family, to) in [
        (AddressFamily::INET, "127.0.0.1:9"),
        (AddressFamily::INET6, "[::1]:9"),
        (AddressFamily::INET6, "[::ffff:127.0.0.1]:9"),
    ] {
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        assert_eq!(connect(&socket, &address(to)), Err(Errno::INPROGRESS));
        let us = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        assert_eq!(find(&diag, "tcp", us, address(to)), [inode(&socket)], "{us} to {to}");
    }
}

#[test]
fn datagrams_have_their_socket() {
    if !is_inside("datagrams_have_their_socket") {
        return;
    }
    let diag = SockDiag::open().unwrap();
    // Bound to, connected to, and what a packet shows of it.
    let table = [
        ("127.0.0.1:0", Some("127.0.0.1:53"), "127.0.0.1", "127.0.0.1:53"),
        ("[::1]:0", Some("[::1]:53"), "::1", "[::1]:53"),
        ("[::]:0", Some("[::ffff:127.0.0.1]:53"), "127.0.0.1", "127.0.0.1:53"),
        ("127.0.0.1:0", None, "127.0.0.1", "127.0.0.1:53"),
        ("0.0.0.0:0", None, "127.0.0.1", "127.0.0.1:53"),
        ("0.0.0.0:0", None, "192.0.2.1", "192.0.2.77:53"),
        ("[::1]:0", None, "::1", "[::1]:53"),
        ("[::]:0", None, "2001:db8::1", "[2001:db8::2]:53"),
        ("[::]:0", None, "127.0.0.1", "127.0.0.1:53"),
        ("[::]:0", None, "192.0.2.1", "192.0.2.77:53"),
        ("0.0.0.0:68", None, "0.0.0.0", "255.255.255.255:67"),
        ("0.0.0.0:5353", None, "192.0.2.1", "224.0.0.251:5353"),
        ("224.0.0.251:5353", None, "192.0.2.1", "224.0.0.251:5353"),
        ("[::]:5353", None, "192.0.2.1", "224.0.0.251:5353"),
        // Connected to one, and sent to another.
        ("127.0.0.1:0", Some("127.0.0.1:53"), "127.0.0.1", "127.0.0.1:54"),
    ];
    for (number, (local, peer, source, destination)) in table.into_iter().enumerate() {
        let socket = udp(local);
        if let Some(peer) = peer {
            socket.connect(address(peer)).unwrap();
        }
        let (source, to) = (port_of(source, &socket), address(destination));
        assert_eq!(find(&diag, "udp", source, to), [inode(&socket)], "case {number}");
        assert_eq!(find(&diag, "tcp", source, to), [0; 0], "case {number}");
        drop(socket);
        assert_eq!(find(&diag, "udp", source, to), [0; 0], "case {number}, closed");
    }
    let socket = udp("127.0.0.1:0");
    assert_eq!(find(&diag, "udp", port_of("192.0.2.1", &socket), address("192.0.2.2:53")), [0; 0], "bound elsewhere");
    assert_eq!(find(&diag, "udp", port_of("::1", &socket), address("[::1]:53")), [0; 0], "bound elsewhere");
}

fn reused(family: AddressFamily, only_v6: bool) -> OwnedFd {
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::empty(), None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, only_v6).unwrap();
    }
    socket
}

#[test]
fn all_sockets_that_share_an_address_are_found() {
    if !is_inside("all_sockets_that_share_an_address_are_found") {
        return;
    }
    let diag = SockDiag::open().unwrap();
    let [one, two] = [(); 2].map(|()| reused(AddressFamily::INET, false));
    let dual = reused(AddressFamily::INET6, false);
    let only_v6 = reused(AddressFamily::INET6, true);
    let connected = reused(AddressFamily::INET, false);
    for socket in [&one, &two, &connected] {
        bind(socket, &address("0.0.0.0:5353")).unwrap();
    }
    for socket in [&dual, &only_v6] {
        bind(socket, &address("[::]:5353")).unwrap();
    }
    connect(&connected, &address("127.0.0.1:5354")).unwrap();
    let find = |source, destination| {
        let mut found = find(&diag, "udp", address(source), address(destination));
        found.sort_unstable();
        found
    };
    let inodes = |sockets: &[&OwnedFd]| {
        let mut inodes: Vec<u64> = sockets.iter().map(inode).collect();
        inodes.sort_unstable();
        inodes
    };
    assert_eq!(find("192.0.2.1:5353", "224.0.0.251:5353"), inodes(&[&one, &two, &dual]));
    assert_eq!(find("[2001:db8::1]:5353", "[ff02::fb]:5353"), inodes(&[&dual, &only_v6]));
    assert_eq!(find("127.0.0.1:5353", "127.0.0.1:5354"), inodes(&[&connected]));
}

#[test]
fn sockets_bound_to_an_interface_are_found() {
    if !is_inside("sockets_bound_to_an_interface_are_found") {
        return;
    }
    let diag = SockDiag::open().unwrap();
    // Without a search for the same address elsewhere, during which nobody may bind to it.
    run("ip", &["address", "add", "fe80::1/64", "dev", "lo", "nodad"]);
    let SocketAddr::V6(mut local) = address("[fe80::1]:0") else { unreachable!() };
    local.set_scope_id(1);
    let listener = TcpListener::bind(local).unwrap();
    // The kernel adds the way there a moment after the address.
    let client = loop {
        match TcpStream::connect(listener.local_addr().unwrap()) {
            Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => sleep(Duration::from_millis(10)),
            client => break client.unwrap(),
        }
    };
    let (us, server) = (client.local_addr().unwrap(), listener.local_addr().unwrap());
    assert_eq!(find(&diag, "tcp", us, server), [inode(&client)]);
    match std::fs::read_link("/proc/1/ns/net") {
        Ok(_) => assert!(!diag.sees_machine(), "a namespace of the test's own"),
        Err(_) => say("SKIPPED a part of the sockets' tests: the first process may not be looked at here"),
    }
    let datagrams = UdpSocket::bind(local).unwrap();
    let from = datagrams.local_addr().unwrap();
    assert_eq!(find(&diag, "udp", from, address("[fe80::2]:53")), [inode(&datagrams)]);
}

#[test]
fn sockets_that_ping_are_found() {
    if !is_inside("sockets_that_ping_are_found") {
        return;
    }
    let diag = SockDiag::open().unwrap();
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
    let make = |family, kind, protocol| socket_with(family, kind, SocketFlags::empty(), Some(protocol)).unwrap();
    let table = [
        (AddressFamily::INET, ipproto::ICMP, "127.0.0.1", "127.0.0.2"),
        (AddressFamily::INET6, ipproto::ICMPV6, "::1", "::1"),
    ];
    for (family, protocol, source, destination) in table {
        let [one, two] = [(); 2].map(|()| make(family, SocketType::DGRAM, protocol));
        let with_port = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
        let identifier = |socket: &OwnedFd| {
            // An echo request.
            let request = [if family == AddressFamily::INET { 8 } else { 128 }, 0, 0, 0, 0, 0, 0, 1];
            sendto(socket, &request, rustix::net::SendFlags::empty(), &with_port(destination, 0)).unwrap();
            SocketAddr::try_from(rustix::net::getsockname(socket).unwrap()).unwrap().port()
        };
        let [first, second] = [&one, &two].map(identifier);
        let find = |identifier| find(&diag, "icmp", with_port(source, identifier), with_port(destination, 0));
        assert_eq!(find(first), [inode(&one)]);
        assert_eq!(find(second), [inode(&two)]);
        let mut both = find(0);
        both.sort_unstable();
        assert_eq!(both, [inode(&one), inode(&two)]);

        let raw = make(family, SocketType::RAW, protocol);
        let _tcp = make(family, SocketType::RAW, ipproto::TCP);
        assert_eq!(find(first), [inode(&one)]);
        let other = (1..).find(|other| ![first, second].contains(other)).unwrap();
        assert_eq!(find(other), [inode(&raw)], "it chooses its identifier itself");
        assert_eq!(find(0).len(), 3);
    }
}

#[test]
fn a_protocol_that_this_kernel_has_not_is_no_error() {
    if !is_inside("a_protocol_that_this_kernel_has_not_is_no_error") {
        return;
    }
    let diag = SockDiag::open().unwrap();
    for (name, kind, protocol) in [
        ("udplite", SocketType::DGRAM, ipproto::UDPLITE),
        ("sctp", SocketType::STREAM, ipproto::SCTP),
        ("dccp", SocketType::from_raw(6), ipproto::DCCP),
    ] {
        let (to, from) = (address("127.0.0.1:9"), address("127.0.0.1:10"));
        assert_eq!(find(&diag, name, from, to), [0; 0], "{name}");
        let Ok(socket) = socket_with(AddressFamily::INET, kind, SocketFlags::NONBLOCK, Some(protocol)) else {
            say(&format!("SKIPPED a part of the sockets' tests: this kernel has no {name}"));
            continue;
        };
        bind(&socket, &from).unwrap();
        // Nobody answers there.
        run("nft", &["add table inet t; add chain inet t out { type filter hook output priority 0; policy drop; }"]);
        let _ = connect(&socket, &to);
        assert_eq!(find(&diag, name, from, to), [inode(&socket)], "{name}");
    }
}

/// Ends when it is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that inherits these descriptors under their numbers, and does nothing.
fn heir(descriptors: &[BorrowedFd<'_>]) -> Running {
    for descriptor in descriptors {
        fcntl_setfd(descriptor, FdFlags::empty()).unwrap();
    }
    let heir = Running::start(Command::new("sleep").arg("1000").stdout(Stdio::null()));
    for descriptor in descriptors {
        fcntl_setfd(descriptor, FdFlags::CLOEXEC).unwrap();
    }
    heir
}

fn me() -> u32 {
    std::process::id()
}

fn candidate(pid: u32, fd: Option<i32>) -> Candidate {
    Candidate { pid, start_time_us: None, fd }
}

fn sockets(socket: impl AsFd) -> [Socket; 1] {
    [Socket { inode: inode(socket), uid: 0 }]
}

/// The first holder, and the others by pid.
fn pids(sockets: &[Socket], candidates: &[Candidate]) -> Option<(u32, Vec<u32>)> {
    let holders = holders(sockets, candidates).unwrap()?;
    let mut others: Vec<u32> = holders.others.iter().map(|holder| holder.pid).collect();
    others.sort_unstable();
    Some((holders.first.pid, others))
}

#[test]
fn a_candidate_holds_it_only_if_it_does() {
    if !is_inside("a_candidate_holds_it_only_if_it_does") {
        return;
    }
    let socket = udp("127.0.0.1:0");
    let fd = socket.as_raw_fd();
    let start = process::Process::open(me()).unwrap().stat().unwrap().start_time_us;
    let expected = Some(Holders { first: Holder { pid: me(), start_time_us: start }, others: Vec::new() });
    let bystander = heir(&[]);
    let (us, other) = (candidate(me(), Some(fd)), candidate(bystander.pid(), Some(fd)));
    let table = [
        vec![us],
        vec![candidate(me(), Some(fd + 1))],
        vec![candidate(me(), Some(-1))],
        vec![candidate(me(), None)],
        vec![Candidate { start_time_us: Some(start), ..us }],
        vec![other, us],
        vec![candidate(0, None), candidate(u32::MAX, None), candidate(1, Some(fd)), us],
        // Then everybody is looked at.
        vec![],
        vec![other],
        vec![Candidate { start_time_us: Some(start + 1), ..us }],
    ];
    let known = sockets(&socket);
    for (number, candidates) in table.iter().enumerate() {
        assert_eq!(holders(&known, candidates).unwrap(), expected, "case {number}");
    }
    let other_user = [Socket { uid: 4_000_000, ..known[0] }];
    assert_eq!(holders(&other_user, &[]).unwrap(), expected, "it changed its user since");
    let [second, third] = [udp("127.0.0.1:0"), udp("127.0.0.1:0")];
    let several = [sockets(&second)[0], known[0], sockets(&third)[0]];
    drop(socket);
    assert_eq!(holders(&known, &[us]).unwrap(), None, "closed");
    assert_eq!(holders(&several, &[us]).unwrap(), expected, "of several sockets, another one");
    assert_eq!(holders(&[], &[us]).unwrap(), None);
}

#[test]
fn those_who_share_a_socket_are_found_from_each_of_them() {
    if !is_inside("those_who_share_a_socket_are_found_from_each_of_them") {
        return;
    }
    let socket = udp("127.0.0.1:0");
    let known = sockets(&socket);
    let fd = Some(socket.as_raw_fd());
    let mut heirs = [heir(&[socket.as_fd()]), heir(&[socket.as_fd()])];
    let bystander = heir(&[]);
    let [one, two] = [&heirs[0], &heirs[1]].map(Running::pid);
    let all = |first: u32| {
        let mut others: Vec<u32> = [me(), one, two].into_iter().filter(|pid| *pid != first).collect();
        others.sort_unstable();
        Some((first, others))
    };
    assert_eq!(pids(&known, &[candidate(me(), fd)]), all(me()), "the children");
    assert_eq!(pids(&known, &[candidate(one, fd)]), all(one), "the parent and a sibling");
    assert_eq!(pids(&known, &[candidate(two, None), candidate(one, fd)]), all(two), "the first candidate first");
    assert_eq!(pids(&known, &[candidate(bystander.pid(), fd)]).unwrap().1.len(), 2, "a child of the parent");
    drop(socket);
    assert_eq!(
        pids(&known, &[candidate(me(), fd)]),
        Some((two, vec![one])),
        "the children of a candidate, the youngest first"
    );
    assert_eq!(pids(&known, &[candidate(one, fd), candidate(two, fd)]), Some((one, vec![two])));
    for heir in &mut heirs {
        heir.0.kill().unwrap();
    }
    // They are zombies until somebody waits.
    sleep_until(|| pids(&known, &[candidate(one, fd)]).is_none());
}

fn sleep_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(5));
    }
}

/// Not a test: the process that [`a_socket_that_was_passed_on_is_found`] passes one to. It says `ready`, and holds it.
#[test]
#[ignore = "started by another test"]
fn receiver() {
    if env::var_os(RECEIVER).is_none() {
        return;
    }
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        io::stdin(),
        &mut [io::IoSliceMut::new(&mut byte)],
        &mut control,
        rustix::net::RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    let rustix::net::RecvAncillaryMessage::ScmRights(mut passed) = control.drain().next().unwrap() else { panic!() };
    let _held = passed.next().unwrap();
    println!("ready");
    io::stdin().read_exact(&mut byte).unwrap();
}

const RECEIVER: &str = "OPENSNITCH_AUDIT_TEST_RECEIVER";

#[test]
fn a_socket_that_was_passed_on_is_found() {
    if !is_inside("a_socket_that_was_passed_on_is_found") {
        return;
    }
    let socket = udp("127.0.0.1:0");
    let known = sockets(&socket);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut receiver = Running::start(
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "socket::live::receiver", "--ignored", "--nocapture"])
            .env(RECEIVER, "1")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped()),
    );
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let passed = [socket.as_fd()];
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&passed)));
    rustix::net::sendmsg(&ours, &[io::IoSlice::new(b"x")], &mut control, rustix::net::SendFlags::empty()).unwrap();
    let output = BufReader::new(receiver.0.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "ready"));
    let us = candidate(me(), Some(socket.as_raw_fd()));
    assert_eq!(pids(&known, &[us]), Some((me(), vec![receiver.pid()])), "a child of ours, under another number");
    drop(socket);
    assert_eq!(pids(&known, &[us]), Some((receiver.pid(), Vec::new())));
    assert_eq!(pids(&known, &[]), Some((receiver.pid(), Vec::new())), "among all processes");
}

/// Not a test of its own: a booted machine runs it as a service with the socket that systemd made, and names the
/// connection and the pid that holds it.
#[test]
#[ignore = "needs systemd's socket"]
fn passed() {
    let Ok(connection) = env::var("OPENSNITCH_AUDIT_TEST_CONNECTION") else { return };
    let words: Vec<&str> = connection.split(' ').collect();
    let [protocol, source, sport, destination, dport, pid] = words[..] else { panic!("{connection}") };
    let tuple = Tuple::parse(protocol, source, sport.parse().unwrap(), destination, dport.parse().unwrap()).unwrap();
    let blind = SockDiag::open().unwrap();
    assert!(!blind.sees_machine() && blind.find(&tuple).unwrap().is_empty(), "the network is not private");
    let passed = sd_listen_fds::get().unwrap();
    let (_, socket) = passed.into_iter().find(|(name, _)| name.as_deref() == Some(PASSED_AS)).unwrap();
    let diag = SockDiag::from_fd(socket.into_std()).unwrap();
    for _ in 0..3 {
        let holders = holders(&diag.find(&tuple).unwrap(), &[]).unwrap().unwrap();
        assert_eq!(holders.first.pid.to_string(), pid);
    }
}

/// Prints how long each way to a holder takes. `cargo test --release --lib socket::live::speed -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn speed() {
    if !is_inside_of("speed", &["--ignored"]) {
        return;
    }
    let diag = SockDiag::open().unwrap();
    let measure = |what: &str, mut each: Box<dyn FnMut() + '_>| {
        let mut times: Vec<Duration> = (0..2000)
            .map(|_| {
                let start = Instant::now();
                each();
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        let [half, most] = [1000, 1980].map(|place| times[place].as_secs_f64() * 1e6);
        say(&format!("SPEED {half:6.1} us, 99 of 100 in {most:6.1} us  {what}"));
    };
    let listener = TcpListener::bind(address("127.0.0.1:0")).unwrap();
    let server = listener.local_addr().unwrap();
    let client = TcpStream::connect(server).unwrap();
    let connection = tuple("tcp", client.local_addr().unwrap(), server);
    let datagrams = udp("0.0.0.0:0");
    let low = udp("0.0.0.0:5353");
    let unconnected = tuple("udp", port_of("127.0.0.1", &datagrams), address("127.0.0.1:53"));
    let multicast = tuple("udp", port_of("127.0.0.1", &low), address("224.0.0.251:5353"));
    let none = |name| tuple(name, address("127.0.0.1:40000"), address("127.0.0.1:53"));
    let us = [candidate(me(), Some(client.as_raw_fd()))];
    let without_fd = [candidate(me(), None)];
    for others in [0, 10_000] {
        say(&format!("SPEED with {others} other sockets"));
        let _others: Vec<TcpListener> = (0..others)
            .map(|number: u16| {
                let [high, low] = number.to_be_bytes();
                TcpListener::bind((Ipv4Addr::new(127, 1, high, low), 0)).unwrap()
            })
            .collect();
        let find = |what: &str, tuple: &Tuple| {
            measure(what, Box::new(|| drop(diag.find(tuple).unwrap())));
        };
        find("find tcp", &connection);
        find("find udp, unconnected", &unconnected);
        find("find udp, unconnected, a port that the program chose", &multicast);
        find("find tcp, none", &none("tcp"));
        find("find udp, none", &none("udp"));
        find("find icmp, none", &none("icmp"));
        let known = sockets(&client);
        measure("holders, right descriptor", Box::new(|| assert!(holders(&known, &us).unwrap().is_some())));
        measure(
            "find and holders, right descriptor",
            Box::new(|| assert!(holders(&diag.find(&connection).unwrap(), &us).unwrap().is_some())),
        );
        if others == 0 {
            measure("holders, no descriptor", Box::new(|| assert!(holders(&known, &without_fd).unwrap().is_some())));
            measure("holders, no candidate", Box::new(|| assert!(holders(&known, &[]).unwrap().is_some())));
        }
    }
}
