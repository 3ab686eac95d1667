//! Programs that see files of the test's own in place of the machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Network, User};

/// The number of the group `opensnitch-audit` in these tests.
pub(crate) const AUDIT_GROUP: u32 = 60_000;

/// Which files stand where; all other files are the machine's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespace {
    binds: Vec<(PathBuf, PathBuf)>,
    powerless: bool,
    only_tracing: bool,
    /// The file of another network namespace.
    network: Option<PathBuf>,
}

impl Namespace {
    /// With an account database of the test's own in `folder`: root, nobody, polkitd and every [`User`]; and with the folder `log` in it as `/var/log`.
    pub(crate) fn new(folder: &Path) -> Self {
        let (passwd, group) = (folder.join("passwd"), folder.join("group"));
        let mut users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n".to_owned();
        let mut groups = "root:x:0:\nnogroup:x:65534:\n".to_owned();
        // Whom polkitd becomes.
        users.push_str("polkitd:x:59999:59999::/:/bin/false\n");
        groups.push_str("polkitd:x:59999:\n");
        for user in User::ALL {
            let (name, uid) = (user.name(), user.uid());
            users.push_str(&format!("{name}:x:{uid}:{uid}::/:/bin/false\n"));
            groups.push_str(&format!("{name}:x:{uid}:\n"));
        }
        groups.push_str(&format!("opensnitch-audit:x:{AUDIT_GROUP}:{}\n", User::Member.name()));
        fs::write(&passwd, users).unwrap();
        fs::write(&group, groups).unwrap();
        // auditd's log too: what the machine did in the last hour is not the test's.
        let log = folder.join("log");
        fs::create_dir_all(log.join("audit")).unwrap();
        Self::default().with(&passwd, "/etc/passwd").with(&group, "/etc/group").with(&log, "/var/log")
    }

    /// `own` stands at `place` too.
    #[must_use]
    pub(crate) fn with(mut self, own: &Path, place: &str) -> Self {
        self.binds.push((own.to_owned(), place.into()));
        self
    }

    /// Whatever runs in it cannot change the kernel's audit rules, root neither.
    #[must_use]
    pub(crate) fn powerless(mut self) -> Self {
        self.powerless = true;
        self
    }

    /// Whatever runs in it has one power of root's alone: to look at other processes.
    #[must_use]
    pub(crate) fn only_tracing(mut self) -> Self {
        self.only_tracing = true;
        self
    }

    /// Whatever runs in it has this network.
    #[must_use]
    pub(crate) fn on_network(mut self, network: &Network) -> Self {
        self.network = Some(network.file());
        self
    }

    /// A program in this namespace. It ends with the test.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        const BIND: &str =
            "while [ \"$1\" != -- ]; do mount --bind \"$1\" \"$2\" || exit; shift 2; done; shift; exec \"$@\"";
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if self.powerless {
            command.args(["--inh-caps=-audit_control", "--bounding-set=-audit_control"]);
        }
        if let Some(network) = &self.network {
            command.arg("nsenter").arg(format!("--net={}", network.display())).arg("--");
        }
        command.args(["unshare", "-m", "--propagation", "private", "sh", "-c", BIND, "sh"]);
        for (own, place) in &self.binds {
            command.arg(own).arg(place);
        }
        command.arg("--");
        if self.only_tracing {
            // Last: what comes before needs more.
            command.args(["setpriv", "--inh-caps=-all", "--bounding-set=-all,+sys_ptrace", "--"]);
        }
        command.arg(program.as_ref());
        command
    }
}
