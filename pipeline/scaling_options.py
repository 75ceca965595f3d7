"""The options that say what numbers a model takes for pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from image_features.errors import UsageError
from image_features.pipeline.argument_types import (
    channel_deviations,
    channel_means,
    input_range,
)

if TYPE_CHECKING:
    from image_features.models.scaling import Scaling

Channels = tuple[float, float, float]
# The name of an option, the type of its value, and how help and sentences show both.
SCALING_OPTIONS: tuple[tuple[str, Callable[[str], Any], str, str], ...] = (
    (
        "input_range",
        input_range,
        "LO,HI",
        "What the model takes for black and white: 0,1, -1,1 or 0,255 (as the module says, "
        "or else 0,1).",
    ),
    (
        "mean",
        channel_means,
        "R,G,B",
        "Instead of a range: what is taken from the pixels in [0, 1] of each channel (0,0,0).",
    ),
    ("std", channel_deviations, "R,G,B", "What the rest is divided by then (1,1,1)."),
)


def add_scaling(group: Any) -> None:
    """Adds --input_range, --mean and --std for one model."""
    for name, kind, shape, text in SCALING_OPTIONS:
        group.add_argument(f"--{name}", type=kind, default=None, metavar=shape, help=text)


def stated_scaling(
    input_range: tuple[float, float] | None,
    mean: Channels | None,
    std: Channels | None,
) -> Scaling | None:
    """Returns what becomes of pixels by the values of the three options; None if none is given.

    Raises:
      UsageError: a range and a mean or deviation are given, or no number can hold the result.
    """
    from image_features.models.scaling import Scaling

    if input_range is None and mean is None and std is None:
        return None
    if input_range is not None and (mean is not None or std is not None):
        other = "mean" if mean is not None else "std"
        raise UsageError(f"--input_range and --{other} exclude each other; give one.")
    try:
        if input_range is not None:
            return Scaling.of_range(*input_range)
        return Scaling(mean or (0.0, 0.0, 0.0), std or (1.0, 1.0, 1.0))
    except ValueError as error:
        raise UsageError(str(error)) from error
