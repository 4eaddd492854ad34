"""agreement.py GUARDBIT SERVER INSTALLED IMAGE — pairs of answers, counted before the first weight, on a real model server.

One after the other, under users' load, fp32 is to be followed by: int4, which its answers must have rejected before any user got one; int8,
whose answers must be within the tolerance when the shadow stage ends, whatever its latency does to it then; and the very weights of fp32,
which must be promoted. Run by agreement.sh, which starts the cluster. Exits with 1 if a goal is missed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

import dataset
import manifests
import paired
from stage import ENDS, Guardbit, Load, Model, apply, ask, at_rest, await_answers

GUARD = "agreement"
VARIANTS = ("int4", "int8", "same")


class Trial:
    """One variant after fp32: what was counted, and what became of it."""

    def __init__(self, variant):
        self.variant, self.revision, self.rejected_by, self.weight, self.shadow = variant, None, None, 0, {}

    def go(self, harness, options):
        model, variants = harness.model, paired.variants(harness.digests, self.variant)
        with Load(options.seed, options.rps, 1, "V2") as load:
            propose = lambda: model.patch(target=self.variant, variants=variants)
            self.outcome, self.sentence, self.seconds = model.rollout(self.variant, propose, options.limit, self.seen)
        self.load = load.counts
        self.pairs, self.differ = (self.counted(counter) for counter in ("guardbit_pairs_total", "guardbit_pair_disagreements_total"))

    def seen(self, status, _):
        rollout = status.get("rollout")
        if rollout and rollout["candidate"]["variant"] == self.variant:
            self.revision = rollout["candidate"]["revision"]
            self.weight = max([self.weight, *(arm["weight"] for arm in status.get("arms", []) if arm["variant"] == self.variant)])
            if rollout.get("firstWeightAt") and not self.shadow:
                self.shadow = next((guard for guard in status.get("guards", []) if guard["name"] == GUARD), {})
        self.rejected_by = next((one["guard"] for one in status.get("rejected", []) if one["variant"] == self.variant), None)

    def counted(self, counter):
        """What the comparer has counted of the candidate in all, as Prometheus has it: status forgets it with the trial."""
        short = (self.revision or "").rpartition(":")[2][:12]
        labels = f'namespace="{manifests.NAMESPACE}",guardbit_model="{manifests.MODEL}",guardbit_revision="{short}"'
        found = ask(f"sum(max_over_time({counter}{{{labels}}}[{int(self.seconds) + 30}s]))", time.time())
        return int(found.get("", 0))

    def missed(self):
        """What was to be and is not."""
        answered = self.load.get("answered", {})
        if sum(answered.values()) != self.load.get("sent", 0) - self.load.get("failed", 0) or not answered:
            yield "not every answer to users names its variant"
        if self.variant == "int4":
            if (self.outcome, self.rejected_by) != ("RolledBack", GUARD):
                yield f"{GUARD} did not reject it"
            if answered.get(self.variant) or self.weight:
                yield f"it answered {answered.get(self.variant, 0)} requests of users, with a weight of up to {self.weight}%"
        if self.variant == "int8" and self.shadow.get("verdict") != "Healthy":
            yield f"at the end of its shadow stage {GUARD} was {self.shadow.get('verdict', 'not asked')}, and not Healthy"
        if self.variant == "same" and self.outcome != "Promoted":
            yield "it was not promoted"

    def told(self, missed):
        yield f"{self.variant}: {self.outcome} after {self.seconds:.0f} s: {self.sentence}"
        if guard := self.shadow:
            yield f"     end of the shadow stage: {guard['verdict']}; {guard['message']}; " \
                  f"health {guard['health']} of {guard['healthThreshold']}, harm {guard['evidence']} of {guard['threshold']}"
        answered = ", ".join(f"{n:,} by {variant}" for variant, n in self.load.get("answered", {}).items())
        yield f"     users: {self.load.get('sent', 0):,} requests; answered: {answered or 'none'}; failed: {self.load.get('failed', 0)}"
        yield from (f"     {n} times {error}" for error, n in self.load.get("errors", {}).items())
        yield from (f"     missed: {goal}" for goal in missed)


class Harness:
    def __init__(self, options):
        self.options, self.installed = options, pathlib.Path(options.installed)
        self.digests = {variant: manifests.digest(variant) for variant in ("fp32", *VARIANTS)}
        file = self.installed / "golden.jsonl"
        digest = subprocess.run([options.guardbit, "golden", "digest", file], check=True, capture_output=True, text=True).stdout.strip()
        server = paired.SERVERS[options.server](options.installed)
        apply(manifests.namespace())
        apply(paired.golden(file.read_text()))
        apply(paired.model(server, self.digests, digest, options))
        self.guardbit = Guardbit(options.guardbit, "--comparer-image", options.image)
        self.model = Model(self.guardbit)
        self.settle()
        await_answers(self.model, paired.INFER, dataset.question([b"import os\nimport sys\n"]))

    def settle(self):
        """Nothing is on trial, and fp32 serves alone."""
        self.model.patch(target="fp32")
        self.model.until("fp32 serves alone", lambda state: at_rest(state, "fp32", self.options.replicas))
        self.model.pods_are(self.options.replicas)

    def run(self, variant):
        trial = Trial(variant)
        trial.go(self, self.options)
        missed = list(trial.missed())
        print(*trial.told(missed), sep="\n", flush=True)
        if trial.outcome not in ENDS[:2]:
            print(self.model.story(), file=sys.stderr)
        self.settle()
        return trial, missed


def share(differ, number):
    return f"{differ / number:.2%}" if number else "none"


def table(runs, offline, server):
    """Offline: of the questions of the golden set, from which pairs are drawn, and of other inputs."""
    yield f"{server}\n\n| variant | pairs | differ | share | golden set, offline | others, offline | outcome | seconds | goal |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for trial, missed in runs:
        # The same weights differ nowhere.
        aside = [share(part["differ"].get(trial.variant, 0), part["inputs"]) for part in (offline["golden"], offline["others"])]
        yield (f"| {trial.variant} | {trial.pairs:,} | {trial.differ:,} | {share(trial.differ, trial.pairs)} | {' | '.join(aside)} | {trial.outcome} "
               f"| {trial.seconds:.0f} | {'; '.join(missed) or 'met'} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("guardbit", help="the program")
    parser.add_argument("server", choices=paired.SERVERS)
    parser.add_argument("installed", help="what install.sh prints for this server")
    parser.add_argument("image", help="image of the comparer")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="those that are tried, one after the other")
    parser.add_argument("--pairs", type=int, default=2000, help="pairs before the first weight")
    parser.add_argument("--rate", type=float, default=20, help="pairs a second at the most")
    parser.add_argument("--rps", type=float, default=20, help="requests of users a second")
    parser.add_argument("--seed", type=int, default=1, help="of the load")
    parser.add_argument("--replicas", type=int, default=2, help="pods that carry all traffic")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a trial counts as undecided")
    options = parser.parse_args()
    harness = Harness(options)
    try:
        runs = [harness.run(variant) for variant in options.variants.split(",")]
    finally:
        harness.guardbit.stop()
    offline = json.loads((harness.installed / "offline.json").read_text())
    print("", *table(runs, offline, options.server), sep="\n")
    sys.exit(1 if any(missed for _, missed in runs) else 0)


if __name__ == "__main__":
    main()
