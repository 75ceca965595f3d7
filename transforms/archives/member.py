"""A member of an archive, as it is asked for and as it was read."""

from __future__ import annotations

from typing import NamedTuple

from image_features.errors import ImageFeaturesError
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Place


class Wanted(NamedTuple):
    """A member to read.

    Attributes:
      name: The name of the member, as it stands behind `!/` in its URI.
      place: Where it lies, by the listing of the archive; None where only the name is known.
    """

    name: str
    place: Place | None


class Taken(NamedTuple):
    """What was read of a member.

    Attributes:
      number: The position of the member among those that were wanted.
      data: Its bytes, or why they cannot be had.
      detail: What the archive tells of the member, for its version.
    """

    number: int
    data: bytes | FetchError
    detail: str = ""


def member_name(name: str) -> str:
    """Returns the name of a member as it stands in URIs."""
    return name.removeprefix("./")


class NotAnArchiveError(ImageFeaturesError, ValueError):
    """A file that is no archive of its format; the message is for the user."""


class CorruptArchiveError(ImageFeaturesError):
    """An archive that is damaged; the message names it and the place, without a full stop."""
