"""What the tests of the packaging share: where things are, and how to call the tools that tests/cluster/tools.sh built."""
import os
import pathlib
import re
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = pathlib.Path(os.environ.get("GUARDBIT_TOOLS") or pathlib.Path(
    os.environ.get("GUARDBIT_CACHE") or pathlib.Path.home() / ".cache/guardbit") / "bin")
CHART = ROOT / "charts/guardbit"


def tool(*command, check=True, **more):
    """Runs one of the tools, from the root of the repository."""
    done = subprocess.run([TOOLS / command[0], *map(str, command[1:])], capture_output=True, text=True, cwd=ROOT, **more)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
    return done


def documents(text):
    """The objects in a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def crds():
    """The files of the CustomResourceDefinitions; that of models first."""
    return sorted((ROOT / "crds").glob("*.guardbit.dev.yaml"), key=lambda path: (not path.name.startswith("quantizedmodels."), path.name))


def kustomize(directory):
    return documents(tool("testplane", "kubectl", "kustomize", directory).stdout)


def helm_template(*values, release="guardbit", namespace="guardbit-system", serves=()):
    """What the chart renders with such values, each as `--set-json` takes it, for an API server that serves these as well."""
    flags = [flag for value in values for flag in ("--set-json", value)] + [flag for api in serves for flag in ("--api-versions", api)]
    return documents(tool("helm", "template", release, CHART, "-n", namespace, *flags).stdout)


def of_kind(objects, kind):
    return [o for o in objects if o["kind"] == kind]


def metrics():
    """Names of all metrics that guardbit exports, without prefix and without what OpenMetrics adds to counters."""
    read = lambda name: (ROOT / "src/telemetry" / name).read_text().split("#[cfg(test)]")[0]
    text = read("metrics.rs") + read("models.rs")
    return re.findall(r'\b(?:register|encode_descriptor|gauge)\(\s*"(\w+)"', text) + re.findall(r'^ {4}\(\s*"(\w+)"', text, re.M)
