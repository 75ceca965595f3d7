"""Which part of a file an answer has, which may be another one than was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from image_features.system.deadlines import Deadline

PART, BEYOND = 206, 416  # The statuses of a part, and of one beyond the end.
_RANGE = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/(?:([0-9]{1,18})|\*)", re.IGNORECASE)
_SIZE = re.compile(r"bytes +\*/([0-9]{1,18})", re.IGNORECASE)


class Part(NamedTuple):
    """The part of a file that is the body of an answer.

    Attributes:
      begin: Where the part begins in the file.
      end: Where it ends; None if only the end of the body tells.
      size: The size of the file; None if it is not told.
    """

    begin: int
    end: int | None
    size: int | None


class Ranges(Protocol):
    """A file that is asked for in parts, as HTTP does by RFC 9110, section 14.

    Attributes:
      shown: The location of the file as messages may tell it.
    """

    shown: str

    def ask(self, span: str, version: str, deadline: Deadline) -> AbstractContextManager[Any]:
        """Requests a part of the file.

        Args:
          span: The part, as the header Range has it; empty for the whole.
          version: The version that must be there, if it is known.
          deadline: The end of the answer and its body.

        Returns:
          A context of the answer, whose status is 206 or 416 only if a part was asked for.

        Raises:
          PassingError: the next attempt may work.
          FetchError: the file cannot be had, or is known to have another version.
        """

    def version(self, headers: Mapping[str, str], size: int | None) -> str:
        """Returns the version of the file by the headers of an answer, and the file's size."""


def span_of(begin: int) -> str:
    """Returns the header that asks for all from an offset on, or for the last -`begin` bytes."""
    return f"bytes={begin}-" if begin >= 0 else f"bytes={begin}"


def part_of(response: Any, begin: int | None) -> Part | None:
    """Returns the part of the file that an answer has.

    Args:
      response: The answer, with its body still to be read.
      begin: Where the part should begin, or less than 0 for so many of the last bytes; None if the
        whole was asked for.

    Returns:
      The part, which may be the whole; None if what the answer says makes no sense, or what it has
      is a part of the encoded file.
    """
    length = response.length_remaining
    named = response.headers.get("Content-Encoding", "").strip().lower()
    is_encoded = named not in ("", "identity", "aws-chunked")
    told = response.headers.get("Content-Range", "").strip()
    if begin is None or (response.status not in (PART, BEYOND) and not told):
        size = None if is_encoded else length
        return Part(0, size, size)
    if response.status == BEYOND:
        found = _SIZE.fullmatch(told)
        # The beginning of an empty file is asked for once more as a whole, to learn its version.
        return Part(begin, begin, int(found[1])) if found and begin >= int(found[1]) > 0 else None
    found = _RANGE.fullmatch(told)
    if is_encoded or not found:
        return None
    first, last = int(found[1]), int(found[2])
    size = int(found[3]) if found[3] else None
    if size is not None and begin >= size:
        return Part(begin, begin, size)
    # Of the last bytes it is known where they begin, if the size is.
    expected = begin if begin >= 0 else max(0, (size or 0) + begin)
    if first != expected or last < first:
        return None
    if last >= size if size is not None else begin < 0:
        return None
    if length is not None and length != last + 1 - first:
        return None
    return Part(first, last + 1, size)
