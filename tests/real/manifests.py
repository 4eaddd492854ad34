"""What is put on the cluster: a namespace, and a model whose pods run the host's Python."""
import hashlib
import os
import pathlib
import sys

NAMESPACE, MODEL, HOST = "real", "magika", "magika.example"
HERE = pathlib.Path(__file__).resolve().parent
PYTHON, HOME = os.path.realpath(sys.executable), os.path.realpath(sys.base_prefix)


def namespace():
    """Pods mount directories of the node, which both of the stricter levels forbid."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def digest(*words):
    """Names a revision. Its weights need not differ from those of another: guardbit does not look into them."""
    return "sha256:" + hashlib.sha256(" ".join(map(str, words)).encode()).hexdigest()


def mounts(installed):
    """Directory in the pod: directory of the node. The interpreter lies where it lies on the node, or it finds nothing."""
    # Triton starts its Python backend by a shell.
    system = {path: path for path in ("/usr", "/bin", "/lib", "/lib64") if os.path.isdir(path)}
    own = {} if HOME == "/usr" or HOME.startswith("/usr/") else {HOME: HOME}
    return {**system, **own, "/site": f"{installed}/site", "/models": f"{installed}/models", "/server": str(HERE)}


def pod(installed):
    """The image is that of the pause container: there is nothing in it but a root directory."""
    directories = mounts(installed)
    volumes = [{"name": f"v{i}", "hostPath": {"path": path, "type": "Directory"}} for i, path in enumerate(directories.values())]
    places = [{"name": f"v{i}", "mountPath": place, "readOnly": True} for i, place in enumerate(directories)]
    container = {
        "name": "server", "image": "localhost/pause:1", "imagePullPolicy": "Never",
        # The kubelet puts in the name of the variant, which guardbit sets.
        "command": [PYTHON], "args": ["/server/server.py", "/models/$(GUARDBIT_VARIANT).onnx"],
        "env": [{"name": "PYTHONPATH", "value": "/site"}, {"name": "HOME", "value": "/tmp"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "300m", "memory": "200Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [*places, {"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 20,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [*volumes, {"name": "tmp", "emptyDir": {}}],
    }


def variants(digests):
    bits = {"bits": 8, "type": "Int", "symmetric": True, "granularity": "PerTensor"}
    return [
        {"name": "fp32", "precision": "FP32", "weights": {"uri": "file:///models/fp32.onnx", "digest": digests["fp32"]}},
        {
            "name": "int8", "precision": "INT8", "weights": {"uri": "file:///models/int8.onnx", "digest": digests["int8"]},
            "quantization": {"method": "PostTrainingDynamic", "weights": bits, "activations": {**bits, "symmetric": False}},
        },
    ]


def steps(first):
    return [{"weight": weight, "hold": "10s"} for weight in sorted({first, 50})]


def model(installed, digests, replicas):
    """Every setting that is not here has its default."""
    return {
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel",
        "metadata": {"name": MODEL, "namespace": NAMESPACE},
        "spec": {
            "model": {"name": MODEL, "version": "standard_v3_3"},
            "preset": "KServe",
            "target": "fp32",
            "serving": {"port": 8080, "replicas": replicas, "template": {"spec": pod(installed)}},
            "variants": variants(digests),
            "traffic": {"gateway": {
                "parentRefs": [{"name": "inference", "namespace": "gateway-system"}], "hostnames": [HOST],
                "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}], "timeouts": {"request": "10s"},
            }},
            "prometheus": {"armMatchers": "Pod"},
            # Prometheus scrapes every second. Nothing is kept of a rollout, so that the next one can begin.
            "rollout": {"steps": steps(50), "holdout": 0, "keepWarm": "0s"},
        },
    }
