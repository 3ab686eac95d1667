# shellcheck shell=bash
# Removal, purge, and a machine as it was before. The last of the last boot: at its end auditd is not there any more.
# shellcheck source=tests/vm/guest/files.sh
. "$VM/guest/files.sh"
limit 300
export DEBIAN_FRONTEND=noninteractive

removal() {
  dpkg -r opensnitch-audit </dev/null
  refuses systemctl is-active --quiet "$UNIT"
  refuses systemctl is-active --quiet "$SOCKET"
  refuses systemctl is-active --quiet "$MULTICAST"
  refuses property Version
  equal 'the rules' "$(rules opensnitch)" ''
  grep -qx 'max_events = 5000' "$CONFIG"
}

purge() {
  dpkg -P opensnitch-audit </dev/null
  [ ! -e "$CONFIG" ]
  refuses getent group opensnitch-audit
}

nothing_left() {
  # What the checks themselves have changed: the bus of this boot, and auditd's plugin.
  systemctl disable dbus-broker.service
  switch_plugin no
  machine_files >"$STATE/files.after"
  diff "$STATE/files.before" "$STATE/files.after"
}

# enabled NUMBER: as the kernel says. The tool is auditd's, and goes with it.
enabled() { equal enabled "$("$STATE/auditctl" -s | sed -n 's/^enabled //p')" "$1"; }

# Audit is off too, as it is where nobody ever switched it on.
without_auditd() {
  auditctl -e 0
  cp "$(command -v auditctl)" "$STATE/auditctl"
  dpkg -P auditd </dev/null
  enabled 0
  install_package "$VM/package.deb"
  eventually 10 one_event
  property_is Source netlink
  enabled 1
  finds info 'auditd is not installed'
  finds info 'has switched it on'
  refuses grep '^error ' <(findings)
}

off_again() {
  dpkg -P opensnitch-audit </dev/null
  enabled 0
}

check 'removal' removal
check 'purge' purge
check "the machine's files are as before" nothing_left
check 'installed where there is no auditd: events arrive' without_auditd
check 'purged: audit is off again' off_again
