"""What went wrong with a model, in one sentence."""

from __future__ import annotations

from image_features.errors import ModelError as ModelError


def first_line(error: BaseException) -> str:
    """Returns what an exception of TensorFlow's or LiteRT's says, without the pages that follow."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
