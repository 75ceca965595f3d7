"""Formats that are a row of chunks: PNG, WebP, GIF and JPEG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from benchmarks.mutations.anatomy import Format, Number, Part, fields

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NUMBERS = {b"IHDR": "4411111", b"gAMA": "4", b"pHYs": "441", b"acTL": "44", b"tRNS": "222"}
_PNG_NUMBERS |= {b"fcTL": "444442211", b"cHRM": "44444444", b"bKGD": "222", b"sBIT": "1111"}


def _dissect_png(data: bytes) -> Iterator[Part | Number]:
    position = len(_PNG)
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        yield Part(position, end)
        yield from fields(position, "4", "big")
        for number in fields(position + 8, _PNG_NUMBERS.get(kind, ""), "big"):
            if number.start + number.size <= end - 4:
                yield number
        position = end


def _seal_png(part: bytes) -> bytes:
    body = part[4:-4]
    return struct.pack(">I", max(0, len(body) - 4)) + body + struct.pack(">I", zlib.crc32(body))


def _dissect_riff(data: bytes) -> Iterator[Part | Number]:
    yield Number(4, 4, "little")
    yield from _riff_chunks(data, 12, len(data), (0,))


def _riff_chunks(
    data: bytes, position: int, end: int, parents: tuple[int, ...]
) -> Iterator[Part | Number]:
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        after = position + 8 + length + length % 2
        yield Part(position, after, parents)
        yield Number(position + 4, 4, "little")
        if kind == b"VP8X":
            yield from fields(position + 8, "433", "little")
        elif kind == b"VP8 ":
            yield from fields(position + 8, "322222", "little")
        elif kind == b"VP8L":
            yield from fields(position + 8, "14", "little")
        elif kind == b"ANIM":
            yield from fields(position + 8, "42", "little")
        elif kind == b"ANMF":
            yield from fields(position + 8, "333331", "little")
            yield from _riff_chunks(data, position + 24, after, (*parents, position))
        position = after


def _seal_riff(part: bytes) -> bytes:
    body = part[8:]
    return part[:4] + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _grow_riff(data: bytearray, parent: int, more: int) -> None:
    size = int.from_bytes(data[parent + 4 : parent + 8], "little")
    data[parent + 4 : parent + 8] = ((size + more) % 2**32).to_bytes(4, "little")


def _dissect_gif(data: bytes) -> Iterator[Part | Number]:
    yield from fields(6, "22111", "little")
    position = 13
    if data[10] & 0x80:
        size = 3 << (data[10] % 8 + 1)
        yield Part(position, position + size)
        position += size
    while position < len(data):
        start = position
        if data[position] == 0x21:
            if data[position + 1] == 0xF9:
                yield from fields(position + 2, "1121", "little")
            position += 2
        elif data[position] == 0x2C:
            yield from fields(position + 1, "22221", "little")
            flags = data[position + 9]
            position += 10 + (3 << (flags % 8 + 1) if flags & 0x80 else 0)
            yield Number(position, 1, "little")
            position += 1
        else:
            yield Part(position, position + 1)
            position += 1
            continue
        while data[position]:
            position += 1 + data[position]
        position += 1
        yield Part(start, position)


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _dissect_jpeg(data: bytes) -> Iterator[Part | Number]:
    position = 2
    while position < len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            return
        if marker in (0x01, 0xD9) or 0xD0 <= marker <= 0xD8:
            yield Part(position, position + 2)
            position += 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        yield Part(position, end)
        yield from fields(position, "112", "big")
        if marker in _JPEG_FRAMES:
            yield from fields(position + 4, "1221" + "111" * data[position + 9], "big")
        elif marker == 0xC4:  # The class, the number of codes of each length, some symbols.
            yield from fields(position + 4, "1" * min(21, end - position - 4), "big")
        elif marker == 0xDB:
            yield from fields(position + 4, "1" * min(65, end - position - 4), "big")
        elif marker == 0xDD:
            yield Number(position + 4, 2, "big")
        elif marker == 0xDA:
            yield from fields(position + 4, "1" * (end - position - 4), "big")
            start = end
            while end + 1 < len(data):  # Coded data ends at a marker, which no restart is.
                if data[end] == 0xFF and data[end + 1] and not 0xD0 <= data[end + 1] <= 0xD7:
                    break
                end += 1
            yield Part(start, end)
        position = end


def _seal_jpeg(part: bytes) -> bytes:
    has_length = len(part) >= 4 and part[0] == 0xFF and 0xC0 <= part[1] < 0xFF
    if not has_length or 0xD0 <= part[1] <= 0xD9 or len(part) > 65537:
        return part
    return part[:2] + struct.pack(">H", len(part) - 2) + part[4:]


PNG = Format("png", lambda data: data.startswith(_PNG), _dissect_png, _seal_png)
WEBP = Format(
    "webp",
    lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP",
    _dissect_riff,
    _seal_riff,
    _grow_riff,
)
GIF = Format("gif", lambda data: data.startswith((b"GIF87a", b"GIF89a")), _dissect_gif)
JPEG = Format("jpeg", lambda data: data.startswith(b"\xff\xd8"), _dissect_jpeg, _seal_jpeg)
