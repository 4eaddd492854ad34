# guardbit: `make test` runs everything that CI runs. Needs a Debian machine with Rust and Go, and root for real clusters.
SHELL := /bin/bash
.PHONY: help test lint unit api crds tools

help:
	@echo 'make test   everything: format, lints, unit, property and golden tests, a real API server'
	@echo 'make crds   regenerates crds/ from src/api'
	@echo 'make tools  installs and builds the programs of the test cluster (cached)'

test: tools lint unit api

tools:
	tests/cluster/tools.sh control-plane > /dev/null

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

unit:
	cargo test --workspace --lib --bins
	cargo test --test crds --test judge_evalues --test judge_power --test rollout --test prometheus_client

api:
	tests/cluster/run-tests.sh control-plane

crds:
	@mkdir -p crds
	cargo run -q -- crds > crds/.new && mv crds/.new crds/quantizedmodels.guardbit.dev.yaml
