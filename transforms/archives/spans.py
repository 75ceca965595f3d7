"""The spans of an archive: parts that one worker reads in one go."""

from __future__ import annotations

import math

from image_features.transforms.values import Place

# A request for so much is a small part of its cost, and a worker has it read within seconds.
SPAN_BYTES = 512 * 2**20
SPAN_ROWS = 16_384


class Spans:
    """Divides an archive into spans, as its members are listed in the order of their places.

    Args:
      whole: Whether the archive can be read only as a whole: a compressed stream, or one whose
        server sends no parts.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._span = 0
        self._end: float | None = None
        self._last: int | None = None
        self._rows = 0

    def place(self, begin: int, size: int, offset: int | None = None) -> Place:
        """Returns the place of the next member.

        Args:
          begin: Where the member begins.
          size: The bytes that it takes.
          offset: Where in the archive the reading of it begins, if `begin` is no offset: members
            with the same one are in the same span.
        """
        at = begin if offset is None else offset
        if self._end is None:
            self._end = math.inf if self._whole else at + SPAN_BYTES
        full = at >= self._end or self._rows >= SPAN_ROWS
        if full and at != self._last and not self._whole:
            self._span += 1
            self._end, self._rows = at + SPAN_BYTES, 0
        self._rows += 1
        self._last = at
        return Place(self._span, begin, size)
