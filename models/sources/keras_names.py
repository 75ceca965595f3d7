"""The names that Keras and TF-Slim give to the variables of the network."""

from __future__ import annotations

import functools
import re

from image_features.models import mobilenet_v2 as network

NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")  # In Keras's order.
_AVERAGE = "/ExponentialMovingAverage"
_SLIM_SCOPE = "MobilenetV2/"


def keras_names(scope: str) -> tuple[str, str]:
    """Returns Keras's names of a Slim scope's convolution and batch normalization layers."""
    name = scope.removeprefix(_SLIM_SCOPE)
    if name == "Conv":
        return "Conv1", "bn_Conv1"
    if name == "Conv_1":
        return "Conv_1", "Conv_1_bn"
    block, _, part = name.partition("/")
    number = block.removeprefix("expanded_conv").removeprefix("_")
    layer = f"block_{number}_{part}" if number else f"expanded_conv_{part}"
    return layer, f"{layer}_BN"


@functools.cache
def _by_keras_name() -> tuple[dict[str, dict[str, str]], re.Pattern[str]]:
    """Returns the variables of Keras's layers, and what a layer's name looks like."""
    layers: dict[str, dict[str, str]] = {}
    for layer in network.convolutions():
        convolution, normalization = keras_names(layer.scope)
        layers[convolution] = dict.fromkeys(("kernel", "depthwise_kernel"), layer.weights)
        layers[normalization] = {key: f"{layer.scope}/BatchNorm/{key}" for key in NORMALIZATION}
    # People put words before the names to load two networks, and Keras numbers after them.
    longest_first = "|".join(sorted(map(re.escape, layers), key=len, reverse=True))
    return layers, re.compile(rf"((?:.*?[-_. ])??)({longest_first})((?:_\d+)?)")


def slim_name(path: str) -> tuple[tuple[str, str], str, bool] | None:
    """Tells which variable of the network a path names.

    Returns:
      What goes before and after the name, which is one network's; TF-Slim's name; and whether it
      is the moving average that was published rather than the variable. None if it is none.
    """
    start = path.find(_SLIM_SCOPE)
    name = path[start:].removesuffix(_AVERAGE)
    if start >= 0 and name in network.variable_shapes():
        return (path[:start], ""), name, path.endswith(_AVERAGE)
    layers, pattern = _by_keras_name()
    place, _, leaf = path.rpartition("/")
    above, _, layer = place.rpartition("/")
    if (found := pattern.fullmatch(layer)) and leaf in layers[found[2]]:
        return (f"{above}/{found[1]}", found[3]), layers[found[2]][leaf], False
    return None
