"""A narrow MobileNet V2 that starts from the most important channels of a wide one.

A channel's importance is the scale that batch normalization gives it times the norm of the weights
that read it, an estimate of what its removal takes from the next layers (the magnitude criteria of
Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, and Liu et al., "Learning Efficient
Convolutional Networks through Network Slimming", ICCV 2017).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from image_features.models import mobilenet_v2 as network
from training import teacher

Channels = npt.NDArray[np.intp]


def _largest(importance: npt.NDArray[np.float64], count: int) -> Channels:
    """Indices of the largest, in ascending order."""
    return np.sort(np.argsort(-importance, kind="stable")[:count])


def _stages(layers: list[network.Convolution]) -> list[int]:
    """For each layer, the number of the residual stream that it writes to (projections only)."""
    stages, stage = [], -1
    for layer in layers:
        if not layer.relu6 and not layer.residual:
            stage += 1
        stages.append(stage)
    return stages


def initial_weights(wide: teacher.Arrays, depth_multiplier: float) -> network.Weights:
    """Takes the most important channels of the teacher.

    Its normalization of the input and its epsilon are folded into the first layer and into the
    scales. Even padding against Slim's moves stride-2 layers by one pixel, which training mends.

    Args:
      wide: Variables of the network with depth multiplier 1, as `teacher.read_weights` gives them.
      depth_multiplier: Of the narrow network, below 1.

    Returns:
      float32 arrays by name, as `mobilenet_v2.variable_shapes` says.
    """
    layers = network.convolutions(1.0)
    narrow = network.convolutions(depth_multiplier)
    stages = _stages(layers)

    def scale(layer: network.Convolution) -> npt.NDArray[np.float64]:
        return np.abs(wide[f"{layer.scope}/BatchNorm/gamma"].astype(np.float64))

    def read(layer: network.Convolution) -> npt.NDArray[np.float64]:
        """Norm of the weights that read each input channel."""
        variance = wide[f"{layer.scope}/BatchNorm/moving_variance"].astype(np.float64)
        kernel = wide[layer.weights] * (scale(layer) / np.sqrt(variance + 1e-5))
        return np.sqrt(np.square(kernel).sum(axis=(0, 1, 3)))

    def stream(stage: int, count: int) -> Channels:
        """The channels of a residual stream: all that write and read it have a say."""
        written = sum(
            scale(layer)
            for layer, at in zip(layers, stages, strict=True)
            if at == stage and not layer.relu6
        )
        readers = [
            layer
            for i, layer in enumerate(layers)
            if i and stages[i - 1] == stage and not layers[i - 1].relu6
        ]
        return _largest(written * sum(read(layer) for layer in readers), count)

    weights: network.Weights = {}
    kept: Channels = np.arange(3)
    for i, (layer, target) in enumerate(zip(layers, narrow, strict=True)):
        kernel = wide[layer.weights]
        if layer.depthwise:
            out = kept
            kernel = kernel[:, :, kept]
        else:
            if not layer.relu6:
                out = stream(stages[i], target.outputs)
            elif i + 1 < len(layers):
                # The depthwise layer keeps these channels, and the projection reads them.
                out = _largest(scale(layers[i + 1]) * read(layers[i + 2]), target.outputs)
            else:
                out = np.arange(target.outputs)
            kernel = kernel[:, :, kept][..., out]
        mean, variance, gamma, beta = (
            wide[f"{layer.scope}/BatchNorm/{name}"][out].astype(np.float64)
            for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        if i == 0:
            # From (x - MEAN) / STD of x in [0, 1] to the student's 2 x - 1.
            mean = mean - ((0.5 - teacher.MEAN) / teacher.STD) @ kernel.sum(axis=(0, 1))
            kernel = kernel * (0.5 / teacher.STD)[:, None]
        ratio = (variance + network.BATCH_NORM_EPSILON) / (variance + teacher.BATCH_NORM_EPSILON)
        gamma = gamma * np.sqrt(ratio)
        weights[target.weights] = kernel.astype(np.float32)
        for name, array in (
            ("gamma", gamma),
            ("beta", beta),
            ("moving_mean", mean),
            ("moving_variance", variance),
        ):
            weights[f"{target.scope}/BatchNorm/{name}"] = array.astype(np.float32)
        kept = out
    return weights
