#!/bin/bash
# demo.sh — the main job before your eyes: a cluster, guardbit as a pod, the sample under load. Exit code 0 only if all of it
# happened. demo.sh clean removes everything.
#   CLUSTER=existing   use the current kubeconfig, which must have a Gateway `inference` in `gateway-system`, Prometheus as
#                      `prometheus` in `monitoring`, and the two images of tests/cluster/build-images.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${TMPDIR:-/tmp}/guardbit-demo
cluster=tests/cluster/cluster.sh
if [ "${CLUSTER:-own}" = existing ]; then
  kube() { kubectl "$@"; }
  export KUBECTL=kubectl
else
  kube() { "$cluster" kubectl "$dir" "$@"; }
  export KUBECTL="$cluster kubectl $dir"
fi

clean() {
  if [ "${CLUSTER:-own}" != existing ]; then "$cluster" down "$dir"; return; fi
  # Models first, while guardbit is there to take them down in order.
  kube delete namespace risk --ignore-not-found
  kube delete --ignore-not-found -k config/default
}

if [ "${1:-}" = clean ]; then clean; exit; fi

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
images=$PWD/target/images
if [ "${CLUSTER:-own}" != existing ]; then
  say "Building what is missing"
  tests/cluster/tools.sh all > /dev/null
  tests/cluster/build-images.sh guardbit model-server
  say "Starting a cluster: kube-apiserver, kubelet, Envoy Gateway, Prometheus"
  "$cluster" down "$dir"
  "$cluster" up "$dir" full
  "$cluster" images "$dir" "$images/guardbit.tar" "$images/model-server.tar"
fi

say "kubectl apply --server-side -k config/default"
kube apply --server-side --force-conflicts -k config/default
kube -n guardbit-system rollout status deployment/guardbit --timeout=60s
gateway=$(kube -n gateway-system get gateway inference -o 'jsonpath={.status.addresses[0].value}')
sed "s#@GATEWAY@#http://$gateway#" tests/demo/manifests.yaml | kube create --dry-run=client -o yaml -f - > /dev/null
sed "s#@GATEWAY@#http://$gateway#" tests/demo/manifests.yaml > "$images/demo.yaml"

say "kubectl apply -f config/samples/fraud-scorer.yaml, with spec.comparer and an agreement guard"
exec python3 tests/demo/timeline.py config/samples/fraud-scorer.yaml "$images/demo.yaml"
