# shellcheck shell=bash
# Connects of all kinds. Every process here ends at once: only its event is left of it.

compat32() {
  local pid
  pid=$(connect32 "$1")
  eventually 20 event_of "$pid"
  event_has "$pid" EventType connect Syscall "$2" NetFamily inet DstHost 127.0.0.14 DstPort 80
}

by_ring() {
  local pid
  pid=$(connect -q uring 127.0.0.8 8888)
  eventually 20 event_of "$pid"
  event_has "$pid" EventType connect DstHost 127.0.0.8 DstPort 8888
}

# What connects or sends without a connect: rows of the table in SECURITY.md.
by_evasion() {
  local pid
  pid=$(evade "$1")
  eventually 20 event_of "$pid"
  event_has "$pid" EventType send DstHost 127.0.0.77 DstPort 7007
}

# A connect of a ring's worker that ends as its process starts another program: it is not that one's.
by_ring_before_program() {
  local pid event
  pid=$(evade uring-connect-execve)
  event=$(eventually 20 connect_of "$pid" && connect_of "$pid")
  matches 'its program' "$(field "$event" ProcPath)" '^(/run/vm/programs/evade)?$'
}
connect_of() { find_events Pid u "$1" EventType s connect | jq --exit-status --compact-output '.[0]'; }

over_ipv6() {
  local pid
  pid=$(connect inet6 ::1 666)
  eventually 20 event_of "$pid"
  event_has "$pid" EventType connect NetFamily inet6 DstHost ::1 DstPort 666
}

by_another_user() {
  local pid
  pid=$(as alice connect inet 127.0.0.23 2323)
  eventually 20 event_of "$pid"
  event_has "$pid" UID "$(id -u alice)" EUid "$(id -u alice)" Gid "$(id -g alice)" DstHost 127.0.0.23
}

# Gone before anyone could look at it, and still known whole.
ended() {
  local pid event
  pid=$(connect inet 127.0.0.24 2424)
  eventually 20 event_of "$pid"
  [ ! -e "/proc/$pid" ]
  event=$(event_of "$pid")
  equal Running "$(jq .Running <<<"$event")" false
  equal ProcPath "$(field "$event" ProcPath)" /run/vm/programs/connect
  equal ProcCmdLine "$(field "$event" ProcCmdLine)" 'connect inet 127.0.0.24 2424'
}

alive() {
  local pid event child
  connect -s 60 inet 127.0.0.25 2525 >/run/alive &
  child=$!
  eventually 20 grep -q . /run/alive
  pid=$(cat /run/alive)
  eventually 20 event_of "$pid"
  event=$(event_of "$pid")
  equal Running "$(jq .Running <<<"$event")" true
  equal Unit "$(field "$event" Unit)" vm-checks.service
  [ -n "$(field "$event" StartTime)" ]
  kill "$child"
}

# A name may be any bytes, and even look like a record's own key.
odd_name() {
  local pid
  pid=$(connect -n "$1" inet 127.0.0.26 2626)
  eventually 20 event_of "$pid"
  event_has "$pid" DstHost 127.0.0.26 ProcName "$2"
}

odd_path() {
  local folder pid event
  folder=$(mktemp -d)
  cp "$(command -v connect)" "$folder/prögram with "$'\xff'
  pid=$("$folder/prögram with "$'\xff' inet 127.0.0.27 2727)
  rm -r "$folder"
  eventually 20 event_of "$pid"
  event=$(event_of "$pid")
  equal ProcPath "$(field "$event" ProcPath)" "$folder/prögram with \\xff"
  equal 'the last byte of ProcPathRaw' "$(jq '.ProcPathRaw[-1]' <<<"$event")" 255
}

for way in "${!CONNECT32[@]}"; do
  check "a 32-bit program: $way" compat32 "$way" "${CONNECT32[$way]}"
done
# The program's own word on whether this kernel lets it: Debian 12's auditd does not name the record of a ring.
if [ "$DEBIAN" -ge 13 ]; then
  check 'through io_uring' by_ring
  check 'a datagram through io_uring' by_evasion uring-udp-sendmsg
  check 'through io_uring, and then another program' by_ring_before_program
fi
check 'by TCP Fast Open' by_evasion tfo-sendto
# Only there does a 64-bit program make a 32-bit call.
if [ "$(uname -m)" = x86_64 ]; then
  check 'by TCP Fast Open, 32-bit' by_evasion tfo-sendto32
fi
check 'over IPv6' over_ipv6
check 'by another user' by_another_user
check 'from a process that ended at once' ended
check 'from a process that lives' alive
check 'a name with a space and a quote' odd_name 'a b"c' 'a b"c'
check 'a name that is not UTF-8' odd_name $'x\xff\xfe' 'x\xff\xfe'
check "a name like a rule's key" odd_name 'key="x"' 'key="x"'
check 'a path that is not UTF-8' odd_path
