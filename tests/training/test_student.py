"""The losses of the network in training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from image_features.models import mobilenet_v2
from training.batches import Batches
from training.config import DataConfig, DistillConfig, LossConfig, StudentConfig
from training.student import Student
from training.targets import target_path
from training.views import LabelledImages

_CONFIG = DistillConfig(
    StudentConfig(depth_multiplier=0.35, image_size=32),
    DataConfig(teacher_size=32, views=1, held_out=2, batch=8),
    loss=LossConfig(values="mapped", relation_weight=0.0, label_weight=0.0),
)


def _students(images: LabelledImages, directory: Path, *configs: DistillConfig) -> list[Student]:
    initial = mobilenet_v2.seeded_weights(0, 0.35)
    return [
        Student(
            initial,
            Batches(images, str(directory), config.data),
            len(images.classes),
            config,
        )
        for config in configs
    ]


@pytest.mark.long
def test_a_mapped_student_need_not_have_the_teachers_channels(
    images: LabelledImages, tmp_path: Path
) -> None:
    """A teacher whose channels are the student's in another order teaches nothing new."""
    path = target_path(str(tmp_path), "teacher-32", 0)
    np.save(path, np.zeros((len(images.pixels), 1280), np.float16))
    (student,) = _students(images, tmp_path, _CONFIG)
    own = student._features(images.pixels).numpy()
    np.save(path, own[:, ::-1].astype(np.float16))
    direct = dataclasses.replace(_CONFIG, loss=dataclasses.replace(_CONFIG.loss, values="direct"))
    mapped, same = _students(images, tmp_path, _CONFIG, direct)
    batches = Batches(images, str(tmp_path), _CONFIG.data)
    pixels, targets = batches.sample()
    fitted = np.pad(mapped._features(pixels).numpy(), [(0, 0), (0, 1)], constant_values=1)
    error = np.square(fitted @ mapped._map.numpy() - targets).mean()
    assert error < 0.05 * np.square(own - own[:, ::-1]).mean()
    assert same._map is None
