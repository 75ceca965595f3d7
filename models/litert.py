"""A compiled feature model, which LiteRT runs with XNNPACK and without TensorFlow."""

from __future__ import annotations

import queue
from typing import Any

from image_features.models.batches import Features, FixedBatches, Pixels
from image_features.models.quiet import muted_stderr


class CompiledModule(FixedBatches):
    """Runs a flatbuffer on batches of one fixed size; may be called from many threads.

    Each batch that runs at the same time as others has an interpreter of its own, with one
    thread: batches side by side use the cores better than threads that meet in every layer.
    """

    def __init__(self, flatbuffer: bytes) -> None:
        """Makes the first interpreter.

        Args:
          flatbuffer: A compiled function from uint8 [batch, height, width, 3] to float32
            [batch, features].

        Raises:
          ValueError: The bytes are not a flatbuffer.
        """
        self._flatbuffer = flatbuffer  # The interpreters read it in place.
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

    def _run(self, batch: Pixels) -> Features:
        try:
            interpreter = self._idle.get_nowait()
        except queue.Empty:
            interpreter = self._interpreter()
        try:
            interpreter.set_tensor(self._input, batch)
            interpreter.invoke()
            result: Features = interpreter.get_tensor(self._output)
            return result
        finally:
            self._idle.put(interpreter)

    def _interpreter(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=self._flatbuffer, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter
