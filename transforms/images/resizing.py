"""The ways from an image of any size to the model's."""

from __future__ import annotations

from typing import Literal

from PIL import Image


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


def resize(
    image: Image.Image,
    size: tuple[int, int],
    mode: Literal["stretch", "center_crop", "pad"],
    background: tuple[int, int, int],
) -> Image.Image:
    """Resizes an RGB image to (height, width) with Pillow's antialiased bilinear filter."""
    height, width = size
    bilinear = Image.Resampling.BILINEAR
    if mode == "stretch":
        return image.resize((width, height), bilinear)
    across, down = width / image.width, height / image.height
    if mode == "center_crop":
        scale = max(across, down)
        half_width, half_height = width / scale / 2, height / scale / 2
        middle_x, middle_y = image.width / 2, image.height / 2
        box = (
            max(0.0, middle_x - half_width),
            max(0.0, middle_y - half_height),
            min(float(image.width), middle_x + half_width),
            min(float(image.height), middle_y + half_height),
        )
        return image.resize((width, height), bilinear, box=box)
    scale = min(across, down)
    fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new("RGB", (width, height), background)
    corner = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    canvas.paste(image.resize(fitted, bilinear), corner)
    return canvas
