//! Writes the man pages into a folder: those of the programs from their command lines, with what is written by hand behind
//! it; the others as they are.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

/// What a program's page says behind what the program says.
const MORE: [(&str, &str); 3] = [
    ("opensnitch-auditd", include_str!("../../man/opensnitch-auditd.more")),
    ("opensnitch-auditctl", include_str!("../../man/opensnitch-auditctl.more")),
    ("opensnitch-audit-notify", include_str!("../../man/opensnitch-audit-notify.more")),
];

/// The pages that are written by hand, since no program knows what they say. `@DATE@` is in each.
const WRITTEN: [(&str, &str); 2] = [
    ("opensnitch-audit.toml.5", include_str!("../../man/opensnitch-audit.toml.5")),
    ("org.opensnitch.Audit.5", include_str!("../../man/org.opensnitch.Audit.5")),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, date] = arguments.as_slice() else {
        eprintln!("usage: opensnitch-audit-pages FOLDER DATE");
        return ExitCode::from(2);
    };
    match write(Path::new(folder), date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("opensnitch-audit-pages: {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path, date: &str) -> io::Result<()> {
    page(folder, date, "8", opensnitch_audit::options::Service::command())?;
    page(folder, date, "1", opensnitch_audit::ctl::Options::command())?;
    page(folder, date, "1", opensnitch_audit_notify::Options::command())?;
    for (name, text) in WRITTEN {
        fs::write(folder.join(name), tidied(&text.replace("@DATE@", date)))?;
    }
    Ok(())
}

/// The page of a program.
fn page(folder: &Path, date: &str, section: &str, mut command: Command) -> io::Result<()> {
    command.build();
    pages(folder, date, section, command)
}

/// The page of a command, and of each command below it.
fn pages(folder: &Path, date: &str, section: &str, mut command: Command) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        pages(folder, date, section, below.clone())?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    // Every option stands in the page with its argument; the synopsis is short.
    let usage = command.render_usage().to_string().replace("Usage: ", "");
    let man = Man::new(command.disable_help_subcommand(true).override_usage(usage));
    let man = man.section(section).date(date).manual("opensnitch-audit").title(name.to_uppercase());
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    if let Some((_, more)) = MORE.iter().find(|(program, _)| *program == name) {
        page.push_str(more);
    }
    fs::write(folder.join(format!("{name}.{section}")), tidied(&page))
}

/// The length of a line, in bytes, from which on mandoc finds it long.
const LONG: usize = 80;

/// The same page as mandoc likes it: text in lines that are not long, and no break beside an empty line.
fn tidied(page: &str) -> String {
    let mut tidied = String::new();
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    for (at, line) in lines.iter().enumerate() {
        let is_beside =
            |other: Option<usize>| other.and_then(|at| lines.get(at)).is_some_and(|line| matches!(*line, "" | ".sp"));
        if *line == ".br" && (is_beside(at.checked_sub(1)) || is_beside(at.checked_add(1))) {
            continue;
        }
        let mut length = 0;
        for (place, word) in line.split(' ').enumerate() {
            // What begins with a dot or a quote is a command at the beginning of a line.
            let may_begin = !line.starts_with('.') && !word.is_empty() && !word.starts_with(['.', '\'']);
            if place > 0 && length + 1 + word.len() > LONG && may_begin {
                tidied.push('\n');
                length = 0;
            } else if place > 0 {
                tidied.push(' ');
                length += 1;
            }
            tidied.push_str(word);
            length += word.len();
        }
        tidied.push('\n');
    }
    tidied
}
