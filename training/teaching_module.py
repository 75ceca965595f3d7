"""Modules that teach: whatever the product can run gives features to learn from.

The network of `training.teacher` becomes a module too. PyTorch pads evenly where Slim pads bottom
and right, which for a stride of 2 and an even side is the same seen in a mirror: the network with
all its kernels turned around gives an image's features for the image turned around.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np
import numpy.typing as npt

from image_features.models import engines
from image_features.models import mobilenet_v2 as network
from image_features.models.batches import Features
from image_features.models.export import export_tf1_hub
from image_features.models.feature_function import FeatureFunction
from training import teacher
from training.initial_weights import initial_weights

_GRAIN = 32  # The network halves the side five times, each time from an even one.


class TeachingModule:
    """A module that gives features of images.

    Attributes:
      image_size: The side of its input, in pixels.
    """

    def __init__(self, run: FeatureFunction, image_size: int, *, turned: bool = False) -> None:
        """Takes a loaded module.

        Args:
          run: The module.
          image_size: The side of its input, in pixels.
          turned: Whether it sees images turned by half a circle.
        """
        self._run, self._turned = run, turned
        self.image_size = image_size

    def features(self, images: npt.NDArray[np.float32]) -> Features:
        """Computes float32 [batch, features] for images [batch, size, size, 3] in [0, 1]."""
        pixels = np.rint(images * 255).astype(np.uint8)
        if self._turned:
            pixels = np.ascontiguousarray(pixels[:, ::-1, ::-1])
        return self._run(pixels)


def open_module(handle: str) -> TeachingModule:
    """Opens a module by its handle.

    Raises:
      ModelError: It cannot be resolved or run.
      ValueError: Its images are not square.
    """
    prepared = engines.prepare(handle)
    height, width = prepared.image_size
    if height != width:
        raise ValueError(
            f"{handle!r} takes images of {width}x{height} pixels, which must be square."
        )
    return TeachingModule(engines.load(prepared), height)


def open_teacher(wide: teacher.Arrays, size: int) -> TeachingModule:
    """Opens the network of `training.teacher` for images of a size.

    Its features are PyTorch's but for the colour beyond the border, which is grey here and the
    mean of ImageNet there.

    Args:
      wide: Its variables, as `teacher.read_weights` gives them.
      size: The side of its input, in pixels.

    Raises:
      ValueError: The size is no multiple of 32.
    """
    if size % _GRAIN:
        raise ValueError(f"The teacher's input must be a multiple of {_GRAIN} pixels, not {size}.")
    with tempfile.TemporaryDirectory() as parent:
        directory = os.path.join(parent, "teacher")
        export_tf1_hub(turned_around(wide), directory, image_size=size, depth_multiplier=1.0)
        prepared = engines.prepare(directory)
        return TeachingModule(engines.load(prepared), size, turned=True)


def turned_around(wide: teacher.Arrays) -> network.Weights:
    """Folds the teacher's conventions into weights of ours, for images turned by half a circle."""
    weights = initial_weights(wide, 1.0)
    return {n: a[::-1, ::-1].copy() if a.ndim == 4 else a for n, a in weights.items()}
