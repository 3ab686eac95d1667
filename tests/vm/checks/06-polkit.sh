# shellcheck shell=bash
# Who may do what, with the polkit of this machine and nobody there to type a password.
limit 180
permission=/etc/polkit-1/rules.d/10-vm-check.rules

# Polkit 122 (Debian 12) now and then takes 15 s to run its rules for a user, and the service refuses everybody until it
# answered: whoever is allowed calls again.
root_may() {
  local loaded
  loaded=$(rules opensnitch | wc -l)
  [ "$loaded" -gt 0 ]
  # Its first start may take longer than it is waited for. They are loaded: this adds none.
  eventually 60 audit AddRules
  [ "$(audit DeleteRules)" -gt 0 ]
  equal 'the rules' "$(rules opensnitch)" ''
  eventually 5 property_is RulesLoaded false
  [ "$(audit AddRules)" -gt 0 ]
  equal 'the number of rules' "$(rules opensnitch | wc -l)" "$loaded"
  eventually 5 rules_loaded
  equal 'what a second AddRules added' "$(audit AddRules)" 0
}

alice_may_not() {
  local before
  before=$(rules opensnitch)
  fails_with 'InteractiveAuthorizationRequired|AccessDenied' call_as alice AddRules
  fails_with 'InteractiveAuthorizationRequired|AccessDenied' call_as alice DeleteRules
  equal 'the rules' "$(rules opensnitch)" "$before"
}

# UIDs of all rows that the user is shown, each once.
shown_to() {
  as "$1" timeout 60 busctl --system --json=short call "$NAME" "$OBJECT" "$NAME" GetEvents |
    jq -c '[.data[0][].UID.data] | unique'
}

events_of_others() {
  local of_root of_alice
  of_root=$(connect inet 127.0.0.61 6161)
  of_alice=$(as alice connect inet 127.0.0.62 6262)
  eventually 20 event_of "$of_root"
  eventually 20 event_of "$of_alice"
  call_as alice GetEventByPid "$of_alice" | grep -q 127.0.0.62
  fails_with NotFound call_as alice GetEventByPid "$of_root"
  equal 'the users whose events alice sees' "$(shown_to alice)" "[$(id -u alice)]"
  call_as member GetEventByPid "$of_root" | grep -q 127.0.0.61
  call_as member GetEventByPid "$of_alice" | grep -q 127.0.0.62
}

# Whoever is refused an event must not learn whether the process is in the cache at all.
says_the_same_of_nobody() {
  local of_root of_nobody
  of_root=$(connect inet 127.0.0.63 6363)
  eventually 20 event_of "$of_root"
  of_nobody=$(error_of call_as alice GetEventByPid 4000000) || true
  note "refused: $(error_of call_as alice GetEventByPid "$of_root"), unknown: $of_nobody"
  fails_with NotFound call_as root GetEventByPid 4000000
}

allow_alice() {
  cat >"$permission" <<'RULE'
polkit.addRule(function(action, subject) {
  if (subject.user == "alice" &&
      (action.id == "org.opensnitch.audit.add-rules" || action.id == "org.opensnitch.audit.read-all-events")) {
    return polkit.Result.YES;
  }
});
RULE
  chmod 644 "$permission"
}

# alice_reads PID ADDRESS
alice_reads() { call_as alice GetEventByPid "$1" | grep -q "$2"; }

alice_may_what_is_allowed() {
  local of_root
  of_root=$(connect inet 127.0.0.64 6464)
  eventually 20 event_of "$of_root"
  allow_alice
  eventually 30 audit DeleteRules
  eventually 30 call_as alice AddRules
  eventually 10 rules_loaded
  eventually 30 alice_reads "$of_root" 127.0.0.64
  fails_with 'InteractiveAuthorizationRequired|AccessDenied' call_as alice DeleteRules
  rm "$permission"
  eventually 30 alice_may_not
}

# Every doubt is a refusal: without polkit only those get in who need no polkit.
without_polkit() {
  systemctl stop polkit.service
  systemctl mask --runtime polkit.service
  fails_with AccessDenied call_as alice DeleteRules
  fails_with AccessDenied call_as alice AddRules
  call_as alice GetEvents >/dev/null
  rules_loaded
  findings | grep -i polkit
}

check 'the service is well' eventually 60 well
check 'root adds and deletes rules' root_may
check 'an ordinary user does not' alice_may_not
check 'each user sees the own events, the group all' events_of_others
check 'an unknown pid is NotFound' says_the_same_of_nobody
check 'a rules file allows two of the three actions' alice_may_what_is_allowed
check 'without polkit all is refused' without_polkit
systemctl unmask --runtime polkit.service 2>/dev/null
check 'polkit is back' eventually 60 systemctl start polkit.service
mend
