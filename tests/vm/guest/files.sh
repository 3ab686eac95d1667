# shellcheck shell=bash
# machine_files: every file that a package could have left, with mode and owner on one line and content on another, sorted.
# Left out is what changes on a machine by itself: the own books of dpkg and apt, logs, backups of the user database,
# systemd's clocks and seeds, and what the checks keep.
machine_files() {
  (
    find /etc /var/lib /var/cache /var/spool /opt /srv /root /home -xdev \
      \( -path /var/lib/vm-checks -o -path /var/lib/dpkg -o -path /var/lib/apt/lists -o -path '/var/cache/*' -o -path /var/lib/systemd/timers \
      -o -path /var/lib/systemd/coredump \) -prune \
      -o ! -path '/etc/*-' ! -path /etc/.pwd.lock ! -path /etc/.updated ! -path /var/.updated \
      ! -path /var/lib/systemd/random-seed ! -path '/etc/audit/audit.rules*' \
      -printf '%p %m %U:%G %y %l\n' -type f -exec md5sum {} +
    # Names and sizes are enough where the package manager writes and nobody else; a folder's size only grows.
    find /usr /boot -xdev \( -type d -printf '%p %m %U:%G\n' -o -printf '%p %m %U:%G %y %s %l\n' \)
    find /var/lib/dpkg/info /var/lib/dpkg/alternatives -printf '%p\n'
    dpkg-query --show
  ) | sort
}
