"""The values of a column of bytes, one by one out of the pages of a Parquet file.

pyarrow copies an image four times, through blocks, pages and batches. What is read here is what
writers make of columns of images; all else, and all that is damaged, is left to it.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from image_features.transforms.archives.checksum import crc32
from image_features.transforms.archives.parquet_file import OpenParquet
from image_features.transforms.archives.parquet_pages import (
    RAW_SIZE,
    STORED_SIZE,
    USUAL_PAGE,
    header_of_page,
    varint,
)

_AS_IT_IS = "UNCOMPRESSED"
_CODECS = (_AS_IT_IS, "SNAPPY", "ZSTD")
# Of the header of a page, and of the three structs that may be in it.
_TYPE, _CRC, _DATA, _DICTIONARY, _DATA_2 = 1, 4, 5, 7, 8
_COUNT, _ENCODING = 1, 2
_ROWS = 3
_ENCODING_OF_LEVELS = 3
_ENCODING_2, _DEFINITION_BYTES, _REPETITION_BYTES, _IS_COMPRESSED = 4, 5, 6, 7
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_2 = 0, 2, 3
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
# Statistics make headers longer.
_HEADERS = (512, 2**16)
# More images are hardly in a page, and each costs memory.
_MOST_VALUES = 65_536
_LENGTH = struct.Struct("<I")


class NotSimpleError(Exception):
    """What follows is not read here."""


def simple_values(opened: OpenParquet, leaf: int, group: int) -> Iterator[bytes | None]:
    """Yields the values of a stored column of a group of rows, as far as they are read here.

    Args:
      opened: The file.
      leaf: The number of the column as it is stored.
      group: The number of the group.

    Raises:
      NotSimpleError: what was not yielded is to be read by pyarrow, which tells damage.
      DamagedParquetError: the column is nowhere.
      Exception: the file itself fails.
    """
    begin, end = opened.chunk(group, leaf)
    part = opened.part(group, leaf)
    column = opened.metadata.schema.column(leaf)
    is_simple = column.physical_type == "BYTE_ARRAY" and not column.max_repetition_level
    if not is_simple or part.compression not in _CODECS:
        raise NotSimpleError
    entries: list[memoryview] = []
    left = opened.metadata.row_group(group).num_rows
    with _lent_rooms(opened) as rooms:
        for header, data in _pages(opened, begin, end, part.compression, rooms):
            with _told_damage():
                if header[_TYPE] == _DICTIONARY_PAGE and not entries:
                    told = header[_DICTIONARY]
                    _require(told[_ENCODING] in (_PLAIN, _PLAIN_DICTIONARY))
                    entries = _plain(data, told[_COUNT])
                    continue
                values = _values(header, data, column.max_definition_level, entries)
                _require(len(values) <= left)
            left -= len(values)
            for value in values:
                yield None if value is None else bytes(value)
            if not left:
                return
    raise NotSimpleError


@contextlib.contextmanager
def _told_damage() -> Iterator[None]:
    """Tells by one error what is other than it should be."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise NotSimpleError from error
    except (RuntimeError, ImportError, struct.error) as error:
        raise NotSimpleError from error


def _require(is_so: bool) -> None:
    if not is_so:
        raise NotSimpleError


