"""The rules by which images of every mode become RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms


def to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Converts an image of any mode to RGB.

    Transparent pixels are composited on `background`. 16-bit grey is divided by 257, and so are
    32-bit integers within 16 bits; others are stretched from their minimum to their maximum. Floats
    within [0, 1] are multiplied by 255, within [0, 255] they are kept, others are stretched.
    """
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I;16"):
        return _grey((np.asarray(image).astype(np.uint32) + 128) // 257)
    if mode == "I":
        values = np.asarray(image).astype(np.int64)
        if values.min() >= 0 and values.max() <= 65535:
            return _grey((values + 128) // 257)
        return _grey(_stretched(values.astype(np.float64)))
    if mode == "F":
        return _grey(_from_float(np.asarray(image).astype(np.float64)))
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


def _grey(values: npt.NDArray[Any]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _from_float(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros_like(values)
    low, high = values[finite].min(), values[finite].max()
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if low >= 0 and high <= 1:
        return np.rint(values * 255)
    return np.rint(values) if low >= 0 and high <= 255 else _stretched(values)


def _stretched(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = values.min(), values.max()
    return np.rint((values - low) * (255 / (high - low))) if high > low else np.zeros_like(values)
