"""report.py RUN.json… — writes docs/scale.md to standard output. Exits 1 where a goal is missed."""
import json
import os
import sys

PEERS = """\
| | Argo Rollouts | Flagger |
|---|---|---|
| idle, RSS | 177 MiB | 123 MiB |
| idle, CPU seconds a minute | 0.03 | 6.2 |
| idle, API requests a minute | 0 | 7,655 |
| in progress, RSS | 208 MiB (peak 283) | |
| in progress, CPU seconds a minute | 13.7 → 1.9 | |
| in progress, API requests a minute | 2,050 → 1,370 | checks slip to 0.65 of what was asked |
| from a restart to the first evaluation of every rollout | 1 s, and 16 s of lease | 126 s |"""


MB = 1 / 1.048576

# Figures of a run: name, what it is, and goals by number of models: at most that.
FIGURES = {
    "idle": [
        ("rss_mib", "RSS, MiB (median)", {1000: 40 * MB, 10000: 150 * MB}),
        ("cpu_s_per_min", "CPU seconds a minute", {}),
        ("requests_per_min", "API requests a minute", {}),
        ("writes_per_min", "writes a minute", {1000: 0, 10000: 0}),
        ("first_evaluation_s", "from a restart to the first evaluation of every model, s (median of five)", {}),
        ("longest_first_evaluation_s", "from a restart to the first evaluation of every model, s (longest of five)", {10000: 12}),
    ],
    "in progress": [
        ("rss_mib", "RSS, MiB (median)", {1000: 60 * MB}),
        ("highest_mib", "RSS, MiB (highest while it went on)", {}),
        ("peak_mib", "RSS, MiB (highest since the start)", {}),
        ("cpu_s_per_min", "CPU seconds a minute", {1000: 1.5}),
        ("requests_per_min", "API requests a minute", {1000: 100}),
        ("writes_per_min", "writes a minute", {}),
        ("evaluations_per_min", "evaluations a minute", {}),
        ("queries_per_min", "Prometheus queries a minute", {}),
        ("first_evaluation_s", "from a restart to the first evaluation of every model, s", {}),
        ("writes_per_decision", "writes per decision", {}),
        ("etcd_mib", "etcd, MiB in use", {}),
    ],
}
FIGURES["governed"] = [
    # The goals are about what governance adds.
    *((key, text, {}) for key, text, _ in FIGURES["in progress"]),
    ("records", "records", {}),
    ("record_kib", "size of a record, KiB (mean)", {}),
    ("more_rss_mib", "RSS more than ungoverned, MiB (median)", {1000: 10 * MB}),
    ("more_writes_per_decision", "writes per decision more than ungoverned", {1000: 2}),
    ("more_etcd_mib", "etcd more than ungoverned, MiB in use", {}),
]


def compare(runs):
    """Puts into the figures of governed rollouts by how much they are above those of as many ungoverned ones."""
    ungoverned = {run["models"]: run["in progress"] for run in runs if "in progress" in run}
    for run in runs:
        figures, others = run.get("governed"), ungoverned.get(run["models"])
        if figures and others:
            for key in ("rss_mib", "writes_per_decision", "etcd_mib"):
                figures[f"more_{key}"] = round(figures[key] - others[key], 1)


def of_run(run):
    """Rows of a table: what, the figure, the goal if there is one."""
    models = run["models"]
    for what, figures in FIGURES.items():
        for key, text, goals in figures:
            if key in run.get(what, {}):
                yield f"{models:,} {what}: {text}", run[what][key], goals.get(models)


def main():
    runs = [json.load(open(path)) for path in sys.argv[1:]]
    compare(runs)
    rows = [row for run in runs for row in of_run(run)]
    print("# Scale\n")
    print("Written by `make bench-scale`: a real API server, etcd and controller manager, fake nodes and pods (KWOK), and a small "
          "synthetic Prometheus that evaluates the matchers of every raw range query over all pods (no real one can scrape pods "
          "that do not run). Every model has two variants, two guards and an HTTPRoute; rollouts are evaluated every 60 s. API requests are "
          "counted by the API server in flow schemas of guardbit's own user; there is no leader election, so no lease is in the "
          "figures. The first evaluation of every model after a restart takes guardbit and the API server about as much processor time each, and the "
          "API server two to three times as much where it collects its garbage meanwhile; the goal is held to the longest. "
          "Governed rollouts are as the others, but one PrecisionPolicy selects all models, so that each decision goes on record: unsigned, with no approvals, "
          "and with the admission policies of guardbit in the API server. Writes per decision are counted until 90 s after all are on trial, events among them; "
          "beyond 1,024 that wait, guardbit drops events. etcd holds what was overwritten in the last minutes as well. "
          f"Measured on {os.cpu_count()} cores that do everything at once, at a load average of {os.getloadavg()[2]:.0f}.\n")
    print("| | guardbit | goal |\n|---|---|---|")
    missed = [row for row in rows if row[2] is not None and row[1] > row[2]]
    for name, figure, goal in rows:
        wanted = "" if goal is None else ("none" if goal == 0 else f"≤ {goal:.3g}")
        print(f"| {name} | {figure:,} | {wanted}{' — missed' if (name, figure, goal) in missed else ''} |")
    print("\nThe same of 1,000 rollouts by others, measured on a machine of the same kind:\n")
    print(PEERS)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
