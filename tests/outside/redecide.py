#!/usr/bin/env python3
"""redecide.py DIR — comes to the verdicts of guards on shares once more, from the integers of exported records alone.

It is written after docs/statistics.md and the papers that it names, and shares no code with guardbit: the standard library of
Python is all that it needs. It checks no signature and no link, which `guardbit verify` and cosign do.

What it does for each record: the polls of its journal and of the evaluation that decided are taken by the tests, one after the
other; then the verdict, the counts and the evidence are held against those on record. A trial whose beginning is not among the
records is left out, and so are guards of a preset, whose tolerance is not written in the record. Guards of other kinds are not
repeated: where they are part of a trial, the last evaluation is read as far as the record says that it was read, since they may
have found the harm after which no poll counts.

Exit code 0: all are the same; 1: some are not; 2: there was nothing to compare.
"""
import base64
import json
import math
import pathlib
import re
import sys
from datetime import datetime

# Harm is bet on at these factors on the odds of the edge, with these weights.
ODDS = [(1.5, 0.04), (2.0, 0.60), (2.8, 0.13), (4.5, 0.16), (10.0, 0.05), (25.0, 0.02)]
# Health is bet on so far from the baseline to the edge; None stands for the candidate's own past share.
HEALTH = [(0.0, 0.5), (0.35, 0.2), (0.7, 0.1), (None, 0.2)]
# Weights of the kinds of guards in the evidence of harm. Plain rules have none.
WEIGHTS = {"proportion": 0.5, "agreement": 0.5, "latency": 0.3, "fidelity": 0.2}
LATE = 0.08
PSEUDO = 100.0
NEVER = -math.inf
QUARTER = 90 * 24 * 3_600_000  # after a promotion: one false alarm in so many milliseconds
FRESH = {"suite": "AA", "benefit": "AA"}  # what the tests know before they have counted anything


def over(a, b):
    """a / b as floating point has it, also where b is 0."""
    return a / b if b else math.nan if not a else math.copysign(math.inf, a)


def ln_sum(logs):
    logs = [ln for ln in logs if ln > NEVER]
    top = max(logs, default=NEVER)
    return top + math.log(sum(math.exp(ln - top) for ln in logs)) if math.isfinite(top) else top


# --- the e-value of one poll -------------------------------------------------------------------------------------------------------

def ln_e(candidate, baseline, ratio, absolute, q_c, q_b):
    """Against the null whose edge is ratio · p_b + absolute, with the guesses q_c and q_b of both shares."""
    (n_c, x_c), (n_b, x_b) = candidate, baseline
    x_c, x_b = min(x_c, n_c), min(x_b, n_b)
    if not 0 < q_c < 1 or not n_c:
        return 0.0

    def half(n, x, q, p):
        return (x * math.log(q / p) if x else 0.0) + ((n - x) * math.log((1 - q) / (1 - p)) if n - x else 0.0)

    if not ratio:
        return half(n_c, x_c, q_c, absolute) if 0 < absolute < 1 else 0.0
    if not n_b or not 0 < q_b < 1:
        return 0.0
    p = nearest(n_c, n_b, ratio, absolute, q_c, q_b)
    return 0.0 if p is None else half(n_c, x_c, q_c, ratio * p + absolute) + half(n_b, x_b, q_b, p)


def nearest(n_c, n_b, r, d, q_c, q_b):
    """The baseline's share at which the edge explains the guesses best, by bisection. None where there is none."""
    def slope(p):
        c = r * p + d
        return over(n_c * r * (q_c - c), c * (1 - c)) + over(n_b * (q_b - p), p * (1 - p))

    other, end = (q_c - d) / r, min((1 - d) / r, 1.0) * (1 - 1e-12)
    low, high = max(min(q_b, other), math.sqrt(sys.float_info.min)), min(max(q_b, other), end)
    if low >= high or slope(low) < -1e-6 * (n_c + n_b) or slope(high) > 1e-6 * (n_c + n_b):
        return None
    for _ in range(400):
        p = math.sqrt(low * high) if high > 4 * low else (low + high) / 2
        if slope(p) > 0:
            low = p
        else:
            high = p
        if high - low <= 1e-13 * p:
            break
    return (low + high) / 2


