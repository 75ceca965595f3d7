"""Batches of one fixed size, in which every engine computes."""

from __future__ import annotations

import abc

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


class FixedBatches(abc.ABC):
    """A model that computes in batches of exactly one size, the last one padded with zeros.

    Attributes:
      image_size: (height, width) of the images in pixels.
      num_features: The length of a feature vector.
      batch_size: The number of images in one run of the network.
      parallelism: The number of calls worth making at once; None for one a core.
    """

    image_size: tuple[int, int]
    num_features: int
    batch_size: int
    parallelism: int | None = None

    def __call__(self, pixels: Pixels) -> Features:
        """Computes the features of images.

        Args:
          pixels: RGB images at `image_size`, uint8 [N, height, width, 3]; N may be 0.

        Returns:
          The feature vectors, float32 [N, num_features].

        Raises:
          ValueError: The pixels have another shape or dtype.
        """
        height, width = self.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, 3):
            raise ValueError(
                f"The model needs uint8 pixels of shape [N, {height}, {width}, 3], and got "
                f"{pixels.dtype} {list(pixels.shape)}; resize the images first."
            )
        features = np.empty((len(pixels), self.num_features), np.float32)
        for start in range(0, len(pixels), self.batch_size):
            chunk = pixels[start : start + self.batch_size]
            count = len(chunk)
            if count < self.batch_size:
                padded = np.zeros((self.batch_size, height, width, 3), np.uint8)
                padded[:count] = chunk
                chunk = padded
            features[start : start + count] = self._run(chunk)[:count]
        return features

    @abc.abstractmethod
    def _run(self, batch: Pixels) -> Features:
        """Gives float32 [batch_size, num_features] for uint8 [batch_size, height, width, 3]."""
