# Targets for building, testing and measuring. `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help run test simulate memory lint model deny advisories cargo-deny doc bench instructions \
	load load-100k load-1m clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run a node on http://127.0.0.1:8080 (settings: make run ARGS="--help")
	$(CARGO) run --release -- $(ARGS)

test: ## All tests: unit, integration with each FANFARE_IO, instructions per delivery
	@bash tests/setup.sh
	$(CARGO) test --workspace
	benches/instructions.sh $(TARGET)/debug 1700 29500
	TEST_IO=send $(CARGO) test --workspace --test it
	TEST_IO=hyper $(CARGO) test --workspace --test it

simulate: SEEDS ?= $(if $(SEED),1,10000)
simulate: ## Simulate a node with many seeds (SEEDS=100000), or replay one (SEED=42)
	SIMULATION_SEED=$(SEED) SIMULATION_SEEDS=$(SEEDS) $(CARGO) test --workspace --lib \
		simulation::every_seed -- --nocapture

memory: ## A node in 128 MiB: 2,000 publishes of 1 MB, 300 stalled streams, 1,000 others (root)
	$(CARGO) test --workspace --test it -- --ignored --nocapture memory::

lint: ## Formatting, clippy and rustdoc with warnings as errors, loom models
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	$(MAKE) --no-print-directory model

# Link-time optimisation would take minutes and save the models seconds.
model: export CARGO_PROFILE_RELEASE_LTO = off
model: export CARGO_PROFILE_RELEASE_CODEGEN_UNITS = 16
model: ## loom models of ring, wake-ups, queue and flat combining
	RUSTFLAGS="--cfg ring_loom" CARGO_TARGET_DIR=$(TARGET)/loom \
		$(CARGO) test --release --lib model::

deny: cargo-deny ## Licences, duplicates, banned crates and sources of the dependencies
	$(CARGO) deny --workspace check bans licenses sources

advisories: cargo-deny ## Known vulnerabilities of the dependencies (downloads the RustSec database)
	$(CARGO) deny --workspace check advisories

cargo-deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked

doc: ## Build the documentation of the code
	$(CARGO) doc --no-deps

bench: ## criterion benches of each stage
	$(CARGO) bench

instructions: ## Instructions per delivery and per opened stream, release build (needs valgrind)
	$(CARGO) build --release --workspace
	benches/instructions.sh $(TARGET)/release 1050 20400

load: ## Run the load tool (make load ARGS="fanout --streams 5000")
	$(CARGO) run --release -p loadtest -- $(ARGS)

load-100k: ## Fan out to 100,000 streams, reconnect them all (root, 2 GiB, 1 minute)
	$(CARGO) build --release --workspace
	loadtest/scale.sh 100000 6 fanout --events 10
	loadtest/scale.sh 100000 6 storm

load-1m: ## Fan out to 1,000,000 streams (root, 10 GiB, 3 minutes)
	$(CARGO) build --release --workspace
	loadtest/scale.sh 1000000 56 fanout --events 3 --processes 56

clean: ## Remove the build products
	$(CARGO) clean
