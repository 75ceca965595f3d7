"""A file of the corpus: bytes, and the pixels that any viewer should show."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.values import Reason


@dataclasses.dataclass(frozen=True)
class Sample:
    """One file and what has to become of it.

    Attributes:
      name: A name, unique within the corpus, such as `tiff_grey16_white_is_zero`.
      data: The file.
      expected: uint8 [height, width, 3], the upright picture on white, at its own size; or the
        reason with which it has to fail.
      tolerance: The largest difference that is allowed, of 255.
      comparable: Whether ImageMagick and libvips show the same; else a sentence that says why not.
    """

    name: str
    data: bytes
    expected: npt.NDArray[np.uint8] | Reason
    tolerance: int = 1
    comparable: str = ""

    def __repr__(self) -> str:
        return self.name


def picture(width: int = 16, height: int = 12) -> npt.NDArray[np.uint8]:
    """Returns uint8 [height, width, 3]: smooth, without symmetry, from black to white."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    channels = (across, down, (across + down) / 2)
    return np.rint(255 * np.stack(channels, axis=-1)).astype(np.uint8)


def grey(width: int = 16, height: int = 12) -> npt.NDArray[np.uint8]:
    """Returns uint8 [height, width]: every level from black to white by steps, row by row."""
    return np.rint(np.linspace(0, 255, width * height)).astype(np.uint8).reshape(height, width)


def as_rgb(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Returns grey values as uint8 [height, width, 3]."""
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)
