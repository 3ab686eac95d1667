# The front door. Everything else is cargo.
#
#   make run      the service on this machine's own audit events, in the foreground
#   make test     all tests, those of booted machines included
#   make check    all tests but those of booted machines
#   make bench    speed, side by side with a peer; make bench-rules: what the kernel rules cost
#   make lint     formatting and lints
#
# make install, uninstall, deb, rpm, test-vm: packaging/install.mk

.PHONY: run test check bench bench-rules lint

run:
	scripts/setup run
	cargo build --release --locked
	scripts/run

test: check test-vm

check:
	scripts/setup test
	OPENSNITCH_AUDIT_TEST_REQUIRE_ALL=1 cargo test --locked

bench:
	cargo bench --locked --bench stream

bench-rules:
	scripts/setup run
	scripts/bench-rules

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

include packaging/install.mk
