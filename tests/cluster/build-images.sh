#!/bin/bash
# build-images.sh [guardbit] [model-server] — builds the images of this repository as static binaries from scratch, without a
# container engine, and prints the paths of their tarballs. Weights of the model server are made by itself: deterministic.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${GUARDBIT_IMAGES_OUT:-$PWD/target/images} static=${GUARDBIT_STATIC_TARGET:-$PWD/target/static}
mkdir -p "$out"
# For `make reproducible`: no path of this machine gets into a binary. (cargo
# names the files of a workspace relative to it; those of other crates and of the compiler are told to lie elsewhere.)
export RUSTFLAGS="-C target-feature=+crt-static \
  --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$(rustc --print sysroot)=/rust"
for name in "$@"; do
  # A target directory of its own: other flags in the common one would make cargo rebuild everything, back and forth.
  cargo build --locked --release -p "$name" --bin "$name" \
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
