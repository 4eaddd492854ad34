"""on_cluster.py — the chart on a real cluster: install, a rollout, upgrade, a rollback, uninstall, install again.

Run by `tests/cluster/run-tests.sh chart` on a cluster on which guardbit is not installed. Every step asserts what a user would be
promised: two replicas, no pod of a model changed by an upgrade, CRD and models left by an uninstall, no failed request. Every
expression of the dashboard is asked of Prometheus and must have data.
"""
import json
import math
import os
import re
import subprocess
import time
import unittest
import urllib.parse
import urllib.request

import yaml

from support import CHART, ROOT, TOOLS, crds
from test_docs import commands

SYSTEM, NAMESPACE, MODEL = "guardbit-system", "risk", "fraud-scorer"
PATIENCE = 240  # seconds


class Refused(AssertionError):
    """A command ended with an error."""


def run(*command, stdin=None, check=True):
    done = subprocess.run([str(c) for c in command], input=stdin, capture_output=True, text=True, cwd=ROOT)
    if check and done.returncode:
        raise Refused(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def kubectl(*args, **more):
    return run(TOOLS / "testplane", "kubectl", *args, **more)


def helm(*args, **more):
    return run(TOOLS / "helm", *args, "-n", SYSTEM, **more)


def get(*what, namespace=NAMESPACE):
    return json.loads(kubectl("-n", namespace, "get", *what, "-o", "json"))


def apply(*objects, **more):
    return kubectl("apply", "--server-side", "-f", "-", *more.pop("flags", ()), stdin=yaml.safe_dump_all(objects), **more)


def namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


def until(what, holds):
    end = time.monotonic() + PATIENCE
    refused = ""
    while time.monotonic() < end:
        try:
            found = holds()
        except Refused as error:
            # What is asked for may be to come.
            found, refused = None, str(error)
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"not within {PATIENCE} s: {what} {refused}\n" + story())


def story():
    model = get("quantizedmodel", MODEL) if kubectl("-n", NAMESPACE, "get", "quantizedmodel", "-o", "name", check=False) else {}
    model.get("status", {}).pop("evidence", None)
    logs = kubectl("-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=guardbit", "--tail=20", "--prefix", check=False)
    return yaml.safe_dump(model.get("status", {})) + logs


def decided(action, variant):
    decisions = get("quantizedmodel", MODEL).get("status", {}).get("decisions", [])
    return any(d["action"] == action and d["variant"] == variant for d in decisions)


def pods_of_the_model():
    pods = get("pods", "-l", "guardbit.dev/revision")["items"]
    return {p["metadata"]["name"]: (p["metadata"]["uid"], [c["restartCount"] for c in p["status"].get("containerStatuses", [])]) for p in pods}


def weights():
    rule = get("httproute", MODEL)["spec"]["rules"][-1]
    return {ref["name"].removeprefix(MODEL + "-").split("-")[0]: ref["weight"] for ref in rule["backendRefs"]}


def load_counts():
    lines = kubectl("-n", NAMESPACE, "logs", "load", "--tail=1").strip().splitlines()
    return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}


def ask(path, **parameters):
    url = f"{os.environ['GUARDBIT_PROMETHEUS_URL']}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{parameters}: {error.read().decode()}") from None


def sample():
    """The sample with short holds, wide tolerances, and a calibration that has an age: the machine is small and the test short."""
    model = yaml.safe_load((ROOT / "config/samples/fraud-scorer.yaml").read_text())
    spec = model["spec"]
    spec["target"] = "int8"
    for step in spec["rollout"]["steps"]:
        step["hold"] = "3s"
    spec["rollout"]["keepWarm"] = "5s"
    for variant in spec["variants"][1:]:
        variant["calibration"] = {**variant["calibration"], "maxAge": "87600h"}
    errors, latency, drift = spec["guards"]
    errors["proportion"]["tolerance"] = {"ratio": "1", "absolute": "5%"}
    latency["latency"] |= {"tolerance": {"ratio": "1.5", "absolute": "60%"}, "budget": {"percentile": "95", "within": "250ms"}}
    drift["fidelity"]["maxTotalVariation"] = "0.2"
    return model


