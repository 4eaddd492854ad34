#!/bin/bash
# run-tests.sh TIER [TEST-ARGUMENT…] — runs the integration tests of a tier on a fresh cluster: tests/api_* on the control
# plane, tests/e2e on the full one. `chart` runs the chart on a full one that is still empty, `bench-NAME`
# that benchmark. With GUARDBIT_TEST_CLUSTER=existing, on the cluster of KUBECONFIG, to which config/ is applied (not for `chart`);
# there GUARDBIT_GATEWAY_URL and GUARDBIT_PROMETHEUS_URL say where gateway and Prometheus are, GUARDBIT_TEST_IMAGE
# names the image of the model server, and GUARDBIT_TEST_COMPARER_IMAGE that of guardbit. Tests that need a registry in the
# cluster (tests/e2e/registry.rs) are not run there.
set -euo pipefail
cd "$(dirname "$0")/../.."
tier=$1; shift
case $tier in
control-plane) threads=4 targets=$(basename -s .rs -a tests/api_*) ;;
# Four stages have a load at a time (tests/e2e/stage.rs); as many again wait for pods to drain.
full) threads=8 targets=$(basename -s .rs -a tests/e2e*) ;;
chart) targets="" chart=yes tier=full ;;
bench-*) targets="" benchmark=${tier#bench-} tier=full ;;
*) echo "usage: run-tests.sh control-plane|full|chart|bench-NAME" >&2; exit 2 ;;
esac
TEST_ARGS=(${threads:+--test-threads="${GUARDBIT_TEST_THREADS:-$threads}"} "$@")
compile() { # prints the programs, each after its kind: test, bench or bin
  [ -n "${targets}${benchmark:-}" ] || return 0
  cargo test --no-run --message-format=json ${targets:+$(printf -- '--test %s ' $targets)} ${benchmark:+--bench "$benchmark"} \
    | jq -r 'select(.reason == "compiler-artifact" and .executable != null) | "\(.target.kind[0]) \(.executable)"'
}
# All are run, so that one red list does not hide the next.
run() { local failed=0; for binary in $binaries; do "$@" "$binary" "${TEST_ARGS[@]}" || failed=1; done; return $failed; }
install() { "$@" apply --server-side --force-conflicts -k crds -o name; "$@" apply --server-side --force-conflicts -f config/manager/namespace.yaml -o name; "$@" apply --server-side --force-conflicts -k config/rbac -o name; }
programs=$(compile)
binaries=$(sed -nE 's/^(test|bench) //p' <<< "$programs")
if [ "${GUARDBIT_TEST_CLUSTER:-}" = existing ]; then
  [ "$tier" = control-plane ] || install kubectl
  TEST_ARGS+=(--skip registry::)
  run env; exit
fi
case $tier in control-plane) tests/cluster/tools.sh control-plane ;; full) tests/cluster/tools.sh all ;; esac > /dev/null
dir=$(mktemp -d -u "${TMPDIR:-/tmp}/guardbit-$tier.XXXXXX")
trap 'tests/cluster/cluster.sh down "$dir"' EXIT
[ "$tier" = control-plane ] || images=$(tests/cluster/build-images.sh model-server ${chart:+guardbit})
# Comparers run the guardbit that the tests run.
program=$(sed -n 's/^bin \(.*\/guardbit\)$/\1/p' <<< "$programs")
if [ "$tier" = full ] && [ -n "$program" ]; then images+=" $(tests/cluster/program-image.sh "$program")"; fi
tests/cluster/cluster.sh up "$dir" "$tier"
if [ "$tier" = full ]; then
  tests/cluster/cluster.sh images "$dir" $images
  # The chart is all that is run then, and installs everything itself.
  if [ -n "${chart:-}" ]; then tests/cluster/cluster.sh exec "$dir" env $(cat "$dir/env") python3 tests/packaging/on_cluster.py; exit; fi
  install tests/cluster/cluster.sh kubectl "$dir" > /dev/null
  # The same weights twice: a test damages the second ones in the registry, from which no node has pulled them.
  weights=target/images/weights/int8.bin
  for name in weights damaged; do
    image=$(tests/cluster/cluster.sh push "$dir" "$name" "$weights=/int8.bin" "$weights=/$name")
    echo "GUARDBIT_TEST_IMAGE_OF_${name^^}=$image" >> "$dir/env"
  done
fi
run tests/cluster/cluster.sh exec "$dir" env $(cat "$dir/env") "CARGO_MANIFEST_DIR=$PWD" "INSTA_WORKSPACE_ROOT=$PWD"
