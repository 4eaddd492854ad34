"""The cluster as the runs see it: guardbit as a process, the model and what its status says, the load, and Prometheus."""
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import manifests
from manifests import MODEL, NAMESPACE

KUBECTL = os.environ["KUBECTL"].split()
GATEWAY, PROMETHEUS = os.environ["GUARDBIT_GATEWAY_URL"], os.environ["GUARDBIT_PROMETHEUS_URL"]
LOG = pathlib.Path(os.environ["GUARDBIT_REAL_LOG"])
PATIENCE = 180  # seconds, for all but the decision about a candidate
ENDS = ("Promoted", "RolledBack", "Undecided", "Failed")  # decisions that end a rollout


def kubectl(*args, stdin=None):
    done = subprocess.run([*KUBECTL, *args], input=stdin, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def apply(*objects):
    kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))


class Guardbit:
    """The process. It ends with the harness, or with the cluster."""

    def __init__(self, binary, *more):
        args = [binary, "run", "--namespaces", NAMESPACE, "--prometheus-url", PROMETHEUS, "--no-leader-election", "--listen=127.0.0.1:0"]
        with open(LOG, "w") as log:
            self.process = subprocess.Popen([*args, *more], env={**os.environ, "NO_COLOR": "1"}, stdout=log, stderr=subprocess.STDOUT)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class Model:
    """Follows the model by a watch, so that nothing has to ask again and again on processors that are being measured."""

    def __init__(self, guardbit, name=MODEL):
        self.guardbit, self.name, self.newest, self.changed = guardbit, name, {}, threading.Condition()
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while True:
            # A watch ends after a while; the next one begins with the object as it is.
            command = [*KUBECTL, "-n", NAMESPACE, "get", "quantizedmodel", self.name, "-o", "json", "--watch"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watch:
                for item in objects(watch.stdout):
                    with self.changed:
                        self.newest = item
                        self.changed.notify_all()
            time.sleep(0.5)

    def states(self, limit):
        """The model as it is, and then whenever it has changed; ends after so many seconds."""
        end, seen = time.monotonic() + limit, {}
        while time.monotonic() < end:
            with self.changed:
                # Wakes up now and then, because nothing changes any more when guardbit has ended.
                changed = self.changed.wait_for(lambda: self.newest and self.newest is not seen, timeout=1)
                newest = self.newest
            if self.guardbit.process.poll() is not None:
                raise RuntimeError(f"guardbit has ended\n{self.story()}")
            if changed:
                seen = newest
                yield seen

    def until(self, what, holds):
        for state in self.states(PATIENCE):
            if holds(state):
                return
        raise self.timeout(what)

    def rollout(self, variant, propose, limit, seen):
        """Proposes a variant, and follows its rollout until it has ended or so many seconds are over. Gives the outcome, why, and the
        seconds that it took. `seen` is called with each status on the way, and with the decisions that are new in it."""
        before = self.newest["status"].get("decisions", [])
        begun = time.monotonic()
        propose()
        for state in self.states(limit):
            status = state.get("status", {})
            decisions = [decision for decision in status.get("decisions", []) if decision not in before]
            seen(status, decisions)
            for decision in decisions:
                if decision["variant"] == variant and decision["action"] in ENDS:
                    return decision["action"], decision["why"], time.monotonic() - begun
        guards = self.newest["status"].get("guards", [])
        why = "; ".join([f"not within {limit:g} s", *(guard["message"] for guard in guards)])
        return "Undecided", why, time.monotonic() - begun

    def timeout(self, what):
        return TimeoutError(f"not within {PATIENCE} s: {what}\n{self.story()}")

    def story(self):
        """For whoever has to find out what went wrong."""
        status = self.newest.get("status", {})
        lines = [f"{arm['role']} {arm['deployment']}: {arm['weight']}%, {arm['readyReplicas']} ready" for arm in status.get("arms", [])]
        lines += [f"{c['type']} is {c['status']}, {c['reason']}: {c['message']}" for c in status.get("conditions", [])]
        lines += [f"{d['time']} {d['action']} {d['variant']}: {d['why']}" for d in status.get("decisions", [])]
        lines += [guard["message"] for guard in status.get("guards", [])]
        pods = kubectl("-n", NAMESPACE, "get", "pods", "-o", "wide").splitlines()
        return "\n".join(["", *lines, *pods, "Log of guardbit:", *LOG.read_text().splitlines()[-30:]])

    def patch(self, **spec):
        kubectl("-n", NAMESPACE, "patch", "quantizedmodel", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def pods_are(self, number):
        """The pods of revisions that left are gone: they would go on using the processors."""
        end = time.monotonic() + PATIENCE
        while len(kubectl("-n", NAMESPACE, "get", "pods", "-o", "name").split()) != number:
            if time.monotonic() > end:
                raise self.timeout(f"there are {number} pods")
            time.sleep(0.5)


def objects(stream):
    """The JSON objects that follow one another in a stream. kubectl indents all lines but the first and the last of each."""
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith("}"):
            yield json.loads("".join(lines))
            lines = []


class Load:
    """The load generator, from here to the end of a `with`."""

    def __init__(self, seed, rps, inputs, protocol="V1"):
        own = map(str, (seed, rps, inputs, protocol))
        self.command = [sys.executable, str(manifests.HERE / "load.py"), GATEWAY, manifests.HOST, *own]
        self.counts = {}

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        said, _ = self.process.communicate(timeout=60)
        self.counts = json.loads(said or "{}")


def at_rest(state, variant, replicas):
    """Whether a variant serves alone, with so many pods, and nothing is on trial."""
    status = state.get("status", {})
    ready = [arm for arm in status.get("arms", []) if arm["readyReplicas"] or arm["weight"]]
    return (status.get("observedGeneration") == state["metadata"]["generation"]
            and (status.get("stable") or {}).get("variant") == variant and not status.get("rollout") and not status.get("retiring")
            and [arm["readyReplicas"] for arm in ready] == [replicas])


def await_answers(model, path, body):
    """Waits until users are answered."""
    end = time.monotonic() + PATIENCE
    while not answers(path, body):
        if time.monotonic() > end:
            raise model.timeout("the gateway answers")
        time.sleep(0.3)


def answers(path, body):
    """Whether the gateway knows the route, and pods answer: twenty times, because it has more than one thread."""
    headers = {"Host": manifests.HOST, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{GATEWAY}{path}", json.dumps(body).encode(), headers)
    try:
        for _ in range(20):
            urllib.request.urlopen(request, timeout=5).read()
    except OSError:
        return False
    return True


def ask(query, at):
    """An instant query: value by `le`."""
    form = urllib.parse.urlencode({"query": query, "time": at})
    with urllib.request.urlopen(f"{PROMETHEUS}/api/v1/query?{form}", timeout=10) as answer:
        found = json.load(answer)["data"]["result"]
    return {series["metric"].get("le", ""): float(series["value"][1]) for series in found}


class Latencies:
    """What the pods of a Deployment counted between two moments, as Prometheus has it."""

    def __init__(self, deployment, begin, end):
        series = f'request_predict_seconds_bucket{{namespace="{NAMESPACE}",pod=~"{deployment}-[^-]+-[^-]+"}}[{max(int(end - begin), 2)}s]'
        counted = f"sum by (le) (max_over_time({series}) - min_over_time({series}))"
        self.buckets = sorted((float(le), int(n)) for le, n in ask(counted, end).items())
        self.p50, self.p95 = (1000 * ask(f"histogram_quantile({q}, {counted})", end).get("", float("nan")) for q in (0.5, 0.95))

    def __str__(self):
        """Cumulative, up to the bucket that has all."""
        total = self.buckets[-1][1] if self.buckets else 0
        shown = [(le, n) for i, (le, n) in enumerate(self.buckets) if i == 0 or self.buckets[i - 1][1] < total]
        return ", ".join(f"≤ {1000 * le:g} ms {n:,}" for le, n in shown)
