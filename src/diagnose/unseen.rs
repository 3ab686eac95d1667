//! What our rules do not see although all is well: the table in SECURITY.md has each with a program that shows it.

use super::{Facts, Finding, Severity};
use crate::rules::{Needs, Report};

/// Of our own rules in this kernel.
pub(super) fn unseen(facts: &Facts, report: &Report, findings: &mut Vec<Finding>) {
    if !facts.files.known_machine {
        return;
    }
    let mut info = |id, message, remedy: String| findings.push(Finding::new(id, Severity::Info, message, remedy));
    if !facts.watches_sends {
        info(
            "datagrams-unseen",
            "datagrams of sockets that are not connected show who made the socket and not where they go. The rules can ask \
             for their destinations, and then each such message costs its program what a connect costs",
            switch_on("sends"),
        );
    }
    if !facts.watches_local {
        info(
            "families-unseen",
            "sockets of other families than inet and inet6 are not seen, those of vsock (to the machine's host) and of \
             packets among them. The rules can ask for all families, and then each local socket costs its program twenty \
             times as much",
            switch_on("local"),
        );
    }
    let has_rings = !report.unsupported.iter().any(|rule| rule.needs() == Some(Needs::IoUring));
    if has_rings && facts.files.io_uring_disabled != Some(NOBODY) {
        info(
            "io-uring-unseen",
            "the kernel reports only some of what is done through io_uring: a program can make a socket and open a \
             connection with it, by TCP Fast Open, unseen, and can have its connects shown with another destination. \
             GetEventByConnection is not deceived. io_uring can be switched off (Linux 6.6)",
            "echo 'kernel.io_uring_disabled = 2' >/etc/sysctl.d/99-io_uring.conf && sysctl --system".to_owned(),
        );
    }
    if facts.files.x32_at_boot {
        info(
            "x32-unseen",
            "the kernel was started with syscall.x32: what programs do by x32 calls is seen by no audit rule",
            "sed -i 's/ *\\bsyscall\\.x32[^ \"]*//' /etc/default/grub && { update-grub || grub2-mkconfig -o \
             /boot/grub2/grub.cfg; } # then reboot"
                .to_owned(),
        );
    }
}

/// The value of the switch that closes io_uring to everybody (Documentation/admin-guide/sysctl/kernel.rst).
const NOBODY: u8 = 2;

/// Sets an option that widens the rules.
fn switch_on(option: &str) -> String {
    const FILE: &str = "/etc/opensnitch-audit.toml";
    format!(
        "sed -i '/^ *{option} *=/d' {FILE}; echo '{option} = true' >>{FILE}; systemctl reload opensnitch-audit.service"
    )
}