# --- how bursty events are ---------------------------------------------------------------------------------------------------------

class VarianceRatio:
    """Variance that was seen over that of independent events; a block counts half after sixty others."""

    def __init__(self):
        self.blocks = self.seen = self.expected = 0.0

    def add(self, seen, expected):
        # A block never counts more than four usual ones.
        counted = min(expected, 4 * self.expected / self.blocks) if self.blocks else expected
        keep = 0.5 ** (1 / 60)
        self.blocks = keep * self.blocks + 1
        self.seen = keep * self.seen + min(over(seen, expected), 8.0) * counted
        self.expected = keep * self.expected + counted

    def shrunken(self, prior, weight):
        return (weight * prior + self.seen) / (weight + self.expected)


class Dispersion:
    def __init__(self):
        self.baseline, self.split = VarianceRatio(), VarianceRatio()
        self.block, self.pairs = [], []
        self.past, self.polls = False, 0

    def see_baseline(self, n, x):
        if not n:
            return
        self.block.append((x, max(n - x, 0)))
        if len(self.block) == 8:
            found = within(self.block)
            if found:
                self.baseline.add(*found)
            self.block = []

    def recall(self, baseline):
        self.past = True
        self.see_baseline(*baseline)

    def observe(self, candidate, baseline):
        self.polls += 1
        self.see_baseline(*baseline)
        self.pairs.append((candidate, baseline))
        if len(self.pairs) == 4:
            found = split(self.pairs)
            if found:
                self.split.add(*found)
            self.pairs = []

    def phi(self):
        expected = 1.0 if self.past else 1 + 0.2 * 0.5 ** (self.polls / 8)
        baseline = self.baseline.shrunken(expected, 20.0)
        return max(baseline, self.split.shrunken(baseline, 25.0), 1.1)


def within(block):
    """Pearson's sum of squares of a block of polls, and what it would be for independent events."""
    sizes = [sum(poll) for poll in block]
    seen = expected = 0.0
    for i in range(2):
        p = sum(poll[i] for poll in block) / sum(sizes)
        seen += sum((poll[i] - n * p) ** 2 for poll, n in zip(block, sizes))
        expected += sum(sizes) * p * (1 - p)
    return (seen * len(block) / (len(block) - 1), expected) if expected > 0 else None


def split(block):
    """The same of the candidate's share of all bad events, with odds that are fitted to the block."""
    polls = [(c, b) for c, b in block if c[1] + b[1] and c[0] and b[0]]
    of_candidate, bad = sum(c[1] for c, _ in polls), sum(c[1] + b[1] for c, b in polls)
    if len(polls) < 2 or of_candidate in (0, bad):
        return None

    def share(poll, odds):
        (n_c, _), (n_b, _) = poll
        return odds * n_c / (odds * n_c + n_b)

    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum((p[0][1] + p[1][1]) * share(p, math.exp(middle)) for p in polls) < of_candidate:
            low = middle
        else:
            high = middle
    odds = math.exp((low + high) / 2)
    seen = expected = 0.0
    for poll in polls:
        m, s = poll[0][1] + poll[1][1], share(poll, odds)
        seen += (poll[0][1] - m * s) ** 2
        expected += m * s * (1 - s)
    return seen * len(polls) / (len(polls) - 1), expected


# --- the running tests of one guard ------------------------------------------------------------------------------------------------

class Regime:
    """Error rates: of a rollout, or of the time after a promotion."""

    def __init__(self, rollout, is_rollout):
        self.is_rollout = is_rollout
        self.false_promotion = fraction(rollout["falsePromotion"]) if is_rollout else 0.05
        if is_rollout:
            self.threshold = 1 / fraction(rollout["falseRollback"])
        else:
            self.threshold = max(QUARTER / millis(rollout["interval"]), 2.0)


class Share:
    """Tests of harm and of health of a share of bad events."""

    def __init__(self, ratio, absolute):
        self.ratio, self.absolute = ratio, absolute
        self.candidate, self.baseline, self.history = (0, 0), (0, 0), (0, 0)
        self.dispersion = Dispersion()
        self.polls, self.through = 0, None
        self.harm_polls, self.harm = 0, []
        self.health = [0.0] * len(HEALTH)

    def recall(self, history):
        self.__init__(self.ratio, self.absolute)
        for _, baseline in history:
            self.history = added(self.history, baseline)
            self.dispersion.recall(baseline)

    def observe(self, regime, poll):
        if self.through is not None and poll["through"] <= self.through:
            return
        self.through = poll["through"]
        candidate, baseline = counts(poll["observed"])
        if not candidate[0] and not baseline[0]:
            return
        self.polls += 1
        prior = self.history[1] / self.history[0] if self.history[0] else min(max(self.absolute, 0.001), 0.5)
        q_b = (self.baseline[1] + PSEUDO * min(max(prior, 1e-4), 0.9999)) / (self.baseline[0] + PSEUDO)
        edge = min(self.ratio * q_b + self.absolute, 0.999)
        phi = self.dispersion.phi()
        self.observe_health(regime, candidate, baseline, q_b, edge, phi)
        self.observe_harm(regime, candidate, baseline, q_b, edge, phi)
        self.dispersion.observe(candidate, baseline)
        if candidate[0] and (baseline[0] or not self.ratio):
            self.candidate, self.baseline = added(self.candidate, candidate), added(self.baseline, baseline)

    def ln_e(self, candidate, baseline, q_c, q_b):
        return ln_e(candidate, baseline, self.ratio, self.absolute, q_c, q_b)

    def observe_health(self, regime, candidate, baseline, q_b, edge, phi):
        # A baseline beyond the edge itself says nothing of what is healthy: the guesses lie well within then.
        anchor = q_b if self.ratio > 0 and q_b < edge else 0.4 * edge
        own = (self.candidate[1] + PSEUDO * anchor) / (self.candidate[0] + PSEUDO)
        own = min(max(own, 0.01 * edge), anchor + 0.9 * (edge - anchor))
        cap = 3 - math.log(regime.false_promotion)
        for i, (part, _) in enumerate(HEALTH):
            q_c = own if part is None else anchor + part * (edge - anchor)
            self.health[i] = min(self.health[i] + self.ln_e(candidate, baseline, q_c, q_b) / phi, cap)

    def observe_harm(self, regime, candidate, baseline, q_b, edge, phi):
        # (from the start, from later starts)
        begun = (math.log(1 - LATE), NEVER) if regime.is_rollout else (NEVER, NEVER)
        processes = self.harm or [begun] * len(ODDS)
        staked = unused(self.harm_polls) - math.log(self.harm_polls + 60) if regime.is_rollout else 0.0
        self.harm = []
        for (start, later), (theta, _) in zip(processes, ODDS):
            odds = theta * edge / (1 - edge)
            q_c = odds / (1 + odds)
            ln = 0.0
            if q_c > self.ratio * q_b + self.absolute:
                ln = self.ln_e(candidate, baseline, q_c, q_b) / phi
            self.harm.append((start + ln, ln + ln_sum([later, staked])))
        self.harm_polls += 1

    def ln_harm(self, regime):
        kept = unused(self.harm_polls) if regime.is_rollout else NEVER
        if not self.harm:
            return ln_sum([math.log(1 - LATE) if regime.is_rollout else NEVER, kept])
        return ln_sum(math.log(weight) + ln_sum([*process, kept]) for process, (_, weight) in zip(self.harm, ODDS))

    def ln_health(self):
        return ln_sum(math.log(weight) + process for process, (_, weight) in zip(self.health, HEALTH))

    def verdict(self, regime, weight):
        if not self.polls:
            return "NoData"
        if self.ln_harm(regime) >= math.log(regime.threshold) - math.log(weight):
            return "Harmful"
        return "Healthy" if self.ln_health() >= -math.log(regime.false_promotion) else "Undecided"


