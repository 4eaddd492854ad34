"""The SBOM, and images that are the same bytes whenever they are made."""
import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from support import ROOT


def sbom():
    return subprocess.run(["python3", ROOT / "deploy/sbom.py"], check=True, capture_output=True, text=True).stdout


class Sbom(unittest.TestCase):
    def test_it_names_what_the_binary_is_built_of(self):
        text = sbom()
        self.assertEqual(text, sbom(), "the same lock file, the same bytes")
        bill = json.loads(text)
        self.assertEqual((bill["bomFormat"], bill["specVersion"]), ("CycloneDX", "1.6"))
        tree = subprocess.run(
            ["cargo", "tree", "--locked", "-p", "guardbit", "--target", "x86_64-unknown-linux-gnu", "-e", "normal", "--prefix", "none"],
            cwd=ROOT, check=True, capture_output=True, text=True).stdout
        built = {tuple(line.split()[:2]) for line in tree.splitlines() if line} - {("guardbit", "v0.1.0")}
        self.assertEqual({(c["name"], "v" + c["version"]) for c in bill["components"]}, built)
        names = {c["name"] for c in bill["components"]}
        self.assertTrue({"kube", "rustls", "promql-parser"} <= names)
        self.assertFalse({"insta", "proptest", "model-server"} & names, "what only tests use is not in the image")
        for component in bill["components"]:
            self.assertEqual(len(component["hashes"][0]["content"]), 64, component["name"])
            self.assertTrue(component["licenses"][0]["expression"], component["name"])
        known = {c["bom-ref"] for c in [*bill["components"], bill["metadata"]["component"]]}
        for dependency in bill["dependencies"]:
            self.assertLessEqual({dependency["ref"], *dependency["dependsOn"]}, known)


class Image(unittest.TestCase):
    def test_the_same_files_give_the_same_image(self):
        digests = set()
        for mask, stamp, order in ((0o022, 1, 1), (0o077, 1_700_000_000, -1)):
            with tempfile.TemporaryDirectory() as directory:
                directory, old = pathlib.Path(directory), os.umask(mask)
                try:
                    pairs = []
                    for place, name in (("ab"[::order][0], "guardbit"), ("ab"[::order][1], "fp32.bin")):
                        path = directory / place / name
                        path.parent.mkdir()
                        path.write_bytes(name.encode() * 1000)
                        os.utime(path, (stamp, stamp))
                        pairs.append(f"{path}=/{name}")
                    command = ["python3", ROOT / "tests/cluster/image.py", "localhost/x:1", directory / "x.tar", "/guardbit", *pairs[::order]]
                    subprocess.run(command, check=True, cwd=directory)
                    digests.add(hashlib.sha256((directory / "x.tar").read_bytes()).hexdigest())
                finally:
                    os.umask(old)
        self.assertEqual(len(digests), 1)


if __name__ == "__main__":
    unittest.main()
