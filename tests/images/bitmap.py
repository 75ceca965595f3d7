"""BMP: every header, depth, mask and run length, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from image_features.transforms.values import Reason
from tests.images.bitmap_writer import (
    HEIGHT,
    WIDTH,
    Values,
    colours,
    file_of,
    header,
    indices,
    packed,
    palette_of,
    words,
)
from tests.images.sample import Sample, as_rgb, grey, picture

_RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG, _ALPHABITFIELDS = range(1, 7)
_ALPHA_IS_UNUSED = "ImageMagick takes the unused byte for alpha where it is not 0 everywhere."
_SHIFTED = "ImageMagick shifts and repeats the bits of a mask, where they should be scaled."
_UNKNOWN = "ImageMagick does not know it."


def samples() -> list[Sample]:
    """Returns the samples of BMP."""
    each = (_palettes, _headers, _masks, _alphas, _runs, _odd, _refused)
    return list(itertools.chain.from_iterable(make() for make in each))


def _palettes() -> Iterator[Sample]:
    for bits in (1, 2, 4, 8):
        table, chosen = colours(1 << bits), indices(1 << bits)
        data = file_of(header(bits), palette_of(table), packed(chosen, bits))
        yield Sample(f"bmp_palette{bits}", data, table[chosen], 0, _UNKNOWN if bits == 2 else "")
    levels = grey()
    data = file_of(header(8), palette_of(as_rgb(np.arange(256)[None])[0]), packed(levels, 8))
    yield Sample("bmp_grey8", data, as_rgb(levels), 0)
    table, chosen = colours(12), indices(12)
    for name, bits in (("bmp_short_palette", 8), ("bmp_short_palette4", 4)):
        data = file_of(header(bits, colours=12), palette_of(table), packed(chosen, bits))
        yield Sample(name, data, table[chosen], 0)
    one = np.zeros_like(chosen)
    data = file_of(header(1, colours=1), palette_of(table[:1]), packed(one, 1))
    yield Sample("bmp_palette_of_one", data, table[one], 0)
    data = file_of(header(8, size=12), palette_of(table, 3), packed(chosen, 8))
    why = "ImageMagick wants all 256 colours."
    yield Sample("bmp_palette_ends_at_the_pixels", data, table[chosen], 0, why)
    beyond = np.where(np.arange(12)[:, None] < 8, table, 0)
    data = file_of(header(8, colours=8), palette_of(table[:8]), packed(chosen, 8))
    yield Sample(
        "bmp_index_beyond_the_palette", data, beyond[chosen], 0, "ImageMagick shows others."
    )
    data = file_of(header(8, colours=300), palette_of(colours(300)), packed(chosen, 8))
    yield Sample("bmp_palette_of_300", data, colours(300)[chosen], 0, _UNKNOWN)


def _headers() -> Iterator[Sample]:
    table, chosen = colours(256), indices(256)
    for size, entry in ((12, 3), (16, 4), (52, 4), (56, 4), (64, 4), (108, 4), (124, 4)):
        data = file_of(header(8, size=size), palette_of(table, entry), packed(chosen, 8))
        why = "ImageMagick gets OS/2's second edition wrong." if size in (16, 64) else ""
        yield Sample(f"bmp_header{size}", data, table[chosen], 0, why)
    rgb = picture(15, 7)
    values = (rgb.astype(int) * (1 << 16, 1 << 8, 1)).sum(axis=2)
    plain = header(24, width=15, height=7)
    yield Sample("bmp_24", file_of(plain, b"", words(values, 3)), rgb, 0)
    core = header(24, size=12, width=15, height=7)
    yield Sample("bmp_24_core", file_of(core, b"", words(values, 3)), rgb, 0)
    down = file_of(header(24, width=15, height=-7), b"", words(values, 3, top_down=True))
    yield Sample("bmp_24_top_down", down, rgb, 0)
    table = colours(256)
    yield Sample("bmp_24_palette", file_of(plain, palette_of(table), words(values, 3)), rgb, 0)
    yield Sample("bmp_24_gap", file_of(plain, b"", words(values, 3), gap=6), rgb, 0)
    unfilled = file_of(plain, b"", words(values, 3)[:-3])
    yield Sample("bmp_24_last_row_unfilled", unfilled, rgb, 0, "ImageMagick wants what fills it.")
    bare = plain + words(values, 3)
    yield Sample("bmp_without_a_file_header", bare, rgb, 0)
    unused = file_of(header(32, width=15, height=7), b"", words(values | 0x80000000, 4))
    yield Sample("bmp_32_unused_byte", unused, rgb, 0, _ALPHA_IS_UNUSED)
    zero = file_of(header(32, width=15, height=7), b"", words(values, 4))
    yield Sample("bmp_32", zero, rgb, 0)
    for kind in (b"LINK", b"MBED"):
        head = header(24, size=124, width=15, height=7, profile=(kind, 124, 9))
        data = file_of(head, b"no ICC  \0", words(values, 3))
        why = "ImageMagick fails by the damaged profile." if kind == b"MBED" else ""
        yield Sample(f"bmp_profile_{kind.decode().lower()}", data, rgb, 0, why)


def _mask_values(rgb: Values, masks: Sequence[int]) -> tuple[Values, Values]:
    """Returns pixels of these masks, and the colours that they then have, scaled by their white."""
    pixels = np.zeros(rgb.shape[:2], np.int64)
    seen = np.zeros(rgb.shape, np.float64)
    for channel, mask in enumerate(masks):
        if mask:
            shift = f"{mask:b}"[::-1].index("1")
            white = mask >> shift
            value = np.rint(rgb[..., channel] / 255 * white).astype(np.int64)
            pixels |= value << shift
            seen[..., channel] = value / white * 255
    return pixels, np.floor(seen + 0.5).astype(np.uint8)


def _masks() -> Iterator[Sample]:
    cases = {
        "555": (16, (0x7C00, 0x03E0, 0x001F), ""),
        "565": (16, (0xF800, 0x07E0, 0x001F), ""),
        "565_swapped": (16, (0x001F, 0x07E0, 0xF800), ""),
        "231": (16, (0x0030, 0x000E, 0x0001), _SHIFTED),
        "888_low": (32, (0xFF, 0xFF00, 0xFF0000), ""),
        "888_high": (32, (0xFF000000, 0xFF0000, 0xFF00), ""),
        "101010": (32, (0x3FF00000, 0xFFC00, 0x3FF), ""),
        "111110": (32, (0xFFE00000, 0x1FFC00, 0x3FF), ""),
        "7187": (32, (0xFE000000, 0x1FFFF80, 0x7F), ""),
        "no_blue": (16, (0xFF00, 0x00FF, 0), ""),
    }
    for name, (bits, masks, why) in cases.items():
        values, seen = _mask_values(picture(), masks)
        head = header(bits, compression=_BITFIELDS, masks=masks)
        yield Sample(
            f"bmp_{bits}_{name}", file_of(head, b"", words(values, bits // 8)), seen, 1, why
        )
    values, seen = _mask_values(picture(), cases["555"][1])
    data = file_of(header(16), b"", words(values | 0x8000, 2))
    yield Sample("bmp_16_unused_bit", data, seen, 1)
    for size in (52, 56, 108, 124):
        values, seen = _mask_values(picture(), cases["888_low"][1])
        head = header(32, size=size, compression=_BITFIELDS, masks=cases["888_low"][1])
        why = "ImageMagick does not read the masks." if size == 52 else ""
        yield Sample(f"bmp_32_masks_in_{size}", file_of(head, b"", words(values, 4)), seen, 1, why)


def _alphas() -> Iterator[Sample]:
    cases = {
        "8888": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), ""),
        "8888_swapped": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF), ""),
        "4444": (16, (0x0F00, 0x00F0, 0x000F, 0xF000), _SHIFTED),
        "5551": (16, (0x7C00, 0x03E0, 0x001F, 0x8000), _SHIFTED),
        "1010102": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), _SHIFTED),
    }
    opacity = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    rgba = np.concatenate([picture(), opacity], axis=2)
    for name, (bits, masks, why) in cases.items():
        values, seen = _mask_values(rgba, masks)
        weight = seen[..., 3:].astype(float) / 255
        flat = np.rint(seen[..., :3] * weight + 255 * (1 - weight)).astype(np.uint8)
        head = header(bits, size=124, compression=_BITFIELDS, masks=masks)
        yield Sample(
            f"bmp_alpha_{name}", file_of(head, b"", words(values, bits // 8)), flat, 1, why
        )
    masks = cases["8888"][1]
    values, seen = _mask_values(picture(), masks[:3])
    head = header(32, compression=_ALPHABITFIELDS, masks=masks)
    why = "ImageMagick shows nothing of it."
    yield Sample("bmp_alpha_0", file_of(head, b"", words(values, 4)), seen, 0, why)


def _runs() -> Iterator[Sample]:
    """Each row is written in another way; the codes of the skipped ones follow."""
    for bits, compression in ((8, _RLE8), (4, _RLE4)):
        table = colours(1 << bits)
        chosen = indices(1 << bits)
        chosen[3], chosen[5, 4:] = 3, 9
        body = b""
        for y, row in enumerate(chosen[::-1].tolist()):
            lengths = (16,) if y % 3 == 0 else (3, 5, 8) if y % 3 == 1 else (7, 9)
            body += _absolute(row, lengths, bits) if y % 2 else _encoded(row, bits)
            body += b"\0\0"
        data = file_of(header(bits, compression=compression), palette_of(table), body + b"\0\1")
        yield Sample(f"bmp_rle{bits}", data, table[chosen], 0)
        data = file_of(header(bits, compression=compression), palette_of(table), body[:-2])
        yield Sample(f"bmp_rle{bits}_without_end", data, table[chosen], 0)
        # Three skipped to the right and two upwards, a run, the end of the line, and the end.
        body = b"\0\2\3\2" + b"\5\x11" + b"\0\0" + b"\2\x22" + b"\0\1"
        skipped = np.zeros((HEIGHT, WIDTH), int)
        skipped[-3, 3:8], skipped[-4, :2] = (17, 34) if bits == 8 else (1, 2)
        data = file_of(header(bits, compression=compression), palette_of(table), body)
        yield Sample(f"bmp_rle{bits}_delta", data, table[skipped], 0)
        body = b"".join(b"\xff\x33\0\0" for _ in range(HEIGHT)) + b"\0\1"
        long = np.full((HEIGHT, WIDTH), 0x33 if bits == 8 else 3)
        data = file_of(header(bits, compression=compression), palette_of(table), body)
        yield Sample(f"bmp_rle{bits}_long", data, table[long], 0)
    alternating = np.tile([1, 2], (HEIGHT, WIDTH // 2))
    body = b"".join(b"\1\1\1\2" * 8 + b"\0\0" for _ in range(HEIGHT)) + b"\0\1"
    data = file_of(header(8, compression=_RLE8), palette_of(colours(256)), body)
    yield Sample("bmp_rle8_single", data, colours(256)[alternating], 0)
    body = b"".join(b"\3\x12\1\x20" * 4 + b"\0\0" for _ in range(HEIGHT)) + b"\0\1"
    turns = np.tile([1, 2, 1, 2], (HEIGHT, WIDTH // 4))
    data = file_of(header(4, compression=_RLE4), palette_of(colours(16)), body)
    yield Sample("bmp_rle4_odd_runs", data, colours(16)[turns], 0)


def _encoded(row: list[int], bits: int) -> bytes:
    codes = b""
    for value, group in itertools.groupby(row):
        codes += bytes([len(list(group)), value * 17 if bits == 4 else value])
    return codes


def _absolute(row: list[int], lengths: Sequence[int], bits: int) -> bytes:
    codes, x = b"", 0
    for length in lengths:
        run = row[x : x + length]
        x += length
        if bits == 4:
            run = [*run, 0] if length % 2 else run
            run = [high * 16 + low for high, low in zip(run[::2], run[1::2], strict=True)]
        codes += bytes([0, length, *run]) + bytes(len(run) % 2)
    return codes


def _odd() -> Iterator[Sample]:
    table, chosen = colours(256), indices(256)
    data = file_of(header(8), palette_of(table), packed(chosen, 8), offset=54)
    yield Sample(
        "bmp_offset_forgets_the_palette", data, table[chosen], 0, "ImageMagick shows the palette."
    )
    data = file_of(header(8), palette_of(table), packed(chosen, 8), offset=0)
    yield Sample("bmp_offset_0", data, table[chosen], 0, "ImageMagick fails.")


def _refused() -> Iterator[Sample]:
    rows = bytes(HEIGHT * WIDTH * 4)
    pal = palette_of(colours(256))

    def refused(name: str, data: bytes, reason: Reason) -> Sample:
        return Sample(f"bmp_{name}", data, reason)

    for name, compression in (("jpeg", _JPEG), ("png", _PNG)):
        data = file_of(header(0, compression=compression), b"", rows)
        yield refused(f"{name}_inside", data, Reason.UNSUPPORTED_PIXELS)
    os2 = header(24, size=64, compression=4)
    yield refused("os2_rle24", file_of(os2, b"", rows), Reason.UNSUPPORTED_PIXELS)
    yield refused("64", file_of(header(64), b"", rows * 2), Reason.UNSUPPORTED_PIXELS)
    yield refused("30000", file_of(header(30000), b"", rows), Reason.CORRUPT)
    yield refused("header66", file_of(bytes([66]) + bytes(65), b"", rows), Reason.CORRUPT)
    for name, masks in (("holes", (0xF0F0, 0xF00, 0xF)), ("none", (0, 0, 0))):
        head = header(16, compression=_BITFIELDS, masks=masks)
        yield refused(f"masks_{name}", file_of(head, b"", rows), Reason.CORRUPT)
    yield refused("negative_width", file_of(header(24, width=-4), b"", rows), Reason.CORRUPT)
    large = header(1, width=2**31 - 1, height=-(2**31))
    yield refused("large", file_of(large, palette_of(colours(2)), b""), Reason.TOO_MANY_PIXELS)
    yield refused("cut", file_of(header(24), b"", rows[:-200]), Reason.TRUNCATED)
    yield refused("cut_in_the_palette", file_of(header(8), pal, rows)[:400], Reason.TRUNCATED)
    yield refused("cut_in_the_header", file_of(header(24), b"", b"")[:40], Reason.TRUNCATED)
    runs = header(8, compression=_RLE8)
    cut = b"\x10\1\0\0" * 11 + b"\x0f\1"
    yield refused("rle_cut", file_of(runs, pal, cut), Reason.TRUNCATED)
    yield refused("rle_cut_in_a_delta", file_of(runs, pal, b"\0\2\1"), Reason.TRUNCATED)
    yield refused("rle_cut_in_an_absolute", file_of(runs, pal, b"\0\x09\1\2"), Reason.TRUNCATED)
    yield refused("rle_delta_above", file_of(runs, pal, b"\0\2\0\x0d\0\1"), Reason.CORRUPT)
    yield refused("rle_delta_aside", file_of(runs, pal, b"\0\2\x11\0\0\1"), Reason.CORRUPT)
    above = b"\0\0" * 12 + b"\1\1\0\1"
    yield refused("rle_above", file_of(runs, pal, above), Reason.CORRUPT)
