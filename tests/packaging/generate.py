"""generate.py — writes what has another file as its source: copies inside the chart, the PrometheusRule, the API reference."""
import textwrap

from reference import reference
from support import CHART, ROOT

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

ARGOCD = """\
# Generated from deploy/argocd-health.lua by `make generated`. Do not edit.
# For `kubectl -n argocd patch configmap argocd-cm --patch-file deploy/argocd-cm.yaml`.
data:
  resource.customizations.health.guardbit.dev_QuantizedModel: |
"""


def generated():
    """Path and text of every generated file."""
    alerts = (ROOT / "deploy/alerts.yaml").read_text()
    lua = (ROOT / "deploy/argocd-health.lua").read_text()
    crd = "crds/quantizedmodels.guardbit.dev.yaml"
    return {
        ROOT / "docs/api.md": reference(crd, (ROOT / crd).read_text()),
        CHART / "files" / crd: (ROOT / crd).read_text(),
        CHART / "files/alerts.yaml": alerts,
        CHART / "files/grafana-dashboard.json": (ROOT / "deploy/grafana-dashboard.json").read_text(),
        ROOT / "deploy/prometheus-rule.yaml": RULE + textwrap.indent(alerts, "  "),
        ROOT / "deploy/argocd-cm.yaml": ARGOCD + textwrap.indent(lua, "    "),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
