# shellcheck shell=bash
# Who receives the signals.

who_hears() {
  listen root /run/heard.root
  listen member /run/heard.member
  listen alice /run/heard.alice
  connect inet 127.0.0.81 8181
  as alice connect inet 127.0.0.82 8282
  eventually 20 heard /run/heard.member 127.0.0.81
  eventually 20 heard /run/heard.member 127.0.0.82
  eventually 20 heard /run/heard.root 127.0.0.82
  # What the bus gave to others before now, it would have given to alice before now.
  refuses grep -q EventSeen /run/heard.alice
}

# What is no secret reaches everyone, so her silence above was no deafness.
alice_is_not_deaf() {
  audit DeleteRules
  eventually 10 heard /run/heard.alice RulesLoaded
  audit AddRules
  eventually 10 rules_loaded
  stop_listening
}

# Both in one check: listeners belong to the shell that started them.
hearing() {
  who_hears
  alice_is_not_deaf
}

lost_count_is_there() { matches SignalsSent "$(statistic SignalsSent)" '^[1-9]'; }

check 'the service is well' eventually 60 well
check 'root and the group hear events, others only properties' hearing
check 'what was sent is counted' lost_count_is_there
