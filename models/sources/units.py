"""A convolution as a source has it, with what follows it until the next one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from image_features.models import mobilenet_v2 as network
from image_features.models.sources import multipliers
from image_features.models.sources.refusal import NotOfFamilyError, several_in
from image_features.models.sources.variables import Array

Pads = tuple[tuple[int, int], ...]  # Before and after, of height and of width.


@dataclasses.dataclass(frozen=True, slots=True)
class Normalization:
    """Batch normalization by moving statistics; each array has an element for each channel."""

    gamma: Array
    beta: Array
    moving_mean: Array
    moving_variance: Array

    @classmethod
    def of_affine(cls, scale: Array, offset: Array) -> Normalization:
        """Returns the one that multiplies by `scale` and adds `offset`, as folded ones do."""
        variance = np.full_like(scale, 1.0 - network.BATCH_NORM_EPSILON)
        return cls(scale, offset, np.zeros_like(scale), variance)

    @classmethod
    def none(cls, count: int) -> Normalization:
        """Returns the one that changes nothing in so many channels."""
        return cls.of_affine(np.ones(count, np.float32), np.zeros(count, np.float32))

    def then(self, other: Normalization) -> Normalization:
        """Returns the one that does what this does and then the other one."""
        scale, offset = self.affine()
        if np.all(scale == 1.0):
            return dataclasses.replace(other, moving_mean=other.moving_mean - offset)
        further, beyond = other.affine()
        return Normalization.of_affine(scale * further, offset * further + beyond)

    def with_epsilon(self, epsilon: float) -> Normalization:
        """Returns the one that does with the network's epsilon what this does with another."""
        if np.isclose(epsilon, network.BATCH_NORM_EPSILON, rtol=1e-6, atol=0.0):
            return self
        variance = self.moving_variance.astype(np.float64)
        ratio = np.sqrt((variance + network.BATCH_NORM_EPSILON) / (variance + epsilon))
        return dataclasses.replace(self, gamma=(self.gamma * ratio).astype(np.float32))

    def affine(self) -> tuple[Array, Array]:
        """Returns the scale and the offset that it comes to."""
        deviation = np.sqrt(self.moving_variance.astype(np.float64) + network.BATCH_NORM_EPSILON)
        scale = self.gamma / deviation
        offset = self.beta - self.moving_mean * scale
        return scale.astype(np.float32), offset.astype(np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """A convolution and what follows it.

    Attributes:
      name: Its name in the source.
      kernel: Its kernel, [height, width, in, out or multiplier].
      depthwise: Whether each channel is filtered on its own.
      normalization: What its outputs are normalized by.
      stride: Its stride in pixels, in both directions.
      relu6: Whether relu6 follows.
      shortcut: Whether its output is added to the input of its block.
      before: What is between the convolution before it and its own padding, and is in no network
        of the family.
      oddity: What is unlike all convolutions of the family, such as other padding.
    """

    name: str
    kernel: Array
    depthwise: bool
    normalization: Normalization
    stride: int
    relu6: bool
    shortcut: bool
    before: str = ""
    oddity: str = ""

    def deviation(self, layer: network.Convolution, following: Unit | None) -> str:
        """Says in what it differs from a layer of the network; empty if in nothing but shape.

        Args:
          layer: The layer of the network.
          following: The convolution that follows it in the network, None for the last one.
        """
        beyond = following.before if following else ""
        shortcut = layer.shortcut is network.Shortcut.ENDS
        for differs, words in (
            (self.depthwise != layer.depthwise, "is another kind of convolution"),
            (self.stride != layer.stride, f"has stride {self.stride}, not {layer.stride}"),
            (beyond, f"is followed by {beyond}"),
            (self.oddity, self.oddity),
            (self.relu6 != layer.relu6, f"has {'no' if layer.relu6 else 'a'} relu6 after it"),
            (self.shortcut != shortcut, f"ends {'no' if shortcut else 'a'} shortcut"),
        ):
            if differs:
                return f"{self.name!r} {words}"
        return ""


def pads_as_same(pads: Pads, kernel: int, stride: int, size: int | None) -> bool:
    """Whether edges are padded as SAME does it for images of a size, an even one if unknown."""
    side = size or 32 * stride
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return pads == ((total // 2, total - total // 2),) * 2


def network_in(
    path: str, chains: Sequence[Sequence[Unit]], wanted: float | None
) -> tuple[list[Unit], float] | None:
    """Finds the network in convolutions that follow one another.

    Args:
      path: The source, for messages.
      chains: Convolutions in order of execution; others may be before and after the network's.
      wanted: The depth multiplier; None finds it.

    Returns:
      Its convolutions and its depth multiplier; None if no kernels have the shapes.

    Raises:
      NotOfFamilyError: There are several, or what there is deviates.
    """
    count = len(network.convolutions())
    fitting: list[tuple[list[Unit], float]] = []
    deviating: list[tuple[list[Unit], str]] = []
    for chain in chains:
        for start in range(len(chain) - count + 1):
            units = list(chain[start : start + count])
            multiplier = None
            if units[0].kernel.shape[:3] == (3, 3, 3):
                multiplier = multipliers.of_kernels([unit.kernel.shape for unit in units], wanted)
            if not multiplier:
                continue
            layers = network.convolutions(multiplier)
            following = [*units[1:], None]
            words = list(map(Unit.deviation, units, layers, following))
            if any(words):
                first = next(filter(None, words))
                told = f"depth multiplier {multiplier}: its convolution {first}"
                deviating.append((units, told))
            else:
                fitting.append((units, multiplier))
    # A function for training has the same kernels as the one for inference, and deviates.
    kernels = [units for units, _ in [*fitting, *deviating]]
    if not (
        all(_are_same(fitting[0][0], others) for others, _ in fitting[1:])
        and all(_have_same_kernels(kernels[0], others) for others in kernels[1:])
    ):
        raise several_in(path)
    if deviating and not fitting:
        raise NotOfFamilyError(
            f"{path!r} deviates from MobileNet V2 with {deviating[0][1]}; give a file of the "
            "MobileNet V2 family."
        )
    return fitting[0] if fitting else None


def _are_same(first: Sequence[Unit], second: Sequence[Unit]) -> bool:
    arrays, others = arrays_of(first), arrays_of(second)
    return all(np.array_equal(arrays[name], others[name]) for name in arrays)


def _have_same_kernels(first: Sequence[Unit], second: Sequence[Unit]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(np.array_equal(one.kernel, other.kernel) for one, other in pairs)


def arrays_of(units: Sequence[Unit]) -> network.Weights:
    """Returns the arrays of units that are the network's, in its order, by TF-Slim's names."""
    arrays: network.Weights = {}
    for unit, layer in zip(units, network.convolutions(), strict=True):
        arrays[layer.weights] = unit.kernel
        for field in dataclasses.fields(unit.normalization):
            value = getattr(unit.normalization, field.name)
            arrays[f"{layer.scope}/BatchNorm/{field.name}"] = value
    return arrays
