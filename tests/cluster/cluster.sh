#!/bin/bash
# cluster.sh up DIR [control-plane|full] | down DIR | exec DIR COMMAND… | kubectl DIR … | images DIR TAR… | push DIR NAME FILE=PATH…
#            | stop|start DIR PROCESS
# One real Kubernetes in private network, PID and mount namespaces. The only PID that matters outside is the namespaces'
# init: killing it ends every process and every mount at once. There is no default route, so nothing can leave.
#   control-plane  etcd, kube-apiserver and kube-controller-manager; about 4 s
#   full           also scheduler, kubelet with containerd, a registry, kube-proxy, CoreDNS, Envoy Gateway with Envoy, Prometheus
# $GUARDBIT_TOOLS is where tools.sh put the programs.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
TOOLS=${GUARDBIT_TOOLS:-${GUARDBIT_CACHE:-$HOME/.cache/guardbit}/bin}
BIN=$TOOLS/testplane                          # kube-*, kubectl and etcd in one binary
NODE_IP=172.31.0.1 POD_CIDR=10.244.0.0/24 SVC_CIDR=10.96.0.0/16
REGISTRY=$NODE_IP:5000
die(){ echo "cluster.sh: $*" >&2; exit 1; }
cmd=${1:-}; D=${2:-}; [ -n "$cmd" ] && [ -n "$D" ] || die "usage: cluster.sh up|down|exec|kubectl|images|push|stop|start DIR …"
D=$(realpath -m "$D"); shift 2
CG=gb-$(printf %s "$D" | md5sum | cut -c1-8)  # our cgroup's name in every hierarchy

init_pid(){ # prints the pid of the namespaces' init if it still is the process that up started
  [ -f "$D/init.pid" ] || return 1
  local pid start; read -r pid start < "$D/init.pid"
  [ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$start" ] && echo "$pid"; }
inside(){ local p; p=$(init_pid) || die "$D is not up"; nsenter -t "$p" -n -p -m --wdns="$PWD" -- "$@"; }
exec_inside(){ local p; p=$(init_pid) || die "$D is not up"; exec nsenter -t "$p" -n -p -m --wdns="$PWD" -- "$@"; }
kc(){ "$BIN" kubectl --kubeconfig "$D/admin.kubeconfig" "$@"; }

pki(){
  mkdir -p "$D/pki"; cd "$D/pki"
  local ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
  openssl req -x509 $ec -keyout ca.key -out ca.crt -subj /CN=test-ca -days 30 2>/dev/null
  local name subj san
  while read -r name subj san; do
    openssl req $ec -keyout "$name.key" -out "$name.csr" -subj "$subj" 2>/dev/null
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$name.crt" \
      -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$san") 2>/dev/null
    cat > "$D/$name.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$NODE_IP:6443", certificate-authority: $D/pki/ca.crt}}]
