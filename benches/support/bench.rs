//! The service on a bus of its own, with a socket in auditd's place.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use opensnitch_audit_client::AuditProxy;
use rustix::process::{Pid, Signal, Uid};
use rustix::thread::set_thread_uid;
use tempfile::TempDir;
use zbus::Connection;
use zbus::fdo::PeerProxy;

use super::records::{NO_PROCESS, connect};

/// As many as the history has rows by default.
pub(crate) const EVENTS: u32 = 65_536;

/// Events a second: the most that auditd carries.
pub(crate) const AUDITD: u32 = 13_200;

/// A hundred times a second.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// The first serial of a storm's events: an event is taken once.
const STORM: u32 = 100_000_000;

/// A bus, a socket in auditd's place, and the service.
pub(crate) struct Bench {
    folder: TempDir,
    bus: Child,
    service: Child,
    auditd: UnixStream,
}

/// A bus that allows everything.
const BUS: &str = r#"<busconfig><type>system</type><listen>unix:path=DIR/bus</listen><auth>EXTERNAL</auth>
 <policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
  <allow receive_type="signal"/></policy></busconfig>"#;

impl Bench {
    pub(crate) fn start(config: &str) -> Self {
        Self::start_under(&[], config)
    }

    /// The service under this command, which starts it: valgrind, say.
    pub(crate) fn start_under(wrapper: &[String], config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        // Other users call, too.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("bus.conf"), BUS.replace("DIR", folder.path().to_str().unwrap())).unwrap();
        let mut bus = Command::new("dbus-daemon")
            .args([&format!("--config-file={}", path("bus.conf")), "--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let listener = UnixListener::bind(path("auditd")).unwrap();
        fs::write(
            path("config"),
            format!(
                "source = 'audisp'\nsocket = '{}'\nmanage_rules = false\nhistory = {EVENTS}\n{config}",
                path("auditd")
            ),
        )
        .unwrap();
        let mut command = wrapper.to_vec();
        command.extend([env!("CARGO_BIN_EXE_opensnitch-auditd").to_owned(), "--config".to_owned(), path("config")]);
        let service = Command::new(&command[0])
            .args(&command[1..])
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", path("bus")))
            // As the unit has it.
            .env("MALLOC_ARENA_MAX", "2")
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (auditd, _) = listener.accept().unwrap();
        Self { bus, service, auditd, folder }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.auditd.write_all(bytes).unwrap();
    }

    pub(crate) fn feed(&mut self, first: u32, events: u32, processes: u32) {
        for serial in first..first + events {
            let pid = NO_PROCESS + serial % processes;
            self.send(connect(serial, pid, (serial % 251) as u8, (serial % 60_000) as u16).as_bytes());
        }
    }

    pub(crate) async fn connection(&self) -> Connection {
        let address = format!("unix:path={}/bus", self.folder.path().display());
        zbus::connection::Builder::address(address.as_str()).build().await.unwrap()
    }

    /// That of a user, for calls of its own. They are made on a thread that is this user's.
    pub(crate) fn as_user<T: Send>(&self, uid: u32, work: impl AsyncFnOnce(&Self) -> T + Send) -> T {
        let work = || {
            set_thread_uid(Uid::from_raw(uid)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work(self))
        };
        scope(|scope| scope.spawn(work).join().unwrap())
    }

    pub(crate) async fn audit(&self) -> AuditProxy<'static> {
        AuditProxy::new(&self.connection().await).await.unwrap()
    }

    pub(crate) async fn peer(&self) -> PeerProxy<'static> {
        let connection = self.connection().await;
        let peer = PeerProxy::builder(&connection).destination(opensnitch_audit_client::NAME);
        peer.path(opensnitch_audit_client::PATH).build().await.unwrap()
    }

    /// Waits until the service has seen so many events.
    pub(crate) async fn matched(&self, events: u64) {
        let audit = self.audit().await;
        while audit.statistics().await.unwrap()["EventsMatched"] < events {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends `event(n)` for each of so many, at that rate: every `tick` those whose time has come.
    pub(crate) fn pace(&self, tick: Duration, events: u32, per_second: u32, mut event: impl FnMut(u32) -> String) {
        let start = Instant::now();
        let mut sent = 0;
        while sent < events {
            let due = start.elapsed().as_micros() * u128::from(per_second) / 1_000_000;
            let due = u32::try_from(due).unwrap_or(events).min(events);
            let batch: String = (sent..due).map(&mut event).collect();
            (&self.auditd).write_all(batch.as_bytes()).unwrap();
            sent = due;
            sleep(tick);
        }
    }

    /// What is done while events come at that rate, of processes that ended.
    pub(crate) fn in_storm<T>(&self, per_second: u32, work: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        let storm = || {
            let mut first = STORM;
            while !stop.load(Ordering::Relaxed) {
                self.pace(TICK, per_second / 10, per_second, |n| connect(first + n, NO_PROCESS + n % 1_000, 7, 80));
                first += per_second / 10;
            }
        };
        scope(|scope| {
            scope.spawn(storm);
            let done = work();
            stop.store(true, Ordering::Relaxed);
            done
        })
    }

    /// The processor's time that the service has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.service.id())).unwrap();
        let of_task = |path: PathBuf| -> u64 {
            let stat = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            stat.split_ascii_whitespace().next().map_or(0, |nanoseconds| nanoseconds.parse().unwrap())
        };
        Duration::from_nanos(tasks.map(|task| of_task(task.unwrap().path())).sum())
    }

    /// As systemd stops it.
    pub(crate) fn stop(mut self) {
        rustix::process::kill_process(Pid::from_child(&self.service), Signal::TERM).unwrap();
        self.service.wait().unwrap();
    }

    /// In kB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.service.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A process that holds a descriptor and does nothing.
pub(crate) fn sleeper(held: OwnedFd) -> Child {
    Command::new("sleep").arg("1000").stdin(held).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in [&mut self.service, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
