"""The numbers that a Keras model takes for pixels, as far as its first layers or its name tell."""

from __future__ import annotations

from typing import Any

import numpy as np

from image_features.models.conversion.layer_calls import Calls, LayerCall
from image_features.models.scaling import Scaling

BYTES, UNITS = Scaling.of_range(0, 255), Scaling.of_range(0, 1)
# What may stand before the scaling and keeps the range; a slice turns RGB to BGR.
_KEEPING = ("Random", "Resizing", "CenterCrop", "Identity", "GetItem", "SlicingOpLambda", "getitem")
_KEEPING_TOO = ("Cast", "cast", "image.resize", "resize")
_LARGE = 8.0  # A mean above it is that of pixels up to 255.
_FACTORS = (0.5, 8.0)  # By so much is [0, 1] stretched, from half of it to ImageNet's deviation.
# How the networks of keras.applications want their pixels, by the beginnings of their names.
_SIGNED = "--input_range=-1,1"
_PUBLISHED = {
    "mobilenet_": _SIGNED,
    "mobilenetv2": _SIGNED,
    "inception_v3": _SIGNED,
    "inception_resnet_v2": _SIGNED,
    "xception": _SIGNED,
    "nasnet": _SIGNED,
    "resnet50v2": _SIGNED,
    "resnet101v2": _SIGNED,
    "resnet152v2": _SIGNED,
    "densenet": "--mean=0.485,0.456,0.406 --std=0.229,0.224,0.225",
    "efficientnet": "--input_range=0,255",
    "convnext": "--input_range=0,255",
    "regnet": "--input_range=0,255",
    "mobilenetv3": "--input_range=0,255",
    "resnet": "",
    "vgg": "",
}


def infer_scaling(calls: Calls, images: Any, dtype: str) -> tuple[Scaling | None, str]:
    """Tells a model's range by the layers that its images meet first.

    Args:
      calls: The calls of one run.
      images: The symbolic tensor that the model was called with.
      dtype: TensorFlow's name of the type of the images.

    Returns:
      The scaling if it is certain, else None; and the reason in words.
    """
    tensor = images
    for call in calls.layers:
        if not call.inputs or _root(call.inputs[0]) is not _root(tensor):
            continue
        if call.kind.startswith((*_KEEPING, *_KEEPING_TOO)):
            tensor = call.outputs[0]
            continue
        if (found := _by_layer(call)) is not None:
            return found, f"as its layer {call.path!r} says"
        break
    if dtype.startswith(("int", "uint")):
        return BYTES, f"as it takes {dtype}"
    return None, ""


def _root(tensor: Any) -> Any:
    """Returns what a tensor is a cast or a copy of."""
    while tensor.op.type in ("Cast", "Identity"):
        tensor = tensor.op.inputs[0]
    return tensor


def _by_layer(call: LayerCall) -> Scaling | None:
    kind = call.kind.lower()
    if kind == "rescaling":
        return _by_factor(call.layer.scale)
    if kind == "normalization":
        if call.layer.mean is None:
            return None
        mean = np.asarray(call.layer.mean, np.float64)
        variance = np.asarray(call.layer.variance, np.float64)
        if mean.max() > _LARGE and mean.min() > 0 and variance.min() > _LARGE:
            return BYTES
        return UNITS if mean.min() > 0.2 and mean.max() < 0.8 and variance.max() < 0.25 else None
    return by_arithmetic(kind, [n for value in call.arguments for n in _numbers(value)])


def by_arithmetic(kind: str, numbers: list[float]) -> Scaling | None:
    """Tells the range by the first thing that is done with pixels.

    Args:
      kind: The name of the operation.
      numbers: What it does it with: a number, or one a channel.
    """
    kind = kind.lower()
    if not numbers:
        return None
    if kind in ("truedivide", "divide", "truediv", "realdiv", "div"):
        return _by_factor([1 / n for n in numbers if n])
    if kind in ("multiply", "mul"):
        return _by_factor(numbers)
    shifts = kind in ("subtract", "add", "addv2", "sub", "bias_add", "biasadd")
    return BYTES if shifts and min(map(abs, numbers)) > _LARGE else None


def _by_factor(scale: Any) -> Scaling | None:
    """Tells the range that a factor, or one a channel, brings to about [0, 1] or [-1, 1]."""
    factors = np.abs(np.asarray(scale, np.float64)).ravel()
    low, high = _FACTORS
    if not factors.size:
        return None
    if (factors * 255 >= low).all() and (factors * 255 <= high).all():
        return BYTES
    certain = (factors >= low).all() and (factors <= high).all() and (factors != 1).all()
    return UNITS if certain else None


def _numbers(value: Any) -> list[float]:
    """Returns the numbers in an argument that is no tensor of the graph."""
    import tensorflow as tf

    if isinstance(value, tf.Tensor):
        value = tf.get_static_value(value)
    try:
        found = np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError, NotImplementedError):  # It is a tensor, or holds one.
        return []
    return [float(n) for n in found] if 0 < found.size <= 3 and np.isfinite(found).all() else []


def published_advice(names: list[str]) -> str:
    """Says how a network of keras.applications wants its pixels, by the names of its models."""
    for name in names:
        for start in sorted(_PUBLISHED, key=len, reverse=True):
            if name.lower().startswith(start):
                return _advice(name, _PUBLISHED[start])
    return ""


def _advice(name: str, options: str) -> str:
    if options:
        return f"keras.applications trains networks named as {name!r} with {options}"
    return (
        f"keras.applications trains networks named as {name!r} on BGR less the mean of ImageNet, "
        "which no option states, as modules take RGB; put its preprocess_input into the model, "
        "in front, and convert that"
    )
