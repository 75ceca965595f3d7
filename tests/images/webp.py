"""WebP files: pixels that Pillow has compressed, in containers of our own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.values import Reason
from tests.images import encode
from tests.images.png_writer import exif
from tests.images.sample import Sample, grey, picture

_Array = npt.NDArray[Any]
ALPHA, EXIF, ANIMATION = 0x10, 0x08, 0x02


def riff(*chunks: bytes, form: bytes = b"WEBP") -> bytes:
    """Returns a container of chunks."""
    body = form + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunk(name: bytes, body: bytes) -> bytes:
    """Returns a chunk."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def extended(width: int, height: int, flags: int = 0) -> bytes:
    """Returns the chunk VP8X."""
    sides = (struct.pack("<I", side - 1)[:3] for side in (width, height))
    return chunk(b"VP8X", struct.pack("<I", flags) + b"".join(sides))


def frame(at: tuple[int, int], size: tuple[int, int], *chunks: bytes) -> bytes:
    """Returns the chunk ANMF of a frame whose corner has even numbers."""
    numbers = (at[0] // 2, at[1] // 2, size[0] - 1, size[1] - 1, 100)
    head = b"".join(struct.pack("<I", number)[:3] for number in numbers)
    return chunk(b"ANMF", head + b"\0" + b"".join(chunks))


def bitstream(image: Image.Image, **options: Any) -> list[bytes]:
    """Returns the chunks VP8 or VP8L, and ALPH, of an image that Pillow has compressed."""
    data, position, found = encode(image, "WEBP", exact=True, **options), 12, []
    while position < len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        if name in (b"VP8 ", b"VP8L", b"ALPH"):
            found.append(chunk(name, data[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    return found


def samples() -> list[Sample]:
    """Returns every kind of WebP."""
    return [*_sound(), *_animated(), *_damaged()]


def _translucent() -> tuple[Image.Image, npt.NDArray[np.uint8]]:
    """Returns an image with alpha, and how it looks on white."""
    alpha = grey()[::-1, ::-1, None]
    on_white = picture() * (alpha / 255) + 255 * (1 - alpha / 255)
    pixels = np.concatenate((picture(), alpha), axis=2)
    return Image.fromarray(pixels), np.rint(on_white).astype(np.uint8)


def _sound() -> Iterator[Sample]:
    image, (layered, on_white) = Image.fromarray(picture()), _translucent()
    lossy, lossless = bitstream(image, quality=100), bitstream(image, lossless=True)
    # Colours are of half the resolution.
    yield Sample("webp_lossy", riff(*lossy), picture(), 16)
    yield Sample("webp_lossless", riff(*lossless), picture(), 0)
    see_through = bitstream(layered, lossless=True)
    yield Sample("webp_lossless_alpha", riff(*see_through), on_white)
    parts = bitstream(layered, quality=100)
    yield Sample("webp_lossy_alpha", riff(extended(16, 12, ALPHA), *parts), on_white, 16)
    bare = riff(extended(16, 12), *parts)
    why = "libvips ignores alpha that the header does not tell of; libwebp does not."
    yield Sample("webp_alpha_without_a_flag", bare, on_white, 16, why)
    yield Sample("webp_extended", riff(extended(16, 12), *lossless), picture(), 0)
    unknown = chunk(b"ABCD", b"abc")
    data = riff(extended(16, 12), unknown, chunk(b"ICCP", b"none"), *lossless, unknown)
    yield Sample("webp_with_other_chunks", data, picture(), 0)
    for name, block in (("", exif(6)), ("_with_a_prefix", b"Exif\0\0" + exif(6))):
        data = riff(extended(16, 12, EXIF), *lossless, chunk(b"EXIF", block))
        why = "ImageMagick 6 reads EXIF in WebP where it is built to."
        yield Sample(f"webp_exif{name}", data, np.rot90(picture(), -1), 0, why)
    data = riff(extended(16, 12, EXIF), *lossless, chunk(b"EXIF", b"nothing"))
    yield Sample("webp_exif_garbage", data, picture(), 0)
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a tiff:Orientation='6'/></x:xmpmeta>"
    data = riff(extended(16, 12, 4), *lossless, chunk(b"XMP ", xmp))
    yield Sample("webp_xmp_orientation", data, picture(), 0)
    yield Sample("webp_with_more_behind", riff(*lossless) + bytes(99), picture(), 0)


def _animated() -> Iterator[Sample]:
    image, (layered, on_white) = Image.fromarray(picture()), _translucent()
    lossless, see_through = bitstream(image, lossless=True), bitstream(layered, lossless=True)
    black = bitstream(Image.new("RGB", (16, 12)), lossless=True)
    loop = chunk(b"ANIM", bytes((255, 0, 0, 255, 0, 0)))
    later = frame((0, 0), (16, 12), *black)
    data = riff(extended(16, 12, ANIMATION), loop, frame((0, 0), (16, 12), *lossless), later)
    yield Sample("webp_animated", data, picture(), 0)
    parts = bitstream(layered, quality=100)
    for name, inner, shown, tolerance in (
        ("lossless", lossless, picture(), 0),
        ("lossless_alpha", see_through, on_white, 1),
        ("lossy_alpha", parts, on_white, 16),
    ):
        first = frame((6, 4), (16, 12), *inner)
        data = riff(extended(40, 30, ANIMATION | ALPHA), loop, first, later)
        expected = np.full((30, 40, 3), 255, np.uint8)
        expected[4:16, 6:22] = shown
        why = "ImageMagick fills the canvas with black; browsers do not."
        yield Sample(f"webp_animated_placed_{name}", data, expected, tolerance, why)
    turned = riff(
        extended(16, 12, ANIMATION | EXIF),
        loop,
        frame((0, 0), (16, 12), *lossless),
        later,
        chunk(b"EXIF", exif(3)),
    )
    why = "ImageMagick 6 does not read EXIF in animations."
    yield Sample("webp_animated_exif", turned, picture()[::-1, ::-1], 0, why)


def _damaged() -> Iterator[Sample]:
    image = Image.fromarray(picture())
    (lossless,) = bitstream(image, lossless=True)
    (lossy,) = bitstream(image, quality=100)
    whole = riff(lossy)
    loop = chunk(b"ANIM", bytes(6))
    first = frame((0, 0), (16, 12), lossless)
    corrupt = {
        "smaller_than_said": riff(extended(100, 100), lossless),
        "larger_than_said": riff(extended(8, 8), lossy),
        "frame_larger_than_said": riff(
            extended(16, 12, ANIMATION), loop, frame((0, 0), (8, 8), lossless)
        ),
        "frame_beyond_its_canvas": riff(
            extended(16, 12, ANIMATION), loop, frame((2, 0), (16, 12), lossless)
        ),
        "no_pixels": riff(extended(16, 12)),
        "no_frame": riff(extended(16, 12, ANIMATION), loop),
        "frame_of_nothing": riff(extended(16, 12, ANIMATION), loop, frame((0, 0), (16, 12))),
        "no_key_frame": riff(lossy[:8] + bytes((lossy[8] | 1,)) + lossy[9:]),
        "lossy_without_code": riff(lossy[:11] + b"\0\0\0" + lossy[14:]),
        "lossless_without_signature": riff(lossless[:8] + b"\0" + lossless[9:]),
        "lossless_version": riff(lossless[:12] + b"\xff" + lossless[13:]),
        "lossy_of_no_size": riff(lossy[:14] + bytes(4) + lossy[18:]),
        "lossless_garbage": riff(lossless[:13] + b"\xff" * (len(lossless) - 13)),
        "alpha_garbage": riff(extended(16, 12, ALPHA), chunk(b"ALPH", b"\xff" * 9), lossy),
    }
    for name, data in corrupt.items():
        yield Sample(f"webp_{name}", data, Reason.CORRUPT)
    truncated = {
        "form": whole[:10],
        "chunk": whole[:14],
        "frame_header": whole[:25],
        "pixels": whole[:-20],
        "extended": riff(extended(16, 12), lossless)[:30],
        "animation": riff(extended(16, 12, ANIMATION), loop, first)[:-20],
        "before_a_frame": riff(extended(16, 12, ANIMATION), loop, first)[:44],
    }
    for name, data in truncated.items():
        yield Sample(f"webp_truncated_{name}", data, Reason.TRUNCATED)
    for form in (b"WAVE", b"AVI ", b"RMID", b"sfbk", b"ACON", b"ABCD"):
        data = riff(chunk(b"fmt ", bytes(16)), form=form)
        yield Sample(f"riff_{form.decode().strip().lower()}", data, Reason.NOT_AN_IMAGE)
    huge = riff(chunk(b"VP8L", struct.pack("<BI", 0x2F, 2**28 - 1) + bytes(20)))
    yield Sample("webp_huge", huge, Reason.TOO_MANY_PIXELS)
    many = riff(extended(16, 12, ANIMATION), loop, 150_000 * chunk(b"ABCD", b""), first)
    yield Sample("webp_of_many_chunks", many, Reason.TOO_COSTLY)
