"""TIFF: compressions that know of pixels, and YCbCr."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from tests.images.sample import Sample, as_rgb, grey, picture
from tests.images.tiff_writer import (
    ALPHA,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    file_of,
)


def _pillow(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "TIFF", **options)
    return out.getvalue()


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=98, subsampling=0)
    return out.getvalue()


def coded() -> Iterator[Sample]:
    """Yields files that libtiff decodes, and WebP."""
    bilevel = (grey() > 127).astype(np.uint8) * 255
    for compression in ("tiff_ccitt", "group3", "group4"):
        data = _pillow(Image.fromarray(bilevel).convert("1"), compression=compression)
        yield Sample(f"tiff_{compression}", data, as_rgb(bilevel), 0)
    smooth = np.asarray(Image.fromarray(picture()).resize((32, 32), Image.Resampling.BILINEAR))
    image = Image.fromarray(smooth)
    for mode in ("L", "RGB", "CMYK"):
        converted = image.convert(mode)
        data = _pillow(converted, compression="jpeg", quality=98)
        expected = np.asarray(converted.convert("RGB"))
        yield Sample(f"tiff_jpeg_{mode.lower()}", data, expected, 6)
    alpha = Image.linear_gradient("L").resize(image.size)
    for mode in ("LA", "RGBA"):
        image.putalpha(alpha)
        shown = Image.new("RGBA", image.size, (255, 255, 255, 255))
        shown.alpha_composite(image.convert(mode).convert("RGBA"))
        data = _pillow(image.convert(mode), compression="jpeg", quality=98)
        expected = np.asarray(shown.convert("RGB"))
        told = "ImageMagick takes the alpha for a colour"
        yield Sample(f"tiff_jpeg_{mode.lower()}", data, expected, 6, told)
    image = image.convert("RGB")
    stream = _jpeg(image)
    entries = {256: (4, [32]), 257: (4, [32]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6])}
    entries |= {273: (4, [0]), 277: (3, [3]), 278: (4, [32]), 279: (4, [len(stream)])}
    entries |= {530: (3, [1, 1])}
    yield Sample("tiff_jpeg_ycbcr", file_of(entries, [stream]), smooth, 6)
    planes = [np.ascontiguousarray(smooth[..., i]) for i in range(3)]
    streams = [_jpeg(Image.fromarray(plane)) for plane in planes]
    entries |= {262: (3, [RGB]), 273: (4, [0] * 3), 284: (3, [2])}
    entries |= {279: (4, [len(part) for part in streams])}
    yield Sample("tiff_jpeg_planar", file_of(entries, streams), smooth, 6)
    entries |= {258: (3, [8]), 262: (3, [WHITE_IS_ZERO]), 273: (4, [0]), 277: (3, [1])}
    entries |= {279: (4, [len(streams[0])]), 284: (3, [1])}
    data = file_of(entries, streams[:1])
    yield Sample("tiff_jpeg_white0", data, as_rgb(255 - smooth[..., 0]), 6)
    entries |= {258: (3, [8] * 3), 262: (3, [YCBCR]), 277: (3, [3])}
    entries[259] = (3, [6])
    entries |= {513: (4, [0]), 514: (4, [len(stream)])}
    # Both tags point to the stream, as old writers have it.
    data = file_of({**entries, 513: (4, [8])}, [stream])
    yield Sample("tiff_old_jpeg", data, smooth, 6, "ImageMagick warns")
    for channels, kinds in ((3, []), (4, [ALPHA])):
        array = np.dstack([picture(), np.full((12, 16), 255, np.uint8)])[..., :channels]
        array = np.ascontiguousarray(array)
        blob = bytes(imagecodecs.webp_encode(array, lossless=True))
        entries = {256: (4, [16]), 257: (4, [12]), 258: (3, [8] * channels), 259: (3, [50001])}
        entries |= {262: (3, [2]), 273: (4, [0]), 277: (3, [channels]), 279: (4, [len(blob)])}
        entries |= {338: (3, kinds)} if kinds else {}
        yield Sample(f"tiff_webp_{channels}", file_of(entries, [blob]), picture(), 0)
    yield from _subsampled()


def _subsampled() -> Iterator[Sample]:
    # A picture of one colour in each 4 x 4 pixels, so that no filter between them matters.
    blocks = picture(4, 3).astype(np.float64)
    red, green, blue = np.moveaxis(blocks, 2, 0)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    cb, cr = (blue - light) / 1.772 + 128, (red - light) / 1.402 + 128
    shown = picture(4, 3).repeat(4, 0).repeat(4, 1)
    for across, down in ((1, 1), (2, 1), (2, 2), (4, 4)):
        units = []
        for top, left in itertools.product(range(0, 12, down), range(0, 16, across)):
            where = top // 4, left // 4
            units += [light[where]] * (across * down) + [cb[where], cr[where]]
        content = np.rint(np.clip(units, 0, 255)).astype(np.uint8).tobytes()
        for compression, blob in ((1, content), (5, bytes(imagecodecs.lzw_encode(content)))):
            entries = {256: (4, [16]), 257: (4, [12]), 258: (3, [8, 8, 8]), 273: (4, [0])}
            entries |= {259: (3, [compression]), 262: (3, [YCBCR]), 277: (3, [3])}
            entries |= {278: (4, [12]), 279: (4, [len(blob)]), 530: (3, [across, down])}
            name = f"tiff_ycbcr_{across}x{down}_{compression}"
            yield Sample(name, file_of(entries, [blob]), shown, 3)
