# shellcheck shell=bash
# docs/fleet.md: the journal carries the events to a collector, which is outside of this machine (tests/vm/run asks it
# when all machines have ended).
limit 240

UPLOADED=/var/lib/systemd/journal-upload/state

# The machine's one network card leads to the collector, and nowhere else.
network() {
  local card
  card=$(find /sys/class/net -type l -lname '*virtio*' -printf '%f\n')
  ip address add 10.0.2.15/24 dev "$card"
  ip link set "$card" up
}

in_the_journal() {
  echo 'journal = true' >>"$CONFIG"
  systemctl reload "$UNIT"
  eventually 30 one_in_the_journal
}

# It asks again with a new connect: the service reads its configuration in its own time.
one_in_the_journal() {
  connect inet 127.0.0.16 1616 >/dev/null
  eventually 5 journal_has_it
}

journal_has_it() { journalctl --quiet --lines=1 OSA_DST=127.0.0.16 --output=cat | grep -q .; }

uploaded() {
  mkdir -p /etc/systemd/journal-upload.conf.d
  printf '[Upload]\nURL=http://10.0.2.100:19532\n' >/etc/systemd/journal-upload.conf.d/collector.conf
  systemctl restart systemd-journal-upload.service
  eventually 200 nothing_is_left
}

# What stands behind the last entry that the collector took is none of ours.
nothing_is_left() {
  local cursor left
  cursor=$(sed -n 's/^LAST_CURSOR=//p' "$UPLOADED")
  [ -n "$cursor" ] || fail "nothing was taken: $(systemctl status systemd-journal-upload.service)"
  left=$(journalctl --quiet --after-cursor="$cursor" OSA_DST=127.0.0.16 --output=cat)
  equal 'what is left' "$left" ''
}

as_before() {
  systemctl stop systemd-journal-upload.service
  systemctl clean --what=state systemd-journal-upload.service
  rmdir /var/lib/private/systemd
  rm -r /etc/systemd/journal-upload.conf.d
  sed -i '/^journal = true$/d' "$CONFIG"
  systemctl reload "$UNIT"
}

check 'the collector can be reached' network
check 'an event is in the journal' in_the_journal
check 'the collector has it' uploaded
check 'the machine is as before' as_before
