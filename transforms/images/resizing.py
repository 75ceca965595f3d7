"""The ways from an image of any size to the model's."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.sampling import resample

# Pillow's BOX is no area: it counts a pixel on an edge wholly or not at all.
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


def draft_size(
    size: tuple[int, int],
    target: tuple[int, int],
    mode: Literal["stretch", "center_crop", "pad"],
) -> tuple[int, int]:
    """Returns the size (width, height) below which a decoder must not drop scales.

    Args:
      size: The (width, height) of the file.
      target: The (width, height) that the model takes.
      mode: How the image will be resized.
    """
    if mode != "pad":
        return target
    scale = min(target[0] / size[0], target[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize(image: Image.Image, size: tuple[int, int], policy: DecodePolicy) -> Image.Image:
    """Resizes an RGB image to (height, width), in the way and by the filter of a policy."""
    height, width = size
    if policy.resize == "stretch":
        return _scaled(image, (width, height), policy)
    across, down = width / image.width, height / image.height
    if policy.resize == "center_crop":
        scale = max(across, down)
        half_width, half_height = width / scale / 2, height / scale / 2
        middle_x, middle_y = image.width / 2, image.height / 2
        box = (
            max(0.0, middle_x - half_width),
            max(0.0, middle_y - half_height),
            min(float(image.width), middle_x + half_width),
            min(float(image.height), middle_y + half_height),
        )
        return _scaled(image, (width, height), policy, box)
    scale = min(across, down)
    fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new("RGB", (width, height), policy.background)
    corner = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    canvas.paste(_scaled(image, fitted, policy), corner)
    return canvas


def _scaled(
    image: Image.Image,
    size: tuple[int, int],
    policy: DecodePolicy,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Scales a part of an image, or all of it, to (width, height)."""
    if policy.antialias and policy.interpolation in _FILTERS:
        return image.resize(size, _FILTERS[policy.interpolation], box=box)
    box = box or (0.0, 0.0, float(image.width), float(image.height))
    return Image.fromarray(resample(np.asarray(image), size[::-1], box, policy.interpolation))
