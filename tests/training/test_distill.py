"""The training loop, with a teacher's features made by a seeded network."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from image_features.models import mobilenet_v2
from training.config import DataConfig, DistillConfig, OptimizerConfig, StudentConfig
from training.distill import _parse, distill, learning_rate
from training.targets import target_path
from training.views import LabelledImages

_CONFIG = DistillConfig(
    StudentConfig(depth_multiplier=0.35, image_size=32),
    DataConfig(teacher_size=32, views=2, held_out=2, batch=16),
    OptimizerConfig(epochs=2),
)


def _targets(images: LabelledImages, directory: Path) -> None:
    directory.mkdir()
    features = np.random.RandomState(1).random_sample((4, 1280))[images.labels]
    for view in range(_CONFIG.data.views):
        np.save(target_path(str(directory), "teacher-32", view), features.astype("f2"))


@pytest.mark.long
def test_training_learns_and_a_killed_run_goes_on(
    images: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.distill._CHECKPOINT_STEPS", 1)
    initial = mobilenet_v2.seeded_weights(0, 0.35)
    for name in ("whole", "halved"):
        _targets(images, tmp_path / name)
    whole = distill(images, initial, str(tmp_path / "whole"), _CONFIG)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert log[1]["losses"][0] < log[0]["losses"][0]

    class Killed(BaseException):
        pass

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):

        def killed(config: OptimizerConfig, step: int, steps_per_epoch: int) -> float:
            if step == 3:
                raise Killed
            return learning_rate(config, step, steps_per_epoch)

        patch.setattr("training.distill.learning_rate", killed)
        distill(images, initial, str(tmp_path / "halved"), _CONFIG)
    halved = distill(images, initial, str(tmp_path / "halved"), _CONFIG)
    for name, array in whole.items():
        np.testing.assert_allclose(halved[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_learning_rate_rises_and_falls() -> None:
    config = dataclasses.replace(_CONFIG.optimizer, epochs=4, learning_rate=1.0)
    rates = [learning_rate(config, step, 10) for step in range(40)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == 1
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.01


def test_every_setting_has_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ["--images=i", "--work=w", "--output=o.npz"]
    monkeypatch.setattr("sys.argv", ["distill", *paths])
    assert _parse()[1] == DistillConfig()
    given = [
        *("--depth_multiplier=0.35", "--image_size=32", "--teacher_size=32", "--views=2"),
        *("--held_out=2", "--batch=16", "--epochs=2", "--teacher=module"),
    ]
    monkeypatch.setattr("sys.argv", ["distill", *paths, *given])
    options, config = _parse()
    assert dataclasses.replace(config.data, teacher="") == _CONFIG.data
    assert config.data.teacher == "module"
    assert config == dataclasses.replace(_CONFIG, data=config.data)
    assert (options.images, options.work, options.output, options.initial) == (
        *("i", "w", "o.npz"),
        None,
    )
