# shellcheck shell=bash
# A call starts the service where it does not run.

by_call() {
  systemctl stop "$UNIT"
  refuses systemctl is-active --quiet "$UNIT"
  "$@"
  # The answer may come before systemd has been told that the service is ready.
  eventually 30 systemctl is-active --quiet "$UNIT"
  eventually 30 well
}

check 'a call of root starts it' by_call property Version
check 'a call of an ordinary user starts it' by_call call_as alice GetEvents
