# shellcheck shell=bash
# The vocabulary of the checks. Sourced in the machine before each file of checks.
#
# shellcheck disable=SC2034 # what is set here is for the checks
#
# A check is a function (or a program) that fails where one of its commands fails. Bash forgets `set -e` in what is
# called in a condition, so whatever is tried there is tried by a shell of its own (`try`), to which all functions
# and variables are exported (`set -a` in checks).
shopt -s inherit_errexit

LIMIT=120 # seconds a check may take, see limit
NAME=org.opensnitch.Audit
OBJECT=/org/opensnitch/Audit
UNIT=opensnitch-audit.service
SOCKET=opensnitch-audit.socket
MULTICAST=opensnitch-audit-multicast.socket
CONFIG=/etc/opensnitch-audit.toml
PLUGIN=/etc/audit/plugins.d/af_unix.conf
# Testing does not know its number yet; the machine's name has it.
DEBIAN=$(sed 's/^debian//' /etc/hostname)
PATH=$VM/programs:$PATH:/usr/sbin:/sbin
# How a 32-bit program connects on this machine, if one runs there, and the number of each of these calls.
declare -A CONNECT32=()
case $(uname -m) in
  x86_64) CONNECT32=([socketcall]=102 [direct]=362) ;;
  aarch64) CONNECT32=([direct]=283) ;;
esac
LISTENERS=()
export LC_ALL=C

## Checks

# check NAME COMMAND…: runs the command and reports how it ended, with what it said last where it failed.
check() {
  local name=$LABEL/$1 out=/run/vm-check.out child dog status
  shift
  (
    set -eE
    # fail has said it better.
    trap '[[ $BASH_COMMAND = return* ]] || echo "failed: $BASH_COMMAND" >&2' ERR
    "$@"
  ) >"$out" 2>&1 3>&- &
  child=$!
  (sleep "$LIMIT" && echo "not done within $LIMIT s" >>"$out" && kill -KILL "$child") 2>/dev/null 3>&- &
  dog=$!
  wait "$child" 2>/dev/null
  status=$?
  kill "$dog" 2>/dev/null
  wait "$dog" 2>/dev/null
  if [ "$status" = 0 ]; then
    echo "ok $name" >&3
    note "ok $name"
  else
    echo "not ok $name: $(tail -n 6 "$out" | tr -s '\n\t ' '   ' | cut -c1-900)" >&3
    note "not ok $name"
  fi
  return "$status"
}

# limit SECONDS: for each of the checks that follow.
limit() { LIMIT=$1; }

# skip NAME WHY: a check that this machine cannot do, said aloud.
skip() { echo "skip $LABEL/$1: $2" >&3; }

# say TEXT…: a line of the results that is no check: a number worth seeing.
say() { echo "ok $LABEL/$*" >&3; }

# note TEXT…: a line in the journal, so that what happened can be found beside what was asked.
note() { echo "$*" | systemd-cat -t vm-check; }

fail() {
  echo "$*"
  return 1
}

# equal WHAT GOT WANTED
equal() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }

# matches WHAT GOT REGEX
matches() { [[ $2 =~ $3 ]] || fail "$1 is '$2', which is not like '$3'"; }

# try COMMAND…: fails where the first of its commands fails, wherever it is called.
try() { bash -O inherit_errexit -ec '"$@"' "$1" "$@"; }

# refuses COMMAND…: it must fail.
refuses() { ! try "$@" || fail "succeeded: $*"; }

# eventually SECONDS COMMAND…: until it succeeds; where it never does, its last words.
eventually() {
  local end=$((SECONDS + $1)) said
  shift
  until said=$(try "$@" 2>&1); do
    if [ "$SECONDS" -ge "$end" ]; then
      fail "never came true: $*: $said"
      return 1
    fi
    sleep 0.1
  done
}

