#!/bin/bash
# run-tests.sh TIER [TEST-ARGUMENT…] — runs the integration tests of a tier on a fresh cluster: tests/api_*.rs on the
# control plane, tests/e2e_*.rs on the full one. With GUARDBIT_TEST_CLUSTER=existing, on the cluster of KUBECONFIG.
set -euo pipefail
cd "$(dirname "$0")/../.."
tier=$1; shift
case $tier in control-plane) prefix=api_ ;; full) prefix=e2e_ ;; *) echo "usage: run-tests.sh control-plane|full" >&2; exit 2 ;; esac
tests=$(basename -s .rs -a tests/"$prefix"*.rs)
mapfile -t binaries < <(cargo test --no-run --message-format=json $(printf -- '--test %s ' $tests) \
  | jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable != null) | .executable')
run() { for binary in "${binaries[@]}"; do "$@" "$binary" "${TEST_ARGS[@]}"; done; }
TEST_ARGS=("$@")
if [ "${GUARDBIT_TEST_CLUSTER:-}" = existing ]; then run env; exit; fi
case $tier in control-plane) tests/cluster/tools.sh control-plane ;; full) tests/cluster/tools.sh all ;; esac > /dev/null
dir=$(mktemp -d -u "${TMPDIR:-/tmp}/guardbit-$tier.XXXXXX")
trap 'tests/cluster/cluster.sh down "$dir"' EXIT
tests/cluster/cluster.sh up "$dir" "$tier"
run tests/cluster/cluster.sh exec "$dir" env $(cat "$dir/env") "CARGO_MANIFEST_DIR=$PWD" "INSTA_WORKSPACE_ROOT=$PWD"
