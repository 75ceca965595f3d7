"""The refusal of a source that can be read, and holds no network of the family."""

from __future__ import annotations

from image_features.errors import ModelError


class NotOfFamilyError(ModelError):
    """The source can be read, and holds no MobileNet V2, or not the one that was asked for."""
