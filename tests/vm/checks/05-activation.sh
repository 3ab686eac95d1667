# shellcheck shell=bash
# A service that an administrator stopped stays stopped, and its rules stay away, whoever calls.

stays_stopped() {
  systemctl stop "$UNIT"
  refuses "$@"
  refuses systemctl is-active --quiet "$UNIT"
  [ -z "$(rules opensnitch)" ] || fail 'rules of a service that was stopped are loaded'
}

check 'a call of root does not start it' stays_stopped property Version
check 'a call of an ordinary user does not start it' stays_stopped call_as alice GetEvents
systemctl start "$UNIT"
check 'an administrator starts it' eventually 30 well
