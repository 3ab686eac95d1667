# shellcheck shell=bash
# What can be wrong with a machine: each has its error, and its finding in Diagnose.
# The last of a boot: a kernel whose rules are locked stays so until the next one.
limit 240

all_is_well() {
  local said
  said=$(findings)
  refuses grep '^error ' <<<"$said"
}

rule_that_silences() {
  auditctl -a task,never
  finds '(error|warning)' 'task,never'
  auditctl -d task,never
  eventually 10 all_is_well
}

rules_taken_away() {
  local cursor
  # Behind auditd's start the service puts back what that start flushed: not now.
  sleep 35
  cursor=$(journal_cursor)
  auditctl -D -k opensnitch
  eventually 10 property_is RulesLoaded false
  finds '(error|warning)' 'rules'
  journal_says "$cursor" rule
  equal 'the rules, which nobody put back' "$(rules opensnitch)" ''
  audit AddRules
  eventually 10 rules_loaded
  eventually 10 all_is_well
}

audit_off() {
  auditctl -e 0
  finds error '(disabled|switched off|is off)'
  auditctl -e 1
  eventually 10 all_is_well
}

# In Debian 12 the second client is accepted and gets nothing; in Debian 13 it is accepted and dismissed.
another_client() {
  local other path
  systemctl stop "$UNIT"
  # auditd notices that its client is gone when it next has something to send.
  auditctl -m 'opensnitch-audit: one message'
  auditctl -m 'opensnitch-audit: and another'
  path=$(audit_socket)
  connect -q -d -s 200 local "$path" >/run/other &
  other=$!
  eventually 10 grep -q . /run/other
  sleep 2
  systemctl start "$UNIT"
  eventually 60 well
  events_flow
  property_is Source netlink
  eventually 90 finds info 'kernel.*(client|process|program|someone|held)'
  kill "$other"
  source_becomes audisp
  events_flow
}

plugin_off() {
  switch_plugin no
  source_becomes netlink
  eventually 10 finds info "kernel.*$PLUGIN.*active"
  eventually 20 rules_loaded
  events_flow
  switch_plugin yes
  source_becomes audisp
  events_flow
}

no_auditd() {
  systemctl stop auditd.service
  source_becomes netlink
  finds info 'kernel.*auditd does not run'
  events_flow
  systemctl start auditd.service
  source_becomes audisp
}

locked() {
  auditctl -e 2
  finds '(error|warning|info)' '(immutable|locked)'
  fails_with RulesLocked call_as root DeleteRules
  rules_loaded
  events_flow
}

locked_and_missing() {
  equal 'what AddRules added, with all there' "$(audit AddRules)" 0
}

check 'the service is well' eventually 60 well
check 'nothing is wrong at first' all_is_well
check 'a rule task,never' rule_that_silences
mend
check 'our rules taken away by somebody' rules_taken_away
mend
check 'audit switched off' audit_off
mend
check "the plugin is on, and events come from auditd" source_becomes audisp
check 'another client on the socket: events come from the kernel' another_client
mend
check 'the plugin switched off: events come from the kernel' plugin_off
mend
check 'no auditd: events come from the kernel' no_auditd
mend
check 'rules locked until the next boot' locked
check 'rules locked: nothing to add is no error' locked_and_missing
