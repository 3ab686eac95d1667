//! What a cgroup's path tells: the unit, the application, the container.
//!
//! A user may create cgroups below its own user manager and name them as it likes, so `app` and `container` of a user's
//! process are that user's word.

use std::collections::HashMap;
use std::sync::Arc;

use audit_records::Bytes;

/// Cgroups that are kept although no process uses them now: more are seldom in use at once.
const MAX_CGROUPS: usize = 256;

/// The length of a container's id in docker, podman, containerd and CRI-O, in hexadecimal digits.
const ID_DIGITS: usize = 64;

/// A cgroup's path and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The path, of the unified hierarchy or of systemd's own in an old setup.
    pub path: Bytes,
    /// The innermost systemd unit that runs processes.
    pub unit: Option<Bytes>,
    /// The application: the id of its desktop file as far as systemd's naming tells it
    /// (<https://systemd.io/DESKTOP_ENVIRONMENTS>), of a snap the name that starts it.
    pub app: Option<Bytes>,
    /// The container, `kind:id`. The kinds are docker, podman, containerd, cri-o, kubepods, lxc and nspawn.
    pub container: Option<Bytes>,
}

impl Cgroup {
    /// From the lines of `/proc/PID/cgroup`, cgroups(7).
    #[must_use]
    pub fn from_lines(lines: &[u8]) -> Option<Self> {
        Some(Self::from_path(path(lines)?))
    }

    /// From its path.
    #[must_use]
    pub fn from_path(path: &[u8]) -> Self {
        let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
        Self {
            path: path.into(),
            unit: parts.iter().copied().rfind(|part| is_unit(part)).map(Bytes::from),
            app: parts.iter().rev().find_map(|part| app(part)),
            container: (0..parts.len()).rev().find_map(|at| container(&parts, at)),
        }
    }

    /// What it holds in memory, in bytes, but for the allocator's own.
    #[must_use]
    pub fn size(&self) -> usize {
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        size_of::<Self>() + self.path.len() + bytes(&self.unit) + bytes(&self.app) + bytes(&self.container)
    }
}

/// The cgroups of late, so that processes of one share it.
#[derive(Debug, Default)]
pub(super) struct Cgroups(HashMap<Bytes, Arc<Cgroup>>);

impl Cgroups {
    /// The cgroup that these lines name.
    pub(super) fn get(&mut self, lines: &[u8]) -> Option<Arc<Cgroup>> {
        let path = path(lines)?;
        if let Some(known) = self.0.get(path) {
            return Some(known.clone());
        }
        if self.0.len() >= MAX_CGROUPS {
            self.0.retain(|_, cgroup| Arc::strong_count(cgroup) > 1);
        }
        if self.0.len() >= MAX_CGROUPS {
            self.0.clear();
        }
        let cgroup = Arc::new(Cgroup::from_path(path));
        self.0.insert(path.into(), cgroup.clone());
        Some(cgroup)
    }
}

/// The path of systemd's own hierarchy, else of the unified one.
fn path(lines: &[u8]) -> Option<&[u8]> {
    let path = |prefix: &[u8]| {
        let after = |line: &'_ [u8]| line.iter().position(|&byte| byte == b':').map(|colon| colon + 1);
        lines.split(|&byte| byte == b'\n').find_map(|line| line.get(after(line)?..)?.strip_prefix(prefix))
    };
    path(b"name=systemd:").or_else(|| path(b":")).filter(|path| !path.is_empty())
}

/// Whether it is a unit that runs processes: systemd.unit(5).
fn is_unit(part: &[u8]) -> bool {
    [&b".service"[..], b".scope", b".socket", b".mount", b".swap"].iter().any(|end| part.ends_with(end))
}

/// The application that a unit's name names.
fn app(unit: &[u8]) -> Option<Bytes> {
    if let Some(name) = unit.strip_prefix(b"snap.") {
        return snap(name);
    }
    let name = unit.strip_prefix(b"app-")?;
    if let Some(name) = name.strip_suffix(b".scope") {
        // [LAUNCHER-]ID-RANDOM
        let (name, random) = rsplit(name, b'-')?;
        return is_random(random).then(|| application_id(name))?;
    }
    if let Some(name) = name.strip_suffix(b".service") {
        // [LAUNCHER-]ID[@RANDOM]; an older draft had -RANDOM here too, which cannot be told from an id.
        let name = name.split(|&byte| byte == b'@').next()?;
        return application_id(name);
    }
    // The slice of an application's units, such as a terminal's. A slice that an administrator made can be named likewise,
    // but for the dots of an id.
    let id = application_id(name.strip_suffix(b".slice")?)?;
    let is_id = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (id.contains(&b'.') && id.iter().all(is_id)).then_some(id)
}

