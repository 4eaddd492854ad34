"""timeline.py SAMPLE LOAD — applies the sample, with a guard that compares answers in pairs, starts the load, and tells what
happens until it has happened.

Reads only what users read: the model, its HTTPRoute, guardbit's /metrics, and what the load generator counted. $KUBECTL is
how to call kubectl. Ends with 0 only if every expectation at the end holds.
"""
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time

KUBECTL = os.environ["KUBECTL"].split()
NAMESPACE, MODEL = "risk", "fraud-scorer"
PATIENCE = 330  # seconds
VARIANTS = ["fp32", "int8", "int4"]
# What both arms are asked: held-out transactions, by their numbers. A pair differs when one arm says fraud and the other does not.
GOLDEN = "".join(json.dumps({"inputs": [{"name": "id", "shape": [1], "datatype": "INT64", "data": [number]}]}) + "\n"
                 for number in range(500))
DIGEST = "sha256:" + hashlib.sha256(GOLDEN.encode()).hexdigest()
COMPARER = {
    "protocol": "OpenInference",
    "golden": {"configMap": "fraud-golden", "digest": DIGEST, "path": "/v2/models/fraud-scorer/infer"},
    # As many as a step of ten seconds needs.
    "rate": "10",
    "answer": {"threshold": "0.5"},
}
AGREEMENT = {"name": "agreement", "agreement": {"tolerance": {"absolute": "5%"}}}
BOLD, DIM, RED, GREEN, OFF = ("\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[0m") if sys.stdout.isatty() else ("",) * 5


def kubectl(*args, check=True, given=None):
    done = subprocess.run([*KUBECTL, *args], capture_output=True, text=True, input=given)
    if check and done.returncode:
        sys.exit(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else ""


def get(*what):
    return json.loads(kubectl("-n", NAMESPACE, "get", *what, "-o", "json", check=False) or "{}")


class Load:
    """Follows the load generator's counts, a line of JSON a second."""

    def __init__(self):
        self.counts = {}
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        command = [*KUBECTL, "-n", NAMESPACE, "logs", "-f", "load"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as logs:
            for line in logs.stdout:
                if line.startswith("{"):
                    self.counts = json.loads(line)


def guard_figures():
    """Of each guard of the model: evidence of harm and of health, each relative to its threshold in powers of e, 0 to 1."""
    pods = json.loads(kubectl("-n", "guardbit-system", "get", "pods", "-l", "app.kubernetes.io/name=guardbit", "-o", "json"))
    # The one that leads tells of models.
    text = "".join(
        kubectl("get", "--raw", f"/api/v1/namespaces/guardbit-system/pods/{pod['metadata']['name']}:8080/proxy/metrics", check=False)
        for pod in pods["items"])
    values = {}
    for line in text.splitlines():
        if line.startswith("guardbit_guard_") and f'name="{MODEL}"' in line and "verdict" not in line:
            name, value = line.split("{")[0].removeprefix("guardbit_guard_"), float(line.rsplit(" ", 1)[1])
            guard = line.split('guard="')[1].split('"')[0]
            values.setdefault(guard, {})[name] = value
    return values


def weights(route):
    """Of the rule for everyone: percent by variant."""
    rules = route.get("spec", {}).get("rules", [])
    refs = rules[-1].get("backendRefs", []) if rules else []
    found = {}
    for ref in refs:
        variant = ref["name"].removeprefix(MODEL + "-").split("-")[0]
        found[variant] = found.get(variant, 0) + ref.get("weight", 1)
    return found


def with_pairs(sample):
    """The sample with a comparer and a guard on its pairs, and the golden set."""
    model = json.loads(kubectl("create", "--dry-run=client", "-o", "json", "-f", sample))
    model["spec"]["comparer"] = COMPARER
    model["spec"]["guards"].append(AGREEMENT)
    golden = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fraud-golden", "namespace": NAMESPACE},
              "immutable": True, "data": {"golden.jsonl": GOLDEN}}
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [golden, model]})


def bar(share, width=24):
    return "█" * round(share * width)


