# Installing, packaging, and the booted machines. Included by the Makefile; works alone too (make -f).
#
#   make install [DESTDIR=…] [PREFIX=/usr] [SYSCONFDIR=/etc]     after a build; it compiles only what is missing
#   make uninstall                                                leaves an edited configuration in place
#   make install-notify, uninstall-notify                         the same of the desktop applet
#   make deb                                                      target/debian/opensnitch-audit_*.deb, opensnitch-audit-notify_*.deb
#   make deb ARCH=arm64                                           the same for another machine, cross-built; or ARCH=riscv64
#   make rpm                                                      the first two in target/generate-rpm
#   make test-vm                                                  that package, in booted machines; ARCH=arm64 here, too

PREFIX ?= /usr
SYSCONFDIR ?= /etc
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
USERUNITDIR ?= $(PREFIX)/lib/systemd/user
AUTOSTARTDIR ?= $(SYSCONFDIR)/xdg/autostart
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
BASHDIR ?= $(DATADIR)/bash-completion/completions
ZSHDIR ?= $(DATADIR)/zsh/vendor-completions
FISHDIR ?= $(DATADIR)/fish/vendor_completions.d
CARGO ?= cargo
# For programs that run here, where the others are for another machine: scripts/cross sets it.
NATIVE_CARGO ?= $(CARGO)
INSTALL ?= install

# scripts/cross says for which other machine cargo compiles.
BUILT := target/$(if $(CARGO_BUILD_TARGET),$(CARGO_BUILD_TARGET)/)release
GENERATED := target/generated
STAGE := target/stage
NOTIFY_STAGE := target/stage-notify
NOTIFY_PAGES := $(GENERATED)/man/opensnitch-audit-notify*.1

.PHONY: release generated install install-notify uninstall uninstall-notify stage deb rpm test-vm

# One after the other: built together, the programs that root runs would get what the applet needs of their common libraries.
release:
	$(CARGO) build --release --locked --bins
	$(CARGO) build --release --locked --bins --package opensnitch-audit-notify

# Man pages come from the programs, so that they say what these do; by a program of its own, which is not shipped and runs
# here, whatever machine the others are for. Their date is that of the version in CHANGELOG.md, or today where it is not released.
generated: release
	rm -rf $(GENERATED)
	mkdir -p $(GENERATED)/man
	$(NATIVE_CARGO) run --quiet --release --locked --package opensnitch-audit-pages -- $(GENERATED)/man "$$(packaging/date)"

