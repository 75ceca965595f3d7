"""The calls of layers in one run of a Keras model: what came in, what went out, in which order."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from image_features.models.conversion.replacing import replaced

_PASSING = ("Identity", "Cast", "StopGradient")  # Operations between layers that change nothing.


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LayerCall:
    """One call of a layer, or of a model within the model.

    Attributes:
      path: The names of the models around the layer and its own, with slashes between.
      layer: The layer, of either Keras.
      inputs: The symbolic tensors that it took.
      outputs: The symbolic tensors that it gave.
      arguments: All that it was called with.
      is_model: Whether it is a model, whose layers have calls of their own.
    """

    path: str
    layer: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    arguments: tuple[Any, ...]
    is_model: bool

    @property
    def kind(self) -> str:
        """The name of the layer's class; of TensorFlow's function if it is one."""
        kind = type(self.layer).__name__
        if kind == "TFOpLambda":
            return str(self.layer.get_config()["function"]).rpartition(".")[2]
        return kind


class Reached(BaseException):
    """Ends a run where its layer was reached; Keras touches no exception of this kind."""

    def __init__(self, outputs: tuple[Any, ...]) -> None:
        """Takes what the layer gave."""
        self.outputs = outputs


class Calls:
    """The calls of one run, and where its tensors come from.

    Attributes:
      all: The calls, in the order in which they ended.
      outputs: What the model gave in the end.
    """

    def __init__(self, all: list[LayerCall], outputs: tuple[Any, ...]) -> None:
        """Notes which layer has made which tensor."""
        self.all = all
        self.outputs = outputs
        self._makers = {
            id(tensor): call
            for call in all
            for tensor in call.outputs
            # A dropout gives in inference what it has taken, and has made nothing.
            if not call.is_model and id(tensor) not in set(map(id, call.inputs))
        }

    @property
    def layers(self) -> list[LayerCall]:
        """The calls that are not of models."""
        return [call for call in self.all if not call.is_model]

    def maker(self, tensor: Any) -> LayerCall | None:
        """Returns the call that made a tensor; None for the model's input."""
        while id(tensor) not in self._makers:
            if tensor.op.type not in _PASSING:
                return None
            tensor = tensor.op.inputs[0]
        return self._makers[id(tensor)]

    def before(self, call: LayerCall) -> LayerCall | None:
        """Returns the call whose output a call took; None if it took several, or the input."""
        return self.maker(call.inputs[0]) if len(call.inputs) == 1 else None

    def index(self, call: LayerCall) -> int:
        """Returns a call's place in the order, which is the same in every run."""
        return self.all.index(call)


@contextlib.contextmanager
def recorded(library: Any, stop: int | None = None) -> Iterator[list[LayerCall]]:
    """Records the calls of layers within the block, all of them as in inference.

    A layer that was saved to be in training always, such as a dropout, is in inference too.

    Args:
      library: The model's Keras: `keras` or `tf_keras`.
      stop: The index of the call after which `Reached` is raised; None runs to the end.

    Yields:
      The list that the calls are added to.
    """
    calls: list[LayerCall] = []
    open_names: list[str] = []  # Of the models that are running, the outermost first.
    within_layer = 0
    layer_class, model_class = library.layers.Layer, library.Model

    def noted(original: Any) -> Any:
        def call(self: Any, *args: Any, **options: Any) -> Any:
            nonlocal within_layer
            inner = original is not layer_call and isinstance(self, layer_class)
            if inner or within_layer:
                return original(self, *args, **options)
            if options.get("training"):
                options["training"] = False
            is_model = isinstance(self, model_class)
            open_names.append(self.name)
            within_layer += not is_model
            try:
                given = original(self, *args, **options)
            finally:
                path = "/".join(open_names[1:])
                open_names.pop()
                within_layer -= not is_model
            if path:
                tensors = (_tensors((args, options)), _tensors(given))
                calls.append(LayerCall(path, self, *tensors, (*args, *options.values()), is_model))
            if stop is not None and len(calls) == stop + 1:
                raise Reached(calls[-1].outputs)
            return given

        return call

    layer_call = layer_class.__call__
    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(layer_class, "__call__", noted(layer_call)))
        if hasattr(library, "Operation"):  # Keras 3 has functions as nodes of its graphs too.
            operation = library.Operation
            stack.enter_context(replaced(operation, "__call__", noted(operation.__call__)))
        yield calls


def _tensors(values: Any) -> tuple[Any, ...]:
    import tensorflow as tf

    return tuple(value for value in tf.nest.flatten(values) if isinstance(value, tf.Tensor))
