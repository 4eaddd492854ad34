"""Makes the test vectors of tests/judge_vectors.rs: what other people's code says of the same data.

    pip install scipy==1.17.1 savvi==0.3.1 matplotlib
    python3 tests/testdata/vectors/vectors.py

turner.json is no output of this script but of the R package safestats, as its own tests publish it; what is computed here are
the guesses that package makes before each block (its grid posterior), and they are only written if they give its numbers.
"""

import json
import os
import sys

import numpy as np
import savvi.multinomial
import scipy
import scipy.optimize
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import binom

HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = {"python": sys.version.split()[0], "numpy": np.__version__, "scipy": scipy.__version__, "savvi": "0.3.1"}


def write(name, source, rows):
    about = {"source": source, "versions": VERSIONS, "command": "python3 tests/testdata/vectors/vectors.py"}
    with open(f"{HERE}/{name}.json", "w") as file:
        rows = ",\n  ".join(json.dumps(row) for row in rows)
        file.write(f'{{"about": {json.dumps(about)},\n "rows": [\n  {rows}\n ]}}\n')


def turner():
    """safestats, tests/testthat: "restricted Turner processes use likelihood-updated predictors"."""
    ya, yb, grid = [0, 1, 0, 1], [1, 1, 0, 0], 101
    published = {
        ("propDiff", 0.25): [1.5625, 1.46484375, 1.1474712811576, 0.645452595651148],
        ("logOR", 0.7): [1.37527821341647, 1.33960921187147, 1.25210874368758, 0.855839806438304],
    }
    rows = []
    for (restriction, delta), process in published.items():
        odds = lambda p, d: 1 / (1 + np.exp(-(np.log(p / (1 - p)) + d)))
        other = (lambda p: p + delta) if restriction == "propDiff" else (lambda p: odds(p, delta))
        rho = np.linspace(1 / grid, 1 - 1 / grid, grid)
        a = rho * (1 - delta) if restriction == "propDiff" else rho
        b = other(a)
        weights = (0.18 - 1) * (np.log(rho) + np.log1p(-rho))
        blocks, ln = [], 0.0
        for x_a, x_b, expected in zip(ya, yb, process):
            posterior = np.exp(weights - weights.max())
            q_a = float((posterior * a).sum() / posterior.sum())
            q_b = float(other(q_a))
            pooled = (q_a + q_b) / 2
            ln += binom.logpmf(x_a, 1, q_a) + binom.logpmf(x_b, 1, q_b)
            ln -= binom.logpmf(x_a, 1, pooled) + binom.logpmf(x_b, 1, pooled)
            assert abs(np.exp(ln) - expected) < 1e-12 * expected, (restriction, np.exp(ln), expected)
            blocks.append({"x_a": x_a, "x_b": x_b, "q_a": q_a, "q_b": q_b, "e": expected})
            weights = weights + np.log(a if x_a else 1 - a) + np.log(b if x_b else 1 - b)
        rows.append({"restriction": restriction, "delta": delta, "blocks": blocks})
    write("turner", "R package safestats (github.com/AlexanderLyNL/safestats), tests of turnerEProcess", rows)


def lindon():
    """Lindon & Malek (2022): the Dirichlet mixture against fixed shares, in the author's published form."""
    rows = []
    for theta in (0.05, 0.25, 0.5):
        for counts in ([3, 97], [40, 160], [12, 88], [0, 50], [260, 240]):
            test = savvi.multinomial.Multinomial(0.05, np.array([theta, 1 - theta]), k=100)
            test.update(np.array(counts))
            rows.append({"share": theta, "concentration": 100, "x": counts[0], "n": sum(counts), "e": float(test.odds)})
    write("lindon", "Python package savvi, savvi.multinomial.Multinomial(...).update(...).odds", rows)


def two_samples():
    """The e-value against the null's nearest point, which SciPy finds as the least relative entropy."""
    rows = []
    for n_c, n_b in ((1, 1), (30, 270), (500, 4500), (20000, 20000)):
        for ratio, absolute in ((1, 0), (1, 0.005), (1.5, 0.005), (2, 0), (0.5, 0.1)):
            for q_b, up in ((0.004, 3), (0.05, 1.6), (0.3, 1.2), (0.05, 0.2)):
                q_c = min((ratio * q_b + absolute) * up, 0.97)
                kl = lambda q, p: rel_entr(q, p) + rel_entr(1 - q, 1 - p)
                far = lambda p: n_c * kl(q_c, ratio * p + absolute) + n_b * kl(q_b, p)
                other = (q_c - absolute) / ratio
                low, high = max(min(q_b, other), 1e-9), min(max(q_b, other), (1 - absolute) / ratio - 1e-9)
                slope = lambda p: n_c * ratio * (q_c - ratio * p - absolute) / (
                    (ratio * p + absolute) * (1 - ratio * p - absolute)
                ) + n_b * (q_b - p) / (p * (1 - p))
                p = scipy.optimize.brentq(slope, low, high, xtol=1e-300, rtol=4 * np.finfo(float).eps)
                bounded = scipy.optimize.minimize_scalar(far, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
                assert far(p) <= bounded.fun + 1e-9 * (1 + abs(bounded.fun))
                x_c, x_b = round(n_c * min(q_c * 1.1, 1)), round(n_b * q_b)
                c = ratio * p + absolute
                ln = binom.logpmf(x_c, n_c, q_c) - binom.logpmf(x_c, n_c, c)
                ln += binom.logpmf(x_b, n_b, q_b) - binom.logpmf(x_b, n_b, p)
                rows.append({"n_c": n_c, "x_c": x_c, "n_b": n_b, "x_b": x_b, "ratio": ratio, "absolute": absolute,
                             "q_c": q_c, "q_b": q_b, "ln_e": float(ln)})
    for n, x, bound, q in ((100, 9, 0.05, 0.1), (1000, 4, 0.01, 0.002), (7, 7, 0.5, 0.9), (5000, 60, 0.01, 0.015)):
        ln = binom.logpmf(x, n, q) - binom.logpmf(x, n, bound)
        rows.append({"n_c": n, "x_c": x, "n_b": 0, "x_b": 0, "ratio": 0, "absolute": bound, "q_c": q, "q_b": 0.5, "ln_e": float(ln)})
    write("two_samples", "SciPy: scipy.stats.binom.logpmf at the root that scipy.optimize.brentq finds", rows)


def distances():
    random = np.random.default_rng(7)
    rows = []
    for n_c, n_r in ((200, 1800), (5000, 5000), (37, 41), (100000, 1000)):
        for shift in (0, 0.05, 0.4):
            p = np.full(10, 0.1)
            moved = p + shift * np.linspace(-0.1, 0.1, 10)
            c, r = random.multinomial(n_c, moved / moved.sum()), random.multinomial(n_r, p)
            a, b = c / c.sum(), r / r.sum()
            # Half an event stands for an empty bin, as is usual.
            pa, pb = np.maximum(c, 0.5) / c.sum(), np.maximum(r, 0.5) / r.sum()
            rows.append({"candidate": c.tolist(), "reference": r.tolist(), "tv": float(np.abs(a - b).sum() / 2),
                         "psi": float(((pa - pb) * np.log(pa / pb)).sum()), "js": float(jensenshannon(a, b) ** 2)})
    write("distances", "SciPy: scipy.spatial.distance.jensenshannon(p, q) ** 2; total variation and PSI by their definitions in NumPy", rows)


turner()
lindon()
two_samples()
distances()