def unused(polls):
    """Logarithm of what is still kept for a later start of harm."""
    return math.log(LATE * 59 / (polls + 59))


# --- what a record says ------------------------------------------------------------------------------------------------------------

def added(a, b):
    return a[0] + b[0], a[1] + b[1]


def counts(observed):
    """Events and bad events of the candidate and of the baseline. An integer beyond 2^53 is written as text."""
    arms = observed["proportion"]
    return tuple((int(arms[arm]["n"]), int(arms[arm]["x"])) for arm in ("candidate", "baseline"))


def fraction(text):
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def millis(text):
    unit = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
    return sum(int(n) * unit[u] for n, u in re.findall(r"(\d+)(ms|s|m|h)", text))


class Trial:
    """The guards of a trial as the spec of a record has them, and its error rates."""

    def __init__(self, model):
        spec, rollout = model["spec"], model["status"].get("rollout")
        self.regime = Regime(spec["rollout"], rollout is not None)
        has_reference = not rollout or rollout["kind"] != "NewReference"
        self.kinds = {}
        self.tolerances = {}
        for guard in spec["guards"]:
            kind = next(kind for kind in ("proportion", "latency", "fidelity", "agreement", "ratio", "query") if kind in guard)
            # The outputs of a new reference are compared with nothing.
            if has_reference or kind not in ("fidelity", "agreement"):
                self.kinds[guard["name"]] = kind
            if kind == "proportion":
                written = guard[kind]["tolerance"]
                self.tolerances[guard["name"]] = float(written.get("ratio", 1)), fraction(written.get("absolute", "0"))
        all_weights = sum(WEIGHTS.get(kind, 0) for kind in self.kinds.values())
        self.weights = {name: WEIGHTS[kind] / all_weights for name, kind in self.kinds.items() if kind in WEIGHTS}
        self.is_whole = all(kind == "proportion" for kind in self.kinds.values())

    def take(self, shares, look, read_through=None):
        """Lets the tests take what one evaluation heard. `read_through` says, by guard, up to which second it was read."""
        polls = []
        for name in sorted(look):
            if name not in self.tolerances:
                continue
            share = shares.setdefault(name, Share(*self.tolerances[name]))
            if look[name].get("recalled") is not None:
                share.recall([counts(observed) for observed in look[name]["recalled"]])
            for poll in look[name]["polls"]:
                if read_through is None or poll["through"] // 1000 <= read_through.get(name, NEVER):
                    polls.append((poll["through"], name, poll))
        polls.sort(key=lambda poll: poll[0])
        for i, (through, name, poll) in enumerate(polls):
            shares[name].observe(self.regime, poll)
            is_last = i + 1 == len(polls) or polls[i + 1][0] > through
            if is_last and self.is_harmful(shares):
                break

    def is_harmful(self, shares):
        """Whether these guards alone have found harm. Others can only add to it."""
        known = [math.log(self.weights[name]) + shares[name].ln_harm(self.regime) for name in self.tolerances if name in shares]
        others = []
        if self.is_whole:
            others = [math.log(self.weights[name]) for name in self.tolerances if name not in shares]
        return ln_sum([*known, *others]) >= math.log(self.regime.threshold)


def agrees(printed, ln):
    """Whether evidence is what was printed of it, in two decimals or fewer."""
    if printed.startswith("e^"):
        return abs(float(printed[2:]) - ln) <= 0.501
    value, shown = math.exp(min(ln, 700)), float(printed)
    return abs(value - shown) <= (0.501 if "." not in printed else 0.00501) + 1e-6 * value


