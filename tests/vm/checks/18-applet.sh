# shellcheck shell=bash
# The desktop applet's package: it comes, starts with a user's desktop, hears of that user's programs, and leaves nothing.
# shellcheck source=tests/vm/guest/files.sh
. "$VM/guest/files.sh"
limit 180
export DEBIAN_FRONTEND=noninteractive

APPLET=opensnitch-audit-notify
ALICE=$(id -u alice)

# as_alice COMMAND…: in alice's session.
as_alice() {
  as alice env HOME=/home/alice XDG_RUNTIME_DIR="/run/user/$ALICE" DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$ALICE/bus" "$@"
}

subscriptions_are() { equal Subscriptions "$(statistic Subscriptions)" "$1"; }

applet_installed() {
  machine_files >"$STATE/files.before-applet"
  install_package "$VM/applet.deb"
  [ -e "/usr/lib/systemd/user/$APPLET.service" ]
  grep -qx "Exec=$APPLET" "/etc/xdg/autostart/$APPLET.desktop"
  matches 'the version' "$(as alice "$APPLET" --version)" "^$APPLET [0-9]"
  equal 'for all users' "$(systemctl --global is-enabled "$APPLET.service")" enabled
}

# A desktop's session is a target that brings graphical-session.target with it. alice is not in the group.
applet_starts_with_a_desktop() {
  as alice mkdir -p /home/alice/.config/systemd/user
  printf '[Unit]\nBindsTo=graphical-session.target\n' | as alice tee /home/alice/.config/systemd/user/desktop.target
  systemctl start "user@$ALICE.service"
  subscriptions_are 0
  as_alice systemctl --user start desktop.target
  as_alice systemctl --user is-active "$APPLET.service"
  eventually 60 subscriptions_are 1
}

applet_hears() {
  local signals="type='signal',interface='org.opensnitch.Audit.Subscription',member='EventSeen'"
  stdbuf -oL busctl --system monitor --match="$signals" >/run/heard.applet 2>&1 3>&- &
  monitor=$!
  trap 'kill "$monitor"' EXIT
  eventually 20 grep -q '^Monitoring' /run/heard.applet
  as alice connect inet 127.0.0.83 8383
  eventually 30 heard /run/heard.applet 127.0.0.83
}

applet_follows_a_restart() {
  systemctl restart "$UNIT"
  eventually 60 subscriptions_are 1
  as_alice systemctl --user is-active "$APPLET.service"
}

applet_ends_with_the_desktop() {
  as_alice systemctl --user stop desktop.target
  eventually 30 subscriptions_are 0
  refuses as_alice systemctl --user is-active "$APPLET.service"
  systemctl stop "user@$ALICE.service"
}

applet_purged() {
  dpkg -P "$APPLET" </dev/null
  rm -r /home/alice/.config
  machine_files >"$STATE/files.after-applet"
  diff "$STATE/files.before-applet" "$STATE/files.after-applet"
}

check "the applet's package" applet_installed
check 'it starts with a desktop' applet_starts_with_a_desktop
check 'it hears of its user' applet_hears
check 'it follows a restart of the service' applet_follows_a_restart
check 'it ends with the desktop' applet_ends_with_the_desktop
check 'purged: the files are as before' applet_purged
