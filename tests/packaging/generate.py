"""generate.py — writes what has another file as its source: copies inside the chart, the PrometheusRule, the API reference, the list of CRDs."""
import textwrap

from reference import reference
from support import CHART, ROOT, crds

RULE = """\
# Generated from deploy/alerts.yaml by `make generated`. Do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: guardbit
  namespace: guardbit-system
  labels: {app.kubernetes.io/name: guardbit, app.kubernetes.io/instance: guardbit}
spec:
"""

KUSTOMIZATION = """\
# Generated from the files in crds/ by `make generated`. Do not edit.
# For `kubectl apply -k` and for kustomizations that name this directory.
resources:
"""

ARGOCD = """\
# Generated from deploy/argocd-health.lua by `make generated`. Do not edit.
# For `kubectl -n argocd patch configmap argocd-cm --patch-file deploy/argocd-cm.yaml`.
data:
  resource.customizations.health.guardbit.dev_QuantizedModel: |
"""


GOVERNANCE = ROOT / "config/governance"


def governance():
    """The objects of config/governance, which the chart renders as well."""
    return sorted(path for path in GOVERNANCE.glob("*/*.yaml") if path.name != "kustomization.yaml")


def generated():
    """Path and text of every generated file."""
    alerts = (ROOT / "deploy/alerts.yaml").read_text()
    lua = (ROOT / "deploy/argocd-health.lua").read_text()
    definitions = {path.name: path.read_text() for path in crds()}
    return {
        ROOT / "docs/api.md": reference(definitions),
        ROOT / "crds/kustomization.yaml": KUSTOMIZATION + "".join(f"- {name}\n" for name in definitions),
        **{CHART / "files/crds" / name: text for name, text in definitions.items()},
        **{CHART / "files/governance" / path.relative_to(GOVERNANCE): path.read_text() for path in governance()},
        CHART / "files/alerts.yaml": alerts,
        CHART / "files/grafana-dashboard.json": (ROOT / "deploy/grafana-dashboard.json").read_text(),
        ROOT / "deploy/prometheus-rule.yaml": RULE + textwrap.indent(alerts, "  "),
        ROOT / "deploy/argocd-cm.yaml": ARGOCD + textwrap.indent(lua, "    "),
    }


def left_over():
    """Copies in the chart whose source is no more."""
    copies = [path for folder in ("crds", "governance") for path in (CHART / "files" / folder).rglob("*.yaml")]
    return sorted(set(copies) - set(generated()))


if __name__ == "__main__":
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in left_over():
        path.unlink()