/// From `[LAUNCHER-]ID`; a dash within either is escaped.
fn application_id(name: &[u8]) -> Option<Bytes> {
    let mut parts = name.split(|&byte| byte == b'-');
    let first = parts.next()?;
    let id = parts.next().unwrap_or(first);
    (parts.next().is_none() && !first.is_empty() && !id.is_empty()).then(|| unescape(id))
}

/// What tells the instances of an application apart: a pid, a counter or a hash.
fn is_random(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_alphanumeric) && text.iter().any(u8::is_ascii_digit)
}

/// snapd's units: `NAME.APP-UUID.scope` (until 2.55 `NAME.APP.UUID.scope`) and `NAME.APP.service`. An application is called
/// by what starts it: `NAME` where the snap names its app like itself, else `NAME.APP`.
fn snap(name: &[u8]) -> Option<Bytes> {
    let (name, app) = if let Some(name) = name.strip_suffix(b".scope") {
        let (name, uuid) = name.split_at_checked(name.len().checked_sub(36)?)?;
        let (name, mark) = name.split_at_checked(name.len().checked_sub(1)?)?;
        if !is_uuid(uuid) || !matches!(mark, b"-" | b".") {
            return None;
        }
        split(name, b'.')?
    } else {
        split(name.strip_suffix(b".service")?, b'.')?
    };
    // `hook.NAME` is no application but the snap's own upkeep.
    let is_name =
        |text: &[u8]| !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    if !is_name(name) || !is_name(app) {
        return None;
    }
    Some(if name == app { name.into() } else { [name, b".", app].concat().into() })
}

fn is_uuid(text: &[u8]) -> bool {
    text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// The container that the part at this place names.
fn container(parts: &[&[u8]], at: usize) -> Option<Bytes> {
    let part = *parts.get(at)?;
    let before = at.checked_sub(1).and_then(|at| parts.get(at)).copied().unwrap_or_default();
    let named = |kind: &str, id: &[u8]| Some([kind.as_bytes(), b":", id].concat().into());

    // With systemd's driver, a scope; with the other one (or for Kubernetes below a service), a folder.
    let bare = part.strip_suffix(b".scope").unwrap_or(part);
    for (prefix, kind) in [
        (&b"docker-"[..], "docker"),
        (b"libpod-", "podman"),
        (b"cri-containerd-", "containerd"),
        (b"nerdctl-", "containerd"),
        (b"crio-", "cri-o"),
    ] {
        if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_id(id)) {
            return named(kind, id);
        }
    }
    if let Some((pod, id)) = rsplit(part, b':').filter(|(_, id)| is_id(id)) {
        let kind = match rsplit(pod, b':')?.1 {
            b"cri-containerd" => "containerd",
            b"crio" => "cri-o",
            b"docker" => "docker",
            _ => return None,
        };
        return named(kind, id);
    }
    if is_id(part) {
        return match before {
            b"docker" => named("docker", part),
            pod if pod.starts_with(b"pod") && parts.contains(&&b"kubepods"[..]) => named("kubepods", part),
            _ => None,
        };
    }

    // lxc: 4.0 and later, then older ones; of these only the folder below the one called lxc.
    if let Some(name) = part.strip_prefix(b"lxc.payload.").filter(|name| !name.is_empty()) {
        return named("lxc", name);
    }
    if matches!(before, b"lxc" | b"lxc.payload") {
        return named("lxc", part);
    }

    // systemd-nspawn@.service holds the container in `payload` and its own process in `supervisor`.
    if parts.get(at + 1) == Some(&&b"supervisor"[..]) {
        return None;
    }
    if let Some(name) = part.strip_prefix(b"systemd-nspawn@").and_then(|name| name.strip_suffix(b".service")) {
        return if name.is_empty() { None } else { named("nspawn", &unescape(name)) };
    }
    let machine = part.strip_prefix(b"machine-")?.strip_suffix(b".scope").filter(|_| before == b"machine.slice")?;
    let machine = unescape(machine);
    // libvirt registers its own too: qemu-NUMBER-NAME is a virtual machine, lxc-NUMBER-NAME a container.
    if machine.starts_with(b"qemu-") || machine.is_empty() {
        return None;
    }
    match machine.strip_prefix(b"lxc-").and_then(|name| split(name, b'-')) {
        Some((number, name)) if number.iter().all(u8::is_ascii_digit) => named("lxc", name),
        _ => named("nspawn", &machine),
    }
}

