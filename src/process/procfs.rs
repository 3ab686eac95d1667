//! The only file that touches `/proc`.

use std::io::Read;
use std::time::Duration;

use procfs::process;
use rustix::time::{ClockId, clock_gettime};

use super::Process;
use crate::event::{Args, Bytes, MAX_ARGS_BYTES};

/// A cgroup's path is at most this long, in bytes (`PATH_MAX`, and the kernel pads no more lines than hierarchies).
const MAX_CGROUP_BYTES: u64 = 8 * 1024;

/// A name has 15 bytes (`TASK_COMM_LEN`), that of a kernel thread with its work some more.
const MAX_COMM_BYTES: u64 = 64;

/// Visits the process that has this pid now. `None` where there is none, or only a zombie.
///
/// All files are opened below one open folder, so they are one process's even when it ends and the pid comes again.
pub(super) fn visit(pid: u32) -> Option<Process> {
    let process = process::Process::new(pid.try_into().ok()?).ok()?;
    let start_time = start_time(&process)?;
    let read = |file: &str, limit: u64| {
        let mut bytes = Vec::new();
        process.open_relative(file).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let cgroup = read("cgroup", MAX_CGROUP_BYTES).and_then(|lines| cgroup(&lines));
    Some(Process {
        start_time,
        started_at: (boot_time() + Duration::from_micros(start_time)).as_millis().try_into().ok()?,
        unit: cgroup.as_deref().and_then(unit).map(Bytes::from),
        cgroup,
        args: read("cmdline", MAX_ARGS_BYTES as u64).and_then(|title| Args::from_title(title, true)),
        exe: process.exe().ok().map(|exe| exe.into_os_string().into_encoded_bytes().into()),
        comm: read("comm", MAX_COMM_BYTES).map(|comm| comm.trim_ascii_end().into()),
    })
}

/// Whether the process with this pid runs; where its start time is known, that very process.
#[must_use]
pub fn is_running(pid: u32, start_time_us: Option<u64>) -> bool {
    let process = i32::try_from(pid).ok().and_then(|pid| process::Process::new(pid).ok());
    let running = process.as_ref().and_then(start_time);
    running.is_some_and(|now| start_time_us.is_none_or(|then| then == now))
}

/// In microseconds since boot; `None` where it has ended.
fn start_time(process: &process::Process) -> Option<u64> {
    let stat = process.stat().ok().filter(|stat| !matches!(stat.state, 'Z' | 'X' | 'x'))?;
    let microseconds = u128::from(stat.starttime) * 1_000_000 / u128::from(procfs::ticks_per_second());
    microseconds.try_into().ok()
}

/// When the machine was started, since the epoch, by its clock of now.
fn boot_time() -> Duration {
    let now = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    now(ClockId::Realtime).saturating_sub(now(ClockId::Boottime))
}

/// The path of the unified hierarchy, or of systemd's own in an old setup: cgroups(7), `/proc/PID/cgroup`.
fn cgroup(lines: &[u8]) -> Option<Bytes> {
    let path = |prefix: &[u8]| {
        let after = |line: &[u8]| line.splitn(2, |&byte| byte == b':').nth(1).map(<[u8]>::to_vec);
        lines.split(|&byte| byte == b'\n').filter_map(after).find_map(|line| line.strip_prefix(prefix).map(Bytes::from))
    };
    let unified = path(b":").filter(|path| !path.is_empty());
    path(b"name=systemd:").or(unified)
}

/// The innermost part of a cgroup's path that names a unit which runs processes: systemd.unit(5).
fn unit(cgroup: &[u8]) -> Option<&[u8]> {
    let is_unit = |part: &&[u8]| {
        [&b".service"[..], b".scope", b".socket", b".mount", b".swap"].iter().any(|end| part.ends_with(end))
    };
    cgroup.split(|&byte| byte == b'/').rfind(is_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let table: &[(&str, Option<&str>)] = &[
            ("/system.slice/sshd.service", Some("sshd.service")),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.x.scope", Some("app-org.x.scope")),
            ("/system.slice/docker-1.scope/init", Some("docker-1.scope")),
            ("/user.slice", None),
            ("/", None),
            ("", None),
        ];
        for (path, expected) in table {
            assert_eq!(unit(path.as_bytes()), expected.map(str::as_bytes), "{path}");
        }
    }

    #[test]
    fn cgroups() {
        let table: &[(&str, Option<&str>)] = &[
            ("0::/system.slice/a.service\n", Some("/system.slice/a.service")),
            ("4:cpu:/x\n1:name=systemd:/y:z\n0::/w\n", Some("/y:z")),
            ("4:cpu:/x\n", None),
            ("", None),
        ];
        for (lines, expected) in table {
            assert_eq!(cgroup(lines.as_bytes()).as_deref(), expected.map(str::as_bytes), "{lines}");
        }
    }

    #[test]
    fn our_own_process() {
        let process = visit(std::process::id()).unwrap();
        assert!(process.args.is_some() && process.exe.is_some() && process.comm.is_some());
        assert!(is_running(std::process::id(), Some(process.start_time)));
        assert!(!is_running(std::process::id(), Some(process.start_time + 1)));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        assert!(process.lived_at(now) && !process.lived_at(now - 3_600_000));
        assert_eq!(visit(u32::MAX), None);
    }
}
