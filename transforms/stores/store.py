"""What a fetch asks of a place that keeps images, whatever its scheme."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Content(NamedTuple):
    """A file as it was read.

    Attributes:
      data: All of its bytes.
      version: Which version of it they are (see `stores.versions`); empty if the store tells none.
      attempts: Tries made, the one that worked included.
    """

    data: bytes
    version: str
    attempts: int = 1


class Store(Protocol):
    """Files of one scheme by their URIs; safe in many threads."""

    def read(self, uri: str) -> Content:
        """Reads a whole file, with as many attempts as the store's policy allows.

        Raises:
          FetchError: the file cannot be had.
        """

    def is_unchanged(self, uri: str, version: str) -> bool:
        """Whether a version is still there, told without reading the file.

        A store that cannot tell says no. Any exception counts as no, too.
        """

    def close(self) -> None:
        """Closes idle connections."""
