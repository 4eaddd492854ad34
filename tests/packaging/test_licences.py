"""deny.toml, as far as it can be held offline and without cargo-deny: licences, bans and sources of all that Cargo.lock names."""
import json
import re
import subprocess
import tomllib
import unittest

from support import ROOT

DENY = tomllib.loads((ROOT / "deny.toml").read_text())
ALLOWED = set(DENY["licenses"]["allow"])


def allowed(expression):
    """Whether an SPDX expression can be met with allowed licences alone."""
    # Cargo of old let a slash mean OR.
    tokens = re.findall(r"\(|\)|\bAND\b|\bOR\b|[\w.+-]+(?: WITH [\w.-]+)?", expression.replace("/", " OR "))
    made = " ".join({"AND": "and", "OR": "or"}.get(t, t if t in "()" else str(t in ALLOWED)) for t in tokens)
    return eval(made)


class Licences(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        command = ["cargo", "metadata", "--locked", "--format-version=1"]
        for target in DENY["graph"]["targets"]:
            command += ["--filter-platform", target]
        metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        used = {node["id"] for node in metadata["resolve"]["nodes"]}
        cls.packages = [package for package in metadata["packages"] if package["id"] in used]

    def test_expressions_are_read_as_spdx_means_them(self):
        self.assertTrue(allowed("GPL-3.0 OR MIT"))
        self.assertTrue(allowed("Unlicense/MIT"))
        self.assertTrue(allowed("(MIT OR GPL-3.0) AND Unicode-3.0"))
        self.assertFalse(allowed("MIT AND GPL-3.0"))
        self.assertFalse(allowed("Apache-2.0 WITH GCC-exception-3.1"))

    def test_every_crate_has_a_licence_that_is_allowed(self):
        self.assertGreater(len(self.packages), 200)
        wrong = {p["name"]: p["license"] for p in self.packages if not (p["license"] and allowed(p["license"]))}
        self.assertEqual(wrong, {}, "not in deny.toml")

    def test_every_licence_that_is_allowed_is_needed(self):
        for licence in ALLOWED:
            self.assertTrue(any(licence in p["license"] for p in self.packages), f"no crate has {licence}: take it out of deny.toml")

    def test_no_crate_is_banned(self):
        banned = {entry["name"]: entry["reason"] for entry in DENY["bans"]["deny"]}
        self.assertEqual([(p["name"], banned[p["name"]]) for p in self.packages if p["name"] in banned], [])

    def test_every_crate_comes_from_a_source_that_is_allowed(self):
        # deny.toml denies all but cargo's own registry, which nearly all crates come from.
        self.assertEqual((DENY["sources"]["unknown-registry"], DENY["sources"]["unknown-git"]), ("deny", "deny"))
        sources = {p["source"] for p in self.packages if p["source"]}
        self.assertEqual(len(sources), 1, sources)
        self.assertTrue(sources.pop().startswith("registry+"))


if __name__ == "__main__":
    unittest.main()
