//! Completion in the shells themselves: somebody types, and presses the tabulator key.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Process, Records, Terminal, User, World, available, eventually};

const COMPLETIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/completions");

/// A shell of its own configuration, with our completion loaded, at a prompt.
fn shell(world: &World, name: &str) -> Terminal {
    let folder = world.bus.folder().join(name);
    fs::create_dir(&folder).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_opensnitch-auditctl")).parent().unwrap();
    let (arguments, start): (Vec<String>, String) = match name {
        "bash" => {
            let start = format!(
                "PS1='READY> '\n. /usr/share/bash-completion/bash_completion\n. {COMPLETIONS}/opensnitch-auditctl.bash\n"
            );
            (vec!["--noprofile".to_owned(), "--rcfile".to_owned(), folder.join("start").display().to_string()], start)
        }
        "zsh" => {
            let start =
                format!("PS1='READY> '\nfpath=({COMPLETIONS} $fpath)\nautoload -Uz compinit && compinit -u -D\n");
            (vec!["-d".to_owned()], start)
        }
        _ => {
            let start =
                format!("function fish_prompt; echo 'READY> '; end\nsource {COMPLETIONS}/opensnitch-auditctl.fish\n");
            let start_file = folder.join("start").display().to_string();
            (vec!["--no-config".to_owned(), "--init-command".to_owned(), format!("source {start_file}")], start)
        }
    };
    fs::write(folder.join("start"), &start).unwrap();
    fs::copy(folder.join("start"), folder.join(".zshrc")).unwrap();
    let mut command: Command = world.bus.namespace().command(name);
    command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", world.bus.address());
    command.env("HOME", &folder).env("ZDOTDIR", &folder).env("TERM", "tmux-256color").env("SHELL", "/bin/sh");
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", program.display()));
    let shell = Terminal::run(100, 24, &command);
    shell.wait_for("READY>");
    shell
}

#[test]
fn bash_zsh_and_fish_complete_what_a_running_service_knows() {
    if !available(&["tmux", "bash", "zsh", "fish", "/usr/share/bash-completion/bash_completion"]) {
        return;
    }
    let service = Process::start();
    let place = format!("/proc/{}/cgroup", service.pid());
    let Some(mut world) = World::start_where("", |folder, namespace| {
        let cgroup = folder.join("cgroup");
        fs::write(&cgroup, "0::/system.slice/only-here.service\n").unwrap();
        namespace.with(&cgroup, &place)
    }) else {
        return;
    };
    world.auditd.send(Records::connect(53).pid(service.pid()).text());
    let root = world.root();
    eventually("a unit", || root.event_of(service.pid()).ok()?.get("Unit").map(|_| ()));
    let program = Records::connect(443).uid(User::Alice.uid()).pid(5_000_999).exe("/opt/only/program");
    world.auditd.send(program.text());
    world.root().wait_for_event_of(program.pid);
    let table = [
        ("wat", "watch"),
        ("find --exe /opt/on", "--exe /opt/only/program"),
        ("show 50009", "show 5000999"),
        ("find --pid 50009", "--pid 5000999"),
        ("find --type conn", "--type connect"),
        ("find --type bind,conn", "--type bind,connect"),
        ("find --user ali", "--user alice"),
        ("find --host 127.", "--host 127.0.0.1"),
        ("find --unit only", "--unit only-here.service"),
        ("watch --unit=only", "--unit=only-here.service"),
    ];
    for name in ["bash", "zsh", "fish"] {
        let shell = shell(&world, name);
        for (typed, completed) in table {
            shell.press(&["C-u"]);
            shell.press(&["C-l"]);
            shell.write(&format!("opensnitch-auditctl {typed}"));
            shell.wait_for(typed);
            shell.press(&["Tab"]);
            shell.wait_until(&format!("{name}: {completed}"), |screen| screen.contains(completed));
        }
    }
}
