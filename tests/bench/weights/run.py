"""run.py GUARDBIT: how fast weights are hashed, and in how much memory: one sparse file of 1 GiB, and the same in two and eight
shards. Nothing is read from a disk, so this is what the processor does. It fails where the memory is not bounded."""
import os
import resource
import subprocess
import sys
import tempfile
import time

GIB = 1 << 30
MOST_KIB = 64 * 1024

guardbit = os.path.abspath(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    for shards in (1, 2, 8):
        weights = os.path.join(folder, str(shards))
        os.mkdir(weights)
        for shard in range(shards):
            with open(os.path.join(weights, f"model-{shard}.safetensors"), "wb") as file:
                file.truncate(GIB // shards)
        begun = time.monotonic()
        digest = subprocess.run([guardbit, "weights", "digest", weights], check=True, capture_output=True, text=True).stdout
        seconds = time.monotonic() - begun
        print(f"1 GiB in {shards} file(s): {seconds:.2f} s, {1024 / seconds:.0f} MiB/s  {digest.strip()}")
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(f"most memory: {most / 1024:.1f} MiB")
sys.exit(f"more than {MOST_KIB // 1024} MiB" if most > MOST_KIB else 0)
