"""Labelled images in memory, and the fixed crops of them that teacher and student both see.

A student learns most when it sees exactly what its teacher saw (Beyer et al., "Knowledge
distillation: A good teacher is patient and consistent", CVPR 2022). A view is therefore numbered,
and its crops depend on nothing but the seed, the number of the view and that of the image.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

# The crops are Inception's (Szegedy et al., CVPR 2015), with a larger least area: what is left of
# a small image must still show its object.
_AREA = (0.3, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images of one size with their classes.

    Attributes:
      pixels: The images in RGB, uint8 [count, size, size, 3].
      labels: Their indices into `classes`, int32 [count].
      classes: The names of the classes, sorted.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    classes: tuple[str, ...]


def load_images(directory: str, size: int = 64) -> LabelledImages:
    """Reads a directory that has one subdirectory of images for each class.

    Args:
      directory: The parent of the class directories.
      size: The side in pixels that images of another size are resized to.

    Raises:
      ValueError: There are no images.
    """
    names = sorted(e.name for e in os.scandir(directory) if e.is_dir())
    paths = [
        (label, os.path.join(directory, name, file))
        for label, name in enumerate(names)
        for file in sorted(os.listdir(os.path.join(directory, name)))
        if file.lower().endswith(_SUFFIXES)
    ]
    if not paths:
        raise ValueError(
            f"{directory!r} has no images; it must hold one directory of .jpg or .png files for "
            "each class."
        )
    pixels = np.empty((len(paths), size, size, 3), np.uint8)
    for row, (_, path) in enumerate(paths):
        with Image.open(path) as image:
            rgb = image.convert("RGB")
            pixels[row] = rgb if rgb.size == (size, size) else rgb.resize((size, size))
    return LabelledImages(pixels, np.array([n for n, _ in paths], np.int32), tuple(names))


def crop_boxes(view: int, count: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Draws the boxes of a view, one for each image.

    Args:
      view: The number of the view; view 0 is the whole image.
      count: The number of images.
      seed: The seed of the crops.

    Returns:
      float32 [count, 4]: top, left, bottom, right, as parts of the side.
    """
    if view == 0:
        return np.tile(np.float32([0, 0, 1, 1]), (count, 1))
    stream = np.random.default_rng([seed, view])
    area = stream.uniform(*_AREA, count)
    aspect = np.exp(stream.uniform(*np.log(_ASPECT), count))
    height = np.minimum(np.sqrt(area / aspect), 1.0)
    width = np.minimum(np.sqrt(area * aspect), 1.0)
    top = stream.uniform(0, 1, count) * (1 - height)
    left = stream.uniform(0, 1, count) * (1 - width)
    return np.stack([top, left, top + height, left + width], axis=1).astype(np.float32)


def crop(pixels: Any, boxes: Any, size: int) -> Any:
    """Cuts one box from each image and resizes it bilinearly, by half-pixel centres as Pillow does.

    Args:
      pixels: The images, uint8 [batch, height, width, 3].
      boxes: Their boxes, float32 [batch, 4], as `crop_boxes` gives them.
      size: The side of the result, in pixels.

    Returns:
      A float32 tensor [batch, size, size, 3] in [0, 1].
    """
    import tensorflow as tf

    boxes = tf.convert_to_tensor(boxes)
    side = tf.cast(tf.shape(pixels)[1:3], tf.float32)
    scale = tf.tile(side, [2])
    # crop_and_resize samples from corner to corner: the centres of the first and last pixels.
    inset = (boxes[:, 2:] - boxes[:, :2]) * side / (2.0 * size)
    # A border of one pixel, repeated from the edge, serves samples beyond the first centre.
    padded = tf.pad(tf.cast(pixels, tf.float32), [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    edges = boxes * scale + tf.concat([inset, -inset], axis=1) + 0.5
    normalized = edges / tf.tile(side + 1.0, [2])
    batch = tf.range(tf.shape(pixels)[0])
    cut = tf.image.crop_and_resize(padded, normalized, batch, [size, size])
    return cut / 255.0
