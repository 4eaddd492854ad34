"""docs/: everything that the code can tell is on the page, and the commands are ones that work."""
import re
import shlex
import subprocess
import unittest

import yaml

from support import ROOT, documents, metrics, tool

OPERATIONS = (ROOT / "docs/operations.md").read_text()
PAGES = sorted(str(page.relative_to(ROOT / "docs").with_suffix("")) for page in (ROOT / "docs").rglob("*.md"))


def source(path):
    return (ROOT / path).read_text()


SAMPLES = {yaml.safe_load(path.read_text())["metadata"]["name"] for path in (ROOT / "config/samples").glob("*.yaml")}


def source_of(command):
    """The files of a command line's command."""
    return "".join(path.read_text() for path in sorted((ROOT / "src/cli" / command).glob("*.rs")))


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


def shown():
    """Commands of guardbit itself with the lines that the page shows of their output."""
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", source(f"docs/{page}.md"), re.S):
            for command, output in re.findall(r"^\$ (guardbit (?:lint|plan|policy) .*)\n((?:(?!\$ ).*\n)*)", block, re.M):
                yield page, shlex.split(command), [line for line in output.splitlines() if line and line != "⋮"]


class Operations(unittest.TestCase):
    def named(self, what, names):
        self.assertGreater(len(names), 2, what)
        missing = [name for name in names if f"`{name}`" not in OPERATIONS]
        self.assertEqual(missing, [], f"docs/operations.md does not name these {what}")

    def test_event_reasons(self):
        self.named("event reasons", members("src/rollout/plan.rs", "Reason"))

    def test_actions(self):
        self.named("actions", members("src/api/status/decided.rs", "Action"))

    def test_phases(self):
        self.named("phases", members("src/api/status.rs", "Phase"))

    def test_conditions(self):
        types = re.findall(r'pub const \w+: &str = "(\w+)";', source("src/api/status.rs").split("pub mod condition")[1])
        self.named("conditions", types)
        constants = re.search(r"pub const ALL: \[&str; (\d+)\]", source("src/api/status.rs")).group(1)
        self.assertEqual(int(constants), len(types), "condition::ALL has them all")

    def test_reasons_of_waiting(self):
        self.named("reasons of waiting", members("src/rollout/reason.rs", "WaitReason"))

    def test_reasons_of_missing_evidence(self):
        self.named("reasons of missing evidence", members("src/rollout/reason.rs", "EvidenceReason"))

    def test_metrics(self):
        names = metrics()
        counters = {"reconciles", "decisions", "records"}
        self.assertEqual(len(names), 20)
        self.named("metrics", [f"guardbit_{name}{'_total' if name in counters else ''}" for name in names])


