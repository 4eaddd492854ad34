#!/bin/bash
# build.sh — builds llama.cpp's server and libraries from the source package of llama-cpp-python: some ten minutes of one core. Needs
# root where a compiler is missing. Prints the directory, which is cached under the hash of what went in:
#   site/                llama-cpp-python, and what it imports
#   site/llama_cpp/lib/  llama-server, and the libraries that it shares with Python
#   text/                the documentation of llama.cpp, from which prompts are made
# No network is used but for the packages: the web UI, which is downloaded otherwise, is left out. Any x86-64 processor with AVX2
# runs what is built, and computes the same: `native` would make another model server of each machine.
set -euo pipefail
cd "$(dirname "$0")"
CACHE=${GUARDBIT_CACHE:-$HOME/.cache/guardbit}
key=$(cat build.sh requirements.txt <(python3 -V; uname -m) | sha256sum | cut -c1-12)
out=$CACHE/llama-$key
[ ! -d "$out" ] || { echo "$out"; exit; }
say() { echo "real-llm: $*" >&2; }
tmp=$out.tmp.$$; mkdir -p "$tmp/source" "$tmp/site"
trap 'rm -rf "$tmp"' EXIT
if ! dpkg -s cmake make g++ > /dev/null 2>&1; then
  say "installing a compiler"
  apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends cmake make g++ >&2
fi
say "fetching the sources"
package=$(grep ^llama-cpp-python== requirements.txt)
python3 -m pip download --quiet --no-deps --no-binary llama-cpp-python --dest "$tmp" "$package" >&2
tar -xzf "$tmp"/llama_cpp_python-*.tar.gz -C "$tmp/source" --strip-components 1
rm "$tmp"/llama_cpp_python-*.tar.gz
grep -v ^llama-cpp-python== requirements.txt > "$tmp/others.txt"
python3 -m pip install --quiet --no-deps --only-binary :all: --target "$tmp/site" -r "$tmp/others.txt" >&2
llama=$tmp/source/vendor/llama.cpp
say "compiling llama-server"
cmake -S "$llama" -B "$tmp/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF \
  -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH='$ORIGIN' -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
  -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF > "$tmp/log" 2>&1 &&
  cmake --build "$tmp/build" --target llama-server --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" >> "$tmp/log" 2>&1 ||
  { tail -30 "$tmp/log" >&2; exit 1; }
cp -r "$tmp/source/llama_cpp" "$tmp/site"
mkdir -p "$tmp/site/llama_cpp/lib" "$tmp/text"
cp -a "$tmp"/build/bin/llama-server "$tmp"/build/bin/*.so* "$tmp/site/llama_cpp/lib"
(cd "$llama" && find . -name '*.md' -exec cp --parents {} "$tmp/text" \;)
rm -rf "$tmp/source" "$tmp/build" "$tmp/others.txt" "$tmp/log"
# Servers do not run as root.
chmod -R a+rX "$tmp"
mv "$tmp" "$out"; echo "$out"
