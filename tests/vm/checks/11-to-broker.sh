# shellcheck shell=bash
# From the next boot on this machine has the other bus.

check 'dbus-broker for the next boot' systemctl enable dbus-broker.service
