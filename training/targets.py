"""The teacher's features of every view, computed once and kept on disk.

Every view has a file, written whole, so that an interrupted run goes on with the next view.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from training.views import crop, crop_boxes

_BATCH = 100
_log = logging.getLogger(__name__)


def target_path(directory: str, size: int, view: int) -> str:
    """Returns the path of the features of a view, float16 [count, 1280]."""
    return os.path.join(directory, f"teacher-{size}-view-{view}.npy")


def compute_targets(
    pixels: npt.NDArray[np.uint8], directory: str, *, size: int, views: int, seed: int = 0
) -> None:
    """Computes those of the teacher's features that are missing.

    Args:
      pixels: The images, uint8 [count, height, width, 3].
      directory: The directory of the files; it is made if need be.
      size: The side of the teacher's input, in pixels.
      views: The number of views.
      seed: The seed of the crops.
    """
    missing = [v for v in range(views) if not os.path.exists(target_path(directory, size, v))]
    if not missing:
        return
    from training.teacher import Teacher  # PyTorch is needed only here.

    os.makedirs(directory, exist_ok=True)
    teacher = Teacher()
    for view in missing:
        boxes = crop_boxes(view, len(pixels), seed=seed)

        def batches(boxes: npt.NDArray[np.float32] = boxes) -> Iterator[npt.NDArray[np.float32]]:
            for start in range(0, len(pixels), _BATCH):
                rows = slice(start, start + _BATCH)
                yield crop(pixels[rows], boxes[rows], size).numpy()

        features = [f.astype(np.float16) for f in teacher.features(batches())]
        path = target_path(directory, size, view)
        with open(f"{path}.part", "wb") as file:
            np.save(file, np.concatenate(features))
        os.replace(f"{path}.part", path)
        _log.info("The teacher has seen view %d of %d.", view + 1, views)
