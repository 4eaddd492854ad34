"""load.py URL HOST SEED RPS INPUTS [V1|V2] — sends requests until SIGTERM, then prints one line of JSON: how many were sent, failed and late.

Open loop: requests are sent at moments of their own, with exponential gaps, whether or not those before were answered. The seed
decides the gaps and the bodies: each is as many pieces of files of this Python as INPUTS says. By the V2 protocol the answers name
their variant, and are counted by it.
"""
import asyncio
import collections
import json
import pathlib
import random
import signal
import sys
import sysconfig

import aiohttp

import dataset

LATE = 0.1  # seconds behind its moment at which a request is no longer sent as the seed says
V1_PIECE = 4096  # bytes


def instances(chosen, source, inputs):
    return {"instances": [{"b64": dataset.text(dataset.piece(chosen, source, V1_PIECE))} for _ in range(inputs)]}


def inference(chosen, source, inputs):
    return dataset.question([dataset.piece(chosen, source) for _ in range(inputs)])


def variant(answer):
    return next(output["data"][0] for output in json.loads(answer)["outputs"] if output["name"] == "variant")


# Path, body, and who answered.
PROTOCOLS = {
    "V1": ("/v1/models/magika:predict", instances, lambda answer: "any"),
    "V2": ("/v2/models/magika/infer", inference, variant),
}


class Load:
    def __init__(self, url, host, protocol):
        path, self.body, self.variant = PROTOCOLS[protocol]
        self.url, self.headers = f"{url}{path}", {"Host": host, "Content-Type": "application/json"}
        self.counts = {"sent": 0, "failed": 0, "late": 0}
        self.answered, self.errors = collections.Counter(), collections.Counter()

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
            self.errors[error] += 1
        else:
            self.answered[self.variant(said)] += 1

    async def run(self, seed, rps, inputs):
        stopped, tasks = asyncio.Event(), set()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        source = dataset.files(pathlib.Path(sysconfig.get_path("stdlib")), V1_PIECE)
        chosen, clock = random.Random(seed), asyncio.get_running_loop().time
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(15)) as session:
            moment = clock()
            while not stopped.is_set():
                moment += chosen.expovariate(rps)
                text = json.dumps(self.body(chosen, source, inputs))
                await asyncio.sleep(moment - clock())
                self.counts["late"] += clock() - moment > LATE
                task = asyncio.create_task(self.send(session, text))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks)
        print(json.dumps({**self.counts, "answered": self.answered, "errors": self.errors}), flush=True)


if __name__ == "__main__":
    _, url, host, seed, rps, inputs, *protocol = sys.argv
    asyncio.run(Load(url, host, *protocol or ["V1"]).run(int(seed), float(rps), int(inputs)))
