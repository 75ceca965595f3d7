"""The first line of a library's error."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception of TensorFlow's or LiteRT's; pages may follow it."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
