# shellcheck shell=bash
# The machine itself, before anything of ours is in it.

check 'multi-user is reached' systemctl is-active --quiet multi-user.target
check 'auditd runs' systemctl is-active --quiet auditd.service
check 'the bus runs' systemctl is-active --quiet dbus.service

programs_work() {
  [[ $(connect inet 127.0.0.1 9) =~ ^[0-9]+$ ]]
  local way
  for way in "${!CONNECT32[@]}"; do
    [[ $(connect32 "$way") =~ ^[0-9]+$ ]]
  done
  connect -q uring 127.0.0.1 9 || [ $? = 3 ]
}
check 'the programs of the checks run' programs_work
