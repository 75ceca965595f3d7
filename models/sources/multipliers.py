"""The depth multiplier that the shapes of a network tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from image_features.models import mobilenet_v2 as network

# The published checkpoints have these (Slim's mobilenet README and keras.applications).
DEPTH_MULTIPLIERS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_OTHERS = tuple(step / 20 for step in range(1, 61) if step / 20 not in DEPTH_MULTIPLIERS)


def candidates(wanted: float | None) -> tuple[float, ...]:
    """Returns the multipliers to try: the one that is wanted, or the published ones first."""
    return (wanted,) if wanted else (*DEPTH_MULTIPLIERS, *_OTHERS)


def of_kernels(shapes: Sequence[network.Shape], wanted: float | None) -> float | None:
    """Returns the multiplier whose kernels have exactly these shapes, in order of execution.

    Args:
      shapes: The shapes of the kernels.
      wanted: The only multiplier to look at; None tries the published ones, then others.
    """
    for multiplier in candidates(wanted):
        if [layer.shape for layer in network.convolutions(multiplier)] == list(shapes):
            return multiplier
    return None


def nearest(shapes: Mapping[str, network.Shape], wanted: float | None) -> tuple[float, int]:
    """Returns the multiplier that most of the named shapes agree with, and how many do."""

    def agreeing(multiplier: float) -> int:
        expected = network.variable_shapes(multiplier)
        return sum(shapes.get(name) == shape for name, shape in expected.items())

    best = max(candidates(wanted), key=agreeing)
    return best, agreeing(best)
