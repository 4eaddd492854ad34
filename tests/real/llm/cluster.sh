#!/bin/bash
# cluster.sh GUARDBIT — rollouts of quantized language models on a real cluster: guardbit runs the comparer, and what answers otherwise
# than F16 is rejected in the shadow stage. Exits with 1 if one ends otherwise.
# GUARDBIT_REAL_LOG names a file for guardbit's log; else it goes with the cluster.
set -euo pipefail
cd "$(dirname "$0")/../../.."
binary=$(realpath "$1")
tools=$(tests/cluster/tools.sh all)
installed=$(tests/real/llm/install.sh)
dir=$(mktemp -d -u "${TMPDIR:-/tmp}/guardbit-llm.XXXXXX")
image=$(mktemp "${TMPDIR:-/tmp}/guardbit-llm.XXXXXX.tar")
trap 'tests/cluster/cluster.sh down "$dir"; rm -f "$image"' EXIT
# The comparer is the same program, so its image has that and the libraries that it is linked with.
libraries=$(ldd "$binary" | grep -o '/[^ ]*' || true)
python3 tests/cluster/image.py localhost/guardbit:real "$image" /guardbit "$binary=/guardbit" \
  $(for library in $libraries; do echo "$(readlink -f "$library")=$library"; done)
tests/cluster/cluster.sh up "$dir" full
tests/cluster/cluster.sh images "$dir" "$image"
tests/cluster/cluster.sh kubectl "$dir" apply --server-side -k crds -o name > /dev/null
tests/cluster/cluster.sh exec "$dir" env $(cat "$dir/env") "KUBECTL=$tools/testplane kubectl" "PYTHONPATH=$PWD/tests/real" \
  "GUARDBIT_REAL_LOG=${GUARDBIT_REAL_LOG:-$dir/log/guardbit}" \
  python3 tests/real/llm/cluster.py "$binary" "$installed"
