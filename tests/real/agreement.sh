#!/bin/bash
# agreement.sh GUARDBIT [kserve|triton] [OPTION…] — pairs of answers of a model server from PyPI on a real cluster, before the first weight:
# int4, int8, and the same weights again. For options see agreement.py. Exits with 1 if a goal is missed.
# GUARDBIT_REAL_LOG names a file for guardbit's log; else it goes with the cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1"); shift
server=kserve
case ${1:-} in kserve|triton) server=$1; shift ;; esac
tools=$(tests/cluster/tools.sh all)
installed=$(tests/real/install.sh "$server")
image=$(tests/cluster/program-image.sh "$binary")
dir=$(mktemp -d -u "${TMPDIR:-/tmp}/guardbit-real.XXXXXX")
trap 'tests/cluster/cluster.sh down "$dir"' EXIT
tests/cluster/cluster.sh up "$dir" full
tests/cluster/cluster.sh kubectl "$dir" apply --server-side -k crds -o name > /dev/null
tests/cluster/cluster.sh images "$dir" "$image"
# The load generator uses the HTTP client that came with KServe's server.
site=$(tests/real/install.sh kserve)/site
tests/cluster/cluster.sh exec "$dir" env $(cat "$dir/env") "KUBECTL=$tools/testplane kubectl" "PYTHONPATH=$site" \
  "GUARDBIT_REAL_LOG=${GUARDBIT_REAL_LOG:-$dir/log/guardbit}" \
  python3 tests/real/agreement.py "$binary" "$server" "$installed" localhost/guardbit:e2e "$@"
