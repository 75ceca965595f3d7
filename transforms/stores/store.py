"""What a fetch asks of a place that keeps images, whatever its scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

# Reads a file from one offset to another, or to the end of the file if that comes first.
Read = Callable[[int, int], bytes]


class Excerpt(NamedTuple):
    """What is enough of a file.

    Attributes:
      beginning: The file's first bytes.
      preview: The bytes of the preview that is in the file.
    """

    beginning: bytes
    preview: bytes


# Looks at parts of a file, and tells whether they are enough.
Look = Callable[[Read], Excerpt | None]


class Content(NamedTuple):
    """A file as it was read.

    Attributes:
      data: All of its bytes.
      version: Which version of it they are (see `stores.versions`); empty if the store tells none.
      attempts: Tries made, the one that worked included.
      preview: The preview that is enough, where `data` is only the beginning; empty elsewhere.
    """

    data: bytes
    version: str
    attempts: int = 1
    preview: bytes = b""


class Store(Protocol):
    """Files of one scheme by their URIs; safe in many threads."""

    def read(self, uri: str, look: Look | None = None) -> Content:
        """Reads a whole file, with as many attempts as the store's policy allows.

        Args:
          uri: The location of the file.
          look: Tells what of it is enough; a store that reads no parts does not ask.

        Raises:
          FetchError: the file cannot be had.
        """

    def is_unchanged(self, uri: str, version: str) -> bool:
        """Whether a version is still there, told without reading the file.

        A store that cannot tell says no. Any exception counts as no, too.
        """

    def close(self) -> None:
        """Closes idle connections."""
