"""load.py URL HOST SEED RPS INSTANCES — sends requests until SIGTERM, then prints one line of JSON: how many were sent, failed and late.

Open loop: requests are sent at moments of their own, with exponential gaps, whether or not those before were answered. The seed
decides the gaps and the bodies: each is as many slices of files of this Python as INSTANCES says.
"""
import asyncio
import base64
import json
import pathlib
import random
import signal
import sys
import sysconfig

import aiohttp

SLICE = 4096  # bytes; magika reads the first and the last kilobyte of what it gets
LATE = 0.1  # seconds behind its moment at which a request is no longer sent as the seed says


def files():
    """Files of the standard library that a slice can be cut from, always in the same order."""
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    here = lambda path: not {"site-packages", "__pycache__"} & set(path.relative_to(root).parts)
    found = [path for path in root.rglob("*") if here(path) and path.is_file()]
    return sorted((path, path.stat().st_size) for path in found if path.stat().st_size >= SLICE)


def instance(chosen, source):
    path, size = chosen.choice(source)
    with open(path, "rb") as file:
        file.seek(chosen.randrange(size - SLICE + 1))
        return {"b64": base64.b64encode(file.read(SLICE)).decode()}


class Load:
    def __init__(self, url, host):
        self.url, self.headers = f"{url}/v1/models/magika:predict", {"Host": host, "Content-Type": "application/json"}
        self.counts = {"sent": 0, "failed": 0, "late": 0}
        self.errors = {}

    async def send(self, session, text):
        self.counts["sent"] += 1
        try:
            async with session.post(self.url, data=text, headers=self.headers) as answer:
                said = await answer.text()
                error = None if answer.status == 200 else f"{answer.status} {said[:100]}"
        except (aiohttp.ClientError, asyncio.TimeoutError) as failure:
            error = repr(failure)
        if error:
            self.counts["failed"] += 1
            self.errors[error] = self.errors.get(error, 0) + 1

    async def run(self, seed, rps, instances):
        stopped, tasks = asyncio.Event(), set()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        source, chosen, clock = files(), random.Random(seed), asyncio.get_running_loop().time
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(15)) as session:
            moment = clock()
            while not stopped.is_set():
                moment += chosen.expovariate(rps)
                text = json.dumps({"instances": [instance(chosen, source) for _ in range(instances)]})
                await asyncio.sleep(moment - clock())
                self.counts["late"] += clock() - moment > LATE
                task = asyncio.create_task(self.send(session, text))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks)
        print(json.dumps({**self.counts, "errors": self.errors}), flush=True)


if __name__ == "__main__":
    _, url, host, seed, rps, instances = sys.argv
    asyncio.run(Load(url, host).run(int(seed), float(rps), int(instances)))
