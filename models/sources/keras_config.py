"""What a Keras model's configuration says of its layers, which nothing here runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from image_features.models.sources.keras_names import NORMALIZATION
from image_features.models.sources.units import Normalization, Pads, Unit, pads_as_same
from image_features.models.sources.variables import Variable, Variables

_CONVOLUTIONS = frozenset({"Conv2D", "Convolution2D", "DepthwiseConv2D"})
_NO_PADS: Pads = ((0, 0), (0, 0))


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a model, or of a model within it.

    Attributes:
      kind: The name of its class.
      path: Its place in files of Keras 3, such as "layers/functional/layers/conv2d_1".
      config: Its own configuration.
    """

    kind: str
    path: str
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.config.get("name", ""))


def layers_of(model: Mapping[str, Any], path: str = "") -> Iterator[Layer]:
    """Gives the layers of a model and of those within it, in order of execution.

    Args:
      model: The model's "class_name" and "config".
      path: The model's place in files of Keras 3.
    """
    config = model.get("config", {})
    # The first sequential models were the list itself.
    layers = config.get("layers", ()) if isinstance(config, Mapping) else config
    counts: dict[str, int] = {}
    for layer in layers:
        kind, inner = str(layer.get("class_name", "")), layer.get("config", {})
        stem = _snake_case(kind)
        number = counts.get(stem, -1) + 1
        counts[stem] = number
        place = f"{path}/layers/{stem}_{number}" if number else f"{path}/layers/{stem}"
        if isinstance(inner, Mapping) and "layers" not in inner:
            named = inner if "name" in inner else {**inner, "name": layer.get("name", "")}
            yield Layer(kind, place.removeprefix("/"), named)
        else:
            yield from layers_of(layer, place)


def _snake_case(name: str) -> str:
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def image_size_of(layers: Sequence[Layer]) -> int | None:
    """Returns the side in pixels of the images that the network takes, None if it takes any.

    They are those of the last input before the first convolution, as others may be made smaller.
    """
    size = None
    for layer in layers:
        if layer.kind in _CONVOLUTIONS and size:
            break
        size = _stated_size(layer, size)
    return size


def _stated_size(layer: Layer, otherwise: int | None) -> int | None:
    """Returns the side of the images that an input says that it takes, or makes of them."""
    config = layer.config
    shape: Any = config.get("batch_shape") or config.get("batch_input_shape") or ()
    if layer.kind == "Resizing":
        shape = [None, config.get("height"), config.get("width"), 3]
    if len(shape) != 4 or shape[3] != 3:
        return otherwise
    return shape[1] if shape[1] == shape[2] and isinstance(shape[1], int) else None


def architecture_of(model: Mapping[str, Any]) -> str:
    """Says what a model is in a few words: its class and name, and those of models within it."""
    config = model.get("config", {})
    words = [f"{model.get('class_name', 'Model')} model"]
    if isinstance(config, Mapping):
        words.append(repr(config.get("name", "")))
        inner = [
            repr(layer["config"].get("name", ""))
            for layer in config.get("layers", ())
            if isinstance(layer.get("config"), Mapping) and "layers" in layer["config"]
        ]
        words += [f"with {', '.join(inner[:3])} in it"] if inner else []
    return " ".join(words)


def units_of(layers: Sequence[Layer], variables: Variables) -> list[Unit]:
    """Returns the convolutions whose variables are found, in order of execution.

    Variables are found by the place of their layer, or by its name if it is the only one.
    """
    by_place: dict[str, dict[str, Variable]] = {}
    for variable in variables.found:
        by_place.setdefault(variable.layer, {})[variable.leaf] = variable
    places: dict[str, set[str]] = {}
    for variable in variables.found:
        path = (variable.name or variable.path).split("/")
        # Files of Keras 3 may number layers by their class, which is like a name and is none.
        if len(path) > 1 and (variable.name or "layers" not in path[:-2]):
            places.setdefault(path[-2], set()).add(variable.layer)

    def held(layer: Layer | None) -> dict[str, Variable]:
        if layer is None:
            return {}
        named = places.get(layer.name, set())
        return by_place.get(layer.path) or (by_place[min(named)] if len(named) == 1 else {})

    units = (
        _unit(span, held(span.convolution), held(span.normalization)) for span in _spans(layers)
    )
    return [unit for unit in units if unit]


