"""Formats that are boxes in boxes: AVIF, HEIC and JPEG 2000."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from benchmarks.mutations.anatomy import Format, Number, Part, fields

_JP2 = b"\0\0\0\x0cjP  "
_CODESTREAM = b"\xff\x4f\xff\x51"
_ITEMS = 100  # As many are known of an `iloc` box.
# The boxes that hold boxes, and the bytes before the first of them.
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iref": 4, b"iinf": 6, b"grpl": 0, b"dinf": 0}
_CONTAINERS |= {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"jp2h": 0, b"res ": 0}
_NUMBERS = {b"ispe": "444", b"pixi": "41111", b"irot": "1", b"imir": "1", b"auxC": "4"}
_NUMBERS |= {b"iloc": "4112222244", b"pitm": "42", b"infe": "4224", b"av1C": "1111"}
_NUMBERS |= {b"hvcC": "1142411111111", b"clap": "44444444", b"colr": "42221", b"ipma": "44211212"}
_NUMBERS |= {
    b"ihdr": "4421111",
    b"bpcc": "1111",
    b"pclr": "2111",
    b"cmap": "211211",
    b"cdef": "2222",
}


def _dissect_boxes(data: bytes) -> Iterator[Part | Number]:
    yield from _boxes(data, 0, len(data), ())


def _boxes(
    data: bytes, position: int, end: int, parents: tuple[int, ...]
) -> Iterator[Part | Number]:
    while position + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if size == 1:
            head, size = 16, struct.unpack_from(">Q", data, position + 8)[0]
        after = position + size if size else end
        yield Part(position, after, parents)
        yield from fields(position, "44", "big")
        if kind in _CONTAINERS:
            inside = position + head + _CONTAINERS[kind]
            yield from _boxes(data, inside, after, (*parents, position))
        elif kind == b"jp2c":
            yield from _segments(data, position + head, (*parents, position))
        else:
            yield from _within(fields(position + head, _NUMBERS.get(kind, ""), "big"), after)
        position = max(after, position + 8)


def _within(numbers: Iterator[Number], end: int) -> Iterator[Number]:
    return (number for number in numbers if number.start + number.size <= end)


def _dissect_codestream(data: bytes) -> Iterator[Part | Number]:
    yield from _segments(data, 0, ())


def _segments(data: bytes, position: int, parents: tuple[int, ...]) -> Iterator[Part | Number]:
    position += 2
    while data[position] == 0xFF:
        marker, length = struct.unpack_from(">HH", data, position)
        end = position + 2 + length
        if marker in (0xFF93, 0xFFD9):  # Coded data, and the end.
            return
        yield Part(position, end, parents)
        sizes = {0xFF51: "2244444444" + "2" + "111" * 4, 0xFF52: "2112111111", 0xFF5C: "212222"}
        sizes |= {0xFF90: "22411"}
        yield from _within(fields(position + 2, sizes.get(marker, "2"), "big"), end)
        if marker == 0xFF90:  # The head of a tile, which says how long the tile is.
            return
        position = end


def _seal(part: bytes) -> bytes:
    if part[:1] == b"\xff":  # A segment of a codestream.
        return part[:2] + struct.pack(">H", (len(part) - 2) % 65536) + part[4:]
    if part[:4] in (b"\0\0\0\0", b"\0\0\0\1"):
        return part
    return struct.pack(">I", len(part)) + part[4:]


def _grow(data: bytearray, parent: int, more: int) -> None:
    size = int.from_bytes(data[parent : parent + 4])
    if size > 1:
        data[parent : parent + 4] = ((size + more) % 2**32).to_bytes(4)
    if data[parent + 4 : parent + 8] == b"meta":
        _shift_items(data, parent + size, more)


def _shift_items(data: bytearray, behind: int, more: int) -> None:
    """Adds to the offsets of items in `iloc` what has come before them, as an editor would."""
    for start, size in _offsets(data, data.find(b"iloc") + 4):
        offset = int.from_bytes(data[start : start + size])
        if behind <= offset < len(data) and offset + more >= 0:
            data[start : start + size] = (offset + more).to_bytes(size)


def _offsets(data: bytes | bytearray, start: int) -> Iterator[tuple[int, int]]:
    """Yields where the offsets of items are in an `iloc` box, and their sizes in bytes."""
    version, sizes = data[start], int.from_bytes(data[start + 4 : start + 6])
    offset_size, length_size, base_size, index_size = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    position = start + (10 if version == 2 else 8)
    for _ in range(min(_ITEMS, int.from_bytes(data[start + 6 : position]))):
        position += {0: 4, 1: 6}.get(version, 8)
        if base_size:
            yield position, base_size
        extents = int.from_bytes(data[position + base_size : position + base_size + 2])
        position += base_size + 2
        for _ in range(min(_ITEMS, extents)):
            position += index_size if version else 0
            if offset_size:
                yield position, offset_size
            position += offset_size + length_size


def _is_brand(data: bytes, *brands: bytes) -> bool:
    return data[4:8] == b"ftyp" and any(brand in data[8:40] for brand in brands)


AVIF = Format("avif", lambda data: _is_brand(data, b"avif", b"avis"), _dissect_boxes, _seal, _grow)
HEIC = Format("heic", lambda data: data[4:8] == b"ftyp", _dissect_boxes, _seal, _grow)
JP2 = Format("jpeg2000", lambda data: data.startswith(_JP2), _dissect_boxes, _seal, _grow)
J2K = Format("jpeg2000", lambda data: data.startswith(_CODESTREAM), _dissect_codestream, _seal)
