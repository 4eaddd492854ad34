"""The same classifier for Triton's Python backend: contents in base64 come, scores go back, with the variant that they are of."""
import base64
import os
import sys

# The Python backend does not look at it.
sys.path += os.environ["PYTHONPATH"].split(":")

import numpy
import triton_python_backend_utils as triton
from classifier import Classifier


class TritonPythonModel:
    """What Triton asks of a model."""

    def initialize(self, args):
        self.variant = os.environ["GUARDBIT_VARIANT"]
        self.classifier = Classifier(f"/models/{self.variant}.onnx")

    def execute(self, requests):
        return [self.infer(triton.get_input_tensor_by_name(request, "contents").as_numpy()) for request in requests]

    def infer(self, texts):
        scores = [self.classifier.scores(base64.b64decode(text)) for text in texts.flat]
        return triton.InferenceResponse([
            triton.Tensor("scores", numpy.array(scores, numpy.float32)),
            triton.Tensor("variant", numpy.array([self.variant.encode()], numpy.object_)),
        ])
