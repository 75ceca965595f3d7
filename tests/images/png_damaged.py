"""PNG files that are damaged, cut short, or of a kind that is not read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np

from image_features.transforms.values import Reason
from tests.images.png_writer import (
    GREY,
    PALETTE,
    RGB,
    SIGNATURE,
    assemble,
    chunk,
    header,
    pixels,
    write,
)
from tests.images.sample import Sample, picture

_INDICES = np.arange(192).reshape(12, 16)


def damaged() -> Iterable[Sample]:
    """Yields what must fail, each with its reason."""
    whole, raw = write(picture(), 8, RGB), pixels(picture(), 8, 0, (0,))
    stream = zlib.compress(raw)
    corrupt = {
        "wrong_crc_IHDR": SIGNATURE + header(16, 12, 8, RGB, crc=1) + chunk(b"IDAT", stream),
        "wrong_crc_IDAT": whole[:-16] + b"\0\0\0\0" + whole[-12:],
        "wrong_crc_PLTE": write(_INDICES, 8, PALETTE, before=[chunk(b"PLTE", bytes(768), crc=1)]),
        "wrong_crc_tRNS": write(picture(), 8, RGB, before=[chunk(b"tRNS", bytes(6), crc=1)]),
        "short_tRNS": write(picture(), 8, RGB, before=[chunk(b"tRNS", bytes(5))]),
        "without_palette": write(_INDICES, 8, PALETTE),
        "half_a_colour": write(_INDICES, 8, PALETTE, before=[chunk(b"PLTE", b"ab")]),
        "wrong_checksum": assemble(16, 12, 8, RGB, stream[:-4] + b"\0\0\0\0"),
        "filter_5": assemble(16, 12, 8, RGB, zlib.compress(b"\5" + raw[1:])),
        "no_deflate": assemble(16, 12, 8, RGB, b"nothing" * 20),
        "no_pixels": SIGNATURE + header(16, 12, 8, RGB) + chunk(b"IEND", b""),
        "no_header": SIGNATURE + chunk(b"IDAT", stream) + chunk(b"IEND", b""),
        "header_after_pixels": SIGNATURE
        + chunk(b"IDAT", stream)
        + header(16, 12, 8, RGB)
        + chunk(b"IEND", b""),
        "line_ends_converted": whole.replace(b"\r\n", b"\n"),
        "width_0": assemble(0, 12, 8, RGB, stream),
        "compression_1": whole.replace(
            header(16, 12, 8, RGB), chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 12, 8, RGB, 1, 0, 0))
        ),
        "filters_64": whole.replace(
            header(16, 12, 8, RGB),
            chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 12, 8, RGB, 0, 64, 0)),
        ),
    }
    for bits, kind in ((0, GREY), (3, GREY), (32, GREY), (4, RGB), (16, PALETTE), (8, 1), (8, 9)):
        corrupt[f"bits{bits}_of_type{kind}"] = assemble(16, 12, bits, kind, stream)
    corrupt["interlace_2"] = assemble(16, 12, 8, RGB, stream, 2)
    for name, data in corrupt.items():
        yield Sample(f"png_{name}", data, Reason.CORRUPT)
    truncated = {
        "signature": SIGNATURE[:6],
        "header": whole[:20],
        "before_pixels": whole[:33],
        "within_pixels": whole[:-40],
        "too_few_rows": assemble(16, 12, 8, RGB, zlib.compress(raw[: 49 * 5])),
        "stream": assemble(16, 12, 8, RGB, stream[:-20]),
        "deep": write(257 * picture().astype(int), 16, RGB)[:-40],
    }
    for name, data in truncated.items():
        yield Sample(f"png_truncated_{name}", data, Reason.TRUNCATED)
    apple = SIGNATURE + chunk(b"CgBI", b"\x50\0\x20\2") + whole[8:]
    yield Sample("png_of_apple", apple, Reason.UNSUPPORTED_PIXELS)
    foreign = write(picture(), 8, RGB, before=[chunk(b"WXYZ", b"")])
    yield Sample("png_with_a_foreign_chunk", foreign, Reason.UNSUPPORTED_PIXELS)
    huge = assemble(2**31 - 1, 2**31 - 1, 8, RGB, stream)
    yield Sample("png_of_all_sizes", huge, Reason.TOO_MANY_PIXELS)
    beside = write(picture(), 8, RGB, before=[chunk(b"abCd", b"")])
    empty = chunk(b"abCd", b"")
    yield Sample(
        "png_of_a_million_chunks", beside.replace(empty, 600_000 * empty), Reason.TOO_COSTLY
    )
