"""The rules by which images of every mode become RGB."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms

from image_features.transforms.images.decoders.samples import to_eight_bits
from image_features.transforms.images.headers.header import Sample


def to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Converts an image of any mode to RGB.

    Transparent pixels are composited on `background`. Grey of more than eight bits is converted by
    the rules of `to_eight_bits`.
    """
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I;16"):
        return _grey(to_eight_bits(np.asarray(image), bits=16))
    if mode == "I":
        return _grey(to_eight_bits(np.asarray(image), bits=32, sample=Sample.SIGNED))
    if mode == "F":
        return _grey(to_eight_bits(np.asarray(image), bits=32, sample=Sample.FLOAT))
    if mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG for one of Adobe's, which store inverted ink.
        image = ImageChops.invert(image)
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        # Pillow cannot convert La, with premultiplied alpha, to RGBA in one step.
        rgba = image.convert("LA").convert("RGBA") if mode == "La" else image.convert("RGBA")
        flat = Image.new("RGB", rgba.size, background)
        flat.paste(rgba, mask=rgba.getchannel("A"))
        return flat
    return image.convert("RGB")


def _grey(values: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(values).convert("RGB")
