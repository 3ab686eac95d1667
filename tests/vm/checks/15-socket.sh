# shellcheck shell=bash
# The socket unit opens in the machine's network namespace what the service, without a network, could not.
SOCKET=opensnitch-audit.socket

# inodes_of PROGRAM-PID: of the sockets that the process holds.
inodes_of() { find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n'; }

# A netlink socket of the kind that tells of sockets (4), in the machine's own list, held by the service.
passed() { inodes_of "$(main_pid)" | grep -qxFf - <(awk '$2 == 4 { print $NF }' /proc/net/netlink); }

# stays_open COMMAND…: while the command restarts the service.
stays_open() {
  local before after
  before=$(systemctl show --property=ActiveEnterTimestampMonotonic --value "$SOCKET")
  "$@"
  eventually 60 well
  after=$(systemctl show --property=ActiveEnterTimestampMonotonic --value "$SOCKET")
  equal 'the time of its start' "$after" "$before"
  systemctl is-active --quiet "$SOCKET"
  passed
}

check 'the socket unit is enabled' systemctl is-enabled --quiet "$SOCKET"
check 'the socket unit listens' systemctl is-active --quiet "$SOCKET"
check 'the service has its socket' passed
check 'it stays open while the service restarts' stays_open systemctl restart "$UNIT"
check 'it stays open while the package is installed again' stays_open dpkg -i "$VM/package.deb"
mend
