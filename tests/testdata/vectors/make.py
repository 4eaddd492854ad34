"""Makes the reference values in this folder with SciPy, by other ways than guardbit's: see README.md."""

import json
from pathlib import Path

import numpy as np
import scipy
from scipy import optimize, spatial, stats

HERE = Path(__file__).parent


def ln_e(n_c, x_c, n_b, x_b, ratio, absolute, q_c, q_b):
    """Log-likelihood ratio of the guess to the nearest point of the edge p_c = ratio * p_b + absolute (in Kullback-Leibler)."""

    def divergence(p):
        edge = ratio * p + absolute
        candidate = stats.entropy([q_c, 1 - q_c], [edge, 1 - edge])
        baseline = stats.entropy([q_b, 1 - q_b], [p, 1 - p])
        return n_c * candidate + n_b * baseline

    end = min(1.0, (1 - absolute) / ratio)
    p = optimize.minimize_scalar(divergence, bounds=(1e-12, end - 1e-12), method="bounded", options={"xatol": 1e-14}).x
    guess = stats.binom.logpmf(x_c, n_c, q_c) + stats.binom.logpmf(x_b, n_b, q_b)
    null = stats.binom.logpmf(x_c, n_c, ratio * p + absolute) + stats.binom.logpmf(x_b, n_b, p)
    return float(guess - null)


def e_values():
    for n_c, x_c, n_b, x_b in [(30, 2, 270, 3), (30, 0, 270, 0), (30, 30, 270, 1), (200, 9, 200, 1), (5, 1, 4000, 25)]:
        for ratio, absolute in [(1.0, 0.005), (1.0, 0.0), (1.5, 0.005), (0.5, 0.1), (2.0, 0.02)]:
            for q_c, q_b in [(0.04, 0.01), (0.3, 0.02), (0.004, 0.02), (0.9, 0.3)]:
                case = dict(n_c=n_c, x_c=x_c, n_b=n_b, x_b=x_b, ratio=ratio, absolute=absolute, q_c=q_c, q_b=q_b)
                yield {**case, "ln_e": ln_e(**case)}


def distances():
    random = np.random.default_rng(7)
    for bins in (2, 10, 16):
        for drift in (0.0, 0.5, 3.0):
            weights = random.dirichlet(np.ones(bins), size=2)
            mixed = (weights[0] + drift * weights[1]) / (1 + drift)
            candidate, reference = random.multinomial(900, mixed) + 1, random.multinomial(8_000, weights[0]) + 1
            p, q = candidate / candidate.sum(), reference / reference.sum()
            yield {
                "candidate": candidate.tolist(),
                "reference": reference.tolist(),
                "total_variation": float(spatial.distance.cityblock(p, q) / 2),
                "stability_index": float(stats.entropy(p, q) + stats.entropy(q, p)),
                "jensen_shannon": float(spatial.distance.jensenshannon(p, q) ** 2),
            }


for name, values in [("e-values", e_values()), ("distances", distances())]:
    lines = ",\n".join(json.dumps(value) for value in values)
    (HERE / f"{name}.json").write_text(f'{{"scipy": "{scipy.__version__}", "cases": [\n{lines}\n]}}\n')
