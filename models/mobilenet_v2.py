"""MobileNet V2 without its classifier, written once for graph mode and for TF2.

Architecture: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018, table 2. Variable names, the rounding of depths and the batch normalization follow
TF-Slim's `mobilenet_v2`, from which the published TensorFlow Hub modules were exported, so a
Slim checkpoint fits by name.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Tensor = Any
Variable = Any
Shape = tuple[int, ...]
Weights = dict[str, npt.NDArray[np.float32]]
VariableGetter = Callable[[str, Shape], Variable]

NUM_FEATURES = 1280  # The width of the last convolution, table 2; never scaled below 1.
BATCH_NORM_EPSILON = 1e-3  # TF-Slim's batch_norm default.
BATCH_NORM_DECAY = 0.997  # TF-Slim's mobilenet training_scope.
WEIGHT_DECAY = 4e-5  # TF-Slim's mobilenet training_scope; not applied to depthwise kernels.

_SCOPE = "MobilenetV2"
_FIRST_DEPTH = 32
_DIVISOR = 8  # Depths are multiples of it, as in TF-Slim.
# The rows of table 2: expansion factor t, output depth c, repetitions n, stride s of the first.
_BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Shortcut(enum.Enum):
    """The end of a block's residual connection that a convolution is at.

    The input of the convolution that begins it is added to the output of the one that ends it. A
    block may begin one that none ends: its input and output differ in shape.
    """

    BEGINS = enum.auto()
    ENDS = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution and the batch normalization after it.

    Attributes:
      scope: The scope of its variables, such as "MobilenetV2/expanded_conv_1/expand".
      inputs: The depth of its input.
      outputs: The depth of its output; equal to `inputs` if depthwise.
      kernel: The side of the square kernel, in pixels.
      stride: The stride in both directions, in pixels.
      depthwise: Whether each channel is filtered on its own.
      relu6: Whether relu6 follows; a projection is linear.
      shortcut: The end of a residual connection that it is at, if any.
    """

    scope: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False
    relu6: bool = True
    shortcut: Shortcut | None = None

    @property
    def weights(self) -> str:
        """The name of the kernel variable."""
        return f"{self.scope}/{'depthwise_weights' if self.depthwise else 'weights'}"

    @property
    def shape(self) -> Shape:
        """The shape of the kernel: [height, width, in, out or multiplier]."""
        return (self.kernel, self.kernel, self.inputs, 1 if self.depthwise else self.outputs)