fn is_id(text: &[u8]) -> bool {
    text.len() == ID_DIGITS && text.iter().all(u8::is_ascii_hexdigit)
}

/// Undoes systemd-escape(1) but for `-`, which is no path's here. What is no escape stays.
fn unescape(text: &[u8]) -> Bytes {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\x").and_then(|digits| {
            let (digits, after) = digits.split_at_checked(2)?;
            let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = escaped.unwrap_or((byte, after));
        plain.push(byte);
        rest = after;
    }
    plain.into()
}

/// At the first of these bytes.
fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// At the last of these bytes.
fn rsplit(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().rposition(|&byte| byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The manager of one user, and an id.
    const USER: &str = "/user.slice/user-1000.slice/user@1000.service";
    const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";

    fn of(path: &str) -> Cgroup {
        Cgroup::from_path(path.replace("USER", USER).replace("ID64", ID).as_bytes())
    }

    fn text(bytes: Option<&Bytes>) -> Option<String> {
        bytes.map(|bytes| str::from_utf8(bytes).unwrap().replace(ID, "ID64"))
    }

    #[test]
    fn units() {
        let table: &[(&str, Option<&str>)] = &[
            ("/system.slice/sshd.service", Some("sshd.service")),
            ("USER/app.slice/app-org.gnome.Evince-12345.scope", Some("app-org.gnome.Evince-12345.scope")),
            ("/system.slice/docker-ID64.scope/init", Some("docker-ID64.scope")),
            ("/init.scope", Some("init.scope")),
            ("/user.slice", None),
            ("/", None),
            ("", None),
        ];
        for (path, expected) in table {
            assert_eq!(text(of(path).unit.as_ref()).as_deref(), *expected, "{path}");
        }
    }

    #[test]
    fn lines() {
        let table: &[(&str, Option<&str>)] = &[
            ("0::/system.slice/a.service\n", Some("/system.slice/a.service")),
            ("4:cpu:/x\n1:name=systemd:/y:z\n0::/w\n", Some("/y:z")),
            ("0::/\n", Some("/")),
            ("0::\n", None),
            ("4:cpu:/x\n", None),
            ("no colon\n", None),
            ("", None),
        ];
        for (lines, expected) in table {
            let cgroup = Cgroup::from_lines(lines.as_bytes());
            assert_eq!(text(cgroup.map(|cgroup| cgroup.path).as_ref()).as_deref(), *expected, "{lines}");
        }
    }

    /// Names as GNOME, KDE, flatpak, snapd, VTE and systemd's autostart generator make them, and such as only look like it.
    #[test]
    fn applications() {
        let table: &[(&str, Option<&str>)] = &[
            // The examples of systemd's page.
            ("USER/app.slice/app-gnome-org.gnome.Evince@12345.service", Some("org.gnome.Evince")),
            ("USER/app.slice/app-flatpak-org.telegram.desktop@12345.service", Some("org.telegram.desktop")),
            ("USER/app.slice/app-KDE-org.kde.okular@12345.service", Some("org.kde.okular")),
            ("USER/app.slice/app-org.kde.amarok.service", Some("org.kde.amarok")),
            ("USER/app.slice/app-org.gnome.Evince-12345.scope", Some("org.gnome.Evince")),
            // From running desktops.
            ("USER/app.slice/app-flatpak-org.mozilla.firefox-2891.scope", Some("org.mozilla.firefox")),
            ("USER/app.slice/app-flatpak-md.obsidian.Obsidian-2751032070.scope", Some("md.obsidian.Obsidian")),
            ("USER/app.slice/app-gnome-virtualbox-10991.scope", Some("virtualbox")),
            ("USER/app.slice/app-gnome-google\\x2dchrome-99.scope", Some("google-chrome")),
            ("USER/app.slice/app-gnome-at\\x2dspi\\x2ddbus\\x2dbus-717.scope", Some("at-spi-dbus-bus")),
            (
                "USER/app.slice/app-gnome-user\\x2ddirs\\x2dupdate\\x2dgtk@autostart.service",
                Some("user-dirs-update-gtk"),
            ),
            ("USER/app.slice/app-org.kde.kalendarac@autostart.service", Some("org.kde.kalendarac")),
            ("USER/app.slice/app-org.kde.konsole-1871d5ef4c.scope/tab(2345).scope", Some("org.kde.konsole")),
            (
                "USER/app.slice/app-org.gnome.Terminal.slice/vte-spawn-d8eddbf4-b660-489d-aa16-8ca2889edf5d.scope",
                Some("org.gnome.Terminal"),
            ),
            ("USER/app.slice/snap.firefox.firefox-8d3f1834-c397-4085-b29d-3b2538c9ff4e.scope", Some("firefox")),
            ("USER/app.slice/snap.firefox.firefox.7d9b4142-0288-47c3-a5f6-ab77b8803604.scope", Some("firefox")),
            (
                "USER/app.slice/snap.libreoffice.writer-8d3f1834-c397-4085-b29d-3b2538c9ff4e.scope",
                Some("libreoffice.writer"),
            ),
            ("/system.slice/snap.lxd.daemon.service", Some("lxd.daemon")),
            ("/system.slice/snap.cups.cups-browsed.service", Some("cups.cups-browsed")),
            // These only look similar.
            ("USER/app.slice/snap.firefox.hook.configure-8d3f1834-c397-4085-b29d-3b2538c9ff4e.scope", None),
            ("USER/app.slice/snap.firefox.firefox.scope", None),
            ("/system.slice/snapd.service", None),
            ("/system.slice/snap..x.service", None),
            ("USER/app.slice/app-gnome-terminal.scope", None),
            ("USER/app.slice/app-a-b-c-1.scope", None),
            ("USER/app.slice/app-agents.slice/x.scope", None),
            (
                "USER/app.slice/app-dbus\\x2d:1.2\\x2dorg.gnome.Nautilus.slice/dbus-:1.2-org.gnome.Nautilus@0.service",
                None,
            ),
            ("USER/app.slice/vte-spawn-d8eddbf4-b660-489d-aa16-8ca2889edf5d.scope", None),
            ("USER/app.slice/app-.service", None),
            ("USER/app.slice/app--x@1.service", None),
            ("USER/app.slice/app--1.scope", None),
            ("USER/app.slice/my-app-firefox-1.scope", None),
            ("USER/app.slice/run-r3ed76.scope", None),
            ("USER/session.slice/org.gnome.Shell@wayland.service", None),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            ("/", None),
        ];
        for (path, expected) in table {
            assert_eq!(text(of(path).app.as_ref()).as_deref(), *expected, "{path}");
        }
    }

    #[test]
    fn containers() {
        let table: &[(&str, Option<&str>)] = &[
            // docker: driver cgroupfs and systemd, with a system of its own inside, inside another container.
            ("/docker/ID64", Some("docker:ID64")),
            ("/docker/ID64/init.scope", Some("docker:ID64")),
            ("/system.slice/docker-ID64.scope", Some("docker:ID64")),
            ("/system.slice/docker-ID64.scope/init", Some("docker:ID64")),
            ("USER/app.slice/docker-ID64.scope", Some("docker:ID64")),
            ("/lxc.payload.host/system.slice/docker-ID64.scope", Some("docker:ID64")),
            // podman: as root, rootless, driver cgroupfs.
            ("/machine.slice/libpod-ID64.scope", Some("podman:ID64")),
            ("/machine.slice/libpod-ID64.scope/container", Some("podman:ID64")),
            ("USER/user.slice/libpod-ID64.scope/container", Some("podman:ID64")),
            ("/libpod_parent/libpod-ID64", Some("podman:ID64")),
            // Kubernetes: both drivers, with containerd, CRI-O and docker.
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0b7632a2_a56e_4278_987a_22de18008dbe.slice/\
                 cri-containerd-ID64.scope",
                Some("containerd:ID64"),
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod729d2f46_480d_4796_a76c_e227e2671d31.slice/\
                 crio-ID64.scope",
                Some("cri-o:ID64"),
            ),
            ("/kubepods/besteffort/pod3d274242-8ee0-11e9-a8a6-1e68d864ef1a/ID64", Some("kubepods:ID64")),
            ("/kubepods/podac04f3f2-1f2c-11e9-b015-1ebee232acfa/ID64", Some("kubepods:ID64")),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod1c178021_5860_4495_a1ab_f9ac17877672.slice:\
                 cri-containerd:ID64",
                Some("containerd:ID64"),
            ),
            ("USER/user.slice/nerdctl-ID64.scope", Some("containerd:ID64")),
            // lxc: 4.0 and later, 3.x, Proxmox with a namespace of its own, libvirt's.
            ("/lxc.payload.openwrt", Some("lxc:openwrt")),
            ("/lxc.payload.openwrt/system.slice/cron.service", Some("lxc:openwrt")),
            ("/lxc.payload/web", Some("lxc:web")),
            ("/lxc/debian2", Some("lxc:debian2")),
            ("/lxc/101/ns/system.slice/nginx.service", Some("lxc:101")),
            ("/machine.slice/machine-lxc\\x2d2763\\x2dvm1.scope", Some("lxc:vm1")),
            // systemd-nspawn
            ("/machine.slice/systemd-nspawn@jammy.service/payload/init.scope", Some("nspawn:jammy")),
            ("/machine.slice/systemd-nspawn@media\\x2d01.service/payload", Some("nspawn:media-01")),
            ("/machine.slice/machine-nspawntest.scope/init.scope", Some("nspawn:nspawntest")),
            // These only look similar, or run outside.
            ("/machine.slice/systemd-nspawn@jammy.service/supervisor", None),
            ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/vcpu0", None),
            ("/machine.slice/libpod-conmon-ID64.scope", None),
            ("/kubepods.slice/kubepods-pod1_2.slice/crio-conmon-ID64.scope", None),
            ("/system.slice/docker.service", None),
            ("/system.slice/docker-1.scope", None),
            ("/system.slice/docker-IDxx64.scope", None),
            ("/system.slice/mydocker-ID64.scope", None),
            ("/system.slice/containerd.service", None),
            ("/kubepods/besteffort/podx", None),
            ("/podx/ID64", None),
            ("/lxc.monitor.web", None),
            ("/lxc.monitor/101", None),
            ("/lxc.payload.", None),
            ("/system.slice/lxc.service", None),
            ("/system.slice/machine-x.scope", None),
            ("/machine.slice/systemd-nspawn@.service", None),
            ("/x:y:ID64", None),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            ("/", None),
        ];
        for (path, expected) in table {
            assert_eq!(text(of(path).container.as_ref()).as_deref(), *expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        for (text, plain) in
            [("a\\x2db", "a-b"), ("\\x2", "\\x2"), ("\\xzz", "\\xzz"), ("\\x+1", "\\x+1"), ("\\", "\\")]
        {
            assert_eq!(&*unescape(text.as_bytes()), plain.as_bytes(), "{text}");
        }
    }

    #[test]
    fn processes_of_one_cgroup_share_it_and_few_are_kept() {
        let mut cgroups = Cgroups::default();
        let first = cgroups.get(b"0::/a\n").unwrap();
        for number in 0..10 * MAX_CGROUPS {
            cgroups.get(format!("0::/{number}\n").as_bytes());
        }
        assert!(Arc::ptr_eq(&first, &cgroups.get(b"0::/a\n").unwrap()), "one in use is not forgotten");
        assert!(cgroups.0.len() <= MAX_CGROUPS);
        let kept: Vec<_> = (0..10 * MAX_CGROUPS).map(|n| cgroups.get(format!("0::/{n}\n").as_bytes())).collect();
        assert!(cgroups.0.len() <= MAX_CGROUPS && kept.len() == 10 * MAX_CGROUPS);
    }
}
