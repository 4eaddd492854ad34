#!/bin/bash
# cluster.sh GUARDBIT — rollouts of quantized language models on a real cluster: guardbit runs the comparer, and what answers otherwise
# than F16 is rejected in the shadow stage. Exits with 1 if one ends otherwise.
# GUARDBIT_REAL_LOG names a file for guardbit's log; else it goes with the cluster.
set -euo pipefail
cd "$(dirname "$0")/../../.."
binary=$(realpath "$1")
tools=$(tests/cluster/tools.sh all)
installed=$(tests/real/llm/install.sh)
image=$(tests/cluster/program-image.sh "$binary")
dir=$(mktemp -d -u "${TMPDIR:-/tmp}/guardbit-llm.XXXXXX")
trap 'tests/cluster/cluster.sh down "$dir"' EXIT
tests/cluster/cluster.sh up "$dir" full
tests/cluster/cluster.sh images "$dir" "$image"
tests/cluster/cluster.sh kubectl "$dir" apply --server-side -k crds -o name > /dev/null
tests/cluster/cluster.sh exec "$dir" env $(cat "$dir/env") "KUBECTL=$tools/testplane kubectl" "PYTHONPATH=$PWD/tests/real" \
  "GUARDBIT_REAL_LOG=${GUARDBIT_REAL_LOG:-$dir/log/guardbit}" \
  python3 tests/real/llm/cluster.py "$binary" "$installed" localhost/guardbit:e2e
