"""The API server as the benchmark needs it: a client, fake nodes, models, and a count of guardbit's own requests."""
import http.client
import json
import re
import ssl
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

NODES = 20
MODELS = "/apis/guardbit.dev/v1alpha1/quantizedmodels"
RECORDS = "/apis/guardbit.dev/v1alpha1/precisiondecisions"


def namespace(i):
    """A thousand models share one: Kubernetes' own controllers go through all that is in a namespace for each object of it."""
    return f"scale-{i // 1000}"


def of_model(i):
    return f"/apis/guardbit.dev/v1alpha1/namespaces/{namespace(i)}/quantizedmodels"


class Api:
    """A client with the credentials of a kubeconfig that names files; one connection a thread."""

    def __init__(self, kubeconfig):
        text = open(kubeconfig).read()
        field = lambda name: re.search(rf'{name}: "?([^",}}\s]+)', text).group(1)
        self.host = field("server").removeprefix("https://")
        self.ca, self.cert, self.key = field("certificate-authority"), field("client-certificate"), field("client-key")
        self.local = threading.local()

    def call(self, method, path, body=None, kind="application/json", ok=(200, 201, 202)):
        for attempt in (1, 2):
            if not hasattr(self.local, "connection"):
                context = ssl.create_default_context(cafile=self.ca)
                context.load_cert_chain(self.cert, self.key)
                self.local.connection = http.client.HTTPSConnection(self.host, context=context, timeout=60)
            try:
                text = body if isinstance(body, (str, type(None))) else json.dumps(body)
                self.local.connection.request(method, path, text, {"Content-Type": kind, "Accept": "application/json"})
                answer = self.local.connection.getresponse()
                data = answer.read()
                break
            except (OSError, http.client.HTTPException):
                del self.local.connection
                if attempt == 2:
                    raise
        if answer.status not in ok:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]}")
        return data

    def get(self, path):
        return json.loads(self.call("GET", path))

    def apply(self, path, document):
        query = "?fieldManager=bench&force=true"
        return self.call("PATCH", path + query, document, "application/apply-patch+yaml")

    def items(self, path):
        """All items of a list, page by page."""
        token = ""
        while True:
            page = self.get(f"{path}?limit=500" + (f"&continue={token}" if token else ""))
            yield from page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return


def each(work, items, threads=16):
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))


def prepare(api, user, models):
    """Namespaces, fake nodes, and a flow schema for reads and one for writes of `user`, which count its requests."""
    for name in sorted({namespace(i) for i in range(models)}):
        api.apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for i in range(NODES):
        size = {"cpu": "10k", "memory": "10Ti", "pods": "5000"}
        api.apply(f"/api/v1/nodes/fake-{i}", {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": f"fake-{i}", "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"allocatable": size, "capacity": size},
        })
    flows = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    for name, verbs, precedence in (("bench-writes", ["create", "update", "patch", "delete"], 50), ("bench-reads", ["*"], 51)):
        rule = {
            "subjects": [{"kind": "User", "user": {"name": user}}],
            "resourceRules": [{"verbs": verbs, "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}],
        }
        api.apply(f"{flows}/{name}", {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
            "spec": {"priorityLevelConfiguration": {"name": "workload-high"}, "matchingPrecedence": precedence, "rules": [rule]},
        })


def govern(api):
    """One policy that selects every model and asks nothing but that decisions go on record."""
    api.apply("/apis/guardbit.dev/v1alpha1/precisionpolicies/bench", {
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionPolicy", "metadata": {"name": "bench"}, "spec": {"records": {}},
    })
    # Admission comes to work part by part, and refuses changes of models in between.
    for _ in range(60):
        try:
            made = json.loads(api.call("POST", f"{of_model(0)}?dryRun=All", model(0, "fp32")))
            if "guardbit.dev/authors" in made["metadata"].get("annotations", {}):
                return
        except RuntimeError:
            pass
        time.sleep(1)
    raise TimeoutError("nobody keeps who changed a model")


def records(api):
    """How many records there are, and how large one is in etcd."""
    sizes = [len(json.dumps(record, separators=(",", ":"))) for record in api.items(RECORDS)]
    return {"records": len(sizes), "record_kib": round(sum(sizes) / max(1, len(sizes)) / 1024, 1)}


def etcd_bytes():
    """What etcd holds, with what was overwritten in the last minutes and is not compacted yet."""
    text = urllib.request.urlopen("http://127.0.0.1:2379/metrics", timeout=30).read().decode()
    return float(re.search(r"^etcd_mvcc_db_total_size_in_use_in_bytes (\S+)$", text, re.M).group(1))


def requests(api):
    """Requests of guardbit so far: (all, writes)."""
    text = api.call("GET", "/metrics").decode()
    lines = re.findall(r'^apiserver_flowcontrol_dispatched_requests_total\{flow_schema="bench-(\w+)".*\} (\S+)$', text, re.M)
    counts = {kind: 0 for kind in ("reads", "writes")}
    for kind, value in lines:
        counts[kind] += int(float(value))
    return counts["reads"] + counts["writes"], counts["writes"]


def model(i, target, interval="60s"):
    digest = lambda text: "sha256:" + __import__("hashlib").sha256(text.encode()).hexdigest()
    container = {"name": "server", "image": "registry.example/server:1", "args": ["serve"], "ports": [{"containerPort": 8080}]}
    return {
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel",
        "metadata": {"name": f"model-{i:05}", "namespace": namespace(i)},
        "spec": {
            "model": {"name": f"model-{i:05}", "version": "1", "riskTier": "Limited"},
            "target": target,
            # There is no scheduler: a template says on which fake node its pods run.
            "serving": {"port": 8080, "replicas": 1, "template": {"spec": {"nodeName": f"fake-{i % NODES}", "containers": [container]}}},
            "variants": [
                {"name": "fp32", "precision": "FP32", "weights": {"uri": "s3://models/fp32", "digest": digest("fp32")}},
                {"name": "int8", "precision": "INT8", "weights": {"uri": "s3://models/int8", "digest": digest("int8")},
                 "quantization": {"method": "PostTrainingStatic", "weights": {"bits": 8, "type": "Int", "symmetric": True, "granularity": "PerChannel"}}},
            ],
            "traffic": {"gateway": {"parentRefs": [{"name": "inference"}], "hostnames": [f"model-{i:05}.example"]}},
            "guards": [
                {"name": "errors", "proportion": {"bad": 'http_requests_total{code=~"5.."}', "total": "http_requests_total"}},
                {"name": "latency", "latency": {"histogram": "http_request_duration_seconds", "budget": {"percentile": "95", "within": "100ms"}}},
            ],
            "rollout": {"interval": interval, "warmUp": "0s", "steps": [{"weight": 5, "hold": "60m"}, {"weight": 50, "hold": "60m"}]},
        },
    }
