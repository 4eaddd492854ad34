"""Inputs of the classifier: pieces of files, at places that a seed decides. Any tree of files is a data set.

Contents go to servers in base64: JSON has no bytes.
"""
import base64
import json

PIECE = 2048  # bytes; magika reads the first and the last kilobyte of what it gets
GOLDEN = 350  # questions: about as many as a ConfigMap has room for


def files(root, least=PIECE):
    """Files of so many bytes at the least, always in the same order."""
    here = lambda path: not {"site-packages", "__pycache__"} & set(path.relative_to(root).parts)
    found = [path for path in root.rglob("*") if here(path) and path.is_file()]
    return sorted((path, path.stat().st_size) for path in found if path.stat().st_size >= least)


def kinds(source, least=5):
    """The same files by the end of their names, where there are so many of a kind."""
    found = {}
    for path, length in source:
        found.setdefault(path.suffix, []).append((path, length))
    return [found[suffix] for suffix in sorted(found) if len(found[suffix]) >= least]


def piece(chosen, source, size=PIECE):
    """A piece of one of `files`."""
    path, length = chosen.choice(source)
    with open(path, "rb") as file:
        file.seek(chosen.randrange(length - size + 1))
        return file.read(size)


def pieces(chosen, source, number):
    """Pieces that differ. Kinds of files are chosen first: else most would be of the kind that the tree is full of."""
    found, sources = {}, kinds(source)
    while len(found) < number:
        found.setdefault(piece(chosen, chosen.choice(sources)))
    return list(found)


def text(content):
    return base64.b64encode(content).decode()


def question(contents):
    """The body of an inference by the Open Inference Protocol."""
    return {"inputs": [{"name": "contents", "shape": [len(contents)], "datatype": "BYTES", "data": [text(one) for one in contents]}]}


def lines(contents):
    """A golden set."""
    return "".join(json.dumps(question([content]), separators=(",", ":")) + "\n" for content in contents)
