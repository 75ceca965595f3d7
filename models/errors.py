"""The one error that this package raises for a model it cannot use."""

from __future__ import annotations


class ModelError(ValueError):
    """A model cannot be resolved, loaded or exported.

    The message is a sentence or two that say what was given, what is wrong with it, and the way
    out.
    """


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception of TensorFlow's or LiteRT's; pages may follow it."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