class Timeline:
    def __init__(self):
        self.begun = time.monotonic()
        self.told = 0  # decisions
        self.last_counts = {}
        self.route_weights = []  # one after the other
        self.pairs = 0  # most that were counted of one candidate

    def line(self, text):
        at = int(time.monotonic() - self.begun)
        print(f"{DIM}{at // 60}:{at % 60:02d}{OFF}  {text}", flush=True)

    def decisions(self, status):
        for decision in status.get("decisions", [])[self.told:]:
            action, variant, why = decision["action"], decision["variant"], decision["why"]
            colour = RED if action in ("RolledBack", "FellBack", "Failed") else GREEN if action == "Promoted" else ""
            first, *rest = re.split(r"; (?=(?:drift|errors|latency): )", why)
            self.line(f"{BOLD}{colour}{action} {variant}{OFF}: {first}")
            for part in rest:
                print(f"{'':6}{part}", flush=True)
        self.told = len(status.get("decisions", []))

    def traffic(self, now_weights, load, status):
        counts, before = load.counts.get("byVariant", {}), self.last_counts
        self.last_counts = dict(counts)
        more = {v: counts.get(v, 0) - before.get(v, 0) for v in VARIANTS}
        total = sum(more.values())
        if not total:
            return
        shares = "  ".join(f"{v} {more[v] / total:4.0%} {bar(more[v] / total, 10):10}" for v in VARIANTS)
        self.line(f"{DIM}answered{OFF} {shares}  failed {load.counts.get('failed', 0)} of {load.counts.get('sent', 0)}")
        pairs = next((guard for guard in status.get("guards", []) if guard["name"] == "agreement"), None)
        if status.get("rollout"):
            if pairs and pairs["candidate"]["total"]:
                told = pairs["message"].removeprefix("agreement: ").split(";")[0]
                print(f"      {DIM}pairs    {OFF} {told}", flush=True)
            for guard, f in sorted(guard_figures().items()):
                health, harm = f.get("health", 0), f.get("evidence", 0)
                needed, limit = f.get("health_threshold", 0), f.get("evidence_threshold", 0)
                print(f"      {DIM}{guard:9}{OFF} healthy {figure(health)} of {figure(needed)} {gauge(health, needed)}"
                      f"  harmful {figure(harm)} of {figure(limit)} {gauge(harm, limit)}", flush=True)


def figure(value):
    return f"{value:.3g}"


def gauge(value, threshold):
    """Evidence multiplies; its logarithm grows evenly."""
    from math import log
    share = 0 if value <= 1 or threshold <= 1 else min(log(value) / log(threshold), 1)
    return f"▕{bar(share, 12):12}▏"


def main(sample, load_manifest):
    timeline = Timeline()
    kubectl("create", "namespace", NAMESPACE, check=False)
    kubectl("apply", "--server-side", "-f", "-", given=with_pairs(sample))
    timeline.line("fraud-scorer applied, with a golden set of 500 questions")
    load, serving, tick = None, False, 0
    while time.monotonic() - timeline.begun < PATIENCE:
        model, route = get("quantizedmodel", MODEL), get("httproute", MODEL)
        status, now = model.get("status", {}), weights(route)
        if now and (not timeline.route_weights or timeline.route_weights[-1] != now):
            timeline.route_weights.append(now)
        timeline.decisions(status)
        for guard in status.get("guards", []):
            if guard["name"] == "agreement":
                timeline.pairs = max(timeline.pairs, guard["candidate"]["total"])
        accepted = any(c["type"] == "Accepted" and c["status"] == "True"
                       for parent in route.get("status", {}).get("parents", []) for c in parent["conditions"])
        if not serving and accepted and status.get("stable"):
            serving = True
            # The gateway says Accepted a moment before its proxies have the route.
            time.sleep(1)
            kubectl("apply", "--server-side", "-f", load_manifest)
            kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/load", "--timeout=30s")
            load = Load()
            timeline.line("load: 300 requests a second through Envoy, every 20th pinned to full precision")
        tick += 1
        if load and tick % 4 == 0:
            timeline.traffic(now, load, status)
        done = any(d["action"] == "RolledBack" and d["variant"] == "int4" for d in status.get("decisions", []))
        if done and not status.get("rollout") and not any(
                a["variant"] == "int4" and a["readyReplicas"] for a in status.get("arms", [])):
            break
        time.sleep(0.5)
    time.sleep(2)  # the load generator counts once a second
    provenance()
    sys.exit(0 if verdict(timeline, load) else 1)