@dataclasses.dataclass(slots=True)
class _Span:
    """A convolution and what is after it, until the next one."""

    convolution: Layer
    pads: Pads
    before: str
    size: int | None
    normalization: Layer | None = None
    relu6: bool = False
    shortcut: bool = False

    @property
    def stride(self) -> int:
        strides = _pair(self.convolution.config.get("strides", 1))
        return strides[0] if strides[0] == strides[1] else 0


def _spans(layers: Sequence[Layer]) -> list[_Span]:
    spans: list[_Span] = []
    size: int | None = None
    pads, before = _NO_PADS, ""
    for layer in layers:
        size = _stated_size(layer, size)
        last = spans[-1] if spans else None
        if layer.kind in _CONVOLUTIONS:
            if last and last.stride:
                size = size and -(-size // last.stride)
            spans.append(_Span(layer, pads, before, size))
            pads, before = _NO_PADS, ""
        elif layer.kind == "ZeroPadding2D" and pads == _NO_PADS:
            height, width = (_pair(side) for side in _pair(layer.config.get("padding", 1)))
            pads = (height, width)
        elif last is None or layer.kind == "InputLayer" or _does_nothing(layer):
            continue
        elif last.relu6:
            before = before or repr(layer.name)
        elif "BatchNormalization" in layer.kind and not last.normalization and not last.shortcut:
            last.normalization = layer
        elif _is_relu6(layer):
            last.relu6 = True
        elif layer.kind in ("Add", "Merge") and not last.shortcut:
            last.shortcut = True
        else:
            before = before or repr(layer.name)
    return spans


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, Sequence) else (value, value)


def _does_nothing(layer: Layer) -> bool:
    """Whether a layer does nothing when features are computed."""
    linear = layer.kind == "Activation" and layer.config.get("activation") == "linear"
    return linear or "Dropout" in layer.kind or "Noise" in layer.kind


def _is_relu6(layer: Layer) -> bool:
    config = layer.config
    if layer.kind == "ReLU":
        others = config.get("negative_slope"), config.get("threshold")
        return config.get("max_value") == 6 and not any(others)
    activation = config.get("activation")
    name = activation.get("config") if isinstance(activation, Mapping) else activation
    return layer.kind == "Activation" and name == "relu6"


def _unit(
    span: _Span, kernels: dict[str, Variable], statistics: dict[str, Variable]
) -> Unit | None:
    """Returns a convolution with its weights; None if they are not found."""
    config = span.convolution.config
    kernel = next((v.read() for v in kernels.values() if len(v.shape) == 4), None)
    if kernel is None or (span.normalization and not statistics):
        return None
    depthwise = span.convolution.kind.startswith("Depthwise")
    outputs = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
    normalization = Normalization.none(outputs)
    if span.normalization:
        arrays = {key: variable.read() for key, variable in statistics.items()}
        if not arrays.keys() >= set(NORMALIZATION[2:]):
            return None
        arrays.setdefault("gamma", np.ones(outputs, np.float32))
        arrays.setdefault("beta", np.zeros(outputs, np.float32))
        normalization = Normalization(**{key: arrays[key] for key in NORMALIZATION})
        normalization = normalization.with_epsilon(span.normalization.config.get("epsilon", 1e-3))
    bias = next((v.read() for v in kernels.values() if v.shape == (outputs,)), None)
    if bias is not None:
        added = Normalization.of_affine(np.ones(outputs, np.float32), bias)
        normalization = added.then(normalization)
    pads = span.pads
    same = config.get("padding", config.get("border_mode")) == "same"
    oddity = ""
    if (same and pads != _NO_PADS) or not (
        same or pads_as_same(pads, kernel.shape[0], span.stride or 1, span.size)
    ):
        oddity = "is padded otherwise than by TensorFlow's SAME"
    elif set(_pair(config.get("dilation_rate", 1))) != {1} or config.get("groups", 1) != 1:
        oddity = "is dilated or grouped"
    elif config.get("activation", "linear") != "linear":
        oddity = f"has the activation {config['activation']!r}"
    elif config.get("data_format") == "channels_first":
        oddity = "has its channels first"
    return Unit(
        name=span.convolution.name,
        kernel=kernel,
        depthwise=depthwise,
        normalization=normalization,
        stride=span.stride,
        relu6=span.relu6,
        shortcut=span.shortcut,
        before=span.before,
        oddity=oddity,
    )
