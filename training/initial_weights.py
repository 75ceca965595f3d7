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


def initial_weights(wide: teacher.Arrays, depth_multiplier: float) -> network.Weights:
    """Takes the most important channels of the teacher.

    Its normalization of the input and its epsilon are folded into the first layer and into the
    scales. Even padding against Slim's moves stride-2 layers by one pixel, which training mends.

    Args:
      wide: The variables of the network with depth multiplier 1, as `teacher.read_weights` gives
        them.
      depth_multiplier: The factor of the narrow network's depths, at most 1.

    Returns:
      float32 arrays by name, as `mobilenet_v2.variable_shapes` says.
    """
    source = _Wide(wide)
    weights: network.Weights = {}
    kept: Channels = np.arange(3)
    narrow = network.convolutions(depth_multiplier)
    for index, (layer, target) in enumerate(zip(source.layers, narrow, strict=True)):
        out = kept if layer.depthwise else source.important(index, target.outputs)
        kernel = wide[layer.weights][:, :, kept]
        if not layer.depthwise:
            kernel = kernel[..., out]
        mean, variance, gamma, beta = (
            wide[f"{layer.scope}/BatchNorm/{name}"][out].astype(np.float64)
            for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        if index == 0:
            # From (x - MEAN) / STD of x in [0, 1] to the student's 2 x - 1.
            mean = mean - ((0.5 - teacher.MEAN) / teacher.STD) @ kernel.sum(axis=(0, 1))
            kernel = kernel * (0.5 / teacher.STD)[:, None]
        ratio = (variance + network.BATCH_NORM_EPSILON) / (variance + teacher.BATCH_NORM_EPSILON)
        weights[target.weights] = kernel.astype(np.float32)
        for name, array in (
            ("gamma", gamma * np.sqrt(ratio)),
            ("beta", beta),
            ("moving_mean", mean),
            ("moving_variance", variance),
        ):
            weights[f"{target.scope}/BatchNorm/{name}"] = array.astype(np.float32)
        kept = out
    return weights


class _Wide:
    """The teacher's network, and which of its channels matter."""

    def __init__(self, arrays: teacher.Arrays) -> None:
        self._arrays = arrays
        self.layers = network.convolutions(1.0)
        # The residual stream that each layer writes to; only a projection opens a new one.
        self._streams: list[int] = []
        stream = -1
        for layer in self.layers:
            if not layer.relu6 and layer.shortcut is not network.Shortcut.ENDS:
                stream += 1
            self._streams.append(stream)

    def important(self, index: int, count: int) -> Channels:
        """The most important output channels of a layer that is not depthwise, in order."""
        layer = self.layers[index]
        if not layer.relu6:
            return self._important_of_stream(self._streams[index], count)
        if index + 1 == len(self.layers):
            return np.arange(count)
        # The depthwise layer keeps these channels, and the projection reads them.
        following, projection = self.layers[index + 1], self.layers[index + 2]
        return _largest(self._scale(following) * self._read(projection), count)

    def _important_of_stream(self, stream: int, count: int) -> Channels:
        """The channels of a residual stream: all that write and read it have a say."""
        written = sum(
            self._scale(layer)
            for layer, at in zip(self.layers, self._streams, strict=True)
            if at == stream and not layer.relu6
        )
        readers = [
            layer
            for i, layer in enumerate(self.layers)
            if i and self._streams[i - 1] == stream and not self.layers[i - 1].relu6
        ]
        return _largest(written * sum(self._read(layer) for layer in readers), count)

    def _scale(self, layer: network.Convolution) -> npt.NDArray[np.float64]:
        """The scale that batch normalization gives each output channel."""
        return np.abs(self._arrays[f"{layer.scope}/BatchNorm/gamma"].astype(np.float64))

    def _read(self, layer: network.Convolution) -> npt.NDArray[np.float64]:
        """The norm of the weights that read each input channel."""
        variance = self._arrays[f"{layer.scope}/BatchNorm/moving_variance"].astype(np.float64)
        scale = self._scale(layer) / np.sqrt(variance + teacher.BATCH_NORM_EPSILON)
        return np.sqrt(np.square(self._arrays[layer.weights] * scale).sum(axis=(0, 1, 3)))


def _largest(importance: npt.NDArray[np.float64], count: int) -> Channels:
    """The indices of the largest values, in ascending order."""
    return np.sort(np.argsort(-importance, kind="stable")[:count])
