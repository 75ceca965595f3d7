"""The refusal of a source that can be read, and holds no network of the family."""

from __future__ import annotations

from image_features.errors import ModelError


class NotOfFamilyError(ModelError):
    """The source can be read, and holds no MobileNet V2, or not the one that was asked for."""


def none_in(path: str, holds: str) -> NotOfFamilyError:
    """Makes the error that says that a source holds no network of the family, and what it holds."""
    return NotOfFamilyError(
        f"{path!r} holds no MobileNet V2: {holds}; give a file of the MobileNet V2 family."
    )


def several_in(path: str) -> NotOfFamilyError:
    """Makes the error that says that a source holds more than one network of the family."""
    return NotOfFamilyError(
        f"{path!r} holds more than one MobileNet V2, with different weights; save the one that "
        "is meant to a file of its own."
    )