users: [{name: u, user: {client-certificate: $D/pki/$name.crt, client-key: $D/pki/$name.key}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
K
  done <<L
apiserver /CN=kube-apiserver IP:127.0.0.1,IP:$NODE_IP,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc
admin /O=system:masters/CN=admin DNS:admin
kcm /CN=system:kube-controller-manager DNS:kcm
scheduler /CN=system:kube-scheduler DNS:scheduler
proxy /CN=system:kube-proxy DNS:proxy
node-1 /O=system:nodes/CN=system:node:node-1 DNS:node-1,IP:$NODE_IP
L
  openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  cd "$D"; }

configs(){
  mkdir -p "$D/cni" "$D/ctd"
  # ptp, not bridge: every pod is reached by a route, so conntrack sees all Service traffic (no br_netfilter needed)
  cat > "$D/cni/10-pods.conflist" <<K
{"cniVersion":"1.0.0","name":"pods","plugins":[
 {"type":"ptp","ipMasq":false,"ipam":{"type":"host-local","dataDir":"$D/ipam","ranges":[[{"subnet":"$POD_CIDR"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
K
  cat > "$D/ctd/config.toml" <<K
version = 3
root = "$D/ctd/root"
state = "/run/ctd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri"]
[grpc]
  address = "/run/ctd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "$D/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "$D/cni"
K
  # The registry has no certificate. What it holds is found by digest, and checked against it.
  mkdir -p "$D/certs.d/$REGISTRY" "$D/registry"
  echo "server = \"http://$REGISTRY\"" > "$D/certs.d/$REGISTRY/hosts.toml"
  cat > "$D/registry.yaml" <<K
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $D/registry}}
http: {addr: "$REGISTRY"}
K
  cat > "$D/kubelet.yaml" <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix:///run/ctd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $D/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $D/pki/node-1.crt
tlsPrivateKeyFile: $D/pki/node-1.key
failSwapOn: false
resolvConf: ""
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
address: $NODE_IP
evictionHard: {nodefs.available: "0%", imagefs.available: "0%", memory.available: "1Mi"}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 2s
syncFrequency: 5s
maxPods: 100
registryPullQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
eventRecordQPS: 0
K
  cat > "$D/proxy.yaml" <<K
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ${PROXY_MODE:-nftables}
hostnameOverride: node-1
clientConnection: {kubeconfig: $D/proxy.kubeconfig}
detectLocalMode: ClusterCIDR
clusterCIDR: $POD_CIDR
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {minSyncPeriod: 100ms, syncPeriod: 10s}
iptables: {minSyncPeriod: 100ms, syncPeriod: 10s}
K
  cat > "$D/scheduler.yaml" <<K
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: $D/scheduler.kubeconfig, qps: 1000, burst: 2000}
K
}

spawn(){ local name=$1; shift; "$@" > "$D/log/$name" 2>&1 & echo $! > "$D/pid/$name"; } # pids as seen inside
await(){ local what=$1; shift; local i; for i in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep .05; done; die "timed out: $what"; }
node_ready(){ [ "$(kc get node node-1 -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

init(){ # runs as PID 1 of the new namespaces
  local b f tier; tier=$(cat "$D/tier")
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run; mkdir -p /run/netns /run/lock /run/cg
  for b in /sys/fs/cgroup/*/; do           # our own cgroup becomes the root of every hierarchy; the real root must be
    [ -e "${b}cgroup.procs" ] || continue  # unmounted first, because runc believes the first mountinfo line it finds
    mkdir "$b$CG"
    for f in cpuset.cpus cpuset.mems; do [ ! -f "$b$f" ] || cat "$b$f" > "$b$CG/$f"; done
    mount --bind "$b$CG" /run/cg; umount "$b"; mount --move /run/cg "$b"
  done
  mkdir -p "$D/var" "$D/varwork"; mount -t overlay -o "lowerdir=/var,upperdir=$D/var,workdir=$D/varwork" overlay /var
  ip link set lo up
  ip link add node0 type veth peer name node0p; ip link set node0 up; ip link set node0p up
  ip addr add $NODE_IP/24 dev node0
  # Service addresses need a route, or connect() fails before the OUTPUT hook can translate them; untranslated, they die on node0.
  ip route add $SVC_CIDR dev node0 src $NODE_IP
  echo 1 > /proc/sys/net/ipv4/ip_forward
  ulimit -n 20000
  spawn etcd "$BIN" etcd --data-dir "$D/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync --log-level warn
  if [ "$tier" = full ]; then
    # It looks for its shim on the path, where Debian may have another one.
    PATH=$TOOLS:$PATH spawn containerd "$TOOLS/containerd" -c "$D/ctd/config.toml"
    spawn registry "$TOOLS/registry" serve "$D/registry.yaml"
  fi
  spawn kube-apiserver "$BIN" kube-apiserver --etcd-servers http://127.0.0.1:2379 --bind-address 0.0.0.0 --advertise-address $NODE_IP --secure-port 6443 \
    --tls-cert-file "$D/pki/apiserver.crt" --tls-private-key-file "$D/pki/apiserver.key" --client-ca-file "$D/pki/ca.crt" \
    --kubelet-client-certificate "$D/pki/admin.crt" --kubelet-client-key "$D/pki/admin.key" --kubelet-preferred-address-types InternalIP \
    --service-account-key-file "$D/pki/sa.pub" --service-account-signing-key-file "$D/pki/sa.key" --service-account-issuer https://kubernetes.default.svc \
    --service-cluster-ip-range $SVC_CIDR --authorization-mode Node,RBAC --allow-privileged=true
  if [ "$tier" = full ]; then
    for f in "$IMAGES"/*.tar; do await "image $f" "$TOOLS/ctr" -a /run/ctd.sock -n k8s.io images import "$f"; done
  fi
  await apiserver kc get --raw /readyz
  spawn kube-controller-manager "$BIN" kube-controller-manager --kubeconfig "$D/kcm.kubeconfig" --service-account-private-key-file "$D/pki/sa.key" \
    --root-ca-file "$D/pki/ca.crt" --leader-elect=false --use-service-account-credentials=true --bind-address 127.0.0.1 --kube-api-qps 500 --kube-api-burst 1000
  if [ "$tier" = full ]; then
    spawn kube-scheduler "$BIN" kube-scheduler --config "$D/scheduler.yaml" --bind-address 127.0.0.1
    spawn kubelet "$BIN" kubelet --config "$D/kubelet.yaml" --kubeconfig "$D/node-1.kubeconfig" --hostname-override node-1 --node-ip $NODE_IP --root-dir "$D/kubelet"
    spawn kube-proxy "$BIN" kube-proxy --config "$D/proxy.yaml"
    await "node Ready" node_ready
  else
    await "the default service account" kc get serviceaccount default
  fi
  touch "$D/ready"
  while :; do wait -n || true; read -r -t 1 <> "$D/idle" || true; done; }   # reap whatever is re-parented to us

prometheus(){ # started and stopped by tests; its data outlives it
  inside bash -euc '"$1" --config.file="$2/prometheus.yml" --storage.tsdb.path="$2/tsdb" --web.listen-address=0.0.0.0:9090 \
    > "$2/log/prometheus" 2>&1 < /dev/null & echo $! > "$2/pid/prometheus"
    for i in $(seq 200); do curl -sf http://127.0.0.1:9090/-/ready >/dev/null && exit 0; sleep .05; done; tail -3 "$2/log/prometheus" >&2; exit 1' _ "$TOOLS/prometheus" "$D"; }

addons(){ # what runs on the node: name service, gateway, metrics
  sed "s#@D@#$D#" "$HERE/manifests/prometheus.yml" > "$D/prometheus.yml"
  prometheus & local p=$!
  "$HERE/cluster.sh" kubectl "$D" apply -f "$HERE/manifests/coredns.yaml" -f "$HERE/manifests/monitoring.yaml" > "$D/log/addons"
  mkdir -p "$D/home"
  "$HERE/cluster.sh" exec "$D" env HOME="$D/home" "$TOOLS/helm" --kubeconfig "$D/admin.kubeconfig" install eg "$IMAGES/gateway-helm" \
    -n envoy-gateway-system --create-namespace --set topologyInjector.enabled=false --wait --timeout 120s >> "$D/log/addons"
  "$HERE/cluster.sh" kubectl "$D" apply -f "$HERE/manifests/gateway.yaml" >> "$D/log/addons"
  "$HERE/cluster.sh" kubectl "$D" -n gateway-system wait --for=condition=Programmed gateway/inference --timeout=60s >> "$D/log/addons"
  wait $p
  echo "GUARDBIT_GATEWAY_URL=http://$("$HERE/cluster.sh" kubectl "$D" -n gateway-system get gateway inference -o 'jsonpath={.status.addresses[0].value}')" >> "$D/env"
  echo "GUARDBIT_PROMETHEUS_URL=http://$NODE_IP:9090" >> "$D/env"; }

case $cmd in
up)
  tier=${1:-full}; case $tier in control-plane|full) ;; *) die "no tier $tier" ;; esac
  [ ! -e "$D" ] || die "$D exists"
  [ "$tier" = control-plane ] || IMAGES=$("$HERE/images.sh")
  mkdir -p "$D/log" "$D/pid"; echo "$tier" > "$D/tier"; mkfifo "$D/idle"; pki; configs
  printf 'KUBECONFIG=%s\nGUARDBIT_CLUSTER_DIR=%s\nGUARDBIT_CLUSTER_SH=%s\n' "$D/admin.kubeconfig" "$D" "$HERE/cluster.sh" > "$D/env"
  IMAGES=${IMAGES:-} setsid unshare --net --pid --mount --fork --kill-child=SIGKILL --mount-proc bash "$HERE/cluster.sh" init "$D" > "$D/log/init" 2>&1 < /dev/null &
  u=$!; for i in $(seq 100); do p=$(cat /proc/$u/task/$u/children 2>/dev/null) && [ -n "$p" ] && break; sleep .02; done
  p=${p%% *}; echo "$p $(cut -d' ' -f22 /proc/$p/stat)" > "$D/init.pid"
  for i in $(seq 1200); do [ -e "$D/ready" ] && break; init_pid >/dev/null || break; sleep .05; done
  [ -e "$D/ready" ] || { tail -n 5 "$D"/log/* >&2; die "did not come up; logs in $D/log, then: cluster.sh down $D"; }
  [ "$tier" = control-plane ] || addons ;;
init) [ $$ = 1 ] || die "init is for up only"; init ;;
down)
  if p=$(init_pid); then kill -KILL "$p"; for i in $(seq 200); do init_pid >/dev/null || break; sleep .05; done; fi
  for i in $(seq 100); do                  # the kernel finishes killing asynchronously
    find /sys/fs/cgroup/*/"$CG" -depth -type d -exec rmdir {} + 2>/dev/null || true
    compgen -G "/sys/fs/cgroup/*/$CG" >/dev/null || break; sleep .05
  done
  rm -rf "$D" ;;
stop)
  inside bash -euc 'p=$(cat "$1/pid/$2"); kill -TERM $p; while kill -0 $p 2>/dev/null; do sleep .05; done' _ "$D" "$1" ;;
start) [ "$1" = prometheus ] || die "only prometheus can be started again"; prometheus ;;
images) for f in "$@"; do inside "$TOOLS/ctr" -a /run/ctd.sock -n k8s.io images import "$(realpath "$f")" > /dev/null; done ;;
push) exec_inside python3 "$HERE/push.py" "$REGISTRY" "$@" ;;
exec) exec_inside "$@" ;;
kubectl) exec_inside "$BIN" kubectl --kubeconfig "$D/admin.kubeconfig" "$@" ;;
*) die "unknown command $cmd" ;;
esac
