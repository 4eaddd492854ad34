#!/bin/bash
# program-image.sh PROGRAM — makes the image localhost/guardbit:e2e of a guardbit that is built already, with the libraries that it is
# linked with, and prints the path of the tarball: comparers of the end-to-end tests run what the tests run, and
# nothing is built twice. It is made again only when what goes in has changed.
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "$0")/../.."
# "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", and the loader without an arrow; the kernel's own has no path.
libraries=$(ldd "$program" | grep -o '/[^ ]*')
out=${GUARDBIT_IMAGES_OUT:-$PWD/target/images}
key=$(cat tests/cluster/program-image.sh tests/cluster/image.py "$program" $libraries | sha256sum | cut -c1-12)
tar=$out/guardbit-e2e-$key.tar
if [ ! -f "$tar" ]; then
  mkdir -p "$out"
  tmp=$(mktemp -d "$out/guardbit-e2e.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  # Lines of the source are most of a program for tests.
  strip -o "$tmp/guardbit" "$program"
  files=("$tmp/guardbit=/guardbit")
  for library in $libraries; do files+=("$(realpath "$library")=$library"); done
  python3 tests/cluster/image.py localhost/guardbit:e2e "$tmp/image.tar" /guardbit "${files[@]}"
  rm -f "$out"/guardbit-e2e-*.tar
  mv "$tmp/image.tar" "$tar"
fi
echo "$tar"