def provenance():
    print(f"\n{BOLD}Provenance{OFF}")
    for kind, name in [("httproute", MODEL), ("quantizedmodel", MODEL)]:
        show(kind, get(kind, name))
    for deployment in get("deployments").get("items", []):
        if deployment["metadata"]["labels"].get("guardbit.dev/variant") in ("int8", "int4"):
            show("deployment", deployment)


def show(kind, item):
    print(f"{kind}/{item['metadata']['name']}")
    for key, value in sorted(item["metadata"].get("annotations", {}).items()):
        if key.startswith("guardbit.dev/"):
            print(f"  {key.removeprefix('guardbit.dev/'):20} {value[:150]}{'…' if len(value) > 150 else ''}")


def verdict(timeline, load):
    model = get("quantizedmodel", MODEL)
    status = model.get("status", {})
    counts = load.counts if load else {}
    decided = [(d["action"], d["variant"]) for d in status.get("decisions", [])]
    rolled_back = next((d["why"] for d in status.get("decisions", []) if d["action"] == "RolledBack"), "")
    int8 = [w.get("int8", 0) for w in timeline.route_weights]
    int8 = [w for i, w in enumerate(int8) if i == 0 or w != int8[i - 1]]
    annotations = get("httproute", MODEL).get("metadata", {}).get("annotations", {})
    pods = json.loads(kubectl("-n", "guardbit-system", "get", "pods", "-o", "json"))["items"]
    restarts = sum(c["restartCount"] for p in pods for c in p["status"].get("containerStatuses", []))
    expectations = [
        ("fp32 served first", decided[:1] == [("Bootstrapped", "fp32")]),
        ("int8 climbed 5, 25, 50 and was promoted to 90", int8[:5] == [0, 5, 25, 50, 90] and ("Promoted", "int8") in decided),
        ("int4 got traffic and was rolled back for its answers",
         ("Raised", "int4") in decided and ("RolledBack", "int4") in decided and rolled_back.startswith(("drift: ", "agreement: "))),
        (f"answers were compared in pairs: {timeline.pairs} of int8, at the most", timeline.pairs >= 50),
        ("int8 serves 90%, the reference keeps 10% to compare with",
         status.get("stable", {}).get("variant") == "int8" and timeline.route_weights[-1] == {"int8": 90, "fp32": 10}),
        ("every variant answered", all(counts.get("byVariant", {}).get(v, 0) > 0 for v in VARIANTS)),
        ("pinned requests were answered by fp32 alone", list(counts.get("pinnedByVariant", {})) == ["fp32"]),
        ("provenance is on the route", all(f"guardbit.dev/{k}" in annotations for k in
         ("model-digest", "base-model-digest", "quant-config-digest", "calibration-digest", "calibration-window", "spec-digest", "revision", "decision", "drift"))),
        ("guardbit never restarted", restarts == 0),
        (f"no request failed: {counts.get('failed', '?')} of {counts.get('sent', 0):,}",
         counts.get("sent", 0) > 10_000 and counts.get("failed") == 0),
    ]
    print(f"\n{BOLD}Was that all?{OFF}")
    for text, holds in expectations:
        print(f"  {GREEN + '✓' if holds else RED + '✗'}{OFF} {text}")
    answered = ", ".join(f"{v} {n:,}" for v, n in sorted(counts.get("byVariant", {}).items()))
    print(f"\n  answered by variant: {answered}; pinned: {sum(counts.get('pinnedByVariant', {}).values()):,}")
    return all(holds for _, holds in expectations)


if __name__ == "__main__":
    main(*sys.argv[1:])
