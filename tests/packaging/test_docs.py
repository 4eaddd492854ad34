"""README.md and docs/: everything that the code can tell is on the page, and the commands are ones that work."""
import os
import re
import shlex
import subprocess
import tempfile
import unittest

import yaml

from support import ROOT, crds, documents, kustomize, metrics, of_kind, tool

OPERATIONS = (ROOT / "docs/operations.md").read_text()
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]

# Pages of which another test runs all commands but those of kubectl.
RUN_ELSEWHERE = {"docs/records.md": "tests/ledger/page.rs", "docs/weights.md": "tests/weights/page.rs"}


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


def lines():
    """All commands of the pages as they stand there: after `$ ` in a block `console`."""
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", source(page), re.S):
            for line in re.findall(r"^\$ (.*)$", block, re.M):
                yield page, line


def commands():
    """All commands of the pages in words."""
    for page, line in lines():
        yield page, shlex.split(line, comments=True)


def blocks(kind):
    """All blocks of YAML that hold an object of this kind, with their pages."""
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```$", source(page), re.S | re.M):
            if re.search(rf"^kind: {kind}$", block, re.M):
                yield page, block


def own(words):
    """The arguments of guardbit among the words of a command, which may go on in a shell."""
    ends = [words.index(word) for word in ("|", ">", "&&") if word in words]
    return words[: min(ends, default=len(words))]


def guardbit(*arguments, **more):
    """Runs guardbit as it was built, in the repository if nothing else is said, without a cluster."""
    command = [ROOT / "target/debug/guardbit", *arguments]
    environment = os.environ | {"KUBECONFIG": "/nowhere"}
    usual = {"cwd": ROOT, "input": "", "env": environment}
    return subprocess.run(command, capture_output=True, text=True, **usual | more)


def shown():
    """Commands of guardbit itself with the lines that the page shows of their output. Those of README.md are of models and metrics that are not here."""
    for page in PAGES[1:]:
        for block in re.findall(r"```console\n(.*?)```", source(page), re.S):
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
        self.assertEqual(len(names), 21)
        self.named("metrics", [f"guardbit_{name}{'_total' if name in counters else ''}" for name in names])


class Commands(unittest.TestCase):
    def test_those_of_helm_and_kustomize_render(self):
        rendered = 0
        for page, command in commands():
            if page in RUN_ELSEWHERE and command[0] != "kubectl":
                continue
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
                # They act on a cluster, and tests/api_governance has one, where those of docs/approvals.md are carried out.
                case ["kubectl", "guardbit", verb, model, *rest]:
                    self.assertIn(model, SAMPLES, page)
                    self.understood(page, [verb, model, *rest])
                    continue
                # On a cluster: those of the chart are run by `make chart`. A model that is named is that of a sample.
                case ["helm" | "kubectl", *rest]:
                    if "quantizedmodel" in rest:
                        self.assertIn(rest[rest.index("quantizedmodel") + 1], SAMPLES, page)
                    self.fields_exist(page, rest)
                    continue
                case ["guardbit", "lint" | "plan" | "policy", *_] if page != "README.md":
                    continue  # run below
                # Some need a cluster, which tests/ledger/page.rs has, and those of README.md files that are not here.
                case ["guardbit", "export" | "lint" | "plan" | "report" | "simulate" | "verify", *_]:
                    self.understood(page, own(command[1:]))
                    continue
                case ["openssl", *_]:
                    continue  # run below
                # They need servers, and tests/compare has some: here only the flags are held against the program.
                case ["guardbit", "compare" | "golden" | "weights" as of, *rest]:
                    flags = set(re.findall(r"^ +(?:pub\(super\) )?(\w+): ", source_of(of), re.M))
                    for flag in (word for word in rest if word.startswith("--")):
                        self.assertIn(flag[2:].replace("-", "_"), flags, f"{page}: {flag}")
                    continue
                case _:
                    self.fail(f"{page}: {' '.join(command)} is not tried by any test")
            self.assertTrue(documents(text), command)
            rendered += 1
        self.assertGreaterEqual(rendered, 7)

    def understood(self, page, arguments):
        """guardbit takes these arguments, whatever comes of them where there is neither a file nor a cluster."""
        with tempfile.TemporaryDirectory() as nowhere:
            done = guardbit(*arguments, cwd=nowhere)
        self.assertNotIn("try '--help'", done.stderr, f"{page}: {shlex.join(arguments)}")

    def fields_exist(self, page, arguments):
        """The fields that a command of kubectl prints are ones that its kind has."""
        kinds = {}
        for crd in (yaml.safe_load(path.read_text())["spec"] for path in crds()):
            kinds |= {crd["names"][name]: crd["versions"][0]["schema"]["openAPIV3Schema"] for name in ("plural", "singular")}
        root = next((kinds[word] for word in arguments if word in kinds), None)
        for output in (word for word in arguments if root and word.startswith("jsonpath=")):
            around = root
            for ranged, path, end in re.findall(r"\{(range )?\.([\w.\[\]*]+)\}|\{(end)\}", output):
                at = root if end else around
                for name in path.replace("[*]", ".[*]").split(".") if path else []:
                    at = at.get("items") if name == "[*]" else at.get("properties", {}).get(name)
                    self.assertIsNotNone(at, f"{page}: there is no {name} of {path} in {output}")
                if ranged or end:
                    around = at

    def test_links_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", source(page)):
                if not target.startswith("https://"):
                    self.assertTrue(((ROOT / page).parent / target).exists(), f"{page}: {target}")

    def test_paths_that_are_named_exist(self):
        found = []
        for page in ["CONTRIBUTING.md", *PAGES]:
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
        for page, block in blocks("QuantizedModel"):
            if page == "README.md":
                continue  # an outline, which is tried below
            done = guardbit("lint", "-f", "-", input=block)
            self.assertEqual(done.returncode, 0, f"{page}: {done.stdout}{done.stderr}")
            linted += 1
        self.assertGreaterEqual(linted, 2)

    def test_the_outline_in_the_readme_has_fields_that_there_are(self):
        ((_, block),) = [found for found in blocks("QuantizedModel") if found[0] == "README.md"]
        (path,) = [path for path in crds() if path.name.startswith("quantizedmodels.")]
        schema = yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

        def walk(value, schema, at):
            if isinstance(value, list):
                for item in value:
                    walk(item, schema["items"], f"{at}[]")
            elif isinstance(value, dict) and "properties" in schema:
                for name in value.keys() - {"…"}:
                    self.assertIn(name, schema["properties"], at)
                    walk(value[name], schema["properties"][name], f"{at}.{name}")

        walk(yaml.safe_load(block)["spec"], schema["properties"]["spec"], "spec")

    def test_the_parts_of_a_model_on_the_page_of_weights_make_one_that_lint_takes(self):
        model = yaml.safe_load(source("config/samples/fraud-scorer.yaml"))
        found = re.findall(r"^```yaml\n(.*?)^```$", source("docs/weights.md"), re.S | re.M)
        variants, serving = [yaml.safe_load(text) for text in found if not re.search("^kind: ", text, re.M)]
        (variant,) = variants["variants"]
        (written,) = [of for of in model["spec"]["variants"] if of["name"] == variant["name"]]
        written["weights"] = variant["weights"]
        model["spec"]["serving"]["template"] = serving["serving"]["template"]
        done = guardbit("lint", "-f", "-", input=yaml.safe_dump(model, allow_unicode=True))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_policies_on_the_pages_are_ones_that_can_be_read(self):
        read = []
        for page, block in blocks("PrecisionPolicy"):
            done = guardbit("policy", "test", "-", input=block)
            self.assertEqual(done.returncode, 0, f"{page}: {done.stderr}")
            read.append(yaml.safe_load(block))
        self.assertIn(yaml.safe_load(source("config/samples/policies/high-risk.yaml")), read)
        self.assertGreaterEqual(len(read), 2)

    def test_cases_on_the_page_are_among_those_of_the_sample(self):
        (block,) = re.findall(r"^```yaml\n(- case: .*?)^```$", source("docs/governance.md"), re.S | re.M)
        for case in yaml.safe_load(block):
            self.assertIn(case, yaml.safe_load(source("config/samples/policies/tests/high-risk.yaml")))

    def test_every_rule_of_a_policy_is_on_the_page_for_risk_officers(self):
        page = source("docs/governance.md")
        (path,) = [path for path in crds() if path.name.startswith("precisionpolicies.")]
        schema = yaml.safe_load(path.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        fields = schema["properties"]["spec"]["properties"]
        self.assertGreater(len(fields), 10)
        self.assertEqual([name for name in fields if f"`{name}`" not in page and f"`{name}: " not in page], [])

    def test_roles_that_are_bound_on_the_pages_are_installed(self):
        installed = {o["metadata"]["name"] for part in ("config/default", "config/governance") for o in of_kind(kustomize(part), "ClusterRole")}
        bound = [(page, yaml.safe_load(block)["roleRef"]["name"]) for page, block in blocks("RoleBinding")]
        self.assertTrue(bound)
        for page, role in bound:
            self.assertIn(role, installed, page)

    def test_the_key_that_is_made_on_the_page_is_one_that_signs(self):
        with tempfile.TemporaryDirectory() as directory:
            for page, line in lines():
                if line.startswith("openssl ") and page not in RUN_ELSEWHERE:
                    subprocess.run(["sh", "-e", "-c", line], cwd=directory, check=True, capture_output=True)
            key = subprocess.run(["openssl", "pkey", "-pubin", "-in", "guardbit.pub", "-noout", "-text"], cwd=directory, check=True, capture_output=True, text=True)
            self.assertIn("prime256v1", key.stdout)
            done = guardbit("verify", ".", "--key", "guardbit.pub", cwd=directory)
        # It reads the key, and there are no records.
        self.assertIn("there is no record in .", done.stderr)

    def test_those_of_guardbit_print_what_the_page_shows(self):
        run = 0
        for page, command, lines in shown():
            done = guardbit(*command[1:])
            # A page may show that a policy refuses something.
            codes = [0, 1] if command[1] == "policy" else [0]
            self.assertIn(done.returncode, codes, f"{page}: {shlex.join(command)}: {done.stderr}")
            printed = done.stdout.splitlines()
            if command[1] == "lint":
                self.assertEqual(printed, lines, f"{page}: {shlex.join(command)}")
            for line in lines:
                self.assertIn(line, printed, f"{page}: {shlex.join(command)}")
            run += 1
        self.assertGreaterEqual(run, 11)

    def test_every_block_is_of_a_kind_that_is_tried(self):
        for page in PAGES:
            for kind, text in re.findall(r"^```([^\n]*)\n(.*?)^```$", source(page), re.S | re.M):
                # What the demo printed is no command.
                kinds = ["console", "yaml", "text"] if page == "README.md" else ["console", "yaml"]
                self.assertIn(kind, kinds, f"{page}: a block that no test tries")
                if kind == "text":
                    continue
                if kind == "yaml":
                    self.assertTrue(list(yaml.safe_load_all(text)), page)
                else:
                    self.assertRegex(text, r"^\$ ", f"{page}: no command")

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
