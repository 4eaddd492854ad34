"""main.py GUARDBIT MODELS idle|rollouts|all|governed — runs guardbit over so many models and prints one JSON object of figures.
`governed` are rollouts of models that a policy selects, so that their decisions go on record.

Runs inside a control plane with fake nodes (scale.sh). CPU seconds are user and system time of the process; requests are
counted by the API server, in flow schemas of guardbit's own user; queries by the synthetic Prometheus."""
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request

import cluster
from cluster import MODELS, Api, each, of_model
from metrics import Metrics

USER = "guardbit"
PORT = 9191
WINDOW = int(os.environ.get("WINDOW", "120"))
# One differs from the next by half: on shared cores much depends on whether the API server collects its garbage meanwhile.
RESTARTS = 5
TICK = os.sysconf("SC_CLK_TCK")


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


class Guardbit:
    """The process. Never more than one."""

    def __init__(self, binary, directory):
        self.binary, self.directory, self.runs = binary, directory, 0
        self.start()

    def start(self):
        self.runs += 1
        self.log = f"{self.directory}/guardbit-{self.runs}.log"
        self.began = time.time()
        args = [self.binary, "run", "--prometheus-url", f"http://127.0.0.1:{PORT}", "--no-leader-election", "--listen", "127.0.0.1:9192"]
        environment = {"KUBECONFIG": f"{self.directory}/guardbit.kubeconfig", "NO_COLOR": "1", "PATH": os.environ["PATH"]}
        self.process = subprocess.Popen(args, env={**environment, **EXTRA}, stdout=open(self.log, "w"), stderr=subprocess.STDOUT)

    def restart(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()

    def status(self, field):
        text = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M).group(1)) / 1024

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def counted(self, counter):
        text = urllib.request.urlopen("http://127.0.0.1:9192/metrics", timeout=30).read().decode()
        return sum(int(float(n)) for n in re.findall(rf'^guardbit_{counter}_total\{{.*\}} (\S+)$', text, re.M))

    def evaluations(self):
        return self.counted("reconciles")

    def all_evaluated(self, models, patience=600):
        """Seconds from the start of the process until every model has been evaluated."""
        while time.time() - self.began < patience:
            found = re.search(r"^(\S+Z) .*all models have been reconciled.*models=(\d+)", open(self.log).read(), re.M)
            if found:
                stamp, known = found.groups()
                assert int(known) == models, f"{known} models, not {models}"
                at = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float("0" + stamp[19:-1])
                return at - self.began
            # Without that line: when as many evaluations as models have ended.
            if BY_EVALUATIONS and time.time() - self.began > 0.2:
                try:
                    if self.evaluations() >= models:
                        return time.time() - self.began
                except OSError:
                    pass
            time.sleep(0.1)
        raise TimeoutError("not all models were evaluated")


EXTRA = dict(pair.split("=", 1) for pair in os.environ.get("GUARDBIT_ENV", "").split() if "=" in pair)
BY_EVALUATIONS = bool(os.environ.get("BY_EVALUATIONS"))


def measure(api, guardbit, metrics, seconds):
    """What goes on in so many seconds, per minute."""
    before = (guardbit.cpu(), *cluster.requests(api), metrics.queries, guardbit.evaluations())
    begun, rss = time.time(), []
    while time.time() - begun < seconds:
        rss.append(guardbit.status("VmRSS"))
        time.sleep(0.5)
    minutes = (time.time() - begun) / 60
    after = (guardbit.cpu(), *cluster.requests(api), metrics.queries, guardbit.evaluations())
    cpu, requests, writes, queries, evaluations = ((b - a) / minutes for a, b in zip(before, after))
    return {
        "rss_mib": round(statistics.median(rss), 1), "highest_mib": round(max(rss), 1), "peak_mib": round(guardbit.status("VmHWM"), 1),
        "cpu_s_per_min": round(cpu, 2), "requests_per_min": round(requests, 1), "writes_per_min": round(writes, 1),
        "queries_per_min": round(queries, 1), "evaluations_per_min": round(evaluations, 1),
    }


def await_models(api, models, done, what, patience):
    begun = time.time()
    while True:
        asked = time.time()
        count = sum(done(m.get("status", {})) for m in api.items(MODELS))
        say(f"{what}: {count} of {models}")
        if count >= models:
            return
        if time.time() - begun > patience:
            raise TimeoutError(f"{what}: {count} of {models}")
        # To list ten thousand takes the API server seconds that it would spend on serving them.
        time.sleep(max(5, 10 * (time.time() - asked)))


def roll_out(api, guardbit, metrics, models):
    """Figures of rollouts of all models: of their beginning, while they go on, and after a restart."""
    say("rolling out")
    writes, decisions = cluster.requests(api)[1], guardbit.counted("decisions")
    patch = {"spec": {"target": "int8"}}
    each(lambda i: api.call("PATCH", f"{of_model(i)}/model-{i:05}", patch, "application/merge-patch+json"), range(models))
    weight = lambda status: (status.get("rollout") or {}).get("weight", 0) >= 5
    await_models(api, models, weight, "on trial", models / 2 + 240)
    time.sleep(90)
    writes, decisions = cluster.requests(api)[1] - writes, guardbit.counted("decisions") - decisions
    figures = {
        **measure(api, guardbit, metrics, 2 * WINDOW),
        "writes_per_decision": round(writes / decisions, 2), "etcd_mib": round(cluster.etcd_bytes() / 2**20, 1),
    }
    say(json.dumps(figures), "restart")
    guardbit.restart()
    return {**figures, "first_evaluation_s": round(guardbit.all_evaluated(models), 1)}


def main():
    binary, models, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    directory = os.environ["GUARDBIT_CLUSTER_DIR"]
    api = Api(os.environ["KUBECONFIG"])
    cluster.prepare(api, USER, models)
    if what == "governed":
        cluster.govern(api)
    metrics = Metrics(api, PORT)
    say("creating models")
    each(lambda i: api.call("POST", of_model(i), cluster.model(i, "fp32")), range(models))
    guardbit = Guardbit(binary, directory)
    ready = lambda status: any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    await_models(api, models, ready, "serving", models / 5 + 240)
    figures = {"models": models}
    if what in ("idle", "all"):
        first = []
        for _ in range(RESTARTS):
            time.sleep(20)
            say("restart")
            guardbit.restart()
            first.append(round(guardbit.all_evaluated(models), 1))
        time.sleep(15)
        figures["idle"] = {
            **measure(api, guardbit, metrics, WINDOW),
            "first_evaluation_s": statistics.median(first), "longest_first_evaluation_s": max(first), "first_evaluations_s": first,
        }
        say(json.dumps(figures))
    else:
        # As after the idle ones: what it took to bring the models up is no part of the memory of their rollouts.
        time.sleep(20)
        say("restart")
        guardbit.restart()
        guardbit.all_evaluated(models)
        time.sleep(15)
    if what in ("rollouts", "all"):
        figures["in progress"] = roll_out(api, guardbit, metrics, models)
    if what == "governed":
        figures["governed"] = {**roll_out(api, guardbit, metrics, models), **cluster.records(api)}
        assert figures["governed"]["records"] >= models, "not all decisions are on record"
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
