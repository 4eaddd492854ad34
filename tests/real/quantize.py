"""quantize.py int8|int4 IN.onnx OUT.onnx — quantizes a model. The same input gives the same bytes.

int8: dynamically, weights and activations. int4: naively, weights alone: to the nearest of fifteen levels that lie evenly about zero, with
one scale for each tensor. They are stored as the floats that they stand for, so that the answers are those of 4 bits; size and time are
those of floats.
"""
import sys

import numpy
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

LEVELS = 7  # on each side of zero


def int8(source, target):
    quantize_dynamic(source, target, weight_type=QuantType.QInt8)


def int4(source, target):
    model = onnx.load(source)
    weights = {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")}
    found = [tensor for tensor in model.graph.initializer if tensor.name in weights]
    if not found:
        sys.exit(f"{source}: no weights of convolutions and products of matrices are in it")
    for tensor in found:
        values = numpy_helper.to_array(tensor)
        scale = abs(values).max() / LEVELS
        tensor.CopyFrom(numpy_helper.from_array((numpy.rint(values / scale) * scale).astype(values.dtype), tensor.name))
    onnx.save(model, target)


if __name__ == "__main__":
    _, how, source, target = sys.argv
    {"int8": int8, "int4": int4}[how](source, target)
