"""compare.py GUARDBIT INSTALLED — `guardbit compare --dry-run` of quantized language models with F16, on llama.cpp's server.

Each comparison has two servers of its own on the loopback device. Its exit code and its verdict must be the right ones, the reference
must agree with itself, and the share that guardbit counts must fit the one that was measured without a server. Prints a table in
Markdown. Exits with 1 if anything is otherwise. Run by compare.sh.
"""
import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

REFERENCE = "F16"
PATIENCE = 120  # seconds until a server answers
HEALTHY, HARMFUL = ("Healthy", 0), ("Harmful", 1)
# Variant on trial, tolerance, the verdict with its exit code that is right.
COMPARISONS = [
    (REFERENCE, "5%", HEALTHY),
    ("Q8_0", "12%", HEALTHY),
    ("Q4_K_M", "25%", HEALTHY),
    ("Q4_K_M", "8%", HARMFUL),
    ("Q2_K", "25%", HARMFUL),
]


def command(site, model, host, port):
    """llama.cpp's server, with what makes it answer the same every time: one thread, one request at a time, no cache."""
    return [f"{site}/llama_cpp/lib/llama-server", "--model", str(model), "--host", host, "--port", str(port), "--ctx-size", "512",
            "--parallel", "1", "--threads", "1", "--threads-batch", "1", "--no-cache-prompt", "--cache-ram", "0",
            "--flash-attn", "off", "--offline"]


class Server:
    """One model, served from here to the end of a `with`."""

    def __init__(self, installed, variant):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.command = command(installed / "site", installed / "models" / f"{variant}.gguf", "127.0.0.1", port)

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait(self):
        end = time.monotonic() + PATIENCE
        while not self.is_healthy():
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                sys.exit(f"{' '.join(self.command)} does not answer:\n{self.log.read()[-3000:]}")
            time.sleep(0.2)

    def is_healthy(self):
        """It answers 503 while it loads the model."""
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=5).status == 200
        except OSError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def offline(installed, variant):
    """The lines of the golden set after which a model has another next token than the reference, and their share."""
    tokens = json.loads((installed / "offline.json").read_text())
    lines = {line for line, (here, there) in enumerate(zip(tokens[REFERENCE], tokens[variant]), 1) if here != there}
    return lines, len(lines) / len(tokens[REFERENCE])


class Comparison:
    """What guardbit found, and what is wrong with it."""

    def __init__(self, options, variant, tolerance, wanted):
        self.variant, self.tolerance, self.wanted = variant, tolerance, wanted
        installed, begun = options.installed, time.monotonic()
        with Server(installed, REFERENCE) as reference, Server(installed, variant) as candidate:
            done = subprocess.run(
                [options.guardbit, "compare", "--dry-run", "--protocol", "OpenAI", "--golden", installed / "golden.jsonl",
                 "--reference", reference.url, "--candidate", candidate.url, "--tolerance", tolerance,
                 "--pairs", str(options.pairs), "--seed", str(options.seed), "--output", "json"],
                stdout=subprocess.PIPE, text=True)
        self.seconds, self.code = time.monotonic() - begun, done.returncode
        if not done.stdout:
            sys.exit(f"{variant} at {tolerance}: guardbit found nothing out, and ended with {self.code}")
        self.found = json.loads(done.stdout)
        self.lines, self.offline = offline(installed, variant)

    def problems(self):
        found, (verdict, code) = self.found, self.wanted
        pairs = found["pairs"]
        # Draws are with replacement, so a share varies around that of the set. Where no answer differs, none may be counted.
        error = (self.offline * (1 - self.offline) / pairs["pairs"]) ** 0.5
        if (found["verdict"], self.code) != self.wanted:
            yield f"it is {found['verdict']} with exit code {self.code}, and not {verdict} with {code}"
        if found["control"]["disagreements"]:
            yield f"{REFERENCE} disagrees with itself {found['control']['disagreements']} times"
        if abs(pairs["disagreements"] / pairs["pairs"] - self.offline) > 4 * error:
            yield f"{pairs['disagreements']} of {pairs['pairs']} differ, which does not fit the {self.offline:.1%} that were measured offline"
        if others := set(found["differAt"]) - self.lines:
            yield f"guardbit found a difference where there is none offline: lines {sorted(others)}"

    def row(self):
        pairs, control = self.found["pairs"], self.found["control"]
        low, high = pairs["interval"]
        after = {judged["tolerance"]: judged["after"] for judged in self.found["verdicts"]}[self.found["tolerance"]]
        after = f" after {after} pairs" if after else ""
        return (f"| {self.variant} | {self.tolerance} | {self.found['verdict'].lower()}{after} "
                f"| {pairs['disagreements']} of {pairs['pairs']} | {pairs['disagreements'] / pairs['pairs']:.1%} | {low:.1%} to {high:.1%} "
                f"| {self.offline:.1%} | {control['disagreements']} of {control['pairs']} | {pairs['median']:.2g} | {self.seconds:.0f} s |")


HEAD = """| candidate | tolerated | verdict | differ | counted | 95% interval | offline | control | median distance | took |
|---|---|---|---|---|---|---|---|---|---|"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("guardbit", help="the program")
    parser.add_argument("installed", type=pathlib.Path, help="what install.sh prints")
    parser.add_argument("--pairs", type=int, default=500, help="pairs of each comparison")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draws")
    options = parser.parse_args()
    print(HEAD, flush=True)
    missed = []
    for variant, tolerance, wanted in COMPARISONS:
        comparison = Comparison(options, variant, tolerance, wanted)
        print(comparison.row(), flush=True)
        missed += [f"{variant} at {tolerance}: {problem}" for problem in comparison.problems()]
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
