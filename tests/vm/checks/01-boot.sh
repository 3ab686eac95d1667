# shellcheck shell=bash
# What a fresh boot ends with, nobody having done anything by hand.

after_auditd() {
  local auditd ours
  auditd=$(systemctl show --property=ActiveEnterTimestampMonotonic --value auditd.service)
  ours=$(systemctl show --property=ActiveEnterTimestampMonotonic --value "$UNIT")
  [ "$auditd" -gt 0 ]
  [ "$ours" -gt "$auditd" ] || fail "auditd was active at $auditd µs, the service at $ours µs"
}

status_line() {
  local line
  line=$(systemctl show --property=StatusText --value "$UNIT")
  note "status: $line"
  [ -n "$line" ]
}

connect_is_known() {
  local pid
  listen root /run/heard
  pid=$(connect inet 127.0.0.21 2121)
  eventually 20 event_of "$pid"
  event_has "$pid" EventType connect NetFamily inet DstHost 127.0.0.21 DstPort 2121 UID 0 Pid "$pid" \
    ProcPath /run/vm/programs/connect ProcName connect Outcome failure Error ECONNREFUSED
  eventually 20 heard /run/heard 127.0.0.21
  grep -q 'EventSeen.*connect.*/run/vm/programs/connect' /run/heard
  stop_listening
}

the_tool_agrees() {
  local pid
  pid=$(connect inet 127.0.0.22 2222)
  eventually 20 event_of "$pid"
  equal DstHost "$(opensnitch-auditctl --json show "$pid" --type connect | jq -r .DstHost)" 127.0.0.22
  opensnitch-auditctl status
}

nothing_went_wrong() {
  local errors
  errors=$(journalctl --boot --quiet --unit="$UNIT" --priority=err --output=cat)
  equal 'what the service calls an error' "$errors" ''
}

the_bus_tells() {
  refuses grep --quiet 'bus does not tell' <(journalctl --boot --quiet --unit="$UNIT" --output=cat)
}

check 'the service becomes active' eventually 60 systemctl is-active --quiet "$UNIT"
check 'it became active after auditd' after_auditd
check 'it is connected' eventually 30 connected
check 'our rules are loaded' eventually 30 rules_loaded
check 'auditctl lists them' grep -q . <(rules opensnitch)
check 'systemctl status has a line of its own' status_line
check 'a connect is known by its pid, and signalled' connect_is_known
check 'opensnitch-auditctl shows the same' the_tool_agrees
check 'the bus tells what was not read' the_bus_tells
check 'no error in its journal' nothing_went_wrong
