"""GIF, of which Pillow decodes the first frame without its canvas."""

from __future__ import annotations

import io
import struct

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from image_features.transforms.images.decoders.pillow import load
from image_features.transforms.images.headers.gif import Frame, end_of_blocks, find_frame
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster

_INTERLACED = 0x40


def decode_gif(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes the first frame, and lays it on its canvas of the background's colour."""
    frame = find_frame(data)
    indices = _indices(data, frame)
    shown = _shown(frame)
    mask = None if all(shown) else indices.point(shown)
    indices.putpalette(frame.palette)
    picture = indices.convert("RGB")
    if mask is None and frame.size == frame.canvas:
        return Raster(picture)
    canvas = Image.new("RGB", frame.canvas, policy.background)
    canvas.paste(picture, frame.corner, mask)
    return Raster(canvas)


def _indices(data: bytes, frame: Frame) -> Image.Image:
    """Decodes a frame to indices, in a file of its own that has neither palette nor canvas.

    The file ends with the frame, or the decoder would take what follows for missing pixels.
    """
    flags = _INTERLACED if frame.is_interlaced else 0
    file = b"".join(
        (
            b"GIF89a",
            struct.pack("<HHBBB", *frame.size, 0, 0, 0),
            b"," + struct.pack("<HHHHB", 0, 0, *frame.size, flags),
            memoryview(data)[frame.start : end_of_blocks(data, frame.start + 1)],
        )
    )
    with GifImageFile(io.BytesIO(file)) as image:
        load(image)
        indices = image.copy()
        indices.info.clear()
        return indices


def _shown(frame: Frame) -> list[int]:
    """Returns for each index 255 if its pixels are shown, else 0, as beyond the palette."""
    colours = len(frame.palette) // 3
    return [255 if i < colours and i != frame.key else 0 for i in range(256)]
