#!/usr/bin/env python3
"""dsse.py KEY FILE… — verifies the envelopes of exported records with securesystemslib, the library of TUF and in-toto.

It reads the envelope alone, by the rules of DSSE. Exit code 0: all signatures are by the key; 1: one is not.
"""
import base64
import hashlib
import json
import pathlib
import sys

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey


def public_key(path):
    """The key, under the name that signatures give it: the digest of the key itself."""
    pem = pathlib.Path(path).read_text()
    body = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    keyid = base64.b64encode(hashlib.sha256(base64.b64decode(body)).digest()).decode()
    return SSlibKey(keyid, "ecdsa", "ecdsa-sha2-nistp256", {"public": pem})


def main(key, files):
    key, code = public_key(key), 0
    for file in files:
        envelope = Envelope.from_dict(json.loads(pathlib.Path(file).read_bytes())["dsseEnvelope"])
        try:
            envelope.verify([key], 1)
            print(f"{file}: verified")
        except VerificationError as error:
            print(f"{file}: {error}")
            code = 1
    return code


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: dsse.py KEY FILE...")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
