"""Some parts of a file over a network, and all of it only if they are not enough."""

from __future__ import annotations

from typing import Any

from image_features.system.deadlines import Deadline
from image_features.transforms.stores import versions
from image_features.transforms.stores.http_body import blocks
from image_features.transforms.stores.http_errors import broken_off
from image_features.transforms.stores.parts import PART, Ranges, part_of
from image_features.transforms.stores.retries import FetchError, PassingError, too_large
from image_features.transforms.stores.store import Content, Look
from image_features.transforms.values import Reason

# A server that fails so may have no more than an aversion to ranges.
_OF_RANGES = frozenset({Reason.HTTP_ERROR, Reason.READ_FAILED})


def read_enough(
    ranges: Ranges, look: Look, deadline: Deadline, max_bytes: int
) -> tuple[Content, Any] | None:
    """Returns as much of a file as is enough, or all of it, and the headers of the last answer.

    Args:
      ranges: The file.
      look: Tells what is enough.
      deadline: The end of everything.
      max_bytes: A larger file fails as soon as its size is told.

    Returns:
      What is enough; None if the server sends no parts of one version, so that it has to be asked
      for the whole.

    Raises:
      PassingError: the next attempt may work.
      FetchError: the file cannot be had, or is too large.
    """
    reader = _PartReader(ranges, deadline, max_bytes)
    try:
        return reader.fetch(look), reader.headers
    except PassingError:
        raise
    except _NoPartsError:
        return None
    except FetchError as error:
        if error.reason not in _OF_RANGES:
            raise
        return None


class _NoPartsError(Exception):
    """The parts that a server sends are of no use."""


class _WholeCameError(Exception):
    """A server has sent the whole in place of a part."""


class _PartReader:
    """One version of a file, of which parts are requested when they are looked at.

    What has come is kept as far as it is the beginning, so that the rest goes on there.

    Args:
      ranges: The file.
      deadline: The end of everything.
      max_bytes: A larger file fails as soon as its size is told.
    """

    def __init__(self, ranges: Ranges, deadline: Deadline, max_bytes: int) -> None:
        self.headers: Any = {}
        self._ranges = ranges
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._version = ""
        self._size: int | None = None
        self._beginning = b""

    def fetch(self, look: Look) -> Content:
        """Returns as much of the file as is enough, or all of it; raises as `read_enough` does."""
        try:
            if excerpt := look(self._read):
                return Content(excerpt.beginning, self._version, preview=excerpt.preview)
            return Content(self._read(0, self._max_bytes), self._version)
        except _WholeCameError:
            return Content(self._beginning, self._version)

    def _read(self, begin: int, end: int) -> bytes:
        """Reads a part, as `Read` does."""
        end = end if self._size is None else min(end, self._size)
        held = len(self._beginning)
        if begin < end and end > held:
            if begin > held:
                return self._ask(begin, end)
            self._beginning += self._ask(held, end)
        return self._beginning[begin:end]

    def _ask(self, begin: int, end: int) -> bytes:
        """Requests a part whose beginning is within the file, as far as that is known."""
        if begin and not self._version:
            raise _NoPartsError  # Nobody could tell whether they are of one file.
        span = f"bytes={begin}-{end - 1}"
        with self._ranges.ask(span, self._version, self._deadline) as response:
            if response.status < PART and "Content-Range" not in response.headers:
                self._beginning = self._taken(response, self._max_bytes, is_whole=True)
                self._version, self.headers = self._told(response, None), response.headers
                raise _WholeCameError
            part = part_of(response, begin)
            if part is None or part.size is None:
                raise _NoPartsError
            if part.size > self._max_bytes:
                raise too_large(self._ranges.shown, self._max_bytes)
            version = self._told(response, part.size)
            if begin and not versions.are_same(version, self._version):
                raise _NoPartsError
            if part.end != min(end, part.size) or self._size not in (None, part.size):
                raise _NoPartsError
            self._version, self._size, self.headers = version, part.size, response.headers
            return self._taken(response, part.end - begin)

    def _told(self, response: Any, size: int | None) -> str:
        return self._ranges.version(response.headers, size)

    def _taken(self, response: Any, size: int, *, is_whole: bool = False) -> bytes:
        """Returns the body of a part, which has a size, or of the whole, which has at most one."""
        too_long = too_large(self._ranges.shown, size) if is_whole else _NoPartsError()
        if (response.length_remaining or 0) > size:
            raise too_long
        body = bytearray()
        for block in blocks(response, self._ranges.shown, self._deadline):
            body += block
            if len(body) > size:
                raise too_long
        if len(body) < size and not is_whole:
            raise broken_off(self._ranges.shown, "the end of its body is missing")
        return bytes(body)
