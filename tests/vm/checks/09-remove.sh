# shellcheck shell=bash
# Removal, purge, and a machine as it was before. The last of the last boot.
# shellcheck source=tests/vm/guest/files.sh
. "$VM/guest/files.sh"
limit 300
export DEBIAN_FRONTEND=noninteractive

removal() {
  dpkg -r opensnitch-audit </dev/null
  refuses systemctl is-active --quiet "$UNIT"
  refuses property Version
  equal 'the rules' "$(rules opensnitch)" ''
  grep -qx 'max_events = 5000' "$CONFIG"
}

purge() {
  dpkg -P opensnitch-audit </dev/null
  [ ! -e "$CONFIG" ]
  refuses getent group opensnitch-audit
  grep -qx 'active = no' "$PLUGIN"
  eventually 30 plugin_gone
}
# A socket that nobody listens at may be left by auditd 3; the next start takes it away.
plugin_gone() { ! socket_listens; }

nothing_left() {
  # The bus of this boot was chosen by the checks.
  systemctl disable dbus-broker.service
  machine_files >"$STATE/files.after"
  diff "$STATE/files.before" "$STATE/files.after"
}

# An administrator's own file is not touched, and they are told what to do.
edited_plugin() {
  local before said
  echo '# by hand' >>"$PLUGIN"
  before=$(stat -c '%a %U %G %Y' "$PLUGIN")$(md5sum "$PLUGIN")
  said=$(dpkg -i "$VM/package.deb" </dev/null 2>&1)
  matches 'what dpkg said' "$said" 'af_unix.conf has been edited.*active = yes'
  equal 'the edited file' "$(stat -c '%a %U %G %Y' "$PLUGIN")$(md5sum "$PLUGIN")" "$before"
  # Active all the same: it says on the bus what is wrong.
  systemctl is-active --quiet "$UNIT"
  eventually 30 property_is Connected false
  dpkg -P opensnitch-audit </dev/null
  equal 'the edited file' "$(stat -c '%a %U %G %Y' "$PLUGIN")$(md5sum "$PLUGIN")" "$before"
}

check 'removal' removal
check 'purge' purge
check "the machine's files are as before" nothing_left
check 'an edited plugin file is left alone' edited_plugin
