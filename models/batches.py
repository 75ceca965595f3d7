"""Cuts images into batches of one fixed size, as every engine here runs them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


def run_in_batches(
    run: Callable[[Pixels], Features],
    pixels: Pixels,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    num_features: int,
) -> Features:
    """Computes the features of images, the last batch padded with zeros.

    Args:
      run: From uint8 [batch_size, height, width, 3] to float32 [batch_size, num_features].
      pixels: uint8 [N, height, width, 3], RGB; N may be 0.
      image_size: (height, width) in pixels.
      batch_size: Images per run.
      num_features: Length of a feature vector.

    Returns:
      float32 [N, num_features].

    Raises:
      ValueError: the pixels have another shape or dtype.
    """
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (*image_size, 3):
        raise ValueError(
            f"The model needs uint8 pixels of shape [N, {image_size[0]}, {image_size[1]}, 3], and "
            f"got {pixels.dtype} {list(pixels.shape)}; resize the images first."
        )
    features = np.empty((len(pixels), num_features), np.float32)
    for start in range(0, len(pixels), batch_size):
        chunk = pixels[start : start + batch_size]
        count = len(chunk)
        if count < batch_size:
            padded = np.zeros((batch_size, *image_size, 3), np.uint8)
            padded[:count] = chunk
            chunk = padded
        features[start : start + count] = run(chunk)[:count]
    return features