class ChartOnACluster(unittest.TestCase):
    """One story; the methods run in the order of their names."""

    maxDiff = None

    def guardbit_pods(self):
        def two_ready():
            pods = [p for p in get("pods", "-l", "app.kubernetes.io/name=guardbit", namespace=SYSTEM)["items"]
                    if "deletionTimestamp" not in p["metadata"]]
            ready = [p for p in pods if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))]
            return {p["metadata"]["name"] for p in ready} if len(ready) == len(pods) == 2 else None
        return until("two ready replicas", two_ready)

    def leader(self):
        def holder():
            name = get("lease", "guardbit", namespace=SYSTEM)["spec"].get("holderIdentity")
            return name if name in self.guardbit_pods() else None
        return until("a replica leads", holder)

    def looked_after(self):
        """Waits until a leader of now has evaluated the model: then it tells of it."""
        series = f'guardbit_condition{{name="{MODEL}",type="Ready"}} and on (pod) guardbit_leader == 1'
        until("the leader looks after the model", lambda: {s["metric"]["pod"] for s in ask("query", query=series)} & self.guardbit_pods())

    def only_what_serves_is_left(self):
        """Warm and draining pods are gone: two of int8, one of the reference for the holdout, one for pinned requests stay."""
        def settled():
            pods = [p for p in get("pods")["items"] if p["metadata"]["name"] != "load"]
            return len(pods) == 4 and all("deletionTimestamp" not in p["metadata"] for p in pods)
        until("old pods are gone", settled)

    def nothing_failed(self):
        counts = load_counts()
        self.assertEqual(counts.get("failed"), 0, counts)
        return counts["sent"]

    def test_1_install(self):
        type(self).begun = time.time()
        apply(namespace(SYSTEM), namespace(NAMESPACE))
        helm("install", "guardbit", CHART, "--wait", "--timeout", "120s")
        self.leader()
        for path in crds():
            live = json.loads(kubectl("get", "crd", path.stem, "-o", "json"))
            self.assertEqual(live["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        until("the budget counts two pods", lambda: get("poddisruptionbudget", "guardbit", namespace=SYSTEM).get("status", {}).get("expectedPods") == 2)
        get("networkpolicy", "guardbit", namespace=SYSTEM)

    def test_2_who_may_view_and_edit_may_do_so_with_models(self):
        for role, user in (("view", "vera"), ("edit", "edda")):
            kubectl("-n", NAMESPACE, "create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}")

        def may(user, verb):
            return kubectl("-n", NAMESPACE, "auth", "can-i", verb, "quantizedmodels.guardbit.dev", f"--as={user}", check=False).strip() == "yes"
        # The aggregation is a controller's work.
        until("roles are aggregated", lambda: may("vera", "get") and may("edda", "create"))
        self.assertFalse(may("vera", "create"))
        self.assertFalse(may("nobody", "get"))

    def test_3_the_samples_are_taken(self):
        for path in sorted((ROOT / "config/samples").glob("*.yaml")):
            name = yaml.safe_load(path.read_text())["metadata"]["namespace"]
            if name != NAMESPACE:
                kubectl("create", "namespace", name)
            kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", path)
            if name != NAMESPACE:
                kubectl("delete", "namespace", name)

    def test_4_a_model_rolls(self):
        apply(sample())
        until("fp32 serves", lambda: decided("Bootstrapped", "fp32"))
        self.requests_come()
        until("int8 is promoted", lambda: decided("Promoted", "int8"))
        until("int8 has its share", lambda: weights() == {"fp32": 10, "int8": 90})
        until("the model is settled", lambda: get("quantizedmodel", MODEL)["status"]["phase"] == "Guarding")
        self.assertGreater(self.nothing_failed(), 0)

    def requests_come(self):
        """Starts the demo's load as soon as the gateway answers."""
        (load,) = [o for o in yaml.safe_load_all((ROOT / "tests/demo/manifests.yaml").read_text()) if o["kind"] == "Pod"]
        args = load["spec"]["containers"][0]["args"]
        args[:] = [a.replace("@GATEWAY@", os.environ["GUARDBIT_GATEWAY_URL"]).replace("--rps=300", "--rps=200") for a in args]
        until("the route is known to the gateway", self.answers)
        apply(load)

    def answers(self):
        answered = 0
        for _ in range(20):
            request = urllib.request.Request(f"{os.environ['GUARDBIT_GATEWAY_URL']}/v1/score?id=1", headers={"host": "fraud.example"})
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    answered += answer.status == 200
            except OSError:
                return False
        return answered == 20

    def test_5_an_upgrade_changes_nothing_of_a_model(self):
        self.only_what_serves_is_left()
        guardbits, before = self.guardbit_pods(), (pods_of_the_model(), weights())
        helm("upgrade", "guardbit", CHART, "--set", "concurrency=4", "--wait", "--timeout", "120s")
        self.assertFalse(guardbits & self.guardbit_pods())
        self.leader()
        # The new leader has evaluated the model when it tells of it.
        self.looked_after()
        self.assertEqual((pods_of_the_model(), weights()), before)
        self.assertFalse(decided("Recovered", "int8"))
        self.nothing_failed()

    def test_6_harm_is_rolled_back_after_the_upgrade(self):
        kubectl("-n", NAMESPACE, "patch", "quantizedmodel", MODEL, "--type=merge", "-p", '{"spec": {"target": "int4"}}')
        until("int4 is rolled back", lambda: decided("RolledBack", "int4"))
        until("int8 has its share again", lambda: {v: w for v, w in weights().items() if w} == {"fp32": 10, "int8": 90})
        self.nothing_failed()

    def test_7_every_expression_of_the_dashboard_has_data(self):
        board = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
        expressions = [t["expr"] for p in board["panels"] for t in p.get("targets", [])]
        expressions += [a["expr"] for a in board["annotations"]["list"]]
        labels = [v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"]
        self.assertGreater(len(expressions), 15)
        empty = []
        for expression in expressions:
            filled = expression.replace("$__rate_interval", "20s").replace("$__range", "5m")
            filled = re.sub(r"\$(namespace|name|guard)\b", ".*", filled)
            self.assertNotIn("$", filled)
            def data():
                series = ask("query_range", query=filled, start=self.begun, end=time.time(), step="2s")
                return any(not math.isnan(float(value)) for one in series for _, value in one["values"])
            if not data():
                empty.append(expression)
        self.assertEqual(empty, [])
        for text in labels:
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", text).groups()
            found = {s["metric"].get(label) for s in ask("query", query=re.sub(r"\$\w+", ".*", f"last_over_time({selector}[10m])"))}
            self.assertTrue(found - {None}, text)

    def test_8_the_alerts_see_it(self):
        rules = {r["alert"]: r["expr"] for g in yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"] for r in g["rules"]}
        # int4 was rejected, so a person must act; that is told by the next evaluation, and seen by the next scrape.
        for loud in ("GuardbitRolledBack", "GuardbitStalled"):
            until(f"{loud} sees it", lambda: [s["metric"] for s in ask("query", query=rules[loud])] == [{"namespace": NAMESPACE, "name": MODEL}])
        found = {name: ask("query", query=expr) for name, expr in rules.items()}
        for quiet in ("GuardbitNoLeader", "GuardbitFellBack", "GuardbitModelUnavailable", "GuardbitCalibrationStale", "GuardbitReconcileErrors"):
            self.assertEqual(found[quiet], [], quiet)

    def test_91_uninstall_leaves_models_serving_and_a_new_release_takes_them_up(self):
        self.only_what_serves_is_left()
        before = (pods_of_the_model(), weights())
        helm("uninstall", "guardbit", "--wait")
        until("guardbit is gone", lambda: not get("pods", namespace=SYSTEM)["items"])
        sent = self.nothing_failed()
        until("requests are answered without guardbit", lambda: load_counts().get("sent", 0) > sent + 600)
        self.nothing_failed()
        self.assertEqual((pods_of_the_model(), weights()), before)
        # Now with rights in one namespace only.
        helm("install", "guardbit", CHART, "--set", f"namespaces={{{NAMESPACE}}}", "--wait", "--timeout", "120s")
        self.leader()
        self.assertNotIn("clusterrole.rbac.authorization.k8s.io/guardbit\n", kubectl("get", "clusterroles", "-o", "name"))
        self.looked_after()
        self.assertEqual((pods_of_the_model(), weights()), before)
        self.nothing_failed()
        kubectl("-n", NAMESPACE, "delete", "pod", "load", "--wait")
        kubectl("-n", NAMESPACE, "delete", "quantizedmodel", MODEL, "--wait", "--timeout=120s")
        until("the pods of the model are gone", lambda: not pods_of_the_model())
        helm("uninstall", "guardbit", "--wait")
        for path in crds():
            kubectl("get", "crd", path.stem)
        kubectl("delete", "namespace", NAMESPACE, SYSTEM)

    def test_92_the_docs_as_a_stranger_would_follow_them(self):
        """Every command of kubectl and helm on every page, on a cluster that has only the CRD: Helm's way, then kustomize's.
        Those by which people act are run in tests/api_governance."""
        waiting = [(page, command) for page, command in commands() if command[0] in ("kubectl", "helm") and page != "approvals"]
        self.assertGreater(len(waiting), 25)

        def follow(page, until_one_has=None):
            """Runs the commands of a page that have not been run yet, up to the one that has these words."""
            for found in [w for w in waiting if w[0] == page]:
                if until_one_has and set(until_one_has) <= set(found[1]):
                    return
                program, *rest = found[1]
                printed = kubectl(*rest) if program == "kubectl" else run(TOOLS / "helm", *rest)
                self.assertTrue(printed.strip(), f"docs/{page}.md: {found[1]} prints nothing")
                waiting.remove(found)

        follow("install", until_one_has=["apply", "-k", "config/default"])
        self.leader()
        for guide in sorted(page for page, _ in waiting if page.startswith("guides/")):
            follow(guide)
        until("fp32 serves", lambda: decided("Bootstrapped", "fp32"))
        # The forecast is there once a candidate has requests; the command prints nothing before.
        self.requests_come()
        until("there is a forecast", lambda: (get("quantizedmodel", MODEL)["status"].get("rollout") or {}).get("forecast"))
        follow("operations")
        # What Argo CD would have brought.
        apply(namespace("argocd"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}})
        follow("gitops")
        self.assertIn("guardbit.dev", json.dumps(get("configmap", "argocd-cm", namespace="argocd")["data"]))
        follow("upgrade")
        self.leader()
        # Models go while guardbit runs, as the page says; then kustomize's way.
        kubectl("delete", "quantizedmodels", "--all", "--all-namespaces", "--timeout=120s")
        run(TOOLS / "helm", *self.command(waiting, "uninstall")[1:])
        kubectl("delete", "namespace", SYSTEM)
        follow("install", until_one_has=["delete", "crds"])
        self.leader()
        follow("install")
        self.assertEqual(waiting, [])
        self.assertNotIn("guardbit.dev", kubectl("get", "crd", "-o", "name"))

    @staticmethod
    def command(waiting, word):
        """Takes the one command that has this word."""
        (found,) = [w for w in waiting if word in w[1]]
        waiting.remove(found)
        return found[1]


if __name__ == "__main__":
    unittest.main(verbosity=2, failfast=True)
