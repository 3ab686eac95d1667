# shellcheck shell=bash
# An auditd of our own, for scripts that need one where none runs. They set $work, a folder of theirs.
# shellcheck disable=SC2154

auditd_pid='' was_enabled=''
plugin=/etc/audit/plugins.d/af_unix.conf

until_true() { # SECONDS COMMAND…
  local tries=$(($1 * 10)); shift
  for _ in $(seq "$tries"); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  return 1
}

# Sets $was_enabled. Fails where the kernel gives us no audit.
read_audit_status() {
  local status
  status=$(auditctl -s 2>&1) || { echo "$status"; return 1; }
  was_enabled=$(sed -n 's/^enabled //p' <<<"$status")
}

# With Debian's settings, in $work/audit: no log, and the af_unix plugin.
start_own_auditd() {
  mkdir -m 750 "$work/audit" "$work/audit/plugins.d"
  sed -e "s|^log_file *=.*|log_file = $work/audit/audit.log|" -e "s|^plugin_dir *=.*|plugin_dir = $work/audit/plugins.d|" \
    -e 's|^log_group *=.*|log_group = root|' -e 's|^write_logs *=.*|write_logs = no|' \
    /etc/audit/auditd.conf >"$work/audit/auditd.conf"
  sed -e 's|^active *=.*|active = yes|' -e "s|/[^ ]*/audispd_events|$work/audit/audispd_events|" \
    "$plugin" >"$work/audit/plugins.d/af_unix.conf"
  chmod 640 "$work/audit/auditd.conf" "$work/audit/plugins.d/af_unix.conf"
  auditd -c "$work/audit" || { echo 'auditd does not start: another one may hold the kernel'"'"'s audit'; return 1; }
  auditd_pid=$(pgrep -n -x auditd)
}

# Leaves the kernel's audit as it was found.
stop_own_auditd() {
  [ -n "$auditd_pid" ] || return 0
  kill "$auditd_pid" 2>/dev/null || true
  for _ in $(seq 50); do kill -0 "$auditd_pid" 2>/dev/null || break; sleep 0.1; done
  [ "$was_enabled" = 1 ] || auditctl -e 0 >/dev/null 2>&1 || true
}
