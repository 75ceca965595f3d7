"""The failure of one file to become pixels."""

from __future__ import annotations

from image_features.errors import ImageFeaturesError
from image_features.transforms.values import Reason


class DecodeError(ImageFeaturesError):
    """A file that gives no pixels.

    Attributes:
      reason: The reason, in a word of the closed vocabulary.
      message: A sentence for the user.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def may_end_early(self) -> bool:
        """Whether a part of the picture may be there all the same."""
        return self.reason in (Reason.TRUNCATED, Reason.CORRUPT)
