"""image.py NAME OUT.tar ENTRYPOINT FILE=PATH... — an image from scratch with those files, run as user 65532.

The same files give the same bytes: owners, modes and times are fixed.
"""
import hashlib
import io
import json
import sys
import tarfile

name, out, entry, *files = sys.argv[1:]


def add(archive, path, data, mode):
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as archive:
    # In the order of the paths inside: where the files come from is nobody's business.
    for pair in sorted(files, key=lambda pair: pair.rpartition("=")[2]):
        source, _, path = pair.rpartition("=")
        with open(source, "rb") as file:
            add(archive, path.lstrip("/"), file.read(), 0o755)
layer = layer.getvalue()
digest = hashlib.sha256(layer).hexdigest()
config = json.dumps({
    "architecture": "amd64", "os": "linux",
    "config": {"Entrypoint": entry.split(" "), "User": "0" if name.endswith("#root") else "65532:65532"},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
}, sort_keys=True).encode()
config_name = hashlib.sha256(config).hexdigest() + ".json"
manifest = [{"Config": config_name, "RepoTags": [name.removesuffix("#root")], "Layers": [digest + "/layer.tar"]}]
with tarfile.open(out, "w") as archive:
    add(archive, config_name, config, 0o644)
    add(archive, digest + "/layer.tar", layer, 0o644)
    add(archive, "manifest.json", json.dumps(manifest).encode(), 0o644)
