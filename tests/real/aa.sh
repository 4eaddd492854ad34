#!/bin/bash
# aa.sh GUARDBIT [SAME [INT8 [STEPS]]] [OPTION…] — rollouts of a model server from PyPI on a real cluster: the same weights again,
# SAME times (20) at each first step of STEPS (5,10,50), and int8, INT8 times (5). For options see aa.py. Exits with 1 if a goal is missed.
# GUARDBIT_REAL_LOG names a file for guardbit's log; else it goes with the cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1"); shift
tools=$(tests/cluster/tools.sh all)
installed=$(tests/real/install.sh)
dir=$(mktemp -d -u "${TMPDIR:-/tmp}/guardbit-real.XXXXXX")
trap 'tests/cluster/cluster.sh down "$dir"' EXIT
tests/cluster/cluster.sh up "$dir" full
tests/cluster/cluster.sh kubectl "$dir" apply --server-side -k crds -o name > /dev/null
# The load generator uses the HTTP client that came with the server.
tests/cluster/cluster.sh exec "$dir" env $(cat "$dir/env") "KUBECTL=$tools/testplane kubectl" "PYTHONPATH=$installed/site" \
  "GUARDBIT_REAL_LOG=${GUARDBIT_REAL_LOG:-$dir/log/guardbit}" \
  python3 tests/real/aa.py "$binary" "$installed" "$@"
