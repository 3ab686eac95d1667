//! A process of the test's own.

use std::fs;
use std::io::Write;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A process that waits for its end.
pub(crate) struct Process(Child);

impl Process {
    /// One that sleeps.
    pub(crate) fn start() -> Self {
        Self::of(Command::new("sleep").arg("1000"))
    }

    /// This one.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// One with this pid, which nobody has at the moment.
    pub(crate) fn start_with(pid: u32) -> Self {
        eventually("a process with a certain pid", || {
            // The kernel gives the next one; somebody else may be faster.
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
            Some(Self::start()).filter(|process| process.pid() == pid)
        })
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// Its arguments, as `/proc` has them.
    pub(crate) fn arguments(&self) -> Vec<Vec<u8>> {
        // A program that has just been started has none for a moment.
        let mut all = eventually("arguments", || {
            Some(fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap()).filter(|all| !all.is_empty())
        });
        all.pop();
        all.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        !stat.rsplit_once(')').unwrap().1.starts_with(" Z")
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// In microseconds since boot.
    pub(crate) fn start_time(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, behind_name) = stat.rsplit_once(')').unwrap();
        // Field 22, and the third is the first behind the name: proc_pid_stat(5).
        let ticks: u64 = behind_name.split_whitespace().nth(19).unwrap().parse().unwrap();
        ticks * 1_000_000 / rustix::param::clock_ticks_per_second()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child of the test's hangs from now on.
pub(crate) fn hang(child: &Child) {
    kill_process(Pid::from_child(child), Signal::STOP).unwrap();
}

/// It goes on.
pub(crate) fn go_on(child: &Child) {
    kill_process(Pid::from_child(child), Signal::CONT).unwrap();
}

/// A line of `/proc/PID/status` that tells of memory, such as `VmRSS`; in bytes.
pub(crate) fn memory(pid: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':')).unwrap();
    size.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
