# guardbit: `make test` runs everything that CI runs. Needs a Debian machine with Rust and Go, and root for real clusters.
SHELL := /bin/bash
.PHONY: help quick test lint build unit model deny packaging chart reproducible api faults e2e failures samples real real-agreement real-llm demo demo-clean crds generated sbom tools outside bench-decisions bench-rollback bench-mirror bench-scale bench-replay bench-weights fuzz

help:
	@echo 'make quick       format, lints of the library, architecture and some golden rollouts: what to run between two edits'
	@echo 'make test        everything: format, lints, unit, property and golden tests, a real API server, a real cluster'
	@echo 'make demo        the main job on a real cluster, live; CLUSTER=existing uses the current kubeconfig'
	@echo 'make demo-clean  removes what the demo left'
	@echo 'make bench-decisions  how often, and how soon, guardbit and the rules of others decide; writes docs/decisions.md'
	@echo 'make bench-replay  how fast guardbit simulate reads and replays'
	@echo 'make faults      every API call of seven rollouts once with every fault; make test tries a sample of them'
	@echo 'make model       all orders of ten events in small worlds; make test tries those of eight; GUARDBIT_MODEL_DEPTH=12 for more'
	@echo 'make fuzz        the readers of what others wrote, ten minutes each; GUARDBIT_FUZZ_SECONDS=60 for less'
	@echo 'make bench-rollback   how soon a candidate that turns bad gets no more traffic, on a real cluster'
	@echo 'make bench-mirror   what a mirror costs users and the comparer needs, on a real cluster'
	@echo 'make bench-scale  a thousand models idle, rolling out, and rolling out governed, ten thousand idle; writes docs/scale.md'
	@echo 'make bench-weights  how fast weights are hashed, and in how much memory'
	@echo 'make failures    every failure that a cluster can produce, on a real one; long, and not part of make test'
	@echo 'make samples     each sample climbs on a real cluster'
	@echo 'make real        the same weights again, and int8, on a model server from PyPI: hours; tests/real/aa.sh for less'
	@echo 'make real-agreement  int4, int8 and the same weights before their first weight, on KServe and on Triton from PyPI'
	@echo 'make real-llm    a language model in four precisions on the server of llama.cpp: compared, and rolled out on a cluster'
	@echo 'make chart       install, upgrade and uninstall with Helm on a real cluster; every expression of the dashboard'
	@echo 'make outside     cosign, sigstore-go and securesystemslib verify records; it builds cosign, once'
	@echo 'make reproducible  builds the image of guardbit twice and compares the bytes'
	@echo 'make crds        regenerates crds/ from src/api, and what is made of it'
	@echo 'make generated   regenerates what is made of crds/ and deploy/: files of the chart, the PrometheusRule, argocd-cm'
	@echo 'make deny        licences, bans and RustSec advisories of all crates, by cargo-deny'
	@echo 'make sbom        writes target/sbom.cdx.json: what is in the image'
	@echo 'make tools       installs and builds the programs of the test cluster (cached)'

# Crates of others come from the cache if they can. One after the other: the clusters want the processors for themselves.
test: tools
	tests/crates.sh restore || echo 'make: no crates could be taken over; they are built again' >&2
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory build
	tests/crates.sh save || echo 'make: the crates could not be kept; the next clone builds them again' >&2
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory packaging
	$(MAKE) --no-print-directory api
	$(MAKE) --no-print-directory e2e

tools:
	tests/cluster/tools.sh all > /dev/null

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# Tests that are short are not worth the minutes that it takes to optimise what they run.
plain = cargo --config profile.dev.package.guardbit.opt-level=0

quick:
	cargo fmt --all --check
	cargo clippy --lib -- -D warnings
	$(plain) test -q --test architecture
	$(plain) test -q --test rollout -- golden::healthy golden::harm golden::errors golden::lost golden::plain

# All that `make test` runs, so that nothing is measured beside a compiler.
build:
	$(plain) test --no-run --workspace --lib
	cargo test --no-run --test '*'
	tests/cluster/build-images.sh model-server > /dev/null
	tests/cluster/program-image.sh "$${CARGO_TARGET_DIR:-target}/debug/guardbit" > /dev/null

unit:
	$(plain) test --workspace --lib
	cargo test --test architecture --test crds --test objects --test judge_evalues --test judge_vectors --test judge_power --test rollout --test model --test prometheus_client --test readme --test simulate --test presets --test plan --test lint --test fuzz --test attacks --test compare --test ledger --test governance --test weights

