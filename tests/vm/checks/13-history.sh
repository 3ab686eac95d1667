# shellcheck shell=bash
# Every connection is remembered, not only the newest of each process.
limit 240

two_hundred() {
  local pid port
  pid=$(connect -c 200 inet 127.0.0.71 20000)
  eventually 60 found "$pid" 20199
  equal 'the ports found by pid' "$(ports_of "$pid")" "$(seq -s ' ' 20000 20199)"
  # One by one as well, though not all: a question takes a good part of a second here.
  for port in $(seq 20000 7 20199); do found "$pid" "$port"; done
}

# found PID PORT
found() {
  local rows
  rows=$(find_events DstPort q "$2")
  equal "who connected to port $2" "$(jq -c 'map(select(.EventType == "connect") | .Pid)' <<<"$rows")" "[$1]"
}

# 20 ms are too short for anyone to look at the process; what is known of it has to be remembered.
ended_long_ago() {
  local pid before event
  pid=$(connect -s 0.02 inet 127.0.0.74 7474)
  eventually 20 event_of "$pid"
  before=$(statistic EventsMatched)
  connect -c 4000 -w 1 inet 127.0.0.75 30000
  eventually 120 events_since "$before" 4000
  event=$(event_of "$pid")
  equal DstHost "$(field "$event" DstHost)" 127.0.0.74
  equal DstPort "$(field "$event" DstPort)" 7474
  equal ProcPath "$(field "$event" ProcPath)" /run/vm/programs/connect
  equal Running "$(jq .Running <<<"$event")" false
}

# events_since BEFORE COUNT
events_since() {
  local now
  now=$(statistic EventsMatched)
  [ $((now - $1)) -ge "$2" ] || fail "only $((now - $1)) events more"
}

check 'the service is well' eventually 60 well
check 'a program with 200 connections in a row: each is found' two_hundred
check 'a process that ended after 20 ms is found thousands of events later' ended_long_ago
mend
