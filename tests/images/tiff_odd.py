"""TIFF: what is odd and is read, and what is refused."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from image_features.transforms.values import Reason
from tests.images.sample import Sample, as_rgb, grey, picture
from tests.images.tiff_writer import (
    CMYK,
    GREY,
    RGB,
    Layout,
    file_of,
    scaled,
    seen,
    tiff_of,
)


def _old_lzw(content: bytes) -> bytes:
    """LZW as before TIFF 5, its bits from the lowest; cleared before codes grow beyond 9 bits."""
    codes = []
    for start in range(0, len(content), 200):
        codes += [256, *content[start : start + 200]]
    bits = "".join(f"{code:09b}"[::-1] for code in [*codes, 257])
    return np.packbits([int(bit) for bit in bits], bitorder="little").tobytes()


def odd() -> Iterator[Sample]:
    """Yields files that break a rule of the standard, and that viewers show."""
    values = scaled(grey(), 16)
    for bits in (10, 12, 14):
        data = tiff_of(scaled(grey(), bits), bits, GREY, Layout(words=True, order=">"))
        told = "libtiff reads the words as packed"
        expected = as_rgb(seen(scaled(grey(), bits), bits))
        yield Sample(f"tiff_words_of_{bits}", data, expected, 0, told)
    expected = as_rgb(grey())
    data = tiff_of(values, 16, GREY, Layout(rows=12), {279: (4, [5])})
    yield Sample("tiff_one_strip_with_a_wrong_count", data, expected, 0)
    data = tiff_of(values, 16, GREY, Layout(rows=12), {279: (4, [10**6])})
    yield Sample("tiff_one_strip_with_a_count_beyond_the_file", data, expected, 0)
    data = tiff_of(values, 16, GREY, Layout(rows=4), {339: (3, [4])})
    for compression, encoded in ((5, _old_lzw), (8, zlib.compress), (34925, lzma.compress)):
        # The last strip has as many rows as others, of which the picture has no use.
        rows = np.concatenate([grey(), grey()[:3]])
        blobs = [encoded(rows[top : top + 5].tobytes()) for top in (0, 5, 10)]
        entries = {256: (4, [16]), 257: (4, [12]), 258: (3, [8]), 259: (3, [compression])}
        entries |= {262: (3, [GREY]), 273: (4, [0] * 3), 277: (3, [1]), 278: (4, [5])}
        entries |= {279: (4, [len(blob) for blob in blobs])}
        name = f"tiff_strips_of_too_many_rows_{compression}"
        yield Sample(name, file_of(entries, blobs), expected, 0)
    for rows in (0, 2**32 - 1):
        data = tiff_of(values, 16, GREY, Layout(rows=12), {278: (4, [rows])})
        yield Sample(f"tiff_{rows}_rows_in_a_strip", data, expected, 0)
    yield Sample("tiff_samples_of_no_format", data, expected, 0)
    data = tiff_of(
        values, 16, GREY, Layout(), {700: (1, list(b"<x:xmpmeta tiff:Orientation='6'/>"))}
    )
    yield Sample("tiff_with_xmp", data, expected, 0)
    for orientation in range(1, 9):
        upright = Image.fromarray(picture())
        turns = (None, 0, 3, 1, 5, 4, 6, 2)[orientation - 1]
        shown = upright if turns is None else upright.transpose(Image.Transpose(turns))
        data = tiff_of(scaled(picture(), 16), 16, RGB, Layout(), {274: (3, [orientation])})
        yield Sample(f"tiff_orientation{orientation}", data, np.asarray(shown), 0)
    data = tiff_of(grey(), 8, GREY, Layout(), {34665: (4, [4_000_000]), 274: (7, [9])})
    yield Sample("tiff_damaged_exif", data, expected, 0, "warned of")
    data = tiff_of(grey(), 8, GREY)
    place = struct.unpack_from("<I", data, 4)[0]
    end = place + 2 + 12 * struct.unpack_from("<H", data, place)[0]
    loop = data[:end] + struct.pack("<I", place) + data[end + 4 :]
    yield Sample("tiff_loop_of_pages", loop, expected, 0)
    damaged = struct.pack("<IHHHII", len(data), 1, 262, 12, 1, 0)
    after = data[:end] + damaged[:4] + data[end + 4 :] + damaged[4:]
    yield Sample("tiff_damaged_second_page", after, expected, 0)
    nowhere = data[:end] + struct.pack("<I", 2**32 - 2) + data[end + 4 :]
    words = np.frombuffer(b"CR\2\0IIII" * 24, np.uint8).reshape(12, 16)
    yield Sample("tiff_pixels_like_a_raw", tiff_of(words, 8, GREY), as_rgb(words), 0)
    yield Sample("tiff_next_page_nowhere", nowhere, expected, 0)


def refused() -> Iterator[Sample]:
    """Yields files that end as error rows."""
    whole = tiff_of(scaled(picture(), 16), 16, RGB)
    unsupported, told = Reason.UNSUPPORTED_PIXELS, "refused"
    half = scaled(picture(), 8)
    for name, data in (
        ("bits_565", tiff_of(half, 8, RGB, Layout(), {258: (3, [5, 6, 5])})),
        ("cfa_like", tiff_of(half, 8, 4)),
        ("complex", tiff_of(grey().astype(np.float64), 64, GREY, Layout(), {339: (3, [6])})),
        ("integers_of_24_bits", tiff_of(grey().astype(np.uint32), 24, GREY)),
        ("lerc", tiff_of(grey(), 8, GREY, Layout(), {259: (3, [34887])})),
        ("jpeg_2000", tiff_of(half, 8, RGB, Layout(), {259: (3, [34712])})),
        (
            "other_inks",
            tiff_of(half, 8, CMYK, Layout(), {332: (3, [2]), 277: (3, [4]), 258: (3, [8] * 4)}),
        ),
        (
            "predictor_of_4_bits",
            tiff_of(grey() >> 4, 4, GREY, Layout(compression=5), {317: (3, [2])}),
        ),
        ("predictor_9", tiff_of(grey(), 8, GREY, Layout(compression=5), {317: (3, [9])})),
        ("fax_of_words", tiff_of(grey() >> 7, 1, GREY, Layout(), {259: (3, [32771])})),
        ("log_luv", tiff_of(half, 8, 32845)),
        (
            "jpeg_of_12_bits",
            tiff_of(grey().astype(np.uint16), 12, GREY, Layout(), {259: (3, [7])}),
        ),
    ):
        yield Sample(f"tiff_{name}", data, unsupported, comparable=told)
    raw = Reason.UNSUPPORTED_FORMAT
    yield Sample("tiff_dng", tiff_of(half, 8, RGB, Layout(), {50706: (1, [1, 4, 0, 0])}), raw)
    yield Sample("tiff_sensor", tiff_of(scaled(grey(), 16), 16, 32803), raw)
    for magic in (
        b"II*\0\x10\0\0\0CR\2\0",
        b"II*\0\xb8\0\0\0IIII\1waR",
        b"MM\0*\0\0\0\xb8MMMMRaw\1",
    ):
        yield Sample(f"tiff_raw_{magic[8:].hex()}", magic + bytes(300), raw)
    sensor = tiff_of(scaled(grey(), 16), 16, 32803)
    nef = tiff_of(half, 8, RGB, Layout(), {254: (4, [1]), 330: (4, [0])})
    nef = nef + b"\0" * (len(nef) % 2)
    moved = struct.unpack_from("<I", sensor, 4)[0]
    inner = sensor[moved:]
    nef = nef.replace(struct.pack("<HHII", 330, 4, 1, 0), struct.pack("<HHII", 330, 4, 1, len(nef)))
    yield Sample("tiff_nef", nef + inner, raw)
    for magic in (b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0", b"FUJIFILMCCD-RAW 0201"):
        yield Sample(f"raw_{magic[:4].hex()}", magic + bytes(100), raw)
    yield Sample("tiff_cut", whole[: len(whole) // 4], Reason.TRUNCATED)
    beyond = tiff_of(half, 8, RGB, Layout(rows=3), {279: (4, [20] * 4)})
    yield Sample("tiff_short_strips", beyond, Reason.TRUNCATED)
    damaged = tiff_of(half, 8, RGB, Layout(compression=8))
    yield Sample("tiff_damaged_deflate", damaged[:12] + b"\xff" * 8 + damaged[20:], Reason.CORRUPT)
    words = tiff_of(np.full((12, 16), 4000, np.uint16), 10, GREY, Layout(words=True))
    yield Sample("tiff_words_beyond_their_bits", words, Reason.CORRUPT)
    yield Sample("tiff_no_size", file_of({259: (3, [1])}, [b""]), Reason.CORRUPT)
    few = tiff_of(grey(), 8, GREY, Layout(rows=3), {278: (4, [1])})
    yield Sample("tiff_too_few_strips", few, Reason.CORRUPT)
    huge = tiff_of(grey(), 8, GREY, Layout(tile=(16, 16)), {322: (4, [32768]), 323: (4, [16384])})
    yield Sample("tiff_huge_tile", huge, Reason.TOO_COSTLY)
    yield Sample("tiff_no_page", b"II*\0\0\0\0\0" + bytes(40), Reason.CORRUPT)
    yield Sample("tiff_ends_in_its_directory", whole[: len(whole) - 60], Reason.TRUNCATED)
    yield Sample("tiff_nothing_but_magic", b"MM\0*", Reason.TRUNCATED)
