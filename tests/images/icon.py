"""ICO and CUR: the pictures of an icon, what their masks leave of them, and what is refused."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from image_features.transforms.values import Reason
from tests.images import encode
from tests.images.bitmap_writer import (
    HEIGHT,
    WIDTH,
    Values,
    colours,
    header,
    indices,
    packed,
    palette_of,
    words,
)
from tests.images.sample import Sample, as_rgb, picture

_ICON, _CURSOR = 1, 2
_SEVERAL = "ImageMagick shows the first picture of several."


def icon_of(
    *pictures: bytes, kind: int = _ICON, sizes: tuple[tuple[int, int, int], ...] = ()
) -> bytes:
    """Returns an icon of some pictures; `sizes` is the width, height and bits that it declares."""
    sizes = sizes or ((WIDTH, HEIGHT, 32),) * len(pictures)
    entries, offset = b"", 6 + 16 * len(pictures)
    for data, (width, height, bits) in zip(pictures, sizes, strict=True):
        entries += struct.pack("<4B2H2I", width, height, 0, 0, 1, bits, len(data), offset)
        offset += len(data)
    return struct.pack("<3H", 0, kind, len(pictures)) + entries + b"".join(pictures)


def bitmap(bits: int, table: Values, chosen: Values, mask: Values) -> bytes:
    """Returns the picture of an icon through a palette, and its mask, 1 where it is transparent."""
    height, width = chosen.shape
    head = header(bits, width=width, height=2 * height)
    return head + palette_of(table) + packed(chosen, bits) + packed(mask, 1)


def huge_png(side: int) -> bytes:
    """Returns a small PNG of so many pixels on each side."""
    data = encode(Image.new("RGBA", (4, 4)), "PNG")
    start = data.index(b"IHDR")
    chunk = b"IHDR" + struct.pack(">II", side, side) + data[start + 12 : start + 17]
    return data[:start] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[start + 21 :]


def samples() -> list[Sample]:
    """Returns the samples of ICO and CUR."""
    each = (_masks, _deep, _enclosed, _best, _refused)
    return list(itertools.chain.from_iterable(make() for make in each))


def _mask() -> Values:
    """Returns [12, 16]: 1 in the upper left corner and in one pixel, without symmetry."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:5, :7] = mask[9, 13] = 1
    return mask


def _masks() -> Iterator[Sample]:
    mask = _mask()
    for bits in (1, 2, 4, 8):
        table, chosen = colours(1 << bits), indices(1 << bits)
        seen = np.where(mask[..., None], 255, table[chosen]).astype(np.uint8)
        why = "ImageMagick does not know it." if bits == 2 else ""
        for kind, name in ((_ICON, "ico"), (_CURSOR, "cur")):
            data = icon_of(bitmap(bits, table, chosen, mask), kind=kind)
            yield Sample(f"{name}_palette{bits}", data, seen, 0, why)
    rgb = picture()
    seen = np.where(mask[..., None], 255, rgb).astype(np.uint8)
    head = header(24, height=2 * HEIGHT)
    data = icon_of(head + words(_numbers(rgb), 3) + packed(mask, 1))
    yield Sample("ico_24", data, seen, 0)
    down = words(_numbers(rgb), 3, top_down=True) + packed(mask, 1, top_down=True)
    data = icon_of(header(24, height=-2 * HEIGHT) + down)
    yield Sample("ico_24_top_down", data, seen, 0, "ImageMagick fails.")
    half = np.rint(rgb / 255 * 31).astype(int)
    pixels = (half * (1 << 10, 1 << 5, 1)).sum(axis=2)
    seen = np.where(mask[..., None], 255, np.floor(half / 31 * 255 + 0.5)).astype(np.uint8)
    data = icon_of(header(16, height=2 * HEIGHT) + words(pixels, 2) + packed(mask, 1))
    yield Sample("ico_16", data, seen, 1, "ImageMagick fails.")


