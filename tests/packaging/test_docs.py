"""docs/: everything that the code can tell is on the page, and the commands are ones that work."""
import re
import shlex
import unittest

from support import ROOT, documents, tool

OPERATIONS = (ROOT / "docs/operations.md").read_text()
PAGES = ["install", "operations", "upgrade", "gitops"]


def source(path):
    return (ROOT / path).read_text()


def members(path, enum):
    """Names of the members of a Rust enum."""
    body = re.search(rf"pub enum {enum} \{{(.*?)\n\}}", source(path), re.S).group(1)
    found = re.findall(r"^ {4}(\w+),", body, re.M)
    assert found, f"{path} has no enum {enum}"
    return found


def commands():
    """All commands of the pages: those after `$ ` in a block `console`."""
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", source(f"docs/{page}.md"), re.S):
            for line in re.findall(r"^\$ (.*)$", block, re.M):
                yield page, shlex.split(line)


class Operations(unittest.TestCase):
    def named(self, what, names):
        self.assertGreater(len(names), 2, what)
        missing = [name for name in names if f"`{name}`" not in OPERATIONS]
        self.assertEqual(missing, [], f"docs/operations.md does not name these {what}")

    def test_event_reasons(self):
        self.named("event reasons", members("src/rollout/plan.rs", "Reason"))

    def test_actions(self):
        self.named("actions", members("src/api/status.rs", "Action"))

    def test_phases(self):
        self.named("phases", members("src/api/status.rs", "Phase"))

    def test_conditions(self):
        types = re.findall(r'pub const \w+: &str = "(\w+)";', source("src/api/status.rs").split("pub mod condition")[1])
        self.named("conditions", types)
        constants = re.search(r"pub const ALL: \[&str; (\d+)\]", source("src/api/status.rs")).group(1)
        self.assertEqual(int(constants), len(types), "condition::ALL has them all")

    def test_reasons_of_waiting(self):
        found = set()
        for path in (ROOT / "src/rollout").glob("*.rs"):
            found |= set(re.findall(r'\breason: "(\w+)"', path.read_text()))
        self.named("reasons of waiting", sorted(found))

    def test_reasons_of_missing_evidence(self):
        known = re.search(r"const KNOWN.*?\];", source("src/rollout/listen.rs"), re.S).group(0)
        self.named("reasons of missing evidence", re.findall(r'"(\w+)"', known) + ["NoSamples", "PrometheusFailed"])

    def test_metrics(self):
        text = source("src/telemetry/metrics.rs").split("#[cfg(test)]")[0]
        names = re.findall(r'register\(\s*"(\w+)"', text) + re.findall(r'^ {4}\(\s*"(\w+)"', text, re.M)
        counters = {"reconciles", "decisions"}
        self.assertGreater(len(names), 11)
        self.named("metrics", [f"guardbit_{name}{'_total' if name in counters else ''}" for name in names])


class Commands(unittest.TestCase):
    def test_those_of_helm_and_kustomize_render(self):
        rendered = 0
        for page, command in commands():
            match command:
                case ["helm", "template", *rest]:
                    text = tool("helm", "template", *rest).stdout
                case ["helm", "install" | "upgrade", *rest]:
                    text = tool("helm", "template", *(word for word in rest if word != "--wait")).stdout
                case ["kubectl", "kustomize", directory]:
                    text = tool("testplane", "kubectl", "kustomize", directory).stdout
                case ["kubectl", "apply", *rest] if "-k" in rest:
                    text = tool("testplane", "kubectl", "kustomize", rest[rest.index("-k") + 1]).stdout
                case ["helm" | "kubectl", *_]:
                    continue
                case _:
                    self.fail(f"docs/{page}.md: {' '.join(command)} is not tried by any test")
            self.assertTrue(documents(text), command)
            rendered += 1
        self.assertGreaterEqual(rendered, 7)

    def test_links_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", source(f"docs/{page}.md")):
                if not target.startswith("https://"):
                    self.assertTrue((ROOT / "docs" / target).exists(), f"docs/{page}.md: {target}")

    def test_values_and_flags_that_are_named_exist(self):
        values = source("charts/guardbit/values.yaml")
        for dotted in re.findall(r"`(rbac|image|crds|podMonitor|prometheusRule|dashboard|networkPolicy)\.([\w.]+)`", source("docs/install.md") + OPERATIONS):
            for part in ".".join(dotted).split("."):
                self.assertRegex(values, rf"\b{part}:")


if __name__ == "__main__":
    unittest.main()
