//! Man pages and shell completions, from what the programs themselves say.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Failure, Generated, Options};
use crate::options;

/// The pages that are written by hand, since no program knows what they say.
const WRITTEN: [(&str, &str); 2] = [
    ("opensnitch-audit.toml.5", include_str!("../../packaging/man/opensnitch-audit.toml.5")),
    ("org.opensnitch.Audit.5", include_str!("../../packaging/man/org.opensnitch.Audit.5")),
];

pub(super) fn run(what: Generated, folder: &Path) -> Result<(), Failure> {
    let unwritable = |error| Failure::File(folder.to_owned(), error);
    match what {
        Generated::Man => man(folder).map_err(unwritable),
        Generated::Completions => completions(folder).map_err(unwritable),
    }
}

/// What the pages of the programs say behind what the programs say.
const MORE: [(&str, &str); 2] = [
    ("opensnitch-auditd.8", include_str!("../../packaging/man/opensnitch-auditd.more")),
    ("opensnitch-auditctl.1", include_str!("../../packaging/man/opensnitch-auditctl.more")),
];

fn man(folder: &Path) -> std::io::Result<()> {
    let service = clap_mangen::Man::new(options::Service::command()).section("8").manual("opensnitch-audit");
    service.render(&mut File::create(folder.join("opensnitch-auditd.8"))?)?;
    clap_mangen::generate_to(Options::command(), folder)?;
    for (name, text) in MORE {
        File::options().append(true).open(folder.join(name))?.write_all(text.as_bytes())?;
    }
    for (name, text) in WRITTEN {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

fn completions(folder: &Path) -> std::io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Options::command(), "opensnitch-auditctl", folder)?;
    }
    Ok(())
}
