"""The one error that this package raises for a model it cannot use."""

from __future__ import annotations


class ModelError(ValueError):
    """A model cannot be resolved, loaded or exported.

    The message is one sentence or two: what was given, what is wrong with it, the way out.
    """
