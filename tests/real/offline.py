"""offline.py ROOT MODELS OUT — makes the golden set, and tells how often int8 and int4 answer otherwise than fp32 where no server is.

OUT/golden.jsonl has pieces of the files below ROOT; OUT/offline.json says of them, and of other pieces, how many there are, and to how
many each variant gives another label. Pairs are drawn from the golden set with replacement: its share is what is expected of them.
"""
import json
import pathlib
import random
import sys

from classifier import Classifier
from dataset import GOLDEN, files, lines, pieces

OTHERS = 2000
VARIANTS = ("int8", "int4")


def label(classifier, content):
    scores = classifier.scores(content)
    return scores.index(max(scores))


def main(root, models, out):
    contents = pieces(random.Random(1), files(root), GOLDEN + OTHERS)
    # One by one, as servers are asked: dynamic quantization has one scale for all inputs of a batch.
    labels = {}
    for variant in ("fp32", *VARIANTS):
        classifier = Classifier(str(models / f"{variant}.onnx"))
        labels[variant] = [label(classifier, content) for content in contents]
    told = {}
    for name, part in (("golden", slice(GOLDEN)), ("others", slice(GOLDEN, None))):
        reference = labels["fp32"][part]
        differ = {variant: sum(a != b for a, b in zip(reference, labels[variant][part])) for variant in VARIANTS}
        told[name] = {"inputs": len(reference), "labels": len(set(reference)), "differ": differ}
        for variant, n in differ.items():
            print(f"{variant}: {n} of {len(reference):,} answers differ ({n / len(reference):.1%}), {name}")
    (out / "golden.jsonl").write_text(lines(contents[:GOLDEN]))
    (out / "offline.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
