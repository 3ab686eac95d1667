# shellcheck shell=bash
# The service is restarted and killed while programs connect: each connect is in the history once, or it is counted.
#
# In a boot called `restarts` 200 times, under five hundred connects a second; else a few times.
PARTS=1
ROUNDS=4
RATE=100
if [ "$LABEL" = restarts ]; then
  # In parts, since a history has 65,536 events.
  PARTS=10
  ROUNDS=10
  RATE=500
fi
limit 600

restart() {
  systemctl restart "$UNIT"
  eventually 60 well
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

# counted: what the service knows to be missing.
counted() {
  local sum=0 name
  for name in EventsUnsaved SerialGaps EventsIncomplete LinesTorn KernelLostSince; do
    sum=$((sum + $(statistic "$name")))
  done
  echo "$sum"
}

# flows ACTION: it happens as often as said, while a program connects.
flows() {
  local pid sent known before missing pending=0
  before=$(counted)
  flow "$RATE" >/run/flow 3>&- &
  eventually 20 grep -q . /run/flow
  pid=$(head -n 1 /run/flow)
  for ((round = 0; round < ROUNDS; round++)); do
    sleep 1
    "$1"
  done
  sleep 1
  kill "$pid"
  wait "$!"
  sent=$(tail -n 1 /run/flow)
  # The last one has come.
  eventually 60 last_came "$pid" "$sent"
  # What is missing is noticed when 1,024 later ones have come; not faster than auditd carries them in an emulated machine.
  flow "$RATE" >/run/after 3>&- &
  sleep $((1100 / RATE + 2))
  kill "$!"
  wait "$!"
  pending=$(($(counted) - before))
  opensnitch-auditctl find --pid "$pid" --port 7 --json | jq -r .DstHost | sort >/run/found
  equal 'what is there twice' "$(uniq -d /run/found | head -n 3)" ''
  known=$(wc -l </run/found)
  missing=$((sent - known))
  note "$1 $ROUNDS times: $sent connects, $known in the history, $missing missing, $pending counted"
  if [ "$1" = restart ]; then
    equal 'what is missing' "$missing" 0
    equal 'what is counted' "$pending" 0
  else
    [ "$missing" -le "$pending" ] || fail "$missing are missing, and $pending were counted"
  fi
}

last_came() {
  local number=$(($2 - 1))
  opensnitch-auditctl find --pid "$1" --host "127.$((128 + number / 65536)).$((number / 256 % 256)).$((number % 256))" --json |
    grep -q .
}

# As systemd has it: the connection, a history, how far it was read.
kept() {
  [ "$(systemctl show --property=NFileDescriptorStore --value "$UNIT")" -ge 3 ]
}

# What an administrator stops begins anew.
stopped() {
  systemctl stop "$UNIT"
  equal 'what systemd keeps' "$(systemctl show --property=NFileDescriptorStore --value "$UNIT")" 0
  systemctl start "$UNIT"
  eventually 60 well
}

check 'systemd keeps what is needed' eventually 20 kept
for ((part = 1; part <= PARTS; part++)); do
  check "restarted $ROUNDS times: nothing is missing, nothing twice ($part of $PARTS)" flows restart
  check "killed $ROUNDS times: what is missing is counted ($part of $PARTS)" flows kill_it
done
check 'stopped: nothing is kept' stopped
mend
