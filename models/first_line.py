"""What an exception of a library says, in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Returns what an exception of TensorFlow's or LiteRT's says, without the pages that follow."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
