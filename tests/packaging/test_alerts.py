"""The alerts: rules that Prometheus takes, each of which fires when it should and not otherwise."""
import re
import unittest

import yaml

from generate import generated, left_over
from support import ROOT, metrics, tool

ALERTS = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
TESTS = yaml.safe_load((ROOT / "tests/packaging/alerts.test.yaml").read_text())["tests"]


class Alerts(unittest.TestCase):
    def test_prometheus_takes_them(self):
        tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", "deploy/alerts.yaml")

    def test_they_fire_when_they_should(self):
        tool("promtool", "test", "rules", "tests/packaging/alerts.test.yaml")

    def test_each_has_a_test_that_fires_and_one_that_does_not(self):
        for fires in (True, False):
            cases = {case["alertname"] for test in TESTS for case in test["alert_rule_test"] if bool(case["exp_alerts"]) == fires}
            self.assertEqual(sorted(cases), sorted(rule["alert"] for rule in RULES), f"fires: {fires}")

    def test_each_names_its_severity_and_where_to_read_on(self):
        headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/operations.md").read_text(), re.M)
        for rule in RULES:
            self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
            self.assertEqual(rule["annotations"]["runbook"], f"docs/operations.md#{rule['alert'].lower()}")
            self.assertIn(rule["alert"], headings)

    def test_they_ask_for_metrics_that_there_are(self):
        known = metrics()
        for rule in RULES:
            for name in re.findall(r"guardbit_([a-z_]+)", rule["expr"]):
                self.assertIn(re.sub("_(total|bucket)$", "", name), known, rule["alert"])

    def test_what_is_generated_is_up_to_date(self):
        for path, text in generated().items():
            self.assertTrue(path.read_text() == text, f"{path.relative_to(ROOT)} is out of date: run `make generated`")
        self.assertEqual(left_over(), [], "copies without a source: run `make generated`")


if __name__ == "__main__":
    unittest.main()
