# shellcheck shell=bash
# This boot has the other bus, or what follows proves nothing.

check 'dbus-broker is the bus' systemctl is-active --quiet dbus-broker.service
