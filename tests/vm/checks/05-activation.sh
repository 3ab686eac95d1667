# shellcheck shell=bash
# A service that an administrator stopped stays stopped, and its rules stay away, whoever calls and whatever the kernel sends.

is_stopped() {
  refuses systemctl is-active --quiet "$UNIT"
  refuses systemctl is-active --quiet "$MULTICAST"
  [ -z "$(rules opensnitch)" ] || fail 'rules of a service that was stopped are loaded'
}

stays_stopped() {
  systemctl stop "$UNIT"
  refuses "$@"
  is_stopped
}

# A record that waits in a socket of systemd's starts the service that the socket is for.
stays_stopped_under_records() {
  (while auditctl -m 'opensnitch-audit: a record'; do sleep 0.1; done) &
  records=$!
  trap 'kill "$records"' EXIT
  for _ in 1 2 3 4 5; do
    systemctl start "$UNIT"
    systemctl stop "$UNIT"
    sleep 2
    is_stopped
  done
}

# Nor does a record start a service that cannot start.
stays_failed() {
  local before
  cp -p "$CONFIG" /run/config.kept
  trap 'cp -p /run/config.kept "$CONFIG"' EXIT
  echo 'no_such_key = 1' >>"$CONFIG"
  refuses systemctl start "$UNIT"
  before=$(last_start)
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    auditctl -m 'opensnitch-audit: a record'
    sleep 0.3
  done
  systemctl is-failed --quiet "$UNIT"
  equal 'its last start' "$(last_start)" "$before"
}
last_start() { systemctl show --property=ExecMainStartTimestampMonotonic --value "$UNIT"; }

check 'a call of root does not start it' stays_stopped property Version
check 'a call of an ordinary user does not start it' stays_stopped call_as alice GetEvents
check 'records of the kernel do not start it' stays_stopped_under_records
systemctl stop "$UNIT"
check 'nor one that cannot start' stays_failed
systemctl start "$UNIT"
check 'an administrator starts it' eventually 30 well
