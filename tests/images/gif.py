"""GIF files by a writer of our own."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.values import Reason
from tests.images.sample import Sample

_Array = npt.NDArray[Any]
_WHITE = 255
_BEYOND = "ImageMagick and libvips show other colours; browsers show none."
_CUT = "ImageMagick cuts a frame at its canvas, libvips fills it with black; browsers do not."
_FILLED = "libvips fills the canvas with black; browsers and ImageMagick do not."


def compress(indices: Iterable[int], bits: int) -> bytes:
    """Returns the code length and the blocks of a frame, each pixel in a code of its own."""
    clear, codes = 1 << bits, []
    for i, index in enumerate(indices):
        if i % (clear - 2) == 0:  # Before the decoder's codes become longer.
            codes.append(clear)
        codes.append(index)
    value = 0
    for i, code in enumerate([*codes, clear + 1]):
        value |= code << (i * (bits + 1))
    stream = value.to_bytes(-(-(len(codes) + 1) * (bits + 1) // 8), "little")
    return bytes((bits,)) + blocks(stream)


def blocks(data: bytes, size: int = 255) -> bytes:
    """Returns data in blocks, and the empty block that ends them."""
    parts = (data[i : i + size] for i in range(0, len(data), size))
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"


def control(key: int | None, disposal: int = 0) -> bytes:
    """Returns a graphic control extension; `key` is the index that is transparent."""
    flags = disposal << 2 | (key is not None)
    return b"!\xf9\x04" + bytes((flags, 10, 0, key or 0, 0))


def screen(width: int, height: int, palette: bytes = b"", version: bytes = b"89a") -> bytes:
    """Returns the header with a global palette."""
    return b"GIF" + version + struct.pack("<HHBBB", width, height, _flags(palette), 0, 0) + palette


def frame(
    indices: _Array, at: tuple[int, int] = (0, 0), palette: bytes = b"", interlace: bool = False
) -> bytes:
    """Returns a frame of indices [height, width]."""
    height, width = indices.shape
    if interlace:
        order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4)]
        indices = indices[[*order, *range(1, height, 2)]]
    flags = _flags(palette) | 0x40 * interlace
    bits = max(2, int(indices.max()).bit_length())
    descriptor = struct.pack("<HHHHB", *at, width, height, flags)
    return b"," + descriptor + palette + compress(indices.ravel().tolist(), bits)


def _flags(palette: bytes) -> int:
    return 0x80 | (len(palette) // 3 - 1).bit_length() - 1 if palette else 0


def colours(count: int) -> _Array:
    """Returns a palette [count, 3]."""
    return (np.arange(3 * count).reshape(-1, 3) * 83 + 40) % 256


def _bytes(palette: _Array) -> bytes:
    return palette.astype(np.uint8).tobytes()


def _framed(inner: _Array, canvas: tuple[int, int], at: tuple[int, int]) -> npt.NDArray[np.uint8]:
    out = np.full((canvas[1], canvas[0], 3), _WHITE, np.uint8)
    height, width = inner.shape[:2]
    out[at[1] : at[1] + height, at[0] : at[0] + width] = inner
    return out


def samples() -> list[Sample]:
    """Returns every kind of GIF."""
    return [*_sound(), *_damaged()]


def _sound() -> Iterator[Sample]:
    pixels = np.arange(192).reshape(12, 16) % 16
    table, other = colours(16), 255 - colours(16)
    whole, rgb = screen(16, 12, _bytes(table)), table[pixels].astype(np.uint8)
    shown = frame(pixels)
    yield Sample("gif", whole + shown + b";", rgb, 0)
    yield Sample("gif_87a", screen(16, 12, _bytes(table), b"87a") + shown + b";", rgb, 0)
    yield Sample("gif_without_end", whole + shown, rgb, 0)
    yield Sample("gif_interlaced", whole + frame(pixels, interlace=True) + b";", rgb, 0)
    local = frame(pixels, palette=_bytes(other))
    yield Sample("gif_local_palette", whole + local + b";", other[pixels].astype(np.uint8), 0)
    yield Sample(
        "gif_only_a_local_palette", screen(16, 12) + local + b";", other[pixels].astype(np.uint8), 0
    )
    bare = screen(16, 12) + shown + b";"
    yield Sample("gif_without_palette", bare, Reason.UNSUPPORTED_PIXELS)
    for count in (2, 4, 256):
        indices = np.arange(192).reshape(12, 16) % count
        data = screen(16, 12, _bytes(colours(count))) + frame(indices) + b";"
        yield Sample(f"gif_{count}_colours", data, colours(count)[indices].astype(np.uint8), 0)
    keyed = np.where(pixels[..., None] == 5, _WHITE, rgb).astype(np.uint8)
    yield Sample("gif_transparent", whole + control(5) + shown + b";", keyed, 0)
    yield Sample(
        "gif_transparent_interlaced",
        whole + control(5) + frame(pixels, interlace=True) + b";",
        keyed,
        0,
    )
    yield Sample("gif_two_controls", whole + control(3) + control(5) + shown + b";", keyed, 0)
    yield Sample("gif_no_key_after_one", whole + control(5) + control(None) + shown, keyed, 0)
    few = screen(16, 12, _bytes(table[:8]))
    beyond = np.where(pixels[..., None] < 8, rgb, _WHITE).astype(np.uint8)
    yield Sample("gif_indices_beyond_the_palette", few + shown + b";", beyond, 0, _BEYOND)
    yield from _placed(pixels, table)
    yield from _animated(pixels, table)
    said = {
        "comment": b"!\xfe" + blocks(b"a" * 1000),
        "comment_of_nothing": b"!\xfe\0",
        "text": b"!\x01" + blocks(bytes(12), 12)[:-1] + blocks(b"text"),
        "application": b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0",
        "unknown_extension": b"!\x42" + blocks(b"x"),
        "padding": b"\0\0",
        "many_comments": b"!\xfe\x01a\0" * 1000,
        "small_blocks": b"!\xfe" + blocks(b"a" * 1000, 1),
    }
    for name, extension in said.items():
        why = "libvips knows no padding." if name == "padding" else ""
        yield Sample(f"gif_{name}", whole + extension + shown + b";", rgb, 0, why)
    # The size of a frame's blocks is free, as are those that follow its end.
    stream = compress(pixels.ravel().tolist(), 4)
    joined = b"".join(stream[i + 1 : i + 1 + stream[i]] for i in range(1, len(stream), 256))
    head = b"," + struct.pack("<HHHHB", 0, 0, 16, 12, 0) + b"\x04"
    yield Sample("gif_pixels_in_small_blocks", whole + head + blocks(joined, 1) + b";", rgb, 0)


def _placed(pixels: _Array, table: _Array) -> Iterator[Sample]:
    rgb = table[pixels].astype(np.uint8)
    keyed = np.where(pixels[..., None] == 5, _WHITE, rgb).astype(np.uint8)
    big = screen(30, 20, _bytes(table))
    for name, canvas, at in (
        ("smaller_than_its_canvas", (30, 20), (7, 5)),
        ("in_the_corner", (30, 20), (14, 8)),
        ("beyond_its_canvas", (36, 20), (20, 2)),
        ("outside_of_its_canvas", (56, 42), (40, 30)),
    ):
        why = _CUT if canvas > (30, 20) else _FILLED
        data = big + frame(pixels, at) + b";"
        yield Sample(f"gif_frame_{name}", data, _framed(rgb, canvas, at), 0, why)
        data = big + control(5, 2) + frame(pixels, at, interlace=True) + b";"
        yield Sample(f"gif_frame_{name}_transparent", data, _framed(keyed, canvas, at), 0, why)
    none = screen(0, 0, _bytes(table)) + frame(pixels) + b";"
    yield Sample("gif_canvas_of_nothing", none, rgb, 0, "ImageMagick refuses it.")


def _animated(pixels: _Array, table: _Array) -> Iterator[Sample]:
    rgb = table[pixels].astype(np.uint8)
    more = b"".join(control(2, i % 4) + frame((pixels + i) % 16) for i in range(1, 5))
    data = screen(16, 12, _bytes(table)) + control(None, 3) + frame(pixels) + more + b";"
    yield Sample("gif_animated", data, rgb, 0)
    broken = screen(16, 12, _bytes(table)) + frame(pixels) + b",\xff\xff"
    yield Sample("gif_animated_with_a_broken_second_frame", broken, rgb, 0)


def _damaged() -> Iterator[Sample]:
    pixels = np.arange(192).reshape(12, 16) % 16
    whole, shown = screen(16, 12, _bytes(colours(16))), frame(pixels)
    data = whole + shown + b";"
    half = b"," + struct.pack("<HHHHB", 0, 0, 16, 12, 0)
    few = half + compress(pixels[:6].ravel().tolist(), 4)
    truncated = {
        "header": data[:9],
        "palette": data[:30],
        "before_frame": whole,
        "descriptor": whole + b"," + bytes(5),
        "pixels": data[:-60],
        "few_rows": whole + few + b";",
        "few_rows_of_an_animation": whole + few + shown + shown + b";",
        "comment": whole + b"!\xfe\xffabc",
        "no_pixels": whole + half,
    }
    for name, cut in truncated.items():
        yield Sample(f"gif_truncated_{name}", cut, Reason.TRUNCATED)
    corrupt = {
        "of_no_frame": whole + b";",
        "unknown_block": whole + b"\x99" + shown + b";",
        "frame_of_no_width": whole + b"," + struct.pack("<HHHHB", 0, 0, 0, 12, 0) + b"\x02\0;",
        "long_codes": whole + half + b"\x0c" + blocks(b"abc") + b";",
        "codes_of_nothing": whole + half + b"\0" + blocks(b"abc") + b";",
        "codes_of_the_future": whole + half + b"\x04" + blocks(b"\xf0\xff\xff\xff") + b";",
    }
    for name, bad in corrupt.items():
        yield Sample(f"gif_{name}", bad, Reason.CORRUPT)
    yield Sample("gif_huge", screen(65535, 65535) + shown + b";", Reason.TOO_MANY_PIXELS)
    far = screen(1, 1) + frame(pixels, (65535, 65535)) + b";"
    yield Sample("gif_far_away", far, Reason.TOO_MANY_PIXELS)
    many = whole + b"!\xfe\x01a\0" * 300_000 + shown
    yield Sample("gif_of_a_million_blocks", many, Reason.TOO_COSTLY)
