"""sbom.py — what is in guardbit's image, as CycloneDX 1.6: the crates that the binary is built of, by Cargo.lock.

The same Cargo.lock gives the same bytes: no time, no random serial number.
"""
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = "x86_64-unknown-linux-gnu"


def cargo(*args):
    return subprocess.run(["cargo", *args, "--locked"], cwd=ROOT, check=True, capture_output=True, text=True).stdout


METADATA = json.loads(cargo("metadata", "--format-version=1", "--filter-platform", TARGET))
# Metadata knows optional dependencies that no feature switches on; the tree does not.
BUILT = {tuple(line.split()[:2]) for line in
         cargo("tree", "-p", "guardbit", "--target", TARGET, "-e", "normal", "--prefix", "none").splitlines() if line}
PACKAGES = {package["id"]: package for package in METADATA["packages"]}
NODES = {node["id"]: node for node in METADATA["resolve"]["nodes"]}


def checksums():
    """Of Cargo.lock, by name and version."""
    found, entry = {}, {}
    for line in (ROOT / "Cargo.lock").read_text().splitlines() + ["[[package]]"]:
        if line == "[[package]]":
            if "checksum" in entry:
                found[entry["name"], entry["version"]] = entry["checksum"]
            entry = {}
        elif " = \"" in line:
            key, _, value = line.partition(" = ")
            entry[key] = value.strip('"')
    return found


def linked(package):
    """What a package is linked with: neither for tests nor for build scripts."""
    deps = (dep["pkg"] for dep in NODES[package]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"]))
    return sorted(dep for dep in deps if (PACKAGES[dep]["name"], f"v{PACKAGES[dep]['version']}") in BUILT)


def reference(package):
    return f"pkg:cargo/{PACKAGES[package]['name']}@{PACKAGES[package]['version']}"


def component(package, checksum):
    about = PACKAGES[package]
    made = {"type": "library", "bom-ref": reference(package), "name": about["name"], "version": about["version"],
            "purl": reference(package)}
    if about.get("license"):
        # Cargo of old let a slash mean OR.
        made["licenses"] = [{"expression": about["license"].replace(" / ", " OR ").replace("/", " OR ")}]
    if checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return made


def bill():
    (root,) = [id for id, package in PACKAGES.items() if package["name"] == "guardbit" and id in METADATA["workspace_members"]]
    reached, waiting = set(), [root]
    while waiting:
        package = waiting.pop()
        if package not in reached:
            reached.add(package)
            waiting.extend(linked(package))
    sums = checksums()
    of = lambda package: component(package, sums.get((PACKAGES[package]["name"], PACKAGES[package]["version"])))
    rest = sorted(reached - {root}, key=reference)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**of(root), "type": "application"}},
        "components": [of(package) for package in rest],
        "dependencies": [{"ref": reference(package), "dependsOn": sorted(set(map(reference, linked(package))))} for package in [root, *rest]],
    }


if __name__ == "__main__":
    print(json.dumps(bill(), indent=1))
