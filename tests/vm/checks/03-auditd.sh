# shellcheck shell=bash
# auditd comes and goes; the service stays, and is there again within a second of the socket's return.
limit 300

# A descriptor on which nothing ever comes: a wait that starts no program.
exec {nothing}<> <(:)

# in_state STATE: the plugin's socket is listening, or the service is connected to it. The service has a network
# namespace of its own, so its connections are in its own list. By the shell alone: starting a program takes a good
# part of the second that is being measured.
in_state() {
  local list=/proc/net/unix flags state path
  [ "$1" = listening ] || list=/proc/$service/net/unix
  while read -r _ _ _ flags _ state _ path; do
    if [[ $path == /*run/*audispd_events ]]; then
      case $1 in
        listening) [ "$flags" = 00010000 ] && return ;;
        connected) [ "$state" = 03 ] && return ;;
      esac
    fi
  done <"$list"
  return 1
}

# within SECONDS STATE
within() {
  local end=$((SECONDS + $1))
  until in_state "$2"; do
    [ "$SECONDS" -lt "$end" ] || fail "not $2 within $1 s"
    read -r -t 0.01 -u "$nothing" || true
  done
}

# How long after the socket's return the service was connected, in milliseconds.
reconnect_time() {
  local returned service
  service=$(main_pid)
  within 60 listening
  returned=$(now_ms)
  within 30 connected
  echo $(($(now_ms) - returned))
}

back_within_a_second() {
  local took
  took=$(reconnect_time)
  note "connected again after $took ms"
  echo "$took" >>/run/reconnects
  [ "$took" -le 1000 ] || fail "connected again only after $took ms"
  eventually 20 connected
}

# auditd's own start empties the kernel's rules (augenrules); what was there has to be there again.
rules_as_before() {
  [ "$(rules opensnitch)" = "$1" ] || fail "the rules are now: $(rules opensnitch)"
}

twenty_restarts() {
  local before pid i
  before=$(rules opensnitch)
  pid=$(main_pid)
  rm -f /run/reconnects
  for ((i = 0; i < 20; i++)); do
    restart_auditd
    back_within_a_second
  done
  equal 'the pid of the service' "$(main_pid)" "$pid"
  eventually 30 rules_as_before "$before"
  eventually 30 rules_loaded
  events_flow
}

killed() {
  local before pid
  before=$(rules opensnitch)
  pid=$(main_pid auditd.service)
  kill -KILL "$pid"
  eventually 30 auditd_is_not "$pid"
  back_within_a_second
  eventually 30 rules_as_before "$before"
  eventually 30 rules_loaded
  events_flow
}
auditd_is_not() {
  local now
  now=$(main_pid auditd.service)
  [ "$now" != 0 ] && [ "$now" != "$1" ]
}

stopped_for_ten_seconds() {
  local before pid cursor well away
  before=$(rules opensnitch)
  pid=$(main_pid)
  cursor=$(journal_cursor)
  well=$(systemctl show --property=StatusText --value "$UNIT")
  systemctl stop auditd.service
  eventually 20 property_is Connected false
  property_is Source ''
  away=$(systemctl show --property=StatusText --value "$UNIT")
  note "status while auditd is away: $away"
  [ "$away" != "$well" ] || fail "systemctl status still says: $away"
  sleep 10
  systemctl start auditd.service
  back_within_a_second
  property_is Source audisp
  eventually 20 status_is_not "$away"
  equal 'the pid of the service' "$(main_pid)" "$pid"
  eventually 30 rules_as_before "$before"
  eventually 30 rules_loaded
  events_flow
  journal_says "$cursor" .
}
status_is_not() { [ "$(systemctl show --property=StatusText --value "$UNIT")" != "$1" ]; }

# The service itself had been well before.
check 'the service is well' eventually 60 well
check 'auditd restarted 20 times in a row' twenty_restarts
say "slowest connect after the socket's return: $(sort -n /run/reconnects | tail -n 1) ms"
mend
check 'auditd killed' killed
mend
check 'auditd stopped for 10 s and started' stopped_for_ten_seconds
mend
