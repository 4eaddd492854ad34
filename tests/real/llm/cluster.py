"""cluster.py GUARDBIT INSTALLED IMAGE — rollouts of quantized language models from F16, each of a model of its own on one cluster.

Each has a shadow stage, in which the comparer that guardbit runs asks both arms for next tokens. What is within its tolerance must be
promoted, and what is beyond rejected by the agreement guard before its first weight. Run by cluster.sh, which starts the cluster. Exits
with 1 if one ends otherwise.
"""
import argparse
import pathlib
import subprocess
import sys

import manifests
from compare import command, offline
from stage import PATIENCE, Guardbit, Model, apply, at_rest, kubectl

GOLDEN = "golden"
PAIRS = 400  # of the shadow stage
LIMIT = 900  # seconds until a rollout has ended
# Variant on trial, tolerance, the outcome that is right.
ROLLOUTS = [("q8-0", "12%", "Promoted"), ("q4-k-m", "25%", "Promoted"), ("q4-k-m", "8%", "RolledBack"), ("q2-k", "25%", "RolledBack")]
# Variant: file, precision, bits and size of the groups of most weights.
VARIANTS = {"q8-0": ("Q8_0", "INT8", 8, 32), "q4-k-m": ("Q4_K_M", "INT4", 4, 32), "q2-k": ("Q2_K", "INT2", 2, 16)}


def variant(name, file, precision):
    return {"name": name, "precision": precision, "weights": {"uri": f"/models/{file}.gguf", "digest": manifests.digest(file)}}


def quantized(name):
    file, precision, bits, size = VARIANTS[name]
    weights = {"bits": bits, "type": "Int", "symmetric": False, "granularity": "PerGroup", "groupSize": size}
    return {**variant(name, file, precision), "quantization": {"method": "WeightOnly", "algorithm": file, "weights": weights}}


def pod(installed):
    """The pod of the classifier, with another server in it. The kubelet puts in the file, which guardbit tells."""
    pod = manifests.pod(installed)
    container = pod["containers"][0]
    container.update(command=command("/site", "$(GUARDBIT_WEIGHTS_URI)", "0.0.0.0", 8080), args=[])
    container["readinessProbe"]["httpGet"]["path"] = "/health"
    return pod


def model(name, candidate, installed, digest, tolerance):
    """Serves F16, and tries nothing yet. Every setting that is not here has its default."""
    return {
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel",
        "metadata": {"name": name, "namespace": manifests.NAMESPACE},
        "spec": {
            "model": {"name": "smollm2", "version": "135m"},
            "target": "f16",
            "serving": {"port": 8080, "replicas": 1, "template": {"spec": pod(installed)}},
            "variants": [variant("f16", "F16", "FP16"), quantized(candidate)],
            "traffic": {"gateway": {
                "parentRefs": [{"name": "inference", "namespace": "gateway-system"}], "hostnames": [f"{name}.example"],
                "matches": [{"path": {"type": "PathPrefix", "value": "/v1"}}],
            }},
            # About as fast as two cores answer.
            "comparer": {"protocol": "OpenAI", "golden": {"configMap": GOLDEN, "digest": digest}, "rate": "5"},
            "guards": [{"name": "agreement", "agreement": {"tolerance": {"absolute": tolerance}}}],
            "rollout": {"shadow": {"pairs": PAIRS}, "steps": manifests.steps(50), "holdout": 0, "keepWarm": "0s"},
        },
    }


def golden(text):
    """The golden set, as the comparer's pod mounts it."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": GOLDEN, "namespace": manifests.NAMESPACE},
            "immutable": True, "data": {"golden.jsonl": text}}


class Run:
    """One rollout, from a model that serves F16 to its end."""

    def __init__(self, guardbit, installed, digest, wanted):
        self.variant, self.tolerance, self.wanted = wanted
        self.name = f"{self.variant}-at-{self.tolerance.rstrip('%')}"
        self.weighed = False
        _, self.offline = offline(installed, VARIANTS[self.variant][0])
        apply(model(self.name, self.variant, installed, digest, self.tolerance))
        self.model = Model(guardbit, self.name)
        self.model.until("f16 serves alone", lambda state: at_rest(state, "f16", 1))
        propose = lambda: self.model.patch(target=self.variant)
        self.outcome, self.why, self.seconds = self.model.rollout(self.variant, propose, LIMIT, self.seen)

    def seen(self, status, _):
        self.weighed |= bool((status.get("rollout") or {}).get("firstWeightAt"))

    def problems(self):
        rejected = [(one["variant"], one["guard"]) for one in self.model.newest["status"].get("rejected", [])]
        if self.outcome != self.wanted:
            yield f"{self.outcome}, and not {self.wanted}: {self.why}{self.model.story()}"
        elif self.wanted == "RolledBack" and (rejected != [(self.variant, "agreement")] or self.weighed):
            yield f"it was not rejected by agreement in the shadow stage: {rejected}{self.model.story()}"

    def row(self):
        weight = "yes" if self.weighed else "none"
        return f"| {self.variant} | {self.tolerance} | {self.outcome} | {weight} | {self.seconds:.0f} s | {self.offline:.1%} | {self.why} |"

    def remove(self):
        """The next one has the processors for itself."""
        kubectl("-n", manifests.NAMESPACE, "delete", "quantizedmodel", self.name, f"--timeout={PATIENCE}s")
        self.model.pods_are(0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("guardbit", help="the program")
    parser.add_argument("installed", type=pathlib.Path, help="what install.sh prints")
    parser.add_argument("image", help="image of the comparer")
    options = parser.parse_args()
    file = options.installed / "golden.jsonl"
    digest = subprocess.run([options.guardbit, "golden", "digest", file], check=True, capture_output=True, text=True).stdout.strip()
    apply(manifests.namespace())
    apply(golden(file.read_text()))
    guardbit = Guardbit(options.guardbit, "--comparer-image", options.image)
    missed = []
    print("| candidate | tolerated | outcome | weight | took | offline | why |\n|---|---|---|---|---|---|---|", flush=True)
    try:
        for wanted in ROLLOUTS:
            run = Run(guardbit, options.installed, digest, wanted)
            print(run.row(), flush=True)
            missed += [f"{run.name}: {problem}" for problem in run.problems()]
            run.remove()
    finally:
        guardbit.stop()
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
