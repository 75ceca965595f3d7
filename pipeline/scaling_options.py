"""The options that say what numbers a model takes for pixels."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
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
        "What the model takes for black and white, such as 0,1, -1,1 or 0,255 (as the module says; "
        "a Hub module takes 0,1, and so does one that says nothing, with a warning).",
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


def add_scalings(group: Any) -> None:
    """Adds the same options for a run, whose models may have names.

    Their values stay texts, which Beam can put on a command line again.
    """
    for name, _, shape, text in SCALING_OPTIONS:
        group.add_argument(
            f"--{name}",
            action="append",
            default=None,
            metavar=f"[NAME=]{shape}",
            help=text,
        )


def _split(text: str) -> tuple[str, str]:
    """Returns the name of a model, empty if there is none, and the numbers."""
    name, _, numbers = text.rpartition("=")
    return name, numbers


def stated_scalings(options: Any, models: Collection[str]) -> dict[str, Scaling]:
    """Returns what becomes of pixels for the models of a run for which an option says it.

    Args:
      options: The options of `add_scalings`.
      models: The names of the run's models.

    Raises:
      UsageError: an option holds other than numbers, or is not for one of the models, or two of
        them do not go together.
    """
    stated: dict[str, dict[str, Any]] = {}
    for option, kind, _, _ in SCALING_OPTIONS:
        for text in getattr(options, option) or ():
            numbers = _split(text)[1]
            model = _model_of(text, option, models)
            if option in stated.setdefault(model, {}):
                raise UsageError(f"--{option}={text} is given to its model already; give one.")
            try:
                stated[model][option] = kind(numbers)
            except argparse.ArgumentTypeError as error:
                raise UsageError(f"--{option}={text} cannot be used: {error}.") from error
    empty = dict.fromkeys(option for option, *_ in SCALING_OPTIONS)
    found = {name: stated_scaling(**(empty | values)) for name, values in stated.items()}
    return {name: scaling for name, scaling in found.items() if scaling}


def _model_of(text: str, option: str, models: Collection[str]) -> str:
    """Returns the name of the model that the value of an option is for."""
    name, numbers = _split(text)
    if name in models:
        return name
    first, listed = next(iter(models)), ", ".join(models)
    if not name and len(models) == 1:
        return first  # Without a name it is for the only one.
    if not name:
        raise UsageError(
            f"--{option}={text} is for one of the models {listed}: say for which, as "
            f"--{option}={first}={numbers}."
        )
    known = f"the models are {listed}" if listed else "the only model has no name"
    raise UsageError(
        f"--{option}={text} is for a model called {name!r}, and there is none: {known}."
    )


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
