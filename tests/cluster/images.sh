#!/bin/bash
# images.sh — makes the image tarballs of the full tier without a container engine, and Envoy Gateway's own chart with its
# two template values filled in. Prints the directory, which is cached under the hash of what went in.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
CACHE=${GUARDBIT_CACHE:-$HOME/.cache/guardbit}; TOOLS=${GUARDBIT_TOOLS:-$CACHE/bin}
key=$(cat "$HERE/images.sh" "$HERE/image.py" "$HERE/src/pause.c" <(readlink "$TOOLS"/{coredns,envoy,envoy-gateway}) | sha256sum | cut -c1-12)
out=$CACHE/images-$key
[ ! -d "$out" ] || { echo "$out"; exit; }
tmp=$out.tmp.$$; mkdir -p "$tmp"
image() { python3 "$HERE/image.py" "$@"; }
lib=/lib/x86_64-linux-gnu ca=/etc/ssl/certs/ca-certificates.crt
cc -static -Os -o "$tmp/pause" "$HERE/src/pause.c"
image localhost/pause:1#root "$tmp/pause.tar" /pause "$tmp/pause=/pause"
image localhost/coredns:1#root "$tmp/coredns.tar" /coredns "$TOOLS/coredns=/coredns" $ca=$ca
image localhost/envoy-gateway:1.9.1 "$tmp/envoy-gateway.tar" /usr/local/bin/envoy-gateway "$TOOLS/envoy-gateway=/usr/local/bin/envoy-gateway" $ca=$ca /etc/passwd=/etc/passwd
# Envoy is linked with the C library.
image localhost/envoy:1.40.0 "$tmp/envoy.tar" /usr/local/bin/envoy "$TOOLS/envoy=/usr/local/bin/envoy" $ca=$ca /etc/passwd=/etc/passwd \
  "$(readlink -f /lib64/ld-linux-x86-64.so.2)=/lib64/ld-linux-x86-64.so.2" \
  $(for l in libm.so.6 librt.so.1 libdl.so.2 libpthread.so.0 libc.so.6; do echo "$(readlink -f $lib/$l)=$lib/$l"; done)
rm "$tmp/pause"
cp -r "$(cd "$HERE/tools/envoy-gateway" && GOFLAGS=-buildvcs=false go list -m -f '{{.Dir}}' github.com/envoyproxy/gateway)/charts/gateway-helm" "$tmp/"
chmod -R u+w "$tmp/gateway-helm"
sed -e 's#${GatewayImage}#localhost/envoy-gateway:1.9.1#; s#${GatewayImagePullPolicy}#Never#' "$tmp/gateway-helm/values.tmpl.yaml" > "$tmp/gateway-helm/values.yaml"
sed -i 's/^version: v0.0.0-latest/version: 1.9.1/' "$tmp/gateway-helm/Chart.yaml"
mv "$tmp" "$out"; echo "$out"
