#!/bin/bash
# install.sh — installs the model server of these tests from PyPI, and makes its two models. Prints the directory, which is cached
# under the hash of what went in:
#   site/                  the packages of requirements.txt
#   models/fp32.onnx       magika's own model, unchanged
#   models/int8.onnx       the same, dynamically quantized: weights and activations of 8 bits
set -euo pipefail
cd "$(dirname "$0")"
CACHE=${GUARDBIT_CACHE:-$HOME/.cache/guardbit}
# Wheels are made for one version of Python.
key=$(cat install.sh quantize.py requirements.txt <(python3 -V) | sha256sum | cut -c1-12)
out=$CACHE/real-$key
[ ! -d "$out" ] || { echo "$out"; exit; }
tmp=$out.tmp.$$; mkdir -p "$tmp/models"
trap 'rm -rf "$tmp"' EXIT
echo "real: installing the model server" >&2
python3 -m pip install --quiet --no-deps --only-binary :all: --target "$tmp/site" -r requirements.txt >&2
# Pods see the packages read-only, and would compile them at every start.
python3 -m compileall -q -j 0 "$tmp/site" >&2 || true  # templates of packages need not compile
cp "$tmp"/site/magika/models/standard_v3_3/model.onnx "$tmp/models/fp32.onnx"
PYTHONPATH=$tmp/site python3 quantize.py "$tmp/models/fp32.onnx" "$tmp/models/int8.onnx" >&2
# Servers do not run as root.
chmod -R a+rX "$tmp"
mv "$tmp" "$out"; echo "$out"
