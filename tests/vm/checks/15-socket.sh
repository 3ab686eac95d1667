# shellcheck shell=bash
# The socket units open in the machine's network namespace what the service, without a network, could not.

# inodes_of PROGRAM-PID: of the sockets that the process holds.
inodes_of() { find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n'; }

# passed PROTOCOL GROUPS: a netlink socket of this kind, in the machine's own list, is held by the service.
passed() {
  local sockets
  sockets=$(awk -v protocol="$1" -v groups="$2" '$2 == protocol && $4 == groups { print $NF }' /proc/net/netlink)
  inodes_of "$(main_pid)" | grep -qxFf - <(echo "$sockets")
}

# What tells of sockets, and what brings all records of the kernel's audit.
both_passed() { passed 4 00000000 && passed 9 00000001; }

opened() { systemctl show --property=ActiveEnterTimestampMonotonic --value "$SOCKET" "$MULTICAST"; }

# stay_open COMMAND…: while the command restarts the service.
stay_open() {
  local before
  before=$(opened)
  "$@"
  eventually 60 well
  equal 'the times of their starts' "$(opened)" "$before"
  systemctl is-active --quiet "$SOCKET" "$MULTICAST"
  both_passed
}

# waits_before_a_restart yes|no: for as long as a busy machine may take for a connect; a second is not.
waits_before_a_restart() {
  local folder=/run/systemd/system/$UNIT.d
  rm -rf "$folder"
  if [ "$1" = yes ]; then
    mkdir -p "$folder"
    printf '[Service]\nRestartSec=10s\n' >"$folder/vm.conf"
  fi
  systemctl daemon-reload
}

as_it_was() {
  waits_before_a_restart no
  systemctl start auditd.service
}

# Its rules stay when it is killed. Without auditd there is no log to read it in.
waits_in_it() {
  local before pid
  systemctl stop auditd.service
  waits_before_a_restart yes
  trap as_it_was EXIT
  before=$(main_pid)
  kill -KILL "$before"
  pid=$(connect inet 127.0.0.91 9191)
  [ "$(main_pid)" = 0 ] || fail 'the service was back too soon to show anything'
  eventually 60 well
  eventually 20 event_of "$pid"
  event_has "$pid" EventType connect DstHost 127.0.0.91 Source netlink
}

has_its_buffer() { refuses grep --quiet 'small buffer' <(journalctl --boot --quiet --unit="$UNIT" --output=cat); }

check 'the socket unit is enabled' systemctl is-enabled --quiet "$SOCKET"
check 'both sockets are open' systemctl is-active --quiet "$SOCKET" "$MULTICAST"
check 'the service has them' both_passed
check 'the buffer of the multicast is as large as it should be' has_its_buffer
check 'they stay open while the service restarts' stay_open systemctl restart "$UNIT"
check 'they stay open while the package is installed again' stay_open dpkg -i "$VM/package.deb"
check 'what the kernel sends while the service is away waits' waits_in_it
mend
