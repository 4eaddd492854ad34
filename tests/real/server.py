"""server.py MODEL.onnx — serves magika's classifier of contents with these weights, by KServe's own server.

POST /v1/models/magika:predict {"instances": [{"b64": "…"}]}, as the V1 protocol sends bytes. What stands on /metrics is KServe's
alone.
"""
import base64
import sys

import onnxruntime
from kserve import Model, ModelServer
from magika import Magika


class Classifier(Magika):
    """magika with other weights; features and labels are its own. One thread, so that a request takes one core."""

    def __init__(self, weights):
        self.weights = weights
        super().__init__()

    def _init_onnx_session(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(self.weights, options, providers=["CPUExecutionProvider"])


class Served(Model):
    """What KServe asks of a model."""

    def __init__(self, weights):
        super().__init__("magika")
        self.classifier = Classifier(weights)
        self.load()

    def predict(self, payload, headers=None, response_headers=None):
        return {"predictions": [self.classify(base64.b64decode(one["b64"])) for one in payload["instances"]]}

    def classify(self, content):
        found = self.classifier.identify_bytes(content).prediction
        return {"label": str(found.output.label), "score": found.score}


if __name__ == "__main__":
    ModelServer(enable_grpc=False).start([Served(sys.argv[1])])
