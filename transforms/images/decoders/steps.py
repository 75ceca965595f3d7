"""Crops, turns and mirrors that a HEIF file tells."""

from __future__ import annotations

from PIL import Image

from image_features.transforms.images.headers.still import Step

_TURNS = {
    1: Image.Transpose.ROTATE_90,
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_270,
    "top": Image.Transpose.FLIP_TOP_BOTTOM,
    "left": Image.Transpose.FLIP_LEFT_RIGHT,
}


def take_steps(image: Image.Image, steps: tuple[Step, ...]) -> Image.Image:
    """Returns an image after all steps, each of which is for the outcome of the one before."""
    for step in steps:
        if isinstance(step, tuple):
            image = image.crop(step)
        elif step:
            image = image.transpose(_TURNS[step])
    return image
