"""What is put on the cluster for comparisons in pairs: a model behind one of two servers, a comparer, and its golden set."""
import manifests
from manifests import HOME, MODEL, NAMESPACE

INFER = f"/v2/models/{MODEL}/infer"
GOLDEN = f"{MODEL}-golden"
TOLERANCE = "5%"


def kserve(installed):
    """KServe's Python server: the pod of the other runs."""
    return {"preset": "KServe", "port": 8080, "pod": manifests.pod(installed)}


def triton(installed):
    """Triton. Its Python backend runs the Python of the node, which is found by its path."""
    pod = manifests.pod(installed)
    package = "/site/pytriton/tritonserver"
    environment = {
        "HOME": "/tmp", "PATH": f"{HOME}/bin:/usr/bin:/bin", "PYTHONPATH": "/site:/server",
        "LD_LIBRARY_PATH": f"{HOME}/lib:/site/nvidia_pytriton.libs",
    }
    pod["containers"][0].update({
        "command": [f"{package}/bin/tritonserver"],
        "args": [
            "--model-repository=/server/triton", f"--backend-directory={package}/backends", "--allow-grpc=false",
            "--allow-gpu-metrics=false",
            # A pod has 64 MiB of shared memory, which would be the size of its first piece.
            "--backend-config=python,shm-default-byte-size=4194304", "--backend-config=python,shm-growth-byte-size=1048576",
        ],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        # Prometheus scrapes the port that is called http.
        "ports": [{"name": "http", "containerPort": 8002}, {"name": "api", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": "api"}, "periodSeconds": 1},
    })
    return {"preset": "Triton", "port": 8000, "pod": pod}


SERVERS = {"kserve": kserve, "triton": triton}


def variants(digests, *names):
    """The reference, and those on trial. `same` has the reference's weights under another name: a new reference would be compared with
    nothing."""
    fp32, int8 = manifests.variants(digests)
    four = {"bits": 4, "type": "Int", "symmetric": True, "granularity": "PerTensor"}
    named = lambda name, **more: {"name": name, "weights": {"uri": f"file:///models/{name}.onnx", "digest": digests[name]}, **more}
    known = {
        "int8": int8,
        "int4": named("int4", precision="INT4", quantization={"method": "WeightOnly", "weights": four}),
        "same": named("same", precision="FP32"),
    }
    return [fp32, *(known[name] for name in names)]


def golden(text):
    """The golden set, as the comparer's pod mounts it."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": GOLDEN, "namespace": NAMESPACE},
            "immutable": True, "data": {"golden.jsonl": text}}


def model(server, digests, golden_digest, options):
    """Every setting that is not here, or in the other runs, has its default."""
    made = manifests.model(options.installed, digests, options.replicas)
    spec = made["spec"]
    spec["preset"] = server["preset"]
    spec["serving"].update({"port": server["port"], "template": {"spec": server["pod"]}})
    spec["variants"] = variants(digests)
    spec["traffic"]["gateway"]["matches"] = [{"path": {"type": "PathPrefix", "value": "/v2"}}]
    spec["guards"] = [{"name": "agreement", "agreement": {"tolerance": {"absolute": TOLERANCE}}}]
    spec["comparer"] = {
        "golden": {"configMap": GOLDEN, "digest": golden_digest, "path": INFER},
        "rate": f"{options.rate:g}", "budget": {"pairs": 1_000_000},
    }
    spec["rollout"]["shadow"] = {"pairs": options.pairs}
    return made
