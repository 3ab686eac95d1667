# shellcheck shell=bash
# A machine: its packages, its base image (kept in $store between runs), its disk for the job, its boot.
# Sourced by run, which sets store, here and machine_limit.
# shellcheck disable=SC2154

# What differs between processors. The compilers are for the programs of the checks, 64-bit and 32-bit.
# shellcheck disable=SC2034 # those are for run
case $ARCH in
  amd64)
    emulator=(qemu-system-x86_64 -machine q35 -cpu max)
    console=ttyS0
    compiler=(gcc)
    compiler32=(gcc -m32)
    ;;
  arm64)
    # This one runs 32-bit programs, too.
    emulator=(qemu-system-aarch64 -machine virt -cpu cortex-a72)
    console=ttyAMA0
    compiler=(aarch64-linux-gnu-gcc)
    compiler32=(arm-linux-gnueabihf-gcc -marm)
    ;;
  *)
    echo "no machine has the architecture $ARCH (amd64, arm64)" >&2
    exit 2
    ;;
esac

# What a small server has, what our package depends on, and what the checks ask questions with.
packages=systemd,systemd-sysv,udev,kmod,linux-image-cloud-$ARCH,iproute2
packages+=,dbus,dbus-broker,polkitd,auditd
packages+=,jq,libglib2.0-bin,nftables
# A user's own bus and manager, for the desktop applet.
packages+=,dbus-user-session
# One of the carriers of docs/fleet.md.
packages+=,systemd-journal-remote

suite_of() {
  case $1 in
    debian12) echo bookworm ;;
    debian13) echo trixie ;;
    debian14) echo forky ;;
    *) echo "no such machine: $1 (debian12, debian13, debian14)" >&2; return 1 ;;
  esac
}

# is_testing MACHINE: not released yet. Its packages change every day, and a mirror may not have them, or not all.
is_testing() { [ "$1" = debian14 ]; }

# What make_base_image fails with where a machine's packages cannot be had.
no_packages=75

# base_image MACHINE: the folder of its image: disk.img, vmlinuz and initrd.img. Its name carries a hash of what makes it:
# a change to this file, or to a unit it installs, makes another.
base_image() {
  local hash
  hash=$(cat "$here/machine.sh" "$here/guest/vm-checks.service" "$here/guest/vm-journal.service" | sha256sum | cut -c1-12)
  echo "$store/base/$1-$hash"
}

# make_base_image MACHINE: unless it is there from an earlier run.
make_base_image() {
  local suite base root options=()
  suite=$(suite_of "$1")
  base=$(base_image "$1")
  [ ! -e "$base/done" ] || return 0
  [ "$(id -u)" = 0 ] || { echo "making a machine's image needs root" >&2; return 1; }
  rm -rf "$store/base/$1-"*
  mkdir -p "$base"
  root=$base/root
  echo "$1: making its image" >&2
  # A mirror's copy of testing may be older than it says it is good for.
  if is_testing "$1"; then options=(--aptopt='Acquire::Check-Valid-Until "false"'); fi
  with_its_programs mmdebstrap --quiet --variant=minbase --format=directory --skip=output/dev "${options[@]}" \
    --architectures="$ARCH" --include="$packages" "$suite" "$root" || return "$no_packages"

  echo "$1" >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
  # It came with its alias for dbus.service; the machine begins with the usual bus.
  rm "$root/etc/systemd/system/dbus.service" "$root/etc/systemd/user/dbus.service"
  # Timers of the distribution would change files, and take processor time, in the middle of a check.
  local timer
  for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim; do
    ln -sf /dev/null "$root/etc/systemd/system/$timer.timer"
  done
  # journald refuses what comes too fast, and one of these checks might be what came too fast.
  mkdir -p "$root/etc/systemd/journald.conf.d"
  printf '[Journal]\nRateLimitBurst=0\n' >"$root/etc/systemd/journald.conf.d/vm.conf"
  install -m 644 "$here/guest/vm-checks.service" "$here/guest/vm-journal.service" "$root/etc/systemd/system/"
  mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/systemd/system/sysinit.target.wants"
  ln -s /etc/systemd/system/vm-checks.service "$root/etc/systemd/system/multi-user.target.wants/"
  ln -s /etc/systemd/system/vm-journal.service "$root/etc/systemd/system/sysinit.target.wants/"

  cp "$root"/boot/vmlinuz-* "$base/vmlinuz"
  cp "$root"/boot/initrd.img-* "$base/initrd.img"
  truncate -s 2G "$base/disk.img"
  mke2fs -q -F -t ext4 -d "$root" "$base/disk.img"
  rm -rf "$root"
  : >"$base/done"
}

# with_its_programs COMMAND…: while it runs, programs of the machine's architecture run here: the kernel is told of QEMU, by the
# line that QEMU's package brings, unless it knows.
with_its_programs() {
  if [ "$ARCH" = "$(dpkg --print-architecture)" ]; then
    "$@"
    return
  fi
  # shellcheck disable=SC2016 # for the shell in the namespace
  unshare --mount bash -euc '
    known=/proc/sys/fs/binfmt_misc name=$1
    shift
    [ -e "$known/register" ] || mount -t binfmt_misc binfmt_misc "$known"
    if [ ! -e "$known/$name" ]; then
      trap "echo -1 >$known/$name" EXIT
      cat "/usr/lib/binfmt.d/$name.conf" >"$known/register"
    fi
    "$@"' bash "qemu-${emulator[0]#qemu-system-}" "$@"
}

# job_disk FOLDER IMAGE: the folder as a file system with the label the machine looks for.
job_disk() {
  rm -f "$2"
  truncate -s 256M "$2"
  mke2fs -q -F -t ext4 -L vm-job -d "$1" "$2"
}

# boot_machine MACHINE FOLDER: runs until the machine powers itself off; its results and its journal come out as files.
# snapshot=on keeps every disk as it was, and lasts over the machine's own reboots. Its network reaches the collector of
# journals and nothing else.
boot_machine() {
  local folder=$2 base
  base=$(base_image "$1")
  : >"$folder/results"
  : >"$folder/journal.log"
  timeout --foreground --kill-after=10 "$machine_limit" "${emulator[@]}" \
    -accel tcg,thread=multi -smp 2 -m 1024 -nodefaults -display none \
    -nic "user,model=virtio-net-pci,restrict=on,guestfwd=tcp:10.0.2.100:19532-tcp:127.0.0.1:$COLLECTOR_PORT" \
    -kernel "$base/vmlinuz" -initrd "$base/initrd.img" \
    -append "root=/dev/vda rw console=$console quiet systemd.show_status=0 panic=-1" \
    -drive "file=$base/disk.img,if=virtio,format=raw,snapshot=on" \
    -drive "file=$folder/job.img,if=virtio,format=raw,snapshot=on" \
    -serial "file:$folder/console.log" \
    -device virtio-serial-pci \
    -chardev "file,id=results,path=$folder/results" -device virtserialport,chardev=results,name=results \
    -chardev "file,id=journal,path=$folder/journal.log" -device virtserialport,chardev=journal,name=journal
}
