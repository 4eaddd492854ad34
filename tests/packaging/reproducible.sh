#!/bin/bash
# reproducible.sh — builds the image of guardbit a second time, from a copy of the sources in another place and at another time,
# and compares it with the first. Crates of others are taken from the first build, unless FROM_SCRATCH=1 asks for all anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
first=$(tests/cluster/build-images.sh guardbit)
copy=$(mktemp -d "${TMPDIR:-/tmp}/guardbit-again.XXXXXX")
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --ignore-failed-read -cf - 2>/dev/null | tar -xf - -C "$copy"
find "$copy" -exec touch -d '2001-02-03 04:05:06' {} +
static=$PWD/target/static
[ "${FROM_SCRATCH:-}" != 1 ] || static=$copy/target/static
# cargo would take these sources, older than the first build and of the same names, for built.
rm -rf "$static"/*/release/.fingerprint/guardbit-*
second=$(cd "$copy" && umask 077 && GUARDBIT_STATIC_TARGET=$static GUARDBIT_IMAGES_OUT=$copy/images tests/cluster/build-images.sh guardbit)
sha256sum "$first" "$second" >&2
cmp "$first" "$second"
echo "two builds, one digest: sha256:$(sha256sum < "$first" | cut -d' ' -f1)"
