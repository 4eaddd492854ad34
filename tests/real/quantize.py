"""quantize.py IN.onnx OUT.onnx — quantizes a model dynamically to int8. The same input gives the same bytes."""
import sys

from onnxruntime.quantization import QuantType, quantize_dynamic

quantize_dynamic(sys.argv[1], sys.argv[2], weight_type=QuantType.QInt8)
