# shellcheck shell=bash
# alice administers this machine. Where she is logged in at a terminal the tool has her asked for her password, as systemctl does.
limit 180
terminal=/run/terminal

# at_a_terminal PASSWORD COMMAND: alice logs in, gives the command, and the password when she is asked. What she sees comes out, and
# it ends as the command does.
#
# She types all of it: `su --command` would take the terminal away from what it starts.
at_a_terminal() {
  local session ended=0
  rm -f "$terminal".*
  mkfifo "$terminal.typed"
  exec 4<>"$terminal.typed"
  script --quiet --flush --return --command "tty >$terminal.name; exec su --login alice" "$terminal.seen" \
    <"$terminal.typed" >/dev/null 2>&1 3>&- 4>&- &
  session=$!
  echo "$2; exit" >&4
  eventually 60 is_asked || ended=$?
  if [ "$ended" = 0 ]; then
    echo "$1" >&4
    wait "$session" || ended=$?
  else
    kill "$session"
  fi
  cat "$terminal.seen"
  return "$ended"
}

# The terminal does not show what is typed from then on. What was typed before is thrown away.
is_asked() {
  grep -q 'Password:' "$terminal.seen"
  stty --file "$(cat "$terminal.name")" --all | grep -qw -- -echo
}

# denied COMMAND…: it ends as the tool does for one who may not.
denied() {
  local ended=0
  "$@" || ended=$?
  equal 'how it ended' "$ended" 4
}

right_password() {
  rules_loaded
  at_a_terminal secret 'opensnitch-auditctl rules delete'
  equal 'the rules' "$(rules opensnitch)" ''
  audit AddRules
  eventually 10 rules_loaded
}

wrong_password() {
  denied at_a_terminal wrong 'opensnitch-auditctl rules delete' >/run/said
  grep -a 'the authentication to delete the audit rules failed' /run/said
  [ -n "$(rules opensnitch)" ]
}

no_terminal() {
  denied as alice opensnitch-auditctl rules delete </dev/null >/run/said 2>&1
  grep 'no authentication agent serves you' /run/said
  refuses grep 'Password:' /run/said
  [ -n "$(rules opensnitch)" ]
}

echo alice:secret | chpasswd
usermod --append --groups sudo alice
check 'the right password is taken' right_password
check 'a wrong one is refused' wrong_password
check 'without a terminal nobody is asked' no_terminal
gpasswd --delete alice sudo
usermod --password '!' alice
mend
