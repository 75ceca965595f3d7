"""WebP, by libwebp, which imagecodecs calls: Pillow's way takes twice the time and memory."""

from __future__ import annotations

import struct

from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.webp import Frame, find_frame
from image_features.transforms.images.orientation import exif_orientation
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason

_HAS_ALPHA = 0x10


def decode_webp(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes the first frame, and lays it on its canvas."""
    from imagecodecs import WebpError, webp_decode

    frame = find_frame(data)
    if max(frame.pixels[1], frame.alpha[1] if frame.alpha else 0) > len(data):
        raise DecodeError(Reason.TRUNCATED, "The WebP ends within its pixels.")
    try:
        pixels = webp_decode(_still(data, frame), hasalpha=frame.has_alpha)
    except WebpError as error:
        raise DecodeError(Reason.CORRUPT, f"The pixels of the WebP are damaged: {error}") from error
    image = Image.fromarray(pixels)
    del pixels
    if frame.size != frame.canvas:
        canvas = Image.new("RGBA", frame.canvas)
        canvas.paste(image, frame.corner)
        image = canvas
    exif = data[slice(*frame.about.get(b"EXIF", (0, 0)))]
    profile = data[slice(*frame.about.get(b"ICCP", (0, 0)))]
    return Raster(image, profile, exif_orientation(exif))


def _still(data: bytes, frame: Frame) -> bytes:
    """Returns a file of nothing but the frame's pixels, with no other to look at or to blend."""
    parts = [_chunk(frame.kind, data, frame.pixels)]
    if frame.alpha:
        width, height = (struct.pack("<I", side - 1)[:3] for side in frame.size)
        flags = struct.pack("<I", _HAS_ALPHA)
        extended = flags + width + height
        parts.insert(0, _chunk(b"ALPH", data, frame.alpha))
        parts.insert(0, _chunk(b"VP8X", extended, (0, len(extended))))
    body = b"".join(parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _chunk(name: bytes, data: bytes, span: tuple[int, int]) -> bytes:
    start, end = span
    length = end - start
    return name + struct.pack("<I", length) + data[start:end] + b"\0" * (length % 2)
