#!/bin/bash
# scale.sh MODELS idle|rollouts|all|governed [GUARDBIT] — one run on a control plane of its own with fake nodes; prints figures as JSON.
set -euo pipefail
cd "$(dirname "$0")/../../.."
models=$1; what=$2; binary=${3:-target/release/guardbit}
[ $# -ge 3 ] || cargo build --release --bin guardbit >&2
tests/cluster/tools.sh control-plane > /dev/null; tools=$(tests/cluster/tools.sh scale)
module() { (cd "tests/cluster/tools/$1" && go mod download "$2" && go list -m -f '{{.Dir}}' "$2"); }
stages=$(module kwok sigs.k8s.io/kwok)/kustomize/stage
routes=$(module envoy-gateway sigs.k8s.io/gateway-api)/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml
dir=$(mktemp -d -u "${TMPDIR:-/tmp}/guardbit-scale.XXXXXX")
trap 'tests/cluster/cluster.sh down "$dir"' EXIT
tests/cluster/cluster.sh up "$dir" control-plane
kubectl() { tests/cluster/cluster.sh kubectl "$dir" "$@"; }
kubectl apply --server-side -f "$routes" -o name >&2
kubectl apply --server-side -k crds -o name >&2
kubectl create namespace guardbit-system >&2
kubectl apply --server-side -k config/rbac -o name >&2
# A user of its own, with the rights of the controller: the API server counts its requests.
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/pki/guardbit.key" -out "$dir/pki/guardbit.csr" -subj /CN=guardbit 2> /dev/null
openssl x509 -req -in "$dir/pki/guardbit.csr" -CA "$dir/pki/ca.crt" -CAkey "$dir/pki/ca.key" -CAcreateserial -days 30 -out "$dir/pki/guardbit.crt" \
  -extfile <(echo extendedKeyUsage=clientAuth) 2> /dev/null
sed 's#pki/admin\.#pki/guardbit.#g' "$dir/admin.kubeconfig" > "$dir/guardbit.kubeconfig"
for role in guardbit guardbit-policies; do kubectl create clusterrolebinding "bench-$role" --clusterrole="$role" --user=guardbit >&2; done
# As it is installed: who acts is kept, and records stay as they are. guardbit is another user here.
if [ "$what" = governed ]; then
  kubectl kustomize config/governance | sed 's/system:serviceaccount:guardbit-system:guardbit/guardbit/' > "$dir/governance.yaml"
  kubectl apply --server-side -f "$dir/governance.yaml" -o name >&2
fi
for f in "$stages"/{node/fast,node/heartbeat-with-lease,pod/fast}/*.yaml; do
  case $f in */kustomization.yaml) ;; *) echo ---; cat "$f" ;; esac
done > "$dir/stages.yaml"
tests/cluster/cluster.sh exec "$dir" "$tools/kwok" --kubeconfig "$dir/admin.kubeconfig" --config "$dir/stages.yaml" --cidr 10.99.0.0/16 \
  --manage-nodes-with-annotation-selector kwok.x-k8s.io/node=fake --node-lease-duration-seconds 40 > "$dir/log/kwok" 2>&1 &
tests/cluster/cluster.sh exec "$dir" env $(cat "$dir/env") python3 tests/bench/scale/main.py "$binary" "$models" "$what"
