"""The pages of Parquet files, which are looked at before they are read into memory.

A page is decompressed as a whole, and its header alone says how large it is: the footer tells of
all pages of a column together. The library that reads them believes the header.
"""

from __future__ import annotations

import bisect
import contextlib
import io
import os
from collections.abc import Iterable, Iterator
from typing import Any

from image_features.errors import ImageFeaturesError
from image_features.transforms.values import Reason

_MIB = 2**20
# Pages that are larger than one image may be hold many whole images, which hardly compress.
USUAL_PAGE = 64 * _MIB
_LARGEST_PAGE = 512 * _MIB
_LARGEST_RATIO = 8
_BLOCK = _MIB
_HEADER = 64 * 2**10
_LARGEST_HEADER = 16 * _MIB
_DEEPEST = 16

# The types of Thrift's compact protocol.
_BOOLS, _BYTE, _INTEGERS, _DOUBLE = (1, 2), 3, (4, 5, 6), 7
_TEXT, _LISTS, _STRUCT = 8, (9, 10), 12
# The fields of a page's header.
RAW_SIZE, STORED_SIZE = 2, 3


Data = bytes | bytearray | memoryview


class PageError(ImageFeaturesError):
    """A page that is not read.

    Attributes:
      reason: Why the rows of it fail.
    """

    def __init__(self, reason: Reason, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class _UnreadError(Exception):
    """Something would be read."""


class GuardedPages(io.RawIOBase):
    """A Parquet file that fails where a page that begins would take too much memory.

    Args:
      file: The file.
      max_bytes: The size of the largest value that is read.
    """

    def __init__(self, file: Any, *, max_bytes: int) -> None:
        self._file = file
        self._usual = max(max_bytes, USUAL_PAGE) + _MIB
        self._at = file.tell()
        self._ahead = bytearray()  # What was read already behind `_at`.
        self._chunks: list[tuple[int, int]] = []
        self._next: dict[int, int] = {}
        self._unread = False

    def watch(self, chunks: Iterable[tuple[int, int]]) -> None:
        """Names the chunks of columns that are read from now on, by their begins and ends.

        Raises:
          PageError: they overlap, so that nobody knows where pages begin.
        """
        self._chunks = sorted(chunks)
        for (_, end), (begin, _) in zip(self._chunks, self._chunks[1:], strict=False):
            if begin < end:
                raise PageError(Reason.CORRUPT_ARCHIVE, "its footer is damaged: columns overlap")
        self._next = {begin: begin for begin, _ in self._chunks}

    @contextlib.contextmanager
    def unread(self) -> Iterator[None]:
        """Ends what is done meanwhile where it would begin to read."""
        self._unread = True
        try:
            with contextlib.suppress(_UnreadError):
                yield
        finally:
            self._unread = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            target = self._file.seek(offset, os.SEEK_END)
            self._ahead.clear()
        else:
            target = offset + (self._at if whence == os.SEEK_CUR else 0)
            if self._at <= target <= self._at + len(self._ahead):
                del self._ahead[: target - self._at]
            else:
                self._ahead.clear()
                self._file.seek(target)
        self._at = target
        return target

    def read(self, size: int | None = -1) -> bytearray:  # type: ignore[override]
        """Returns as many bytes as there are, unlike other raw files."""
        if self._unread:
            raise _UnreadError
        begin = self._at
        if size is None or size < 0:
            size = self.seek(0, os.SEEK_END) - begin
            self.seek(begin)
        data = self._ahead[:size]
        del self._ahead[: len(data)]
        # A page may be large: it is here once.
        while len(data) < size and (block := self._file.read(min(size - len(data), _BLOCK))):
            data += block
        self._at = begin + len(data)
        self._check(begin, data)
        return data

    def take(self, at: int, room: memoryview) -> int:
        """Fills a room with bytes from a place on, whose pages are not looked at.

        Returns:
          How many bytes there were, fewer only at the end of the file.
        """
        self._ahead.clear()
        self._file.seek(at)
        size: int = self._file.readinto(room)
        self._at = at + size
        return size

    def _check(self, begin: int, data: bytearray) -> None:
        """Looks at the headers of pages that begin in what was read."""
        number = bisect.bisect_right(self._chunks, (begin, 2**64)) - 1
        if number < 0 or begin >= self._chunks[number][1]:
            return
        chunk, end = self._chunks[number]
        end = min(end, begin + len(data))
        while begin <= self._next[chunk] < end:
            self._next[chunk] = self._end_of_page(self._next[chunk], data, begin)

    def _end_of_page(self, at: int, data: bytearray, begin: int) -> int:
        """Returns where a page ends that is not too large."""
        head = bytes(data[at - begin : at - begin + _HEADER])
        while True:
            try:
                fields, size = header_of_page(head)
                raw, stored = fields[RAW_SIZE], fields[STORED_SIZE]
                break
            except IndexError:
                head = self._longer(head, at, data, begin)
            except (KeyError, ValueError):
                raise _damaged(at) from None
        if raw < 0 or stored < 0:
            raise _damaged(at)
        largest = max(raw, stored)
        bomb = largest > _LARGEST_PAGE or raw > _LARGEST_RATIO * stored
        if largest > self._usual and bomb:
            raise PageError(
                Reason.TOO_MANY_BYTES,
                f"a page of {largest} bytes begins at byte {at}, which is read only as a whole: "
                "write the file with smaller pages",
            )
        return at + size + stored

    def _longer(self, head: bytes, at: int, data: bytearray, begin: int) -> bytes:
        """Returns more bytes from a place on than there were."""
        wanted = 4 * len(head) + _HEADER
        ahead = at - begin + wanted - len(data)
        while len(self._ahead) < ahead and (block := self._file.read(_HEADER)):
            self._ahead += block
        longer = bytes(data[at - begin : at - begin + wanted] + self._ahead[: max(0, ahead)])
        if len(longer) <= len(head) or len(head) > _LARGEST_HEADER:
            raise _damaged(at)
        return longer


def _damaged(at: int) -> PageError:
    return PageError(Reason.CORRUPT_ARCHIVE, f"there is no page at byte {at}")


def header_of_page(data: Data) -> tuple[dict[int, Any], int]:
    """Returns the header that some data begins with, and its size.

    It has integers, booleans and structs, which have such again, by the numbers of their fields.

    Raises:
      IndexError: the data ends before.
      ValueError: it is no header.
    """
    return _struct(data, 0)


def _struct(data: Data, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Returns what a struct has by the numbers of its fields, and where it ends.

    Raises:
      IndexError: the data ends before.
      ValueError: it is no struct.
    """
    if depth > _DEEPEST:
        raise ValueError("a struct is too deep")
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        if head & 15 in _INTEGERS:
            fields[number], at = _integer(data, at)
        elif head & 15 == _STRUCT:
            fields[number], at = _struct(data, at, depth + 1)
        elif head & 15 in _BOOLS:
            fields[number] = head & 15 == _BOOLS[0]
        else:
            at = _passed(data, at, head & 15, depth)
    return fields, at + 1


def _passed(data: Data, at: int, kind: int, depth: int) -> int:
    """Returns where a value ends."""
    if kind in _INTEGERS:
        return _integer(data, at)[1]
    if kind == _BYTE or kind in _BOOLS:
        return at + 1
    if kind == _DOUBLE:
        return at + 8
    if kind == _TEXT:
        size, at = varint(data, at)
        return at + size
    if kind == _STRUCT:
        return _struct(data, at, depth + 1)[1]
    if kind not in _LISTS:
        raise ValueError(f"a value has the type {kind}")
    head, at = data[at], at + 1
    count = head >> 4
    if count == 15:
        count, at = varint(data, at)
    for _ in range(count):
        if at >= len(data):
            raise IndexError("a list is cut short")
        at = _passed(data, at, head & 15, depth + 1)
    return at


def _integer(data: Data, at: int) -> tuple[int, int]:
    value, at = varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def varint(data: Data, at: int) -> tuple[int, int]:
    """Returns an integer without a sign, and where it ends; raises as `header_of_page` does."""
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("an integer is too long")