class Commands(unittest.TestCase):
    def test_those_of_helm_and_kustomize_render(self):
        rendered = 0
        for page, command in commands():
            if page == "records" and command[0] != "kubectl":
                continue  # tests/ledger/page.rs runs them
            match command:
                case ["helm", "template", *rest]:
                    text = tool("helm", "template", *rest).stdout
                case ["helm", "install" | "upgrade", *rest]:
                    text = tool("helm", "template", *(word for word in rest if word != "--wait")).stdout
                case ["kubectl", "kustomize", directory]:
                    text = tool("testplane", "kubectl", "kustomize", directory).stdout
                case ["kubectl", "apply", *rest] if "-k" in rest:
                    text = tool("testplane", "kubectl", "kustomize", rest[rest.index("-k") + 1]).stdout
                case ["kubectl", "apply", "--server-side", "-f", path]:
                    text = source(path)
                # They act on a cluster, and tests/api_governance has one: here only the flags are held against the program.
                case ["kubectl", "guardbit", verb, model, *rest]:
                    verbs = re.findall(r"^ {4}(\w+)\(\w+\),$", source("src/cli/act/arguments.rs"), re.M)
                    self.assertIn(verb, [re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower() for name in verbs], f"docs/{page}.md")
                    self.assertIn(model, SAMPLES, f"docs/{page}.md")
                    flags = set(re.findall(r"^ +(?:pub\(super\) )?(\w+): ", source_of("act"), re.M))
                    for flag in (word.split("=")[0] for word in rest if word.startswith("--")):
                        self.assertIn(flag[2:].replace("-", "_"), flags, f"docs/{page}.md: {flag}")
                    continue
                # On a cluster: those of the chart are run by `make chart`. A model that is named is that of a sample.
                case ["helm" | "kubectl", *rest]:
                    if "quantizedmodel" in rest:
                        self.assertIn(rest[rest.index("quantizedmodel") + 1], SAMPLES, f"docs/{page}.md")
                    continue
                case ["guardbit", "lint" | "plan" | "policy", *_]:
                    continue  # run below
                # They need servers, and tests/compare has some: here only the flags are held against the program.
                case ["guardbit", "compare" | "golden" | "weights" as of, *rest]:
                    flags = set(re.findall(r"^ +(?:pub\(super\) )?(\w+): ", source_of(of), re.M))
                    for flag in (word for word in rest if word.startswith("--")):
                        self.assertIn(flag[2:].replace("-", "_"), flags, f"docs/{page}.md: {flag}")
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
                    self.assertTrue(((ROOT / "docs" / page).parent / target).exists(), f"docs/{page}.md: {target}")

    def test_paths_that_are_named_exist(self):
        found = []
        for page in ["CONTRIBUTING.md", "README.md", *(f"docs/{page}.md" for page in PAGES)]:
            paths = re.findall(r"`((?:src|tests)/[^`\s]*)`", source(page))
            for path in paths:
                self.assertTrue((ROOT / path).exists(), f"{page}: {path}")
            if page in ["CONTRIBUTING.md", "docs/architecture.md"]:
                found += paths
        self.assertGreaterEqual(len(found), 20)

    @classmethod
    def setUpClass(cls):
        # As the other tests build it: without their dependencies it would be compiled once more.
        subprocess.run(["cargo", "test", "-q", "--no-run", "--test", "plan"], cwd=ROOT, check=True)

    def test_models_on_the_pages_are_ones_that_lint_takes(self):
        linted = 0
        for page in PAGES:
            for block in re.findall(r"^```yaml\n(.*?)^```$", source(f"docs/{page}.md"), re.S | re.M):
                if re.search(r"^kind: QuantizedModel$", block, re.M):
                    command = [ROOT / "target/debug/guardbit", "lint", "-f", "-"]
                    done = subprocess.run(command, input=block, cwd=ROOT, capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0, f"docs/{page}.md: {done.stdout}{done.stderr}")
                    linted += 1
        self.assertGreaterEqual(linted, 2)

    def test_policies_on_the_pages_are_ones_that_can_be_read(self):
        read = []
        for page in PAGES:
            for block in re.findall(r"^```yaml\n(.*?)^```$", source(f"docs/{page}.md"), re.S | re.M):
                if re.search(r"^kind: PrecisionPolicy$", block, re.M):
                    command = [ROOT / "target/debug/guardbit", "policy", "test", "-"]
                    done = subprocess.run(command, input=block, cwd=ROOT, capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0, f"docs/{page}.md: {done.stderr}")
                    read.append(yaml.safe_load(block))
        self.assertIn(yaml.safe_load(source("config/samples/policies/high-risk.yaml")), read)

    def test_those_of_guardbit_print_what_the_page_shows(self):
        run = 0
        for page, command, lines in shown():
            done = subprocess.run([ROOT / "target/debug/guardbit", *command[1:]], cwd=ROOT, capture_output=True, text=True)
            # A page may show that a policy refuses something.
            codes = [0, 1] if command[1] == "policy" else [0]
            self.assertIn(done.returncode, codes, f"docs/{page}.md: {shlex.join(command)}: {done.stderr}")
            printed = done.stdout.splitlines()
            if command[1] == "lint":
                self.assertEqual(printed, lines, f"docs/{page}.md: {shlex.join(command)}")
            for line in lines:
                self.assertIn(line, printed, f"docs/{page}.md: {shlex.join(command)}")
            run += 1
        self.assertGreaterEqual(run, 11)

    def test_every_block_is_of_a_kind_that_is_tried(self):
        for page in PAGES:
            blocks = re.findall(r"^```([^\n]*)\n(.*?)^```$", source(f"docs/{page}.md"), re.S | re.M)
            for kind, text in blocks:
                self.assertIn(kind, ["console", "yaml"], f"docs/{page}.md: a block that no test tries")
                if kind == "yaml":
                    self.assertTrue(list(yaml.safe_load_all(text)), f"docs/{page}.md")
                else:
                    self.assertRegex(text, r"^\$ ", f"docs/{page}.md: no command")

    def test_each_sample_has_a_guide(self):
        samples = {path.stem for path in (ROOT / "config/samples").glob("*.yaml")}
        self.assertEqual(samples, {path.stem for path in (ROOT / "docs/guides").glob("*.md")})

    def test_the_threat_model_names_tests_that_exist(self):
        page = source("docs/threat-model.md")
        files = set(re.findall(r"\b(?:src|tests)(?:/\w+)+\.rs", page))
        text = "".join(source(path) for path in files)
        tests = re.findall(r"`([a-z]+(?:_[a-z0-9]+){3,})`", page)
        self.assertGreater(len(tests), 15)
        for test in tests:
            self.assertIn(f"fn {test}(", text)

    def test_the_invariants_worlds_and_tests_are_those_that_there_are(self):
        page = source("docs/invariants.md")
        checks = members("tests/model/invariants/mod.rs", "Invariant")
        self.assertEqual(sorted(re.findall(r"\| `([A-Z]\w+)` \|", page)), sorted(checks))
        worlds = re.search(r"^worlds!\((.*?)\);", source("tests/model/main.rs"), re.S | re.M).group(1)
        self.assertEqual(re.findall(r"^\| `(\w+)` \|", page, re.M), re.findall(r"\w+", worlds))
        found = re.findall(r"\| `(\w+)` \|$", page, re.M)
        self.assertGreater(len(found), 8)
        for test in found:
            self.assertIn(f"\nfn {test}()", source("tests/rollout/handovers.rs"))

    def test_values_and_flags_that_are_named_exist(self):
        values = source("charts/guardbit/values.yaml")
        for dotted in re.findall(r"`(rbac|image|crds|governance|podMonitor|prometheusRule|dashboard|networkPolicy)\.([\w.]+)`", source("docs/install.md") + OPERATIONS):
            for part in ".".join(dotted).split("."):
                self.assertRegex(values, rf"\b{part}:")


if __name__ == "__main__":
    unittest.main()
