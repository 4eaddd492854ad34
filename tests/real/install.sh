#!/bin/bash
# install.sh [kserve|triton] — installs a model server of these tests from PyPI, and makes its models. Prints the directory, which is
# cached under the hash of what went in:
#   site/                  the packages of requirements.txt, or of triton.txt
#   models/fp32.onnx       magika's own model, unchanged; same.onnx is a copy
#   models/int8.onnx       the same, dynamically quantized: weights and activations of 8 bits
#   models/int4.onnx       the same with the values that naive weights of 4 bits have
#   golden.jsonl           questions for pairs, made of the files of KServe's site
#   offline.json           how often int8 and int4 answer otherwise, as counted here
set -euo pipefail
cd "$(dirname "$0")"
CACHE=${GUARDBIT_CACHE:-$HOME/.cache/guardbit}
server=${1:-kserve}
case $server in
kserve) requirements=requirements.txt more="" ;;
triton) requirements=triton.txt; more=$(./install.sh kserve) ;;
*) echo "usage: install.sh [kserve|triton]" >&2; exit 2 ;;
esac
# Wheels are made for one version of Python.
key=$(cat install.sh quantize.py classifier.py dataset.py offline.py $requirements <(python3 -V; echo "$more") | sha256sum | cut -c1-12)
out=$CACHE/real-$server-$key
[ ! -d "$out" ] || { echo "$out"; exit; }
tmp=$out.tmp.$$; mkdir -p "$tmp/models"
trap 'rm -rf "$tmp"' EXIT
echo "real: installing the model server $server" >&2
python3 -m pip install --quiet --no-deps --only-binary :all: --target "$tmp/site" -r $requirements >&2
# Pods see the packages read-only, and would compile them at every start.
python3 -m compileall -q -j 0 "$tmp/site" >&2 || true  # templates of packages need not compile
models() {
  cp "$tmp"/site/magika/models/standard_v3_3/model.onnx "$tmp/models/fp32.onnx"
  cp "$tmp/models/fp32.onnx" "$tmp/models/same.onnx"
  local how
  for how in int8 int4; do PYTHONPATH=$tmp/site python3 quantize.py $how "$tmp/models/fp32.onnx" "$tmp/models/$how.onnx" >&2; done
  echo "real: asking int8 and int4 offline" >&2
  PYTHONPATH=$tmp/site python3 offline.py "$tmp/site" "$tmp/models" "$tmp" >&2
}
# The server lies in a package that copies it at each start, with the one of its Python runtimes that fits.
triton() {
  local server=$tmp/site/pytriton/tritonserver version
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  cp "$server/python_backend_stubs/$version/triton_python_backend_stub" "$server/backends/python/"
  chmod a+x "$server"/bin/tritonserver "$server"/backends/python/triton_python_backend_stub
  cp "$more"/models/*.onnx "$tmp/models/"
  cp "$more"/golden.jsonl "$more"/offline.json "$tmp/"
}
case $server in kserve) models ;; triton) triton ;; esac
# Servers do not run as root.
chmod -R a+rX "$tmp"
mv "$tmp" "$out"; echo "$out"
