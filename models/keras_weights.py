"""MobileNet V2's weights in Keras's two HDF5 formats.

The layers are those of keras.applications.MobileNetV2, whose published files are named
mobilenet_v2_weights_tf_dim_ordering_tf_kernels_<multiplier>_<size>[_no_top].h5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models import mobilenet_v2 as network

Arrays = dict[str, npt.NDArray[np.float32]]
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")  # In Keras's order.


def keras_names(scope: str) -> tuple[str, str]:
    """Returns Keras's names of a Slim scope's convolution and batch normalization layers."""
    name = scope.removeprefix("MobilenetV2/")
    if name == "Conv":
        return "Conv1", "bn_Conv1"
    if name == "Conv_1":
        return "Conv_1", "Conv_1_bn"
    block, _, part = name.partition("/")
    number = block.removeprefix("expanded_conv").removeprefix("_")
    layer = f"block_{number}_{part}" if number else f"expanded_conv_{part}"
    return layer, f"{layer}_BN"


def read_keras(path: str) -> Arrays:
    """Reads the network's variables in a .h5 or .weights.h5 file, by TF-Slim's names.

    Raises:
      ModelError: The file cannot be read.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "layer_names" in file.attrs:
                return dict(_by_layer_name(file))
            if "model_weights" in file:  # A whole model, saved as one file.
                return dict(_by_layer_name(file["model_weights"]))
            return dict(_by_order(file))
    except OSError as error:
        raise ModelError(
            f"{path!r} cannot be read as HDF5 ({error}); get the file afresh."
        ) from error


def _by_layer_name(root: Any) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Reads the format of Keras 1 and 2: a group for each layer, which lists its weights."""

    def weights(layer: str) -> dict[str, npt.NDArray[np.float32]]:
        if layer not in root:
            return {}
        listed = root[layer].attrs["weight_names"]
        names = [name.decode() if isinstance(name, bytes) else name for name in listed]
        return {
            n.rpartition("/")[2].partition(":")[0]: np.asarray(root[layer][n], np.float32)
            for n in names
        }

    for layer in network.convolutions(0.5):
        convolution, normalization = (weights(name) for name in keras_names(layer.scope))
        for key in ("kernel", "depthwise_kernel"):
            if key in convolution:
                yield layer.weights, convolution[key]
        for key in _NORMALIZATION:
            if key in normalization:
                yield f"{layer.scope}/BatchNorm/{key}", normalization[key]


def _by_order(root: Any) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Reads the format of Keras 3: layers numbered within their class, in order of execution."""
    layers = root.get("layers", root.get("_layer_checkpoint_dependencies", {}))
    counts: dict[str, int] = {}

    def following(kind: str) -> Any:
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        name = f"{kind}_{number}" if number else kind
        return layers[name]["vars"] if name in layers else {}

    for layer in network.convolutions(0.5):
        kernel = following("depthwise_conv2d" if layer.depthwise else "conv2d")
        if "0" in kernel:
            yield layer.weights, np.asarray(kernel["0"], np.float32)
        normalization = following("batch_normalization")
        for index, key in enumerate(_NORMALIZATION):
            if str(index) in normalization:
                yield (
                    f"{layer.scope}/BatchNorm/{key}",
                    np.asarray(normalization[str(index)], np.float32),
                )
