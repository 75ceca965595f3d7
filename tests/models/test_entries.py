"""Modules are called as they were traced, and never in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from image_features.errors import ModelError
from image_features.models.module import FeatureModule
from tests.models.tiny import images, means, save, save_traced

WHITE = np.full((1, 8, 8, 3), 255, np.uint8)
SWITCH = tf.TensorSpec([], tf.bool)
NUMBER = tf.TensorSpec([], tf.float32)


def _network(batch: Any, training: Any = True) -> Any:
    return tf.where(training, 100.0, 1.0) * means(batch)


def _by_keyword(batch: Any, *, training: Any = True) -> Any:
    return _network(batch, training)


def _other_name(batch: Any, is_training: Any = True) -> Any:
    return _network(batch, is_training)


def _switch_first(training: Any, batch: Any) -> Any:
    return _network(batch, training)


def _with_mask(batch: Any, training: Any = None, mask: Any = None) -> Any:
    return _network(batch, training is True)


def _with_momentum(batch: Any, training: Any = True, momentum: Any = 0.9) -> Any:
    return _network(batch, training) * (momentum + 0.1)


@pytest.mark.parametrize(
    ("function", "traces"),
    [
        (_network, [((images(),), {"training": SWITCH})]),
        (_network, [((images(), SWITCH), {})]),
        (_network, [((), {"batch": images(), "training": SWITCH})]),
        (_network, [((images(),), {}), ((images(), False), {})]),
        (_by_keyword, [((images(),), {"training": SWITCH})]),
        (_by_keyword, [((images(),), {"training": True}), ((images(),), {"training": False})]),
        (_other_name, [((images(), SWITCH), {})]),
        (_other_name, [((images(), True), {}), ((images(), False), {})]),
        (_switch_first, [((SWITCH, images()), {})]),
        (_with_mask, [((images(), True, None), {}), ((images(), False, None), {})]),
        (_with_momentum, [((images(), SWITCH, NUMBER), {})]),
    ],
)
def test_a_module_is_not_called_in_training(
    function: Callable[..., Any], traces: list[Any], tmp_path: Path
) -> None:
    module = FeatureModule.load(save_traced(tmp_path / "m", function, *traces))
    assert module.entry == "__call__"
    np.testing.assert_array_equal(module(WHITE), np.ones((1, 3), np.float32))


def test_a_switch_that_is_a_tensor_by_default(tmp_path: Path) -> None:
    module = FeatureModule.load(save(tmp_path / "m", _with_momentum, images(), SWITCH, NUMBER))
    np.testing.assert_array_equal(module(WHITE), np.ones((1, 3), np.float32))


def test_a_signature_with_a_switch(tmp_path: Path) -> None:
    serve = tf.function(
        lambda images, training: {"features": _network(images, training)},
        input_signature=[images(), SWITCH],
    )
    directory = str(tmp_path / "m")
    tf.saved_model.save(tf.train.Checkpoint(), directory, signatures={"serving_default": serve})
    module = FeatureModule.load(directory)
    assert module.entry == "serving_default"
    np.testing.assert_array_equal(module(WHITE), np.ones((1, 3), np.float32))


def test_a_module_that_only_trains_is_refused(tmp_path: Path) -> None:
    directory = save_traced(tmp_path / "m", _network, ((images(),), {}))
    with pytest.raises(ModelError, match=r"only be called in training.*export it with training=F"):
        FeatureModule.load(directory)
