"""A compiled feature model: LiteRT with XNNPACK, which needs no TensorFlow."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import numpy.typing as npt

from models.quiet import muted_stderr


class CompiledModule:
    """Runs a flatbuffer on batches of one fixed size; may be called from many threads.

    Each call that runs at the same time as others has an interpreter of its own, with one
    thread: batches side by side use the cores better than threads that meet in every layer.

    Attributes:
      image_size: (height, width) in pixels.
      num_features: Length of a feature vector.
      batch_size: Images per run of the network; a smaller last batch is padded.
      parallelism: None: as many calls at once as there are cores.
    """

    parallelism: int | None = None

    def __init__(self, flatbuffer: bytes) -> None:
        """Makes the first interpreter.

        Args:
          flatbuffer: From uint8 [batch, height, width, 3] to float32 [batch, features].

        Raises:
          ValueError: it is not such a flatbuffer.
        """
        self._flatbuffer = flatbuffer  # Interpreters read it in place.
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        with muted_stderr():
            first = self._interpreter()
        inputs, outputs = first.get_input_details(), first.get_output_details()
        self._input: int = inputs[0]["index"]
        self._output: int = outputs[0]["index"]
        batch, height, width, _ = (int(n) for n in inputs[0]["shape"])
        self.batch_size = batch
        self.image_size = (height, width)
        self.num_features = int(outputs[0]["shape"][1])
        self._idle.put(first)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Computes the features of images.

        Args:
          pixels: uint8 [N, height, width, 3], RGB, at `image_size`; N may be 0.

        Returns:
          float32 [N, num_features].

        Raises:
          ValueError: the pixels have another shape or dtype.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (*self.image_size, 3):
            raise ValueError(
                f"The compiled model needs uint8 pixels of shape [N, {self.image_size[0]}, "
                f"{self.image_size[1]}, 3], and got {pixels.dtype} {list(pixels.shape)}; resize "
                "the images first."
            )
        features = np.empty((len(pixels), self.num_features), np.float32)
        try:
            interpreter = self._idle.get_nowait()
        except queue.Empty:
            interpreter = self._interpreter()
        try:
            for start in range(0, len(pixels), self.batch_size):
                chunk = pixels[start : start + self.batch_size]
                if len(chunk) < self.batch_size:
                    padded = np.zeros((self.batch_size, *chunk.shape[1:]), np.uint8)
                    padded[: len(chunk)] = chunk
                    interpreter.set_tensor(self._input, padded)
                else:
                    interpreter.set_tensor(self._input, chunk)
                interpreter.invoke()
                result = interpreter.get_tensor(self._output)
                features[start : start + len(chunk)] = result[: len(chunk)]
        finally:
            self._idle.put(interpreter)
        return features

    def _interpreter(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=self._flatbuffer, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter
