//! Writes the man pages into a folder: those of the programs from their command lines, with what is written by hand behind
//! it; the others as they are.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

/// What a program's page says behind what the program says.
const MORE: [(&str, &str); 2] = [
    ("opensnitch-auditd", include_str!("../../man/opensnitch-auditd.more")),
    ("opensnitch-auditctl", include_str!("../../man/opensnitch-auditctl.more")),
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
    for (name, text) in WRITTEN {
        fs::write(folder.join(name), text.replace("@DATE@", date))?;
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
    if let Some((_, more)) = MORE.iter().find(|(program, _)| *program == name) {
        page.write_all(more.as_bytes())?;
    }
    fs::write(folder.join(format!("{name}.{section}")), page)
}