class _Room:
    """Memory that is used again: what the system gives anew for each page costs more than it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def of(self, size: int) -> memoryview:
        """Returns some of it, in place of what it was used for before."""
        if len(self._data) < size:
            self._data = bytearray(size)
        return memoryview(self._data)[:size]


class _Rooms(NamedTuple):
    """Where pages lie: as they are stored, decompressed, and those that are dictionaries."""

    stored: _Room
    raw: _Room
    dictionary: _Room


@contextlib.contextmanager
def _lent_rooms(opened: OpenParquet) -> Iterator[_Rooms]:
    rooms = opened.rooms.pop() if opened.rooms else _Rooms(_Room(), _Room(), _Room())
    try:
        yield rooms
    finally:
        opened.rooms.append(rooms)


def _pages(
    opened: OpenParquet, at: int, end: int, codec: str, rooms: _Rooms
) -> Iterator[tuple[dict[int, Any], memoryview]]:
    """Yields pages with their headers, decompressed; a page lies there until the next one does."""
    while at < end:
        header, size = _header(opened, at, end)
        with _told_damage():
            raw, stored = header[RAW_SIZE], header[STORED_SIZE]
            at += size + stored
            _require(0 <= raw <= USUAL_PAGE and 0 <= stored <= USUAL_PAGE and at <= end)
            lasts = header[_TYPE] == _DICTIONARY_PAGE
            data = (rooms.dictionary if lasts and codec == _AS_IT_IS else rooms.stored).of(stored)
        _require(opened.pages.take(at - stored, data) == stored)
        with _told_damage():
            _require(_CRC not in header or crc32(data) == header[_CRC] & 0xFFFFFFFF)
            data = _unpacked(header, data, codec, rooms.dictionary if lasts else rooms.raw)
            _require(len(data) == raw)
        yield header, data


def _header(opened: OpenParquet, at: int, end: int) -> tuple[dict[int, Any], int]:
    for length in _HEADERS:
        head = bytearray(min(length, end - at))
        opened.pages.take(at, memoryview(head))
        try:
            return header_of_page(head)
        except IndexError:
            continue
        except ValueError as error:
            raise NotSimpleError from error
    raise NotSimpleError


def _unpacked(header: dict[int, Any], data: memoryview, codec: str, room: _Room) -> memoryview:
    levels = 0
    if second := header.get(_DATA_2):
        levels = second[_DEFINITION_BYTES] + second[_REPETITION_BYTES]
        if not second.get(_IS_COMPRESSED, True):
            codec = _AS_IT_IS
    if codec == _AS_IT_IS or not 0 <= levels < min(header[RAW_SIZE], len(data)):
        return data

    import imagecodecs

    unpacked = room.of(header[RAW_SIZE])
    unpacked[:levels] = data[:levels]
    decode = imagecodecs.snappy_decode if codec == "SNAPPY" else imagecodecs.zstd_decode
    size = len(decode(cast(bytes, data[levels:]), out=unpacked[levels:]))
    return unpacked[: levels + size]


def _values(
    header: dict[int, Any], data: memoryview, deepest: int, entries: list[memoryview]
) -> list[memoryview | None]:
    """Returns the values of a page, which has these and nothing else."""
    levels = data[:0]
    at = 0
    if header[_TYPE] == _DATA_PAGE:
        told = header[_DATA]
        encoding = told[_ENCODING]
        if deepest:
            _require(told[_ENCODING_OF_LEVELS] == _RLE)
            at = _LENGTH.size + _LENGTH.unpack_from(data)[0]
            levels = data[_LENGTH.size : at]
    else:
        told = header[_DATA_2]
        encoding = told[_ENCODING_2]
        _require(header[_TYPE] == _DATA_PAGE_2 and not told[_REPETITION_BYTES])
        _require(told[_ROWS] == told[_COUNT])
        at = told[_DEFINITION_BYTES]
        levels = data[:at]
    _require(0 <= at <= len(data))
    depths = _runs(levels, deepest.bit_length(), told[_COUNT])
    count = depths.count(deepest)
    if encoding == _PLAIN:
        values = _plain(data[at:], count)
    else:
        _require(encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY))
        # A page without values may be without the width of their indices, too.
        indices = _runs(data[at + 1 :], data[at], count) if count else []
        values = [entries[index] for index in indices]
    if count == len(depths):
        return list(values)
    present = iter(values)
    return [next(present) if depth == deepest else None for depth in depths]


def _plain(data: memoryview, count: int) -> list[memoryview]:
    """Returns values that stand one after the other, each behind its length."""
    _require(0 <= count <= _MOST_VALUES)
    values = []
    at = 0
    for _ in range(count):
        begin = at + _LENGTH.size
        at = begin + _LENGTH.unpack_from(data, at)[0]
        values.append(data[begin:at])
    _require(at == len(data))
    return values


def _runs(data: memoryview, width: int, count: int) -> list[int]:
    """Returns so many integers of a width in bits, stored as repetitions and by their bits."""
    _require(0 <= count <= _MOST_VALUES and width <= 32)
    if not width and not data:
        return [0] * count
    found: list[int] = []
    at = 0
    while len(found) < count:
        head, at = varint(data, at)
        size = (head >> 1) * width if head & 1 else (width + 7) // 8
        end = at + size
        _require(end <= len(data))
        left = count - len(found)
        if head & 1:
            _require((head >> 1) * 8 < left + 8)
            mask = (1 << width) - 1
            for begin in range(at, end, width or 1):
                bits = int.from_bytes(data[begin : begin + width], "little")
                found += [bits >> (place * width) & mask for place in range(8)]
        else:
            _require(head >> 1 <= left)
            found += [int.from_bytes(data[at:end], "little")] * (head >> 1)
        at = end
    del found[count:]
    return found
