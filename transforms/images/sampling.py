"""The resampling that Pillow has no function for: at points, and by the exact areas of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from image_features.transforms.images.policy import Interpolation

_Floats = npt.NDArray[np.float64]
# A pixel that is needed for each output along an axis, and how much of it.
_Tap = tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]


def resample(
    pixels: npt.NDArray[np.uint8],
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    interpolation: Interpolation,
) -> npt.NDArray[np.uint8]:
    """Resizes a part of an image as tf.image.resize does without antialiasing.

    Between two pixels, only these and their nearest neighbours count, however much smaller the
    result is; `area` takes the mean of what each pixel of the result covers, by exact fractions.
    Pixels beyond the edge do not count.

    Args:
      pixels: The image, [height, width, channels].
      size: The (height, width) of the result.
      box: The part, as (left, upper, right, lower) in pixels; its edges may be between two.
      interpolation: `bilinear`, `bicubic` (Keys, a = -0.5), `lanczos` (of 3 lobes) or `area`.
    """
    left, upper, right, lower = box
    height, width = size
    axes = [(0, height, upper, lower), (1, width, left, right)]
    # What lies between takes the least memory if the axis that shrinks the most goes first; but
    # whole rows are taken faster than their pixels.
    axes.sort(key=lambda axis: axis[1] / pixels.shape[axis[0]] / (1 if axis[0] else 4))
    result: npt.NDArray[np.float32] | npt.NDArray[np.uint8] = pixels
    for axis, count, low, high in axes:
        result = _along(result, axis, _taps(interpolation, pixels.shape[axis], low, high, count))
    return np.clip(result + np.float32(0.5), 0, 255).astype(np.uint8)


def _along(
    values: npt.NDArray[np.float32] | npt.NDArray[np.uint8], axis: int, taps: Iterator[_Tap]
) -> npt.NDArray[np.float32]:
    shape = [-1 if each == axis else 1 for each in range(values.ndim)]
    total = whole = np.zeros(1, np.float32)
    for positions, weights in taps:
        weights = weights.reshape(shape)
        total = total + values.take(positions, axis) * weights
        whole = whole + weights
    return total / whole


def _taps(
    interpolation: Interpolation, source: int, low: float, high: float, count: int
) -> Iterator[_Tap]:
    """Yields for every output its first pixel, then its second, and so on."""
    step = (high - low) / count
    if interpolation == "area":
        edges = low + step * np.arange(count + 1)
        first, taps = np.floor(edges[:-1]), math.ceil(step) + 1

        def weigh(position: _Floats) -> _Floats:
            covered = np.minimum(position + 1, edges[1:]) - np.maximum(position, edges[:-1])
            return np.maximum(covered, 0)
    else:
        kernel, radius = _KERNELS[interpolation]
        centres = low + step * (np.arange(count) + 0.5) - 0.5
        first, taps = np.floor(centres) - radius + 1, 2 * radius

        def weigh(position: _Floats) -> _Floats:
            return kernel(np.abs(position - centres))

    for tap in range(taps):
        position = first + tap
        inside = (position >= 0) & (position < source)
        weights = np.where(inside, weigh(position), 0)
        yield np.clip(position, 0, source - 1).astype(np.intp), weights.astype(np.float32)


def _triangle(x: _Floats) -> _Floats:
    return np.maximum(0, 1 - x)


def _keys(x: _Floats) -> _Floats:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: _Floats) -> _Floats:
    return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)


_KERNELS: dict[str, tuple[Callable[[_Floats], _Floats], int]] = {
    "bilinear": (_triangle, 1),
    "bicubic": (_keys, 2),
    "lanczos": (_lanczos, 3),
}
