#!/bin/bash
# build-images.sh [guardbit] [model-server] — builds the images of this repository as static binaries from scratch, without a
# container engine, and prints the paths of their tarballs. Weights of the model server are made by itself: deterministic.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$PWD/target/images static=$PWD/target/static
mkdir -p "$out"
for name in "$@"; do
  # A target directory of its own: other flags in the common one would make cargo rebuild everything, back and forth.
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release -p "$name" --bin "$name" \
    --target x86_64-unknown-linux-gnu --target-dir "$static" >&2
  binary=$static/x86_64-unknown-linux-gnu/release/$name
  files=("$binary=/$name")
  if [ "$name" = model-server ]; then
    "$binary" make --out "$out/weights" >&2
    for variant in fp32 int8 int4; do files+=("$out/weights/$variant.bin=/weights/$variant.bin"); done
  fi
  python3 tests/cluster/image.py "localhost/$name:dev" "$out/$name.tar" "/$name" "${files[@]}"
  echo "$out/$name.tar"
done