# One world prints one line: states, transitions, and how often each invariant was put to the test.
model:
	cargo test --test model -- --ignored --nocapture

# Chart, alerts, dashboard, GitOps health, SBOM, docs: all that needs no cluster.
packaging:
	python3 -m unittest discover -s tests/packaging
	cd tests/gitops && CGO_ENABLED=0 GOFLAGS="-buildvcs=false -p=2" go test ./...

# Not part of `make test`: install, upgrade, uninstall with Helm on a real cluster; the image of guardbit built twice.
chart:
	tests/cluster/run-tests.sh chart

reproducible:
	tests/packaging/reproducible.sh

# Not part of `make test`: it compiles cosign, once. Programs of others verify records, and refuse forged ones.
outside:
	bin=$$(tests/cluster/tools.sh outside) && GUARDBIT_OUTSIDE=$$bin cargo test --test ledger -- --ignored outside:: page::

api:
	tests/cluster/run-tests.sh control-plane

faults:
	tests/cluster/run-tests.sh control-plane --ignored every_api_call

e2e:
	tests/cluster/run-tests.sh full

# What takes away something that all tests share runs alone.
failures:
	previous=$$(tests/cluster/previous.sh) && GUARDBIT_PREVIOUS=$$previous tests/cluster/run-tests.sh full --ignored --skip alone:: failures::
	GUARDBIT_TEST_THREADS=1 tests/cluster/run-tests.sh full --ignored failures::alone::

samples:
	tests/cluster/run-tests.sh full --ignored samples::

# Not part of `make test`: a model server that nobody changed, from PyPI, under the default rollout. 19 of 20 rollouts of the same
# weights are promoted at each first step, and all of int8 rolled back.
real:
	cargo build --locked --release --bin guardbit
	tests/real/aa.sh target/release/guardbit

# Not part of `make test`: pairs of answers reject int4 before any user gets one of them, are healthy for int8, and promote the same weights.
real-agreement:
	cargo build --locked --release --bin guardbit
	tests/real/agreement.sh target/release/guardbit kserve
	tests/real/agreement.sh target/release/guardbit triton

# Not part of `make test`: it compiles llama.cpp, once. What is counted on a language model is held against a count without a server.
real-llm:
	cargo build --locked --release --bin guardbit
	tests/real/llm/compare.sh target/release/guardbit
	tests/real/llm/cluster.sh target/release/guardbit

demo:
	tests/demo/demo.sh

demo-clean:
	tests/demo/demo.sh clean

crds:
	cargo run -q -- crds --dir crds
	@$(MAKE) --no-print-directory generated

# The advisories are fetched from the network, so this is no part of `make test`; the rest is, without cargo-deny
# (tests/packaging/test_licences.py).
deny:
	cargo deny --locked check

generated:
	python3 tests/packaging/generate.py

sbom:
	@mkdir -p target
	python3 deploy/sbom.py > target/sbom.cdx.json

bench-weights:
	cargo build --locked --release --bin guardbit
	python3 tests/bench/weights/run.py target/release/guardbit

# The development profile optimises the core as well, and spares a build.
bench-decisions:
	@mkdir -p docs
	cargo bench --profile dev --bench decisions -- 500 > docs/.decisions.md; status=$$?; mv docs/.decisions.md docs/decisions.md; exit $$status

bench-rollback:
	tests/cluster/run-tests.sh bench-rollback

bench-mirror:
	tests/cluster/run-tests.sh bench-mirror

# `make bench-scale SCALE=1000-governed` measures that alone, and takes what the others were when they were measured last.
SCALES := 1000-all 1000-governed 10000-idle
SCALE ?= $(SCALES)
bench-scale:
	@mkdir -p docs target
	set -e; for run in $(SCALE); do tests/bench/scale/scale.sh $${run%%-*} $${run#*-} > target/scale-$$run.json; done
	@for run in $(SCALES); do test -s target/scale-$$run.json || { echo "measure $$run as well: make bench-scale SCALE=$$run"; exit 1; }; done
	python3 tests/bench/scale/report.py $(SCALES:%=target/scale-%.json) > docs/.scale.md; status=$$?; mv docs/.scale.md docs/scale.md; exit $$status

bench-replay:
	cargo bench --bench replay

# One after the other, so that each has the processor; another seed each day, which a failure names.
fuzz:
	GUARDBIT_FUZZ_SECONDS=$${GUARDBIT_FUZZ_SECONDS:-600} GUARDBIT_FUZZ_SEED=$${GUARDBIT_FUZZ_SEED:-$$(date +%s)000000} \
	  cargo test --test fuzz -- --nocapture --test-threads=1
