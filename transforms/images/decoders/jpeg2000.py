"""JPEG 2000 by OpenJPEG, as imagecodecs has it.

Pillow has OpenJPEG too, but packs samples of more than eight bits so that white becomes black. The
decoder gets the codestream alone: which channels there are, and what they mean, is done here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.samples import to_eight_bits
from image_features.transforms.images.headers.codestream import check_tiles, damage
from image_features.transforms.images.headers.header import Alpha, Colour, Header
from image_features.transforms.images.headers.jpeg2000 import Channel, parse_jpeg2000
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason

_MODES = {
    (Colour.GREY, Alpha.NONE): "L",
    (Colour.GREY, Alpha.STRAIGHT): "LA",
    (Colour.GREY, Alpha.PREMULTIPLIED): "La",
    (Colour.RGB, Alpha.NONE): "RGB",
    (Colour.RGB, Alpha.STRAIGHT): "RGBA",
    (Colour.RGB, Alpha.PREMULTIPLIED): "RGBa",
    (Colour.YCBCR, Alpha.NONE): "YCbCr",
    (Colour.CMYK, Alpha.NONE): "CMYK",
}


def decode_jpeg2000(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes a JPEG 2000 file, every pixel of it."""
    import imagecodecs

    image = parse_jpeg2000(data)
    stream = image.codestream
    check_tiles(data, stream)
    try:
        values = imagecodecs.jpeg2k_decode(data[stream.start : stream.end], numthreads=1)
    except imagecodecs.Jpeg2kError as error:
        raise damage(data, stream, str(error)) from error
    if values.ndim == 2:
        values = values[..., None]
    if values.shape != (header.height, header.width, len(stream.components)):
        raise DecodeError(Reason.CORRUPT, "The image's size is not the one that it says.")
    # OpenJPEG has converted what had fewer samples of colour.
    colour = Colour.RGB if stream.is_subsampled else image.colour
    pixels = _eight_bits(values, image.channels, header)
    del values
    mode = _MODES[colour, image.alpha]
    return Raster(_picture(pixels, mode), image.profile)


def _eight_bits(
    values: npt.NDArray[Any], channels: tuple[Channel, ...], header: Header
) -> npt.NDArray[np.uint8]:
    """Returns the channels in their order, uint8 [height, width, channels]."""
    pixels = np.empty((*values.shape[:2], len(channels)), np.uint8)
    for i, channel in enumerate(channels):
        samples = values[..., channel.component]
        if channel.palette is None:
            pixels[..., i] = to_eight_bits(samples, bits=channel.bits, sample=header.sample)
        else:
            palette = to_eight_bits(np.array(channel.palette), bits=channel.bits)
            # A sample beyond the palette is its last colour to OpenJPEG's viewers too.
            np.take(palette, samples, mode="clip", out=pixels[..., i])
    return pixels


def _picture(pixels: npt.NDArray[np.uint8], mode: str) -> Image.Image:
    height, width = pixels.shape[:2]
    return Image.frombuffer(mode, (width, height), np.ascontiguousarray(pixels), "raw", mode, 0, 1)
