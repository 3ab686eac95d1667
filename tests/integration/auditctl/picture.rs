//! What the pictures of README.md show: `scripts/picture` runs this and makes pictures of it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::{env, fs};

use super::{Run, command};
use crate::support::{Records, Terminal, User, World};

const COLUMNS: u16 = 100;

/// A connection to this address, by this program of this user's.
fn connect(user: User, program: &str, pid: u32, address: [u8; 4], port: u16) -> Records {
    let address: u32 = Ipv4Addr::from(address).to_bits();
    let mut records = Records::connect(port).uid(user.uid()).exe(program).title(program).without("SOCKADDR");
    records.pid = pid;
    records.and(&format!("SOCKADDR saddr=0200{port:04X}{address:08X}0000000000000000"))
}

/// What a desktop does, the oldest first.
fn desktop() -> Vec<(Records, bool)> {
    let (firefox, python) = ("/usr/lib/firefox-esr/firefox-esr", "/tmp/.cache/python3");
    let fails = |records| (records, true);
    let works = |records| (records, false);
    vec![
        works(connect(User::Root, "/usr/sbin/unbound", 5_000_812, [192, 0, 2, 53], 53)),
        works(connect(User::Alice, firefox, 5_002_114, [198, 51, 100, 80], 443)),
        works(connect(User::Alice, firefox, 5_002_114, [198, 51, 100, 80], 443)),
        works(connect(User::Alice, firefox, 5_002_114, [203, 0, 113, 9], 443)),
        works(connect(User::Root, "/usr/lib/apt/methods/http", 5_002_300, [203, 0, 113, 40], 80)),
        works(connect(User::Alice, "/usr/bin/ssh", 5_002_401, [192, 0, 2, 22], 22)),
        fails(connect(User::Bob, python, 5_002_517, [198, 51, 100, 66], 6667)),
        fails(connect(User::Bob, python, 5_002_517, [198, 51, 100, 66], 6697)),
        works(connect(User::Bob, python, 5_002_517, [198, 51, 100, 67], 443)),
        works(connect(User::Alice, "/usr/bin/curl", 5_002_533, [203, 0, 113, 9], 443)),
    ]
}

fn text(records: &Records, fails: bool) -> String {
    // Of a process that is no more: this machine's own are nobody's business.
    let text = records.text().replace("ppid=1 ", "ppid=5000001 ");
    if fails { text.replace("success=yes exit=0", "success=no exit=-111") } else { text }
}

fn keep(name: &str, shown: &str) {
    let folder = PathBuf::from(env::var_os("PICTURES").expect("scripts/picture says where"));
    fs::write(folder.join(format!("{name}.ansi")), shown).unwrap();
}

#[test]
#[ignore = "makes pictures: scripts/picture"]
fn of_the_command_line() {
    let Some(mut world) = World::start("coalesce_ms = 0") else { return };
    let desktop = desktop();
    let count = desktop.len() as u64;
    for (at, (mut records, fails)) in (0..count).zip(desktop) {
        records.time -= (count - at) * 7_300;
        world.auditd.send(text(&records, fails));
    }
    world.root().wait_for_event_of(5_002_533);
    let mut shown = String::new();
    for arguments in [&["find", "--since", "5min"][..], &["owner", "tcp", "192.0.2.7:40312", "198.51.100.67:443"]] {
        let mut command = command(&world.bus, User::Root, &[&["--color", "always"], arguments].concat());
        let run = Run::of(command.env("COLUMNS", COLUMNS.to_string()).stdin(Stdio::null()));
        shown.push_str(&format!("\u{1b}[1m$ opensnitch-auditctl {}\u{1b}[0m\n{}\n", arguments.join(" "), run.text));
    }
    keep("opensnitch-auditctl", shown.trim_end());

    let top = Terminal::run(COLUMNS, 22, &command(&world.bus, User::Root, &["top"]));
    top.wait_for("/usr/bin/curl");
    for _ in 0..3 {
        for (mut records, fails) in self::desktop().into_iter().skip(1).map(|(records, fails)| (records.again(), fails))
        {
            records.pid += 40;
            world.auditd.send(text(&records, fails));
        }
    }
    top.wait_for("37 events since");
    top.wait_for("every event was seen");
    top.press(&["Down"]);
    top.wait_for("/tmp/.cache/python3 (bob)");
    keep("opensnitch-auditctl-top", &top.coloured());
}
