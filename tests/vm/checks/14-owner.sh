# shellcheck shell=bash
# Whose connection is this? Asked while it is being made, as a firewall asks with a packet in its hand.
#
# What comes in for port 7070 is dropped: a connect to it stays in SYN_SENT, and a datagram leaves without an error.
# In the machine's own network namespace, since the kernel tells of the sockets of that one alone.
limit 120

block() {
  nft -f - <<'RULES'
table inet vm_check {
  chain input {
    type filter hook input priority 0
    meta l4proto { tcp, udp } th dport 7070 drop
  }
}
RULES
}
unblock() { nft delete table inet vm_check; }

# hold_socket WORD…: starts `hold` with these words, as the user $as if that is set; sets $holder, and $sharer with -f.
hold_socket() {
  rm -f /run/held
  trap release EXIT
  ${as:+as "$as"} hold "$@" >/run/held 3>&- &
  eventually 20 grep -q . /run/held
  read -r holder sharer </run/held
}
release() { [ -z "${holder:-}" ] || kill "$holder" 2>/dev/null || true; }

# in_kernel PROTOCOL PORT: the kernel shows the socket, with our program, and still connecting where it is TCP.
in_kernel() {
  local state=all
  [ "$1" = udp ] || state=syn-sent
  ss --no-header --numeric --processes "--$1" state "$state" "sport = :$2" | grep -q "pid=$holder,"
}

# owned KIND SOURCE PORT DESTINATION [DESTINATION-OF-THE-PROGRAM]
owned() {
  local protocol=${1/sendto/udp} event
  hold_socket "$1" "$3" "${5:-$4}" 7070
  eventually 20 in_kernel "$protocol" "$3"
  event=$(connection "$protocol" "$2" "$3" "$4" 7070)
  equal Pid "$(field "$event" Pid)" "$holder"
  equal Certainty "$(field "$event" Certainty)" socket
  equal ProcPath "$(field "$event" ProcPath)" /run/vm/programs/hold
  equal UID "$(field "$event" UID)" 0
  equal Running "$(field "$event" Running)" true
  # Asked in vain if it was only answered because the connect had ended.
  in_kernel "$protocol" "$3"
}

# shared KIND PORT: the one that used it last is named, the other one is a holder too.
shared() {
  local protocol=$1 event
  hold_socket -f "$1" "$2" 127.0.0.84 7070
  eventually 20 in_kernel "$protocol" "$2"
  event=$(connection "$protocol" 127.0.0.1 "$2" 127.0.0.84 7070)
  equal Pid "$(field "$event" Pid)" "$holder"
  equal Certainty "$(field "$event" Certainty)" shared
  jq -e --argjson sharer "$sharer" '.Holders | index($sharer)' <<<"$event" || fail "$sharer is not among the Holders of $event"
}

# Whoever may not read a row cannot tell it from one that is not there.
of_another_user() {
  hold_socket udp 4085 127.0.0.85 7070
  eventually 20 in_kernel udp 4085
  connection udp 127.0.0.1 4085 127.0.0.85 7070
  call_as member GetEventByConnection udp 127.0.0.1 4085 127.0.0.85 7070 | grep -q /run/vm/programs/hold
  fails_with NotFound call_as alice GetEventByConnection udp 127.0.0.1 4085 127.0.0.85 7070
  fails_with NotFound call_as alice GetEventByConnection udp 127.0.0.1 4086 127.0.0.85 7070
}

of_herself() {
  local as=alice
  hold_socket tcp 4087 127.0.0.87 7070
  eventually 20 in_kernel tcp 4087
  call_as alice GetEventByConnection tcp 127.0.0.1 4087 127.0.0.87 7070 | grep -q /run/vm/programs/hold
}

# The socket is gone; one process alone can be meant, until a second one connects to the same place.
gone() {
  local pid event other
  pid=$(connect inet 127.0.0.88 8888)
  eventually 20 event_of "$pid"
  event=$(connection tcp 127.0.0.1 4088 127.0.0.88 8888)
  equal Pid "$(field "$event" Pid)" "$pid"
  equal Certainty "$(field "$event" Certainty)" history
  other=$(connect inet 127.0.0.88 8888)
  eventually 20 event_of "$other"
  fails_with NotFound call_as root GetEventByConnection tcp 127.0.0.1 4088 127.0.0.88 8888
}

# The kernel does not tell of the sockets of another network namespace; the audit events come from all of them.
in_another_namespace() {
  local pid event
  pid=$(unshare --net connect inet 127.0.0.89 8989)
  eventually 20 event_of "$pid"
  event=$(connection tcp 127.0.0.1 4089 127.0.0.89 8989)
  equal Pid "$(field "$event" Pid)" "$pid"
  equal Certainty "$(field "$event" Certainty)" history
}

refused() { fails_with InvalidArgs call_as root GetEventByConnection "$@"; }

check 'the service is well' eventually 60 well
block
check 'a TCP connect that is blocked, IPv4' owned tcp 127.0.0.1 4071 127.0.0.81
check 'a TCP connect that is blocked, IPv6' owned tcp ::1 4072 ::1
check 'a TCP connect that is blocked, IPv4 through an IPv6 socket' owned tcp 127.0.0.1 4073 127.0.0.83 ::ffff:127.0.0.83
check 'UDP, IPv4' owned udp 127.0.0.1 4074 127.0.0.81
check 'UDP, IPv6' owned udp ::1 4075 ::1
check 'UDP, IPv4 through an IPv6 socket' owned udp 127.0.0.1 4076 127.0.0.83 ::ffff:127.0.0.83
check 'UDP that is not connected, IPv4' owned sendto 127.0.0.1 4077 127.0.0.81
check 'UDP that is not connected, IPv6' owned sendto ::1 4078 ::1
check 'UDP that is not connected, IPv4 through an IPv6 socket' \
  owned sendto 127.0.0.1 4079 127.0.0.83 ::ffff:127.0.0.83
check 'two processes share a UDP socket' shared udp 4080
check 'two processes share a TCP socket that connects' shared tcp 4081
check "another user's connection is not found" of_another_user
check 'the own one is' of_herself
unblock
check 'a socket that is gone, from the history' gone
check 'a connect in another network namespace, from the history' in_another_namespace
check 'a source that is no address is refused' refused tcp here 1 127.0.0.1 1
check 'a protocol that nobody knows is refused' refused tpc 127.0.0.1 1 127.0.0.1 1
check 'a port of 0 is refused' refused tcp 127.0.0.1 1 127.0.0.1 0
mend
