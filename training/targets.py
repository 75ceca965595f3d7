"""The teacher's features of every view, computed once and kept on disk.

Every view has a file, written whole, so that an interrupted run goes on with the next view.
"""

from __future__ import annotations

import logging
import os

import numpy as np
import numpy.typing as npt

from training.config import DataConfig
from training.teaching_module import TeachingModule, open_module, open_teacher
from training.views import crop, crop_boxes

_BATCH = 100
_log = logging.getLogger(__name__)


def target_path(directory: str, teacher: str, view: int) -> str:
    """Returns the path of a teacher's features of a view, float16 [count, features]."""
    return os.path.join(directory, f"{teacher}-view-{view}.npy")


def teacher_name(config: DataConfig) -> str:
    """Returns what the teacher's files are called by."""
    if not config.teacher:
        return f"teacher-{config.teacher_size}"
    from image_features.models.handles import resolve

    return f"module-{resolve(config.teacher).content_hash[:12]}"


def compute_targets(pixels: npt.NDArray[np.uint8], directory: str, config: DataConfig) -> None:
    """Computes those of the teacher's features that are missing.

    Args:
      pixels: The images, uint8 [count, height, width, 3].
      directory: The directory of the files; it is made if need be.
      config: The teacher and the views.
    """
    name = teacher_name(config)
    paths = {view: target_path(directory, name, view) for view in range(config.views)}
    missing = [view for view, path in paths.items() if not os.path.exists(path)]
    if not missing:
        return
    os.makedirs(directory, exist_ok=True)
    teacher = _open(config)
    for view in missing:
        boxes = crop_boxes(view, len(pixels), seed=config.seed)
        _write(paths[view], _see(teacher, pixels, boxes))
        _log.info("The teacher has seen view %d of %d.", view + 1, config.views)


def _open(config: DataConfig) -> TeachingModule:
    """Opens the teacher."""
    if config.teacher:
        return open_module(config.teacher)
    from training.teacher import read_weights  # PyTorch is needed only here.

    return open_teacher(read_weights(), config.teacher_size)


def _see(
    teacher: TeachingModule, pixels: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32]
) -> npt.NDArray[np.float16]:
    """Returns a teacher's features of a crop of each image."""
    features = []
    for start in range(0, len(pixels), _BATCH):
        rows = slice(start, start + _BATCH)
        images = crop(pixels[rows], boxes[rows], teacher.image_size).numpy()
        features.append(teacher.features(images).astype(np.float16))
    return np.concatenate(features)


def _write(path: str, features: npt.NDArray[np.float16]) -> None:
    """Writes a file that appears whole."""
    with open(f"{path}.part", "wb") as file:
        np.save(file, features)
    os.replace(f"{path}.part", path)
