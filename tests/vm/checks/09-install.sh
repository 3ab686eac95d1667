# shellcheck shell=bash
# Installed by hand in a running machine, as its administrator would: events arrive at once, whatever auditd's plugin does. Then
# upgraded.
# shellcheck source=tests/vm/guest/files.sh
. "$VM/guest/files.sh"
limit 300
export DEBIAN_FRONTEND=noninteractive

before_anything() {
  useradd --create-home alice
  useradd --create-home member
  machine_files >"$STATE/files.before"
}

# Within ten seconds, as it is promised.
events_from_the_kernel() {
  eventually 10 one_event
  property_is Source netlink
  well
  refuses grep '^error ' <(findings)
}

# auditd as its package brings it, with the plugin off.
plugin_off() {
  grep -qx 'active = no' "$PLUGIN"
  install_package "$VM/package.deb"
  events_from_the_kernel
  finds info "kernel.*$PLUGIN.*active"
}

# An administrator has switched the plugin on for another program, and that one has the socket.
socket_held() {
  dpkg -P opensnitch-audit </dev/null
  switch_plugin yes
  eventually 30 socket_listens
  connect -q -d -s 200 local "$(audit_socket)" >/run/other &
  other=$!
  trap 'kill "$other"' EXIT
  eventually 10 grep -q . /run/other
  install_package "$VM/package.deb"
  events_from_the_kernel
  dpkg -P opensnitch-audit </dev/null
  grep -qx 'active = yes' "$PLUGIN"
  switch_plugin no
}

# A version without sockets, which had switched the plugin on and kept auditd's file as it was.
earlier_version() {
  dpkg -i "$VM/previous.deb" </dev/null
  getent group opensnitch-audit
  systemctl is-enabled --quiet "$UNIT"
  eventually 60 systemctl is-active --quiet "$UNIT"
  mkdir -p /var/lib/opensnitch-audit
  cp -p "$PLUGIN" /var/lib/opensnitch-audit/af_unix.conf
  switch_plugin yes
  source_becomes audisp
}

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

plugin_given_back() {
  [ ! -e /var/lib/opensnitch-audit ]
  grep -qx 'active = no' "$PLUGIN"
  # From 4.1 on auditd ends a plugin only when it ends.
  [ "$DEBIAN" -lt 14 ] || restart_auditd
  source_becomes netlink
  events_flow
}

group_for_member() { usermod --append --groups opensnitch-audit member; }

check "the machine's files, before" before_anything
check "installed where auditd's plugin is off: events arrive" plugin_off
check "installed where another client has auditd's socket: events arrive" socket_held
check 'an earlier version' earlier_version
check 'upgrade keeps the configuration' upgrade
check "upgrade gives auditd's own file back" plugin_given_back
check 'a member for the group' group_for_member
