#!/bin/bash
# previous.sh — builds guardbit as it was at an earlier commit, once, and prints the path of the program: tests of upgrades
# and downgrades run it in the place of the one built from here.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Before the forecast came into the API: its status knows less than today's. Move it on when
# a version from before it can no longer be upgraded from, and say so in docs/upgrade.md.
commit=7a7ac82ca71eead5b7e05961cd02ab4a57af0316
program=${GUARDBIT_CACHE:-$HOME/.cache/guardbit}/previous-$commit
if [ ! -x "$program" ]; then
  src=$(mktemp -d "${TMPDIR:-/tmp}/guardbit-previous.XXXXXX")
  trap 'rm -rf "$src"' EXIT
  git archive "$commit" | tar -x -C "$src"
  (cd "$src" && cargo build --locked --bin guardbit --target-dir "$src/target") >&2
  install -D "$src/target/debug/guardbit" "$program.tmp.$$"
  mv "$program.tmp.$$" "$program"
fi
echo "$program"
