"""The comparison of the features that two models give for the same images."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from image_features.errors import ModelError
from image_features.models.addresses import shown
from image_features.models.feature_function import FeatureFunction
from image_features.models.handles import resolve
from image_features.models.module import FeatureModule

_TINY = np.finfo(np.float32).tiny
# A dimension that varies by less than this part of the largest value is taken for one that does:
# float32 noise would be most of what it has.
_FLOOR = 1e-3


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """The distances between two models' features.

    Attributes:
      images: The number of images that were compared.
      max_abs: The largest difference of a single value.
      mean_abs: The mean difference of a single value.
      max_relative: The largest difference of a single value, in parts of its vector's largest
        absolute value.
      max_cosine: The largest cosine difference, 1 - cosine, of an image's two vectors.
      max_by_dimension: The largest difference of a single value, in parts of the range that its
        dimension has over all images.
    """

    images: int
    max_abs: float
    mean_abs: float
    max_relative: float
    max_cosine: float
    max_by_dimension: float


def synthetic_images(height: int, width: int, count: int = 16) -> npt.NDArray[np.uint8]:
    """Makes seeded images with structure at every scale, uint8 [count, height, width, 3].

    They are the sum of noise of every octave, whose amplitude falls with frequency as it does in
    photographs.
    """
    stream = np.random.RandomState(0)
    images = np.zeros((count, height, width, 3))
    side, octave = 2, 0
    while side <= max(height, width):
        noise = stream.random_sample((count, side, side, 3)) - 0.5
        rows = np.arange(height) * side // height
        columns = np.arange(width) * side // width
        images += noise[:, rows][:, :, columns] / 1.5**octave
        side, octave = side * 2, octave + 1
    low, high = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
    scaled = (images - low[:, None, None, None]) / (high - low)[:, None, None, None]
    return (scaled * 255).astype(np.uint8)


def load_pair(a: str, b: str) -> tuple[FeatureModule, ...]:
    """Loads two models that can be compared.

    Raises:
      ModelError: One of them cannot be loaded, or they differ in image size or number of features.
    """
    first, second = (FeatureModule.load(resolve(handle).directory) for handle in (a, b))
    for what in ("image_size", "num_features"):
        ours, theirs = getattr(first, what), getattr(second, what)
        if ours != theirs:
            raise ModelError(
                f"The models cannot be compared: the {what.replace('_', ' ')} of {shown(a)!r} "
                f"is {ours}, "
                f"and that of {shown(b)!r} is {theirs}."
            )
    return first, second


def compare(
    first: FeatureFunction, second: FeatureFunction, pixels: npt.NDArray[np.uint8]
) -> Difference:
    """Runs both models on images and compares their features.

    Args:
      first: A model.
      second: The model that relative differences refer to.
      pixels: The images, uint8 [count, height, width, 3].
    """
    a, b = first(pixels).astype(np.float64), second(pixels).astype(np.float64)
    difference = np.abs(a - b)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = (a * b).sum(axis=1)
    # Two vectors of zeros are alike; a single one is like nothing.
    same = (norms == 0) & (difference.max(axis=1) == 0)
    cosine = np.where(same, 1.0, dots / np.where(norms == 0, 1.0, norms))
    return Difference(
        len(pixels),
        float(difference.max()),
        float(difference.mean()),
        float((difference.max(axis=1) / np.maximum(np.abs(b).max(axis=1), _TINY)).max()),
        float(max(0.0, (1 - cosine).max())),
        float(by_dimension(a, b).max()),
    )


def by_dimension(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Measures each dimension with its own rule, so that a small one counts like a large one.

    Args:
      first: Features, [images, dimensions].
      second: The features of the same images that differences refer to.

    Returns:
      The largest difference in each dimension, in parts of the range that the dimension has over
      the images, or of a thousandth of the largest value of all where that is more. For a single
      image the range goes from 0 to its value.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    ranges = np.ptp(b, axis=0) if len(b) > 1 else np.abs(b[0])
    scale = np.maximum(ranges, max(_FLOOR * np.abs(b).max(), _TINY))
    largest: npt.NDArray[np.float64] = np.abs(a - b).max(axis=0) / scale
    return largest
