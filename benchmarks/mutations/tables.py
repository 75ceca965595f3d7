"""Formats that point with offsets or have all in a header: TIFF, BMP, ICO and PNM."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from benchmarks.mutations.anatomy import Format, Number, Order, Part, fields

_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TOKENS = 12
_FIRST = 16  # Of an array, so many numbers are known.


def _dissect_tiff(data: bytes) -> Iterator[Part | Number]:
    order: Order = "little" if data[:1] == b"I" else "big"
    sign, big = ("<" if order == "little" else ">"), data[2:4] in (b"+\0", b"\0+")
    word, entry = (8, 20) if big else (4, 12)
    pointer = 8 if big else 4
    seen: set[int] = set()
    while True:
        yield Number(pointer, word, order)
        directory = int.from_bytes(data[pointer : pointer + word], order)
        if not directory or directory in seen:
            return
        seen.add(directory)
        count = int.from_bytes(data[directory : directory + (8 if big else 2)], order)
        yield Number(directory, 8 if big else 2, order)
        start = directory + (8 if big else 2)
        for position in range(start, start + entry * min(count, 100), entry):
            yield Part(position, position + entry)
            yield from fields(position, f"22{word}{word}", order)
            kind = struct.unpack_from(f"{sign}H", data, position + 2)[0]
            many = int.from_bytes(data[position + 4 : position + 4 + word], order)
            size, place = _TIFF_SIZES.get(kind, 1), position + 4 + word
            if size * many > word:
                place = int.from_bytes(data[place : place + word], order)
            for index in range(min(many, _FIRST)):
                yield Number(place + size * index, size, order)
        pointer = start + entry * count


def _dissect_bmp(data: bytes) -> Iterator[Part | Number]:
    yield from fields(2, "4224", "little")
    yield from _dib(data, 14)
    pixels = int.from_bytes(data[10:14], "little")
    # The codes of run lengths are pairs, and so are the ends of rows and the jumps.
    for position in range(pixels, len(data), 2):
        yield Part(position, position + 2)


def _dib(data: bytes, start: int) -> Iterator[Part | Number]:
    size = int.from_bytes(data[start : start + 4], "little")
    sizes = "42222" if size == 12 else "444224444444444444444444444444"
    end = start + size
    for number in fields(start, sizes, "little"):
        if number.start + number.size <= end:
            yield number


def _dissect_ico(data: bytes) -> Iterator[Part | Number]:
    yield from fields(0, "222", "little")
    for position in range(6, 6 + 16 * min(64, int.from_bytes(data[4:6], "little")), 16):
        yield Part(position, position + 16)
        yield from fields(position, "11112244", "little")
        place = int.from_bytes(data[position + 12 : position + 16], "little")
        if data[place : place + 4] == b"\x89PNG":
            yield from fields(place + 16, "4411111", "big")
        else:
            yield from _dib(data, place)


def _dissect_pnm(data: bytes) -> Iterator[Part | Number]:
    for index, token in enumerate(re.finditer(rb"\S+", data)):
        yield Part(*token.span())
        yield Number(token.start(), token.end() - token.start(), "text")
        if index >= _TOKENS and data[1:2] not in b"123":
            return


TIFF = Format("tiff", lambda data: data[:4] in _TIFF, _dissect_tiff, moves=False)
BMP = Format("bmp", lambda data: data[:2] == b"BM", _dissect_bmp)
ICO = Format("ico", lambda data: data[:4] in (b"\0\0\1\0", b"\0\0\2\0"), _dissect_ico, moves=False)
PNM = Format("pnm", lambda data: re.match(rb"P[1-7Ffy]\s", data) is not None, _dissect_pnm)
