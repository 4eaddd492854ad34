"""magika with other weights; how bytes become numbers, and which contents there are, is its own."""
import io

import onnxruntime
from magika import Magika
from magika.types import Seekable


class Classifier(Magika):
    """One thread, so that a request takes one core."""

    def __init__(self, weights):
        self.weights = weights
        super().__init__()

    def _init_onnx_session(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(self.weights, options, providers=["CPUExecutionProvider"])

    def scores(self, content):
        """What the model gives: a score for each kind of content, before magika makes a label of them."""
        config = self._model_config
        features = self._extract_features_from_seekable(
            Seekable(io.BytesIO(content)), config.beg_size, config.mid_size, config.end_size, config.padding_token,
            config.block_size, config.use_inputs_at_offsets)
        return self._get_raw_predictions([(None, features)])[0]