# milliseconds since boot
now_ms() {
  local seconds
  read -r seconds _ </proc/uptime
  echo $((10#${seconds/./} * 10))
}

## The service, over the bus

# audit METHOD [SIGNATURE VALUE…]: the reply as JSON, its first value.
audit() { ask '.data[0] | tojson' call "$NAME" "$OBJECT" "$NAME" "$@"; }

# ask FILTER BUSCTL-WORD…: what busctl replies, through jq. Fails where busctl does; a pipe would not.
#
# By way of a file: variables are exported, and a long one is more than a program can be started with.
ask() {
  local filter=$1 reply status=0
  shift
  reply=$(mktemp /run/vm-reply.XXXXXX)
  timeout 30 busctl --system --json=short "$@" >"$reply" && jq -r "$filter" "$reply" || status=$?
  rm -f "$reply"
  return "$status"
}

# property NAME
property() { ask .data get-property "$NAME" "$OBJECT" "$NAME" "$1"; }

property_is() { equal "$1" "$(property "$1")" "$2"; }

# A property, asked without starting the service where it does not run.
property_now() {
  ask '.data[0].data' --auto-start=no call "$NAME" "$OBJECT" org.freedesktop.DBus.Properties Get ss "$NAME" "$1"
}

# statistic NAME
statistic() { ask ".data.$1" get-property "$NAME" "$OBJECT" "$NAME" Statistics; }

# source_becomes NAME: within a minute. A connect each time: only what comes shows who brings it.
source_becomes() { eventually 60 source_is "$1"; }
source_is() {
  connect inet 127.0.0.1 9 >/dev/null
  property_is Source "$1"
}

connected() { property_is Connected true; }
rules_loaded() { property_is RulesLoaded true; }

# The service as it should be: events come, the rules are there.
well() {
  systemctl is-active --quiet "$UNIT" || fail "the service is $(systemctl is-active "$UNIT")"
  connected
  rules_loaded
  # Asked of the kernel too: the property may lag behind it.
  [ -n "$(rules opensnitch)" ] || fail 'RulesLoaded is true, and the kernel has none of our rules'
}

# mend: what a failed check has left behind is not to fail the next one.
mend() {
  try well >/dev/null 2>&1 && return
  note 'not well after a check: the service is restarted'
  systemctl restart "$UNIT"
  try eventually 60 well >/dev/null 2>&1
}

main_pid() { systemctl show --property=MainPID --value "${1:-$UNIT}"; }

# event_of PID: the newest event of that process, as one flat JSON object.
event_of() {
  ask '.data[0] | map_values(.data) | tojson' call "$NAME" "$OBJECT" "$NAME" GetEventByPid u "$1"
}

# find_events [KEY SIGNATURE VALUE]…: FindEvents' rows, newest first, as an array of flat JSON objects.
find_events() {
  ask '.data[0] | map(map_values(.data)) | tojson' \
    call "$NAME" "$OBJECT" "$NAME" FindEvents 'a{sv}' $(($# / 3)) "$@"
}

# ports_of PID: those it connected to, up to 1,000, in order.
ports_of() {
  ask '.data[0] | map(.DstPort.data) | sort | join(" ")' \
    call "$NAME" "$OBJECT" "$NAME" FindEvents 'a{sv}' 3 Pid u "$1" EventType s connect Limit u 1000
}

# connection PROTOCOL SOURCE PORT DESTINATION PORT: whose it is, as one flat JSON object.
connection() {
  ask '.data[0] | map_values(.data) | tojson' call "$NAME" "$OBJECT" "$NAME" GetEventByConnection ssqsq "$@"
}

# field EVENT KEY: empty where the event has none.
field() { jq -r --arg key "$2" '.[$key] // empty' <<<"$1"; }

# event_has PID KEY VALUE [KEY VALUE…]
event_has() {
  local event
  event=$(event_of "$1") || fail "no event of $1"
  shift
  while [ $# -gt 0 ]; do
    equal "$1 of $event" "$(field "$event" "$1")" "$2"
    shift 2
  done
}

# An event of a process of this check's own, through the whole line: kernel, auditd, service, bus.
# Kernel and auditd may lose what comes while they restart, so it asks again with a new connect.
events_flow() { eventually "${1:-30}" one_event; }
one_event() {
  local pid
  pid=$(connect inet 127.0.0.1 9)
  eventually 3 event_of "$pid"
}

# as USER COMMAND…: with that user's ids and groups.
as() {
  local user=$1
  shift
  setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups "$@"
}

# call_as USER METHOD [VALUE…]: by gdbus, which names the error of a refusal. Nobody is there to be asked.
call_as() {
  local user=$1 method=$2
  shift 2
  as "$user" timeout 60 gdbus call --system --dest "$NAME" --object-path "$OBJECT" --method "$NAME.$method" "$@"
}

# error_of COMMAND…: the name of the D-Bus error with which the call fails.
error_of() {
  local said
  if said=$("$@" 2>&1); then
    fail "succeeded: $*: ${said:0:200}"
    return 1
  fi
  sed -n 's/^Error: GDBus.Error:\([A-Za-z0-9_.]*\): .*/\1/p' <<<"$said" | grep . || fail "no D-Bus error: $said"
}

# fails_with ERROR COMMAND…: the error's last part is enough.
fails_with() {
  local wanted=$1 got
  shift
  got=$(error_of "$@") || fail "$got"
  matches "the error of $*" "$got" "\.($wanted)\$"
}

# findings: Diagnose's, one a line: severity, id, message, remedy.
findings() {
  ask '.data[0][] | map_values(.data) | "\(.Severity) \(.Id): \(.Message) => \(.Remedy)"' \
    call "$NAME" "$OBJECT" "$NAME" Diagnose
}

# finds SEVERITY REGEX: a finding of that severity whose text is like that, whatever the case, and has a remedy.
finds() {
  findings | grep -iE "^$1 [^ ]+: .*$2" | grep '=> .' || fail "no $1 like '$2' among: $(findings)"
}

## Signals

# listen USER FILE: an ordinary client of that user prints the service's signals into the file.
listen() {
  as "$1" stdbuf -oL gdbus monitor --system --dest "$NAME" --object-path "$OBJECT" >"$2" 2>&1 3>&- &
  LISTENERS+=("$!")
  eventually 20 grep -q 'is owned by' "$2"
}

stop_listening() {
  [ "${#LISTENERS[@]}" = 0 ] || kill "${LISTENERS[@]}" 2>/dev/null
  LISTENERS=()
  return 0
}

# heard FILE TEXT
heard() { grep -qF "$2" "$1" || fail "not heard: $2"; }

## Kernel and auditd

# rules KEY: the kernel's rules that carry exactly this key, sorted; what differs between two starts
# of the service (the pid it leaves out of its own rules) written as PID.
rules() {
  auditctl -l | grep -E -- "(-k |-F key=)$1\$" | sed -E 's/(-F p?pid!=)[0-9]+/\1PID/g' | sort
}

# The socket of the plugin, wherever this auditd makes it.
audit_socket() {
  local path
  for path in /run/audispd_events /run/audit/audispd_events; do
    if [ -S "$path" ]; then
      echo "$path"
      return
    fi
  done
  return 1
}

# switch_plugin yes|no: as an administrator does.
switch_plugin() {
  sed -i "s/^active = .*/active = $1/" "$PLUGIN"
  restart_auditd
}

# install_package FILE: as an administrator does, with no mirror at hand.
install_package() { apt-get install --quiet --yes "$1" </dev/null; }

# Something listens at the socket: a file alone may be left from an auditd that is gone.
socket_listens() { grep -q ' 00010000 .*audispd_events$' /proc/net/unix; }

# A place in the journal, what the service has said after it, and whether that is like REGEX.
journal_cursor() { journalctl --show-cursor --lines=0 --quiet | sed -n 's/^-- cursor: //p'; }
journal_since() { journalctl --quiet --after-cursor="$1" --unit="$UNIT" --output=cat; }
journal_says() { journal_since "$1" | grep -qiE "$2" || fail "not in the journal: $2"; }

# A restart of auditd, as often as wanted: systemd gives up on a unit that starts too often.
restart_auditd() {
  systemctl reset-failed auditd.service audit-rules.service 2>/dev/null || true
  systemctl restart auditd.service
}

# library_tests WORD…: the tests of our own library that the words choose, with leave to change the kernel's rules.
library_tests() {
  OPENSNITCH_AUDIT_TEST_KERNEL=1 OPENSNITCH_AUDIT_TEST_PROGRAMS=$VM/programs timeout 280 library-tests --test-threads=1 "$@" >/run/library-tests 2>&1 ||
    fail "$(grep -E '^test .* FAILED|panicked at|^error|left:|right:' /run/library-tests)"
  grep -q '^test result: ok. [1-9]' /run/library-tests || fail 'no test was run'
  refuses grep SKIPPED /run/library-tests
}

# A line of the results for each of them that passed; what they printed is for the journal.
library_tests_passed() {
  local name
  note "$(cat /run/library-tests)"
  while read -r name; do say "$name"; done < <(sed -n 's/^test \(.*\) \.\.\. ok$/\1/p' /run/library-tests)
}