def _deep() -> Iterator[Sample]:
    rgb, mask = picture(), _mask()
    head = header(32, height=2 * HEIGHT)
    data = icon_of(head + words(_numbers(rgb), 4) + packed(mask, 1))
    masked = np.where(mask[..., None], 255, rgb).astype(np.uint8)
    yield Sample("ico_32_alpha_0", data, masked, 0, "ImageMagick shows nothing of it.")
    data = icon_of(head + words(_numbers(rgb), 4))
    yield Sample("ico_32_alpha_0_without_mask", data, rgb, 0, "ImageMagick shows nothing of it.")
    alpha = np.rint(np.linspace(0, 255, HEIGHT * WIDTH)).astype(int).reshape(HEIGHT, WIDTH)
    weight = alpha[..., None] / 255
    flat = np.rint(rgb * weight + 255 * (1 - weight)).astype(np.uint8)
    pixels = words(_numbers(rgb) + (alpha << 24), 4)
    yield Sample("ico_32", icon_of(head + pixels + packed(mask * 0, 1)), flat, 1)
    yield Sample("ico_32_alpha_and_mask", icon_of(head + pixels + packed(mask, 1)), flat, 1)
    yield Sample("ico_32_without_mask", icon_of(head + pixels), flat, 1)


def _enclosed() -> Iterator[Sample]:
    rgb = picture()
    solid = Image.fromarray(rgb)
    clear = solid.copy()
    clear.putalpha(Image.fromarray(np.where(_mask(), 0, 255).astype(np.uint8)))
    masked = np.where(_mask()[..., None], 255, rgb).astype(np.uint8)
    yield Sample("ico_png", icon_of(encode(solid, "PNG")), rgb, 0)
    yield Sample("ico_png_alpha", icon_of(encode(clear, "PNG")), masked, 0)
    yield Sample("cur_png", icon_of(encode(solid, "PNG"), kind=_CURSOR), rgb, 0)
    grey = solid.convert("L")
    yield Sample("ico_png_grey", icon_of(encode(grey, "PNG")), as_rgb(np.asarray(grey)), 0)
    lying = icon_of(encode(solid, "PNG"), sizes=((200, 1, 8),))
    yield Sample("ico_png_of_another_size", lying, rgb, 0)


def _best() -> Iterator[Sample]:
    """Puts pictures beside the right one that are smaller, flatter, or said to be larger."""
    rgb, blank = picture(), np.zeros((HEIGHT, WIDTH), np.uint8)
    best = header(24, height=2 * HEIGHT) + words(_numbers(rgb), 3) + packed(blank, 1)
    flat = bitmap(1, colours(2), indices(2), blank)
    small = bitmap(8, colours(256), indices(256)[:5, :6], blank[:5, :6])
    yield Sample("ico_deepest", icon_of(flat, best, flat), rgb, 0, _SEVERAL)
    yield Sample("ico_largest", icon_of(small, best, small), rgb, 0, _SEVERAL)
    sizes = ((255, 255, 32), (1, 1, 1))
    yield Sample(
        "ico_largest_is_said_to_be_small", icon_of(small, best, sizes=sizes), rgb, 0, _SEVERAL
    )
    png = encode(Image.fromarray(rgb), "PNG")
    yield Sample("ico_largest_is_a_png", icon_of(small, png), rgb, 0, _SEVERAL)


def _refused() -> Iterator[Sample]:
    blank = np.zeros((HEIGHT, WIDTH), np.uint8)
    sound = bitmap(8, colours(256), indices(256), blank)
    yield Sample("ico_png_huge", icon_of(huge_png(20_000)), Reason.TOO_MANY_PIXELS)
    yield Sample("ico_png_too_large", icon_of(huge_png(12_000)), Reason.TOO_MANY_PIXELS)
    large = header(1, width=30_000, height=60_000) + palette_of(colours(2))
    yield Sample("ico_bitmap_too_large", icon_of(large), Reason.TOO_MANY_PIXELS)
    yield Sample("ico_no_picture", icon_of(b"neither bitmap nor PNG" * 9), Reason.CORRUPT)
    yield Sample("ico_cut_in_the_list", icon_of(sound)[:20], Reason.TRUNCATED)
    yield Sample("ico_cut_in_the_pixels", icon_of(sound)[:-100], Reason.TRUNCATED)
    yield Sample("ico_cut_in_the_mask", icon_of(sound)[:-10], Reason.TRUNCATED)
    yield Sample("ico_cut_before_the_picture", icon_of(sound)[:22], Reason.TRUNCATED)
    runs = header(8, compression=1, height=2 * HEIGHT) + palette_of(colours(256)) + b"\0\1"
    yield Sample("ico_run_lengths", icon_of(runs), Reason.UNSUPPORTED_PIXELS)


def _numbers(rgb: Values) -> Values:
    return (rgb.astype(np.int64) * (1 << 16, 1 << 8, 1)).sum(axis=2)
