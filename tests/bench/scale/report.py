"""report.py THOUSAND.json TEN-THOUSAND.json — writes docs/scale.md to standard output. Exits 1 where a goal is missed."""
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
| from a restart to the first look at all | 1 s, and 16 s of lease | 126 s |"""


def main():
    thousand, more = (json.load(open(path)) for path in sys.argv[1:3])
    idle, busy, ten = thousand["idle"], thousand["rollouts"], more["idle"]
    # What, the figure, the goal: at most that.
    rows = [
        (f"{thousand['models']:,} idle: RSS, MiB", idle["rss_mib"], 40 / 1.048576),
        (f"{thousand['models']:,} idle: CPU seconds a minute", idle["cpu_s_per_min"], None),
        (f"{thousand['models']:,} idle: API requests a minute", idle["requests_per_min"], None),
        (f"{thousand['models']:,} idle: writes a minute", idle["writes_per_min"], 0),
        (f"{thousand['models']:,} idle: from a restart to the first look at all, s", thousand["first_look_s"], None),
        (f"{thousand['models']:,} in progress: RSS, MiB", busy["rss_mib"], 60 / 1.048576),
        (f"{thousand['models']:,} in progress: peak RSS, MiB", busy["peak_mib"], None),
        (f"{thousand['models']:,} in progress: CPU seconds a minute", busy["cpu_s_per_min"], 1.5),
        (f"{thousand['models']:,} in progress: API requests a minute", busy["requests_per_min"], 100),
        (f"{thousand['models']:,} in progress: writes a minute", busy["writes_per_min"], None),
        (f"{thousand['models']:,} in progress: looks a minute", busy["looks_per_min"], None),
        (f"{thousand['models']:,} in progress: Prometheus queries a minute", busy["queries_per_min"], None),
        (f"{more['models']:,} idle: RSS, MiB", ten["rss_mib"], 150 / 1.048576),
        (f"{more['models']:,} idle: CPU seconds a minute", ten["cpu_s_per_min"], None),
        (f"{more['models']:,} idle: writes a minute", ten["writes_per_min"], 0),
        (f"{more['models']:,} idle: from a restart to the first look at all, s", more["first_look_s"], 10),
    ]
    print("# Scale\n")
    print("Written by `make bench-scale`: a real API server, etcd and controller manager, fake nodes and pods (KWOK), and a small "
          "synthetic Prometheus that evaluates the matchers of every raw range query over all pods (no real one can scrape pods "
          "that do not run). Every model has two variants, two guards and an HTTPRoute; rollouts look every 60 s. API requests are "
          "counted by the API server in flow schemas of guardbit's own user; there is no leader election, so no lease is in the "
          f"figures. Measured on {os.cpu_count()} cores that do everything at once, at a load average of {os.getloadavg()[2]:.0f}.\n")
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
