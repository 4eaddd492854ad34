"""aa.py GUARDBIT INSTALLED [SAME [INT8 [STEPS]]] — rollouts of a real model server, one after the other on one cluster.

SAME times at each first step the same weights again, which must be promoted at least 19 times of 20; and INT8 times the int8
model, several times as slow, which must be rolled back. Run by aa.sh, which starts the cluster. Exits with 1 if a goal is missed.
"""
import argparse
import calendar
import statistics
import sys
import time

import manifests
from stage import ENDS, Guardbit, Latencies, Load, Model, apply, at_rest, await_answers

WARM_UP = 30  # seconds: the default of `rollout.warmUp`
KINDS = {"A/A": ("fp32", "Promoted"), "int8": ("int8", "RolledBack")}  # variant on trial, the outcome that is right


def seconds(text):
    """Seconds since 1970 of a time in a status."""
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


class Run:
    """One rollout: what was tried, and what became of it."""

    def __init__(self, kind, first, seed):
        self.kind, self.first, self.seed = kind, first, seed
        self.variant, self.wanted = KINDS[kind]
        self.guards, self.decisions = [], []
        self.arms, self.weight_at, self.latencies = {}, None, {}

    def go(self, harness, options):
        with Load(self.seed, options.rps, options.instances) as load:
            ended = harness.model.rollout(self.variant, lambda: harness.propose(self), options.limit, self.seen)
        self.outcome, self.sentence, self.seconds = ended
        self.load = load.counts
        self.measure()

    def seen(self, status, decisions):
        if rollout := status.get("rollout"):
            self.weight_at = rollout.get("firstWeightAt", self.weight_at)
            self.arms.update({arm["role"]: arm["deployment"] for arm in status.get("arms", []) if arm["weight"]})
            self.guards = status.get("guards", self.guards)
        self.decisions = decisions

    def measure(self):
        """Latencies of both arms while both were warm, or had to be judged before."""
        if not self.weight_at or not {"Candidate", "Stable"} <= set(self.arms):
            return
        begin, end = seconds(self.weight_at), time.time()
        begin = begin + WARM_UP if end > begin + WARM_UP + 2 else begin
        self.latencies = {role: Latencies(self.arms[role], begin, end) for role in ("Candidate", "Stable")}

    def right(self):
        return self.outcome == self.wanted

    def line(self):
        both = ""
        if self.latencies:
            candidate, stable = self.latencies["Candidate"], self.latencies["Stable"]
            both = f"p50 {candidate.p50:.1f} against {stable.p50:.1f} ms, p95 {candidate.p95:.1f} against {stable.p95:.1f} ms"
        sent, failed, late = (self.load.get(key, 0) for key in ("sent", "failed", "late"))
        trouble = "".join(f", {n} {what}" for n, what in ((failed, "failed"), (late, "sent late")) if n)
        return (f"{self.kind:4} {self.first:2}%  seed {self.seed:<3} {self.outcome:10} {self.seconds:4.0f} s  "
                f"{sent:,} requests{trouble}; {both}; {self.sentence}")

    def details(self):
        """What a wrong outcome rests on."""
        for decision in self.decisions:
            yield f"     {decision['time']} {decision['action']}: {decision['why'].split(';')[0]}"
        for role, counted in self.latencies.items():
            yield f"     {role}: {counted}"
        for guard in self.guards:
            yield f"     {guard['message']}; health {guard['health']} of {guard['healthThreshold']}, " \
                  f"harm {guard['evidence']} of {guard['threshold']}"
        for error, n in self.load.get("errors", {}).items():
            yield f"     {n} times {error}"


class Harness:
    def __init__(self, options):
        self.options = options
        self.digests = {"fp32": manifests.digest("first"), "int8": manifests.digest("never")}
        apply(manifests.namespace())
        apply(manifests.model(options.installed, self.digests, options.replicas))
        self.guardbit = Guardbit(options.guardbit)
        self.model = Model(self.guardbit)
        self.settle()
        body = {"instances": [{"b64": "aW1wb3J0IG9zCmltcG9ydCBzeXMK"}]}
        await_answers(self.model, f"/v1/models/{manifests.MODEL}:predict", body)

    def settle(self):
        """Nothing is on trial, and full precision serves with the weights that were promoted last."""
        self.model.patch(target="fp32", variants=manifests.variants(self.digests))
        self.model.until("fp32 serves alone", lambda state: at_rest(state, "fp32", self.options.replicas))
        self.model.pods_are(self.options.replicas)

    def propose(self, run):
        """Another digest makes another revision of the variant."""
        digests = {**self.digests, run.variant: manifests.digest(run.kind, run.first, run.seed)}
        # Changes of a list replace it as a whole; of `rollout`, what is not named stays.
        self.model.patch(target=run.variant, variants=manifests.variants(digests), rollout={"steps": manifests.steps(run.first)})

    def run(self, kind, first, seed):
        run = Run(kind, first, seed)
        run.go(self, self.options)
        print(run.line(), *(run.details() if not run.right() or run.load.get("failed") else ()), sep="\n", flush=True)
        if (run.variant, run.outcome) == ("fp32", "Promoted"):
            self.digests["fp32"] = manifests.digest(kind, first, seed)
        if run.outcome not in ENDS[:2]:
            print(self.model.story(), file=sys.stderr)
        self.settle()
        return run


def met(runs):
    """At least 19 of 20 of the same model promoted; every int8 rolled back."""
    right = sum(run.right() for run in runs)
    return 20 * right >= 19 * len(runs) if runs[0].kind == "A/A" else right == len(runs)


def table(groups):
    yield "| | first step | runs | promoted | rolled back | neither | seconds, median | goal |\n|---|---|---|---|---|---|---|---|"
    for runs in groups:
        share = lambda outcome: f"{sum(run.outcome == outcome for run in runs)} ({sum(run.outcome == outcome for run in runs) / len(runs):.0%})"
        neither = sum(run.outcome not in ENDS[:2] for run in runs)
        goal = "promoted in 19 of 20" if runs[0].kind == "A/A" else "rolled back in all"
        yield (f"| {runs[0].kind} | {runs[0].first}% | {len(runs)} | {share('Promoted')} | {share('RolledBack')} | {neither} "
               f"| {statistics.median(run.seconds for run in runs):.0f} | {goal}{'' if met(runs) else ' — missed'} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("guardbit", help="the program")
    parser.add_argument("installed", help="what install.sh prints")
    parser.add_argument("same", nargs="?", type=int, default=20, help="runs of the same weights at each first step")
    parser.add_argument("int8", nargs="?", type=int, default=5, help="runs of int8 at each first step")
    parser.add_argument("steps", nargs="?", default="5,10,50", help="first steps, in percent")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--rps", type=float, default=50, help="requests a second")
    parser.add_argument("--instances", type=int, default=2, help="inputs in a request: each takes the model once")
    parser.add_argument("--replicas", type=int, default=2, help="pods that carry all traffic")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a run counts as undecided")
    options = parser.parse_args()
    harness = Harness(options)
    groups = []
    try:
        for first in map(int, options.steps.split(",")):
            for kind, number in (("A/A", options.same), ("int8", options.int8)):
                runs = [harness.run(kind, first, options.first_seed + i) for i in range(number)]
                groups += [runs] if runs else []
    finally:
        harness.guardbit.stop()
    print("", *table(groups), sep="\n")
    sys.exit(0 if all(map(met, groups)) else 1)


if __name__ == "__main__":
    main()
