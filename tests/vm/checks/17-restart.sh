# shellcheck shell=bash
# The service is restarted and killed while a program connects, its events from the kernel's multicast: each connect is in the
# history once, or, where the service was killed, it is counted as lost.
#
# RESTARTS in all, half of them by SIGKILL, under RATE connects a second or what the machine can carry of them (see ../run).

# Restarts in a row before the history is looked at: of these it has all events, up to 65,536.
MOST=10
limit 600

restart() {
  systemctl restart "$UNIT"
  eventually 60 well
  equal 'the history from before, after the restart' "$(rows_of "$earlier")" "$(cat /run/earlier)"
}

kill_it() {
  local pid
  pid=$(main_pid)
  kill -KILL "$pid"
  eventually 60 another_pid "$pid"
  eventually 60 well
}

another_pid() {
  local now
  now=$(main_pid)
  [ "$now" != 0 ] && [ "$now" != "$1" ]
}

# rows_of PID: all that is known of its events.
rows_of() { opensnitch-auditctl find --pid "$1" --json; }

# sum COUNTER…
sum() {
  local sum=0 name
  for name; do
    sum=$((sum + $(statistic "$name")))
  done
  echo "$sum"
}

# What a process that was killed took with it, as the next one has counted it; and what nobody but the kernel can lose.
counted() { sum EventsUnsaved SerialGaps EventsIncomplete; }
thrown_away() { sum KernelLostSince MulticastOverruns; }

# flows ACTION TIMES: it happens so often while a program connects.
flows() {
  local pid sent took before thrown known missing counted round earlier
  earlier=$(connect -c 50 inet 127.0.0.17 1700)
  eventually 20 known_of "$earlier" 50
  rows_of "$earlier" >/run/earlier
  before=$(counted)
  thrown=$(thrown_away)
  flow "$RATE" >/run/flow 3>&- &
  eventually 20 grep -q . /run/flow
  pid=$(head -n 1 /run/flow)
  for ((round = 0; round < $2; round++)); do
    sleep 1
    "$1"
  done
  sleep 1
  kill "$pid"
  wait "$!"
  read -r sent took < <(tail -n 1 /run/flow)
  eventually 60 last_came "$pid" "$sent"
  # What is missing is noticed when 1,024 later events have come.
  connect -c 1100 -w 2 inet 127.0.0.18 1800 >/run/after
  eventually 60 known_of "$(cat /run/after)" 1100
  counted=$(($(counted) - before))
  rows_of "$pid" | jq -r 'select(.DstPort == 7) | .DstHost' | sort >/run/found
  equal 'what is there twice' "$(uniq -d /run/found | head -n 3)" ''
  known=$(wc -l </run/found)
  missing=$((sent - known))
  echo "$sent connects, $((sent * 1000 / took)) a second: $known in the history, $missing missing, $counted counted as lost" \
    | tee /run/said
  equal 'what the kernel threw away' "$(thrown_away)" "$thrown"
  if [ "$1" = restart ]; then
    equal 'what is missing' "$missing" 0
    equal 'what is counted as lost' "$counted" 0
  else
    [ "$missing" -le "$counted" ] || fail "$missing are missing, and $counted were counted"
  fi
}

# known_of PID COUNT: the history has so many of its connects.
known_of() { equal "the connects of $1" "$(opensnitch-auditctl find --pid "$1" --type connect --json | wc -l)" "$2"; }

last_came() {
  local number=$(($2 - 1))
  opensnitch-auditctl find --pid "$1" --host "127.$((128 + number / 65536)).$((number / 256 % 256)).$((number % 256))" --json |
    grep -q .
}

# from_the_kernel: the events, as the configuration has it.
from_the_kernel() {
  cp -p "$CONFIG" /run/config.before-restarts
  echo 'source = "netlink"' >>"$CONFIG"
  systemctl restart "$UNIT"
  eventually 60 well
  source_becomes netlink
}

as_configured_before() {
  cp -p /run/config.before-restarts "$CONFIG"
  systemctl restart "$UNIT"
  eventually 60 well
}

# As systemd has it: a history, and how far it was read.
kept() {
  local count
  count=$(systemctl show --property=NFileDescriptorStore --value "$UNIT")
  [ "$count" -ge 2 ] || fail "systemd keeps $count descriptors"
}

# What an administrator stops begins anew.
stopped() {
  systemctl stop "$UNIT"
  equal 'what systemd keeps' "$(systemctl show --property=NFileDescriptorStore --value "$UNIT")" 0
  systemctl start "$UNIT"
  eventually 60 well
}

check 'events come from the kernel' from_the_kernel
check 'systemd keeps what is needed' eventually 20 kept
for ((left = RESTARTS / 2; left > 0; left -= MOST)); do
  times=$((left < MOST ? left : MOST))
  check "restarted $times times, $((RESTARTS / 2 - left)) before: nothing is missing, nothing twice" flows restart "$times"
  say "restarted $times times: $(cat /run/said)"
  check "killed $times times, $((RESTARTS / 2 - left)) before: what is missing is counted" flows kill_it "$times"
  say "killed $times times: $(cat /run/said)"
done
check 'stopped: nothing is kept' stopped
check 'configured as before' as_configured_before
mend
