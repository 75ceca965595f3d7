"""The model of the peers: a SavedModel's signature, as TensorFlow loads it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

_SIGNATURES = ("image_feature_vector", "serving_default")


class Network:
    """An image feature vector model.

    Attributes:
      image_size: The (height, width) of images that it takes, in pixels.
    """

    def __init__(self, directory: str, *, intra_op_threads: int = 0) -> None:
        """Loads the model.

        Args:
          directory: The directory of the SavedModel.
          intra_op_threads: The threads of an operation in this process, where TensorFlow has not
            done anything yet; 0 leaves the choice to TensorFlow.

        Raises:
          ValueError: the model has no signature that takes images of one size.
        """
        if intra_op_threads:
            tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
        # A module of TensorFlow Hub's first format tags its inference graph with the empty set.
        is_hub = (pathlib.Path(directory) / "tfhub_module.pb").exists()
        self._loaded = tf.saved_model.load(directory, tags=[] if is_hub else None)
        names = [name for name in _SIGNATURES if name in self._loaded.signatures]
        if not names:
            raise ValueError(f"The model in {directory} has none of the signatures {_SIGNATURES}.")
        self._signature = self._loaded.signatures[names[0]]
        ((self._input, spec),) = self._signature.structured_input_signature[1].items()
        outputs = self._signature.structured_outputs
        self._output = "default" if "default" in outputs else min(outputs)
        height, width = spec.shape[1:3]
        if height is None or width is None:
            raise ValueError(f"The model in {directory} does not state the size of its images.")
        self.image_size: tuple[int, int] = (height, width)

    def __call__(self, images: Any) -> Any:
        """Computes features [N, num_features] of float32 images [N, height, width, 3] in [0, 1]."""
        return self._signature(**{self._input: images})[self._output]

    def frozen(self) -> Callable[[Any], Any]:
        """Returns the function with its variables as constants, which TensorFlow runs faster."""
        spec = tf.TensorSpec([None, *self.image_size, 3], tf.float32)
        function = tf.function(self, autograph=False).get_concrete_function(spec)
        constant = convert_variables_to_constants_v2(function)
        return lambda images: constant(images)[0]