def rounded_depth(depth: float) -> int:
    """Rounds to the nearest multiple of 8, to at least 8 and never below 90 % of `depth`."""
    rounded = max(_DIVISOR, int(depth + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * depth else rounded


def convolutions(depth_multiplier: float = 0.5) -> list[Convolution]:
    """Returns the network as data, in order of execution.

    Args:
      depth_multiplier: The factor of all depths; it widens the last convolution, and never
        narrows it.

    Raises:
      ValueError: The depth multiplier is not positive.
    """
    if not depth_multiplier > 0:
        raise ValueError(f"The depth multiplier must be above 0, and it is {depth_multiplier}.")
    depth = rounded_depth(_FIRST_DEPTH * depth_multiplier)
    layers = [Convolution(f"{_SCOPE}/Conv", 3, depth, kernel=3, stride=2)]
    block = 0
    for factor, base, repetitions, first_stride in _BOTTLENECKS:
        for repetition in range(repetitions):
            scope = f"{_SCOPE}/expanded_conv" + (f"_{block}" if block else "")
            stride = first_stride if repetition == 0 else 1
            out = rounded_depth(base * depth_multiplier)
            wide = depth * factor
            if factor > 1:
                layers.append(Convolution(f"{scope}/expand", depth, wide, shortcut=Shortcut.BEGINS))
            layers.append(
                Convolution(
                    f"{scope}/depthwise",
                    wide,
                    wide,
                    kernel=3,
                    stride=stride,
                    depthwise=True,
                    shortcut=Shortcut.BEGINS if factor == 1 else None,
                )
            )
            layers.append(
                Convolution(
                    f"{scope}/project",
                    wide,
                    out,
                    relu6=False,
                    shortcut=Shortcut.ENDS if stride == 1 and depth == out else None,
                )
            )
            depth = out
            block += 1
    layers.append(Convolution(f"{_SCOPE}/Conv_1", depth, num_features(depth_multiplier)))
    return layers


def num_features(depth_multiplier: float = 0.5) -> int:
    """Returns the length of the feature vector."""
    return rounded_depth(NUM_FEATURES * max(1.0, depth_multiplier))


def variable_shapes(depth_multiplier: float = 0.5) -> dict[str, Shape]:
    """Returns the shapes of all variables by name, moving statistics included, in network order."""
    shapes: dict[str, Shape] = {}
    for layer in convolutions(depth_multiplier):
        shapes[layer.weights] = layer.shape
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{layer.scope}/BatchNorm/{name}"] = (layer.outputs,)
    return shapes


def is_trainable(name: str) -> bool:
    """Whether gradient descent changes the variable, as it does all but the moving statistics."""
    return not name.endswith(("/moving_mean", "/moving_variance"))


def is_regularized(name: str) -> bool:
    """Whether weight decay applies to the variable, as to full kernels only in TF-Slim."""
    return name.endswith("/weights")


def forward(
    images: Tensor,
    variable: VariableGetter,
    *,
    training: bool,
    depth_multiplier: float = 0.5,
    batch_norm_momentum: Tensor | float = BATCH_NORM_DECAY,
) -> tuple[Tensor, list[tuple[Variable, Tensor]]]:
    """Computes feature vectors.

    Args:
      images: float32 [batch, height, width, 3] with values in [0, 1], Hub's convention.
      variable: The function that gives the variable of a name and a shape.
      training: Whether to normalize by the statistics of the batch.
      depth_multiplier: The factor of all depths.
      batch_norm_momentum: The part of themselves that moving statistics keep in an update.

    Returns:
      The features, float32 [batch, num_features], and the moving statistics that the caller must
      update, each with its new value (none unless training).
    """
    import tensorflow as tf

    updates: list[tuple[Variable, Tensor]] = []
    x = block_input = images * 2.0 - 1.0
    for layer in convolutions(depth_multiplier):
        if layer.shortcut is Shortcut.BEGINS:
            block_input = x
        kernel = variable(layer.weights, layer.shape)
        strides = [1, layer.stride, layer.stride, 1]
        if layer.depthwise:
            x = tf.nn.depthwise_conv2d(x, kernel, strides, "SAME")
        else:
            x = tf.nn.conv2d(x, kernel, strides, "SAME")
        gamma, beta, mean, variance = (
            variable(f"{layer.scope}/BatchNorm/{name}", (layer.outputs,))
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        x, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(
            x,
            gamma,
            beta,
            mean=None if training else mean,
            variance=None if training else variance,
            epsilon=BATCH_NORM_EPSILON,
            is_training=training,
        )
        if training:
            for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
                old = tf.convert_to_tensor(moving)
                updates.append((moving, old - (old - batch) * (1.0 - batch_norm_momentum)))
        if layer.relu6:
            x = tf.nn.relu6(x)
        if layer.shortcut is Shortcut.ENDS:
            x = x + block_input
    return tf.reduce_mean(x, axis=[1, 2]), updates


def seeded_weights(seed: int = 0, depth_multiplier: float = 0.5) -> Weights:
    """Makes untrained weights, the same on every machine.

    Kernels are uniform with He's variance (2 / fan-in before relu6, 1 / fan-in before a
    linear projection's output). Pointwise kernels that read relu6 outputs are centred, so that the
    mean activation cancels and images stay apart. The stream is RandomState's
    `random_sample`, which NumPy has frozen and which uses no transcendental function.

    Args:
      seed: The seed of the stream, 0 to 2**32 - 1.
      depth_multiplier: The factor of all depths.

    Returns:
      float32 arrays by variable name, shaped as `variable_shapes` says.
    """
    stream = np.random.RandomState(seed)
    weights: Weights = {}
    for layer in convolutions(depth_multiplier):
        fan_in = layer.kernel**2 * (1 if layer.depthwise else layer.inputs)
        gain = 2.0 if layer.relu6 else 1.0
        kernel = (2.0 * stream.random_sample(layer.shape) - 1.0) * np.sqrt(3.0 * gain / fan_in)
        if not layer.relu6:
            kernel -= kernel.mean(axis=(0, 1, 2), keepdims=True)
        weights[layer.weights] = kernel.astype(np.float32)
        scope = f"{layer.scope}/BatchNorm"
        weights[f"{scope}/gamma"] = np.ones(layer.outputs, np.float32)
        weights[f"{scope}/beta"] = np.zeros(layer.outputs, np.float32)
        weights[f"{scope}/moving_mean"] = np.zeros(layer.outputs, np.float32)
        weights[f"{scope}/moving_variance"] = np.ones(layer.outputs, np.float32)
    return weights