install: generated
	$(INSTALL) -D -m 755 $(BUILT)/opensnitch-auditd $(DESTDIR)$(SBINDIR)/opensnitch-auditd
	$(INSTALL) -D -m 755 $(BUILT)/opensnitch-auditctl $(DESTDIR)$(BINDIR)/opensnitch-auditctl
	$(INSTALL) -d $(DESTDIR)$(UNITDIR)
	sed 's|^ExecStart=/usr/sbin/|ExecStart=$(SBINDIR)/|' systemd/opensnitch-audit.service \
		>$(DESTDIR)$(UNITDIR)/opensnitch-audit.service
	chmod 644 $(DESTDIR)$(UNITDIR)/opensnitch-audit.service
	$(INSTALL) -m 644 -t $(DESTDIR)$(UNITDIR) systemd/*.socket
	$(INSTALL) -D -m 644 systemd/opensnitch-audit.sysusers $(DESTDIR)$(SYSUSERSDIR)/opensnitch-audit.conf
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(DATADIR)/dbus-1/system.d dbus/org.opensnitch.Audit.conf
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(DATADIR)/dbus-1/interfaces dbus/org.opensnitch.Audit.xml
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(DATADIR)/polkit-1/actions polkit/org.opensnitch.audit.policy
	for page in $(GENERATED)/man/*.[1-8]; do \
		case $$page in */opensnitch-audit-notify*) continue ;; esac; \
		$(INSTALL) -D -m 644 -t $(DESTDIR)$(MANDIR)/man$${page##*.} $$page || exit; \
	done
	$(INSTALL) -D -m 644 packaging/completions/opensnitch-auditctl.bash $(DESTDIR)$(BASHDIR)/opensnitch-auditctl
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(ZSHDIR) packaging/completions/_opensnitch-auditctl
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(FISHDIR) packaging/completions/opensnitch-auditctl.fish
	test -e $(DESTDIR)$(SYSCONFDIR)/opensnitch-audit.toml || \
		$(INSTALL) -D -m 644 -t $(DESTDIR)$(SYSCONFDIR) packaging/opensnitch-audit.toml

# The applet: by systemd where it manages the session, by the desktop elsewhere.
install-notify: generated
	$(INSTALL) -D -m 755 $(BUILT)/opensnitch-audit-notify $(DESTDIR)$(BINDIR)/opensnitch-audit-notify
	$(INSTALL) -d $(DESTDIR)$(USERUNITDIR)
	sed 's|^ExecStart=/usr/bin/|ExecStart=$(BINDIR)/|' systemd/opensnitch-audit-notify.service \
		>$(DESTDIR)$(USERUNITDIR)/opensnitch-audit-notify.service
	chmod 644 $(DESTDIR)$(USERUNITDIR)/opensnitch-audit-notify.service
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(AUTOSTARTDIR) packaging/opensnitch-audit-notify.desktop
	$(INSTALL) -D -m 644 -t $(DESTDIR)$(MANDIR)/man1 $(NOTIFY_PAGES)

uninstall-notify:
	rm -f $(DESTDIR)$(BINDIR)/opensnitch-audit-notify $(DESTDIR)$(USERUNITDIR)/opensnitch-audit-notify.service
	rm -f $(DESTDIR)$(AUTOSTARTDIR)/opensnitch-audit-notify.desktop $(DESTDIR)$(MANDIR)/man1/opensnitch-audit-notify*.1

uninstall:
	rm -f $(DESTDIR)$(SBINDIR)/opensnitch-auditd $(DESTDIR)$(BINDIR)/opensnitch-auditctl
	rm -f $(DESTDIR)$(UNITDIR)/opensnitch-audit.service
	rm -f $(DESTDIR)$(UNITDIR)/opensnitch-audit.socket $(DESTDIR)$(UNITDIR)/opensnitch-audit-multicast.socket
	rm -f $(DESTDIR)$(SYSUSERSDIR)/opensnitch-audit.conf
	rm -f $(DESTDIR)$(DATADIR)/dbus-1/system.d/org.opensnitch.Audit.conf
	rm -f $(DESTDIR)$(DATADIR)/dbus-1/system-services/org.opensnitch.Audit.service
	rm -f $(DESTDIR)$(DATADIR)/dbus-1/interfaces/org.opensnitch.Audit.xml
	rm -f $(DESTDIR)$(DATADIR)/polkit-1/actions/org.opensnitch.audit.policy
	rm -f $(DESTDIR)$(MANDIR)/man1/opensnitch-auditctl*.1 $(DESTDIR)$(MANDIR)/man8/opensnitch-auditd.8
	rm -f $(DESTDIR)$(MANDIR)/man5/opensnitch-audit.toml.5 $(DESTDIR)$(MANDIR)/man5/org.opensnitch.Audit.5
	rm -f $(DESTDIR)$(BASHDIR)/opensnitch-auditctl $(DESTDIR)$(ZSHDIR)/_opensnitch-auditctl
	rm -f $(DESTDIR)$(FISHDIR)/opensnitch-auditctl.fish
	if cmp -s packaging/opensnitch-audit.toml $(DESTDIR)$(SYSCONFDIR)/opensnitch-audit.toml; then \
		rm -f $(DESTDIR)$(SYSCONFDIR)/opensnitch-audit.toml; \
	fi

# What the packages contain is what `make install` installs.
stage:
	rm -rf $(STAGE) $(NOTIFY_STAGE)
	$(MAKE) -f $(firstword $(MAKEFILE_LIST)) install DESTDIR=$(STAGE) PREFIX=/usr SYSCONFDIR=/etc
	$(MAKE) -f $(firstword $(MAKEFILE_LIST)) install-notify DESTDIR=$(NOTIFY_STAGE) PREFIX=/usr SYSCONFDIR=/etc

ifdef ARCH
deb:
	scripts/cross $(ARCH) $(MAKE) -f $(firstword $(MAKEFILE_LIST)) deb ARCH=
else
deb: stage
	packaging/build deb
endif

rpm: stage
	packaging/build rpm

test-vm:
	ARCH=$(ARCH) tests/vm/run
