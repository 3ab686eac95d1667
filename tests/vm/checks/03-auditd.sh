# shellcheck shell=bash
# auditd comes and goes, with its plugin on, as it stays from here on; the service stays, and is there again within a second of
# the socket's return. While auditd is away events come from the kernel.
limit 600

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

plugin_on() {
  switch_plugin yes
  source_becomes audisp
  events_flow
}

# Emulated, each takes several seconds, and the third machine is to be quick.
restarts=20
[ "$DEBIAN" -lt 14 ] || restarts=5

many_restarts() {
  local before pid i
  before=$(rules opensnitch)
  pid=$(main_pid)
  rm -f /run/reconnects
  for ((i = 0; i < restarts; i++)); do
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
  source_becomes audisp
  well=$(systemctl show --property=StatusText --value "$UNIT")
  systemctl stop auditd.service
  source_becomes netlink
  connected
  away=$(systemctl show --property=StatusText --value "$UNIT")
  note "status while auditd is away: $away"
  [ "$away" != "$well" ] || fail "systemctl status still says: $away"
  events_flow
  sleep 10
  systemctl start auditd.service
  back_within_a_second
  source_becomes audisp
  eventually 20 status_is_not "$away"
  equal 'the pid of the service' "$(main_pid)" "$pid"
  eventually 30 rules_as_before "$before"
  eventually 30 rules_loaded
  events_flow
  journal_says "$cursor" 'the kernel.s multicast now'
}
status_is_not() { [ "$(systemctl show --property=StatusText --value "$UNIT")" != "$1" ]; }

# What is known to be missing.
losses() { for counter in SerialGaps EventsIncomplete LinesTorn MulticastOverruns; do statistic "$counter"; done; }

# flushes_rules yes|no: auditd's start loads the machine's own rules and flushes all others, for a moment ours too. That is looked
# at above.
flushes_rules() {
  local one
  for one in auditd audit-rules; do
    rm -rf "/run/systemd/system/$one.service.d"
  done
  if [ "$1" = no ]; then
    mkdir -p /run/systemd/system/{auditd,audit-rules}.service.d
    printf '[Service]\nExecStartPost=\n' >/run/systemd/system/auditd.service.d/vm.conf
    printf '[Service]\nExecStart=\nExecStart=/bin/true\n' >/run/systemd/system/audit-rules.service.d/vm.conf
  fi
  systemctl daemon-reload
}

# A connect each 40 ms for 36 s, meanwhile auditd goes and comes back: every one is known, and known once.
every_connect_once() {
  local child pid before
  flushes_rules no
  trap 'flushes_rules yes' EXIT
  source_becomes audisp
  before=$(losses)
  connect -c 900 -w 40 inet 127.0.0.32 20000 >/run/connects &
  child=$!
  sleep 5
  systemctl stop auditd.service
  sleep 10
  systemctl start auditd.service
  wait "$child"
  source_becomes audisp
  pid=$(cat /run/connects)
  eventually 60 known "$pid" 900
  equal 'the ports that are known' "$(ports_of "$pid")" "$(seq -s ' ' 20000 20899)"
  equal 'what is missing' "$(losses)" "$before"
}
known() { [ "$(ports_of "$1" | wc -w)" -ge "$2" ]; }

# The service itself had been well before.
check 'the service is well' eventually 60 well
check "auditd's plugin switched on: events come from auditd" plugin_on
mend
check "auditd restarted $restarts times in a row" many_restarts
say "slowest connect after the socket's return: $(sort -n /run/reconnects | tail -n 1) ms"
mend
check 'auditd killed' killed
mend
check 'auditd stopped for 10 s and started' stopped_for_ten_seconds
mend
check 'auditd stopped and started: no event twice, and none missing' every_connect_once
mend
