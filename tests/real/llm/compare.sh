#!/bin/bash
# compare.sh GUARDBIT [OPTION…] — a language model and what quantizers made of it, served by llama.cpp and held against one another by
# `guardbit compare --dry-run`, without a cluster. For options see compare.py. Exits with 1 if a verdict is not the one that is right.
set -euo pipefail
binary=$(realpath "$1"); shift
cd "$(dirname "$0")"
installed=$(./install.sh)
exec python3 compare.py "$binary" "$installed" "$@"
