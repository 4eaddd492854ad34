"""server.py MODEL.onnx — serves magika's classifier of contents with these weights, by KServe's own server.

POST /v1/models/magika:predict {"instances": [{"b64": "…"}]}, as the V1 protocol sends bytes; POST /v2/models/magika/infer, the Open
Inference Protocol: contents in base64 come as a tensor of BYTES, and their scores go back, with the variant that they are of.
What stands on /metrics is KServe's alone.
"""
import base64
import os
import sys
import uuid

import numpy
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

from classifier import Classifier


class Served(Model):
    """What KServe asks of a model."""

    def __init__(self, weights):
        super().__init__("magika")
        self.classifier = Classifier(weights)
        self.load()

    def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, InferRequest):
            return self.infer(payload)
        return {"predictions": [self.classify(base64.b64decode(one["b64"])) for one in payload["instances"]]}

    def classify(self, content):
        found = self.classifier.identify_bytes(content).prediction
        return {"label": str(found.output.label), "score": found.score}

    def infer(self, request):
        contents = [base64.b64decode(text) for text in request.inputs[0].as_numpy().flat]
        scores = numpy.array([self.classifier.scores(content) for content in contents], numpy.float32)
        variant = numpy.array([os.environ["GUARDBIT_VARIANT"]], numpy.object_)
        return InferResponse(request.id or str(uuid.uuid4()), self.name, [
            InferOutput("scores", list(scores.shape), "FP32", scores),
            InferOutput("variant", [1], "BYTES", variant),
        ])


if __name__ == "__main__":
    ModelServer(enable_grpc=False).start([Served(sys.argv[1])])
