# shellcheck shell=bash
# The service is killed, restarted, reloaded, frozen, and loses its bus.
limit 240

another_pid() {
  local now
  now=$(main_pid)
  [ "$now" != 0 ] && [ "$now" != "$1" ]
}

sigkill() {
  local pid before
  before=$(rules opensnitch)
  pid=$(main_pid)
  kill -KILL "$pid"
  eventually 30 another_pid "$pid"
  eventually 60 well
  # Those of the killed one are replaced: they name its pid.
  equal 'the rules' "$(rules opensnitch)" "$before"
  auditctl -l | grep -- 'opensnitch$' | grep -q "pid!=$(main_pid)"
  refuses grep -q "pid!=$pid\b" <(auditctl -l)
  events_flow
}

restarted() {
  local before
  before=$(rules opensnitch)
  systemctl restart "$UNIT"
  eventually 60 well
  equal 'the rules' "$(rules opensnitch)" "$before"
  events_flow
}

stopped_and_started() {
  local before
  before=$(rules opensnitch)
  systemctl stop "$UNIT"
  equal 'the rules after it was stopped' "$(rules opensnitch)" ''
  refuses property_now Version
  systemctl start "$UNIT"
  eventually 60 well
  equal 'the rules' "$(rules opensnitch)" "$before"
}

has_raw_event() {
  local pid
  pid=$(connect inet 127.0.0.41 4141)
  eventually 5 event_of "$pid"
  [ -n "$(field "$(event_of "$pid")" RawEvent)" ] || fail 'no RawEvent'
}

good_configuration() {
  local pid
  pid=$(main_pid)
  cp -p "$CONFIG" /run/config.kept
  echo 'keep_raw = true' >>"$CONFIG"
  systemctl reload "$UNIT"
  eventually 30 has_raw_event
  equal 'the pid of the service' "$(main_pid)" "$pid"
  well
}

# After the one above: its keep_raw stays in force.
bad_configuration() {
  local pid cursor
  pid=$(main_pid)
  cursor=$(journal_cursor)
  echo 'no_such_key = 1' >>"$CONFIG"
  systemctl reload "$UNIT"
  eventually 30 journal_says "$cursor" no_such_key
  equal 'the pid of the service' "$(main_pid)" "$pid"
  well
  has_raw_event
}

configuration_back() {
  cp -p /run/config.kept "$CONFIG"
  systemctl reload "$UNIT"
  eventually 30 refuses has_raw_event
  well
}

frozen() {
  local pid cursor
  pid=$(main_pid)
  cursor=$(journal_cursor)
  kill -STOP "$pid"
  eventually 120 another_pid "$pid"
  journal_says "$cursor" watchdog
  eventually 60 well
  events_flow
}

bus_restarted() {
  systemctl restart dbus.service
  eventually 90 well
  events_flow
}

check 'the service is well' eventually 60 well
check 'killed with SIGKILL' sigkill
mend
check 'restarted' restarted
check 'stopped and started: its rules go and come with it' stopped_and_started
check 'reloaded with a good configuration' good_configuration
check 'reloaded with a bad one: refused, the old one stays' bad_configuration
check 'reloaded with the first one' configuration_back
check 'frozen until the watchdog acts' frozen
# If nobody acted, the next check is not to suffer from it.
systemctl kill --signal=CONT "$UNIT"
check 'the bus restarted' bus_restarted
mend