def second(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Chain:
    def __init__(self, model):
        self.model = model
        self.shares, self.end = None, None
        self.same = self.other = self.left_out = 0

    def say(self, sequence, text):
        print(f"{self.model} {sequence:06}: {text}")

    def skip(self, sequence, why):
        self.left_out += 1
        self.shares = self.end = None
        self.say(sequence, f"left out: {why}")

    def redecide(self, statement):
        predicate = statement["predicate"]
        sequence, evidence, look = predicate["record"]["sequence"], predicate["evidence"], predicate["look"]
        if evidence is None:
            return
        if look["seen"]["model"]["spec"].get("preset"):
            return self.skip(sequence, "the guards of a preset are not written in the record")
        if evidence.get("omitted"):
            return self.skip(sequence, evidence["omitted"])
        before = evidence["journal"]["before"]
        if all(before[part] == fresh for part, fresh in FRESH.items()):
            self.shares = {}
        elif self.shares is None or before != self.end:
            return self.skip(sequence, "what its tests knew before is not among the records")
        trial = Trial(look["seen"]["model"])
        for heard in evidence["journal"]["looks"]:
            trial.take(self.shares, heard)
        verdicts = {verdict["name"]: verdict for verdict in predicate["verdicts"] if verdict["name"] in trial.tolerances}
        read_through = None
        if not trial.is_whole and verdicts:
            told = {name: verdict.get("observedThrough") for name, verdict in verdicts.items()}
            read_through = {name: second(at) for name, at in told.items() if at}
        trial.take(self.shares, look["heard"]["guards"], read_through)
        self.end = evidence["after"]
        for name, verdict in verdicts.items():
            self.compare(sequence, trial, name, verdict)

    def compare(self, sequence, trial, name, recorded):
        share = self.shares.get(name) or Share(*trial.tolerances[name])
        weight, regime = trial.weights[name], trial.regime
        verdict, harm, health = share.verdict(regime, weight), share.ln_harm(regime), share.ln_health()
        arms = [{"total": n, "bad": x} for n, x in (share.candidate, share.baseline)]
        told = (f"{name}: {verdict}, {share.candidate[1]} of {share.candidate[0]} against {share.baseline[1]} of {share.baseline[0]}, "
                f"harm {math.exp(min(harm, 700)):.3g} of {regime.threshold / weight:.3g}, "
                f"health {math.exp(min(health, 700)):.3g} of {1 / regime.false_promotion:.3g}")
        is_same = (recorded["verdict"] == verdict and [recorded["candidate"], recorded["baseline"]] == arms
                   and agrees(recorded["evidence"], harm) and agrees(recorded["health"], health))
        self.same += is_same
        self.other += not is_same
        if is_same:
            self.say(sequence, told)
        else:
            was = {field: recorded[field] for field in ("verdict", "candidate", "baseline", "evidence", "health")}
            self.say(sequence, f"{told}\n  and the record says {json.dumps(was)}")


def main(directory):
    chains = {}
    for path in pathlib.Path(directory).rglob("*.json"):
        if path.name.endswith((".sigstore.json", ".unsigned.json")):
            statement = json.loads(base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))
            model = statement["predicate"]["record"]["model"]
            chains.setdefault(f"{model['namespace']}/{model['name']}", []).append(statement)
    same = other = 0
    for model, statements in sorted(chains.items()):
        chain = Chain(model)
        for statement in sorted(statements, key=lambda statement: statement["predicate"]["record"]["sequence"]):
            chain.redecide(statement)
        print(f"{model}: {len(statements)} records, {chain.same} verdicts the same, {chain.other} others, "
              f"{chain.left_out} records left out")
        same, other = same + chain.same, other + chain.other
    return 1 if other else 0 if same else 2


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: redecide.py DIR")
    sys.exit(main(sys.argv[1]))
