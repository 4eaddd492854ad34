#!/bin/bash
# crates.sh restore|save — what cargo has built of other people's crates, kept in $GUARDBIT_CACHE for the next fresh clone.
# CI runs in a fresh clone each time, and most of what it would compile is what it compiled the last time.
#
# Only crates of the registry are kept. Cargo knows them by name, version, features, profile, flags and compiler, wherever the clone
# lies, and so decides itself what it can use. It tells whether the crates of this workspace are built by the times of their
# files, which says nothing about another clone: of those nothing is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
kept=${GUARDBIT_CACHE:-$HOME/.cache/guardbit}/crates
key=$({ rustc -vV; cat Cargo.lock Cargo.toml tests/model-server/Cargo.toml .cargo/config.toml tests/cluster/build-images.sh; } | sha256sum | cut -c1-16)
# Where cargo builds: for tests and lints, and for images, which have flags of their own.
places=(debug static/release static/x86_64-unknown-linux-gnu/release)
most_sets=2 largest_mib=8192

# Whole sets, the newest first.
sets() { ls -dt "$kept"/*/ 2>/dev/null | grep -v '\.tmp' || true; }

# Two runs on one machine: while one copies a set, no other may throw it away or write one.
mkdir -p "$kept"
exec 9> "$kept.lock"

restore() {
  local from=$kept/$key place
  flock --shared 9
  # What was kept for another Cargo.lock serves for all crates but those that changed.
  [ -d "$from" ] || from=$(sets | head -1)
  [ -n "$from" ] || return 0
  for place in "${places[@]}"; do
    # In a clone that has built something, cargo knows better.
    if [ -d "$from/$place" ] && [ ! -e "target/$place" ]; then
      mkdir -p "$(dirname "target/$place")"
      cp -a "$from/$place" "target/$place.tmp.$$" && mv -T "target/$place.tmp.$$" "target/$place" || rm -rf "target/$place.tmp.$$"
    fi
  done
  touch "$from" 2>/dev/null || true
}

save() {
  [ ! -d "$kept/$key" ] && [ -d target/debug/.fingerprint ] || return 0
  flock 9
  # What a run that was killed has left.
  rm -rf "$kept"/*.tmp.*
  local place tmp=$kept/$key.tmp.$$
  trap "rm -rf '$tmp'" EXIT
  for place in "${places[@]}"; do
    [ -d "target/$place/.fingerprint" ] || continue
    mkdir -p "$tmp/$place"
    # Every file of a crate of this workspace has the hash of its fingerprint in its name.
    find "target/$place/.fingerprint" -maxdepth 1 -name 'guardbit-*' -o -maxdepth 1 -name 'model-server-*' | sed 's/.*-\(.*\)/*-\1*/' > "$tmp/own"
    tar -C "target/$place" --format=posix --exclude-from="$tmp/own" -cf - .fingerprint build deps | tar -C "$tmp/$place" -xf -
  done
  rm -f "$tmp/own"
  # Each save takes along what the one before had, needed or not: some day it is begun afresh.
  if [ "$(du -sm "$tmp" | cut -f1)" -gt "$largest_mib" ]; then rm -rf "$kept"/*/; return 0; fi
  mv -T "$tmp" "$kept/$key" 2>/dev/null || true
  sets | tail -n +$((most_sets + 1)) | xargs -r rm -rf
}

case ${1:-} in
restore|save) "$1" ;;
*) echo "usage: crates.sh restore|save" >&2; exit 2 ;;
esac
