# The front door. Everything else is cargo.
#
#   make run      the service on this machine's own audit events, in the foreground
#   make test     all tests that need no virtual machine
#   make test-vm  the package in booted machines (packaging/install.mk); with ARCH=arm64 in one with another processor
#   make lint     formatting, clippy, documentation, shell scripts
#   make deny     licences, versions and sources of the dependencies
#   make oldest   compiles with the oldest supported Rust
#   make minimal  compiles with the oldest dependencies that the Cargo.toml files allow
#   make soak     a mixed load for SOAK_SECONDS (120): nothing is lost uncounted, memory stays as it is
#   make fuzz     every fuzz target for FUZZ_SECONDS (60); needs Rust's nightly toolchain
#   make guard    instructions an event, beside the committed ones
#   make miri     the record parser's tests under Miri; needs Rust's nightly toolchain
#   make bench    speed, side by side with a peer; make bench-rules: what the kernel rules cost
#   make results  both, written down in benches/RESULTS.md with its plots
#
# make install, uninstall, deb, rpm: packaging/install.mk

.PHONY: run test fuzz guard miri bench bench-rules results lint deny minimal soak oldest

run:
	scripts/setup run
	cargo build --release --locked
	scripts/run

# A component that is missing fails a test here; a bare `cargo test` skips what it cannot run, and says so.
test:
	scripts/setup test
	OPENSNITCH_AUDIT_TEST_REQUIRE_ALL=1 cargo test --workspace --locked

fuzz:
	scripts/fuzz

# The modules that read single records: whole streams take Miri hours.
miri:
	rustup component add --toolchain nightly miri rust-src
	cargo +nightly miri test --locked -p audit-records --lib -- record:: value:: sockaddr:: args:: event::

guard:
	scripts/setup guard
	scripts/guard

bench:
	scripts/setup test
	cargo bench --locked -p audit-records --bench stream
	cargo bench --locked --bench store
	cargo bench --locked --bench service
	cargo bench --locked --bench daemon
	cargo bench --locked --bench growth

bench-rules:
	scripts/setup test
	scripts/bench-rules

results:
	scripts/results

lint:
	scripts/setup lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
	scripts/shellcheck

deny:
	scripts/deny

minimal:
	scripts/minimal

soak:
	scripts/setup test
	SOAK_SECONDS=$${SOAK_SECONDS:-120} OPENSNITCH_AUDIT_TEST_REQUIRE_ALL=1 \
		cargo test --workspace --locked --test integration -- --nocapture soak::

oldest:
	scripts/oldest-rust

include packaging/install.mk
