"""The rules by which images of every mode become RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageCms

from image_features.transforms.images.decoders.samples import to_eight_bits
from image_features.transforms.images.headers.header import Sample
from image_features.transforms.images.profiles import to_srgb

_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def to_rgb(
    image: Image.Image, background: tuple[int, int, int], profile: bytes = b""
) -> Image.Image:
    """Converts an image of any mode to RGB.

    Grey of more than eight bits is converted by the rules of `to_eight_bits`. Then a profile
    applies; transparent pixels are composited on `background` last.

    Args:
      image: The image; its own pixels stay as they are.
      background: The RGB colour behind transparent pixels.
      profile: The ICC profile that the file embeds; ignored if it is not of the image's colours.
    """
    if image.mode == "RGB" and not profile and "transparency" not in image.info:
        return image  # As almost all are.
    colours, alpha = _divided(_eight_bits(image))
    rgb = to_srgb(colours, profile) if profile else None
    if rgb is None:
        rgb = _plainly_rgb(colours)
    if alpha is None:
        return rgb
    flat = Image.new("RGB", rgb.size, background)
    flat.paste(rgb, mask=alpha)
    return flat


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(to_eight_bits(np.asarray(image), bits=16))
    if image.mode == "I":
        return Image.fromarray(to_eight_bits(np.asarray(image), bits=32, sample=Sample.SIGNED))
    if image.mode == "F":
        return Image.fromarray(to_eight_bits(np.asarray(image), bits=32, sample=Sample.FLOAT))
    return image


def _divided(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Returns the colours of an image, as grey, RGB, CMYK or Lab, and its alpha if it has any."""
    mode = _PREMULTIPLIED.get(image.mode, image.mode)
    if "transparency" in image.info and mode not in ("LA", "RGBA", "PA"):
        mode = "LA" if mode in ("1", "L") else "RGBA"
    elif mode == "PA":
        mode = "RGBA"
    if mode in ("LA", "RGBA"):
        whole = image if image.mode == mode else image.convert(mode)
        return whole.convert("L" if mode == "LA" else "RGB"), whole.getchannel("A")
    if mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG for one of Adobe's, which store inverted ink.
        return ImageChops.invert(image), None
    if mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("L" if mode == "1" else "RGB"), None


def _plainly_rgb(colours: Image.Image) -> Image.Image:
    if colours.mode != "LAB":
        return colours if colours.mode == "RGB" else colours.convert("RGB")
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(colours, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted
