# What a newcomer types: `make demo`, `make test`. `make deps` first on a fresh Debian 12.
#
# Everything cargo makes goes to CARGO_TARGET_DIR (default: target).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

TRIPLE := x86_64-unknown-linux-gnu
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
RELEASE := $(TARGET)/$(TRIPLE)/release/skep
CARGO ?= cargo
# The programs of the tests crate drive the binary that people get, never a debug one.
export SKEP_BIN ?= $(RELEASE)
# Tests wait more than they compute: for each other's programs, for elections, for the kernel.
export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
# Where Debian keeps nft, ipvsadm and mkfs.ext4; a plain `su` leaves it out.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help deps deps-bench build demo sim test test-vm check bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that build, demo and tests need
	@.ci/deps

deps-bench: deps ## install what the benchmark compares with
	@.ci/deps bench

build: ## the static release binary
	@.ci/timed "release binary" $(CARGO) build --locked --release -p skep-cli
	@ls -l "$(RELEASE)"

demo: deps build ## three nodes, a registry and the tutorial, on this machine
	$(CARGO) build --locked -p skep-tests --bin skep-demo
	"$(TARGET)/$(TRIPLE)/debug/skep-demo"

sim: ## a simulated swarm lives through seeded faults: make sim NODES=50 TASKS=1000 SEED=1
	$(CARGO) run --locked -p skep-cluster --features sim --example sim -- $(or $(NODES),50) $(or $(TASKS),1000) $(or $(SEED),1)

test: deps build ## every test, then those that a kernel may change again in a virtual machine
	@.ci/timed "tests, compiled" $(CARGO) test --locked --workspace --no-run
	@.ci/timed "tests of the crates" $(CARGO) test --locked --workspace --exclude skep-tests
	@.ci/timed "tests through the front door" $(CARGO) test --locked -p skep-tests
	@$(MAKE) --no-print-directory vm-run

test-vm: deps build vm-run ## the tests that a kernel may change, under Debian's cloud kernel: IPVS, cgroup v2

.PHONY: vm-run
vm-run:
	@$(CARGO) build --locked -p skep-tests --bin skep-vm
	@.ci/timed "virtual machine" "$(TARGET)/$(TRIPLE)/debug/skep-vm"

check: ## format, lints, documentation, licences; changes nothing
	$(CARGO) fmt --all --check
	@.ci/timed "lints" $(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" .ci/timed "documentation" $(CARGO) doc --locked --workspace --no-deps
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "cargo-deny is not installed here: the licences are looked at by a test of the tests crate only"; fi

bench: build ## start, exec, memory, pull and scale-up against docker, podman, crun and runc
	$(CARGO) build --locked -p skep-tests --bin skep-bench
	"$(TARGET)/$(TRIPLE)/debug/skep-bench"

clean: ## remove what cargo made
	$(CARGO) clean
