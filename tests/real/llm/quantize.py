"""quantize.py MODEL.gguf DIRECTORY — writes F16.gguf and, made from it, quantized ones, by llama.cpp's own quantizer.

The model that is at hand is quantized to four bits already: what is meant by F16 here are those weights, unpacked. The others are made
from F16, as they are from the weights that somebody trained. Most rows of this model have 576 weights and do not fit the blocks of 256
that Q4_K and Q2_K have: llama.cpp falls back to Q5_0 and Q4_0 there.
"""
import ctypes
import pathlib
import sys

import llama_cpp

QUANTIZED = ("Q8_0", "Q4_K_M", "Q2_K")


def quantize(source, out):
    """The name of the file that is written says what is made."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{out.stem}")
    params.allow_requantize = True
    if llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)):
        sys.exit(f"{source} could not be quantized to {out.name}")


def main(source, directory):
    reference = directory / "F16.gguf"
    quantize(source, reference)
    for name in QUANTIZED:
        quantize(reference, directory / f"{name}.gguf")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
