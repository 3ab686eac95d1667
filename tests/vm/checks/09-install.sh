# shellcheck shell=bash
# Installed by hand in a running machine, as its administrator would, then upgraded.
# shellcheck source=tests/vm/guest/files.sh
. "$VM/guest/files.sh"
limit 300
export DEBIAN_FRONTEND=noninteractive

before_anything() {
  useradd --create-home alice
  useradd --create-home member
  machine_files >"$STATE/files.before"
}

first_installation() {
  dpkg -i "$VM/previous.deb" </dev/null
  getent group opensnitch-audit
  systemctl is-enabled --quiet "$UNIT"
  eventually 60 systemctl is-active --quiet "$UNIT"
}

# Switched on in auditd's own file, in one word of it, and auditd has read it without a restart.
plugin_on() {
  local changed
  changed=$(diff /var/lib/opensnitch-audit/af_unix.conf "$PLUGIN" || true)
  equal 'what changed in the plugin file' "$(grep '^[<>]' <<<"$changed" | tr '\n' ' ')" '< active = no > active = yes '
  eventually 30 in_place
  eventually 60 well
  events_flow
}
in_place() { [ -S "$(audit_socket)" ]; }

upgrade() {
  local old
  old=$(main_pid)
  echo 'max_events = 5000' >>"$CONFIG"
  dpkg -i "$VM/package.deb" </dev/null
  matches 'the version' "$(dpkg-query -W -f '${Version}' opensnitch-audit)" '^[^~]*$'
  grep -qx 'max_events = 5000' "$CONFIG"
  eventually 60 well
  [ "$(main_pid)" != "$old" ] || fail 'the old program still runs'
}

group_for_member() { usermod --append --groups opensnitch-audit member; }

check "the machine's files, before" before_anything
check 'first installation' first_installation
check "auditd's plugin is on" plugin_on
check 'upgrade keeps the configuration' upgrade
check 'a member for the group' group_for_member
