"""What gives other features each time, or probabilities, is told before it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from image_features.errors import ModelError
from image_features.models.engines import prepare
from image_features.models.identity import Engine
from image_features.models.module import FeatureModule
from image_features.models.soundness import are_probabilities, examine
from tests.models.tiny import images, means, save


def _dropout(batch: Any) -> Any:
    return tf.nn.dropout(means(batch), 0.5)


def _faint_noise(batch: Any) -> Any:
    """Is random in one small dimension of four."""
    noise = tf.random.uniform([tf.shape(batch)[0], 1], 0, 1e-3)
    return tf.concat([means(batch), noise], 1)


def _flip(batch: Any) -> Any:
    return means(tf.image.random_flip_left_right(batch)[:, :, :4])


def _rare_flip(batch: Any) -> Any:
    """Leaves nine images of ten as they are."""
    rare = tf.random.uniform([tf.shape(batch)[0], 1]) < 0.1
    return tf.where(rare, -1.0, 1.0) * means(batch)


def _training_statistics(batch: Any) -> Any:
    return means(batch) - tf.reduce_mean(means(batch), 0)


def _counter() -> tuple[Callable[..., Any], Any]:
    count = tf.Variable(0.0)

    def run(batch: Any) -> Any:
        return means(batch) + count.assign_add(1.0)

    return run, count


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_dropout, r"draws random numbers \(RandomUniform\)"),
        (_faint_noise, r"draws random numbers \(RandomUniform\)"),
        (_flip, r"draws random numbers \(RandomUniform\)"),
        (_rare_flip, r"draws random numbers \(RandomUniform\)"),
        (_training_statistics, "depend on the other images of its batch"),
    ],
)
def test_a_module_must_answer_alike(
    function: Callable[..., Any], words: str, tmp_path: Path
) -> None:
    module = FeatureModule.load(save(tmp_path / "m", function))
    with pytest.raises(ModelError, match=rf"{words}.*export it with training=False.*model convert"):
        examine(module)


def test_a_module_that_changes_while_it_runs(tmp_path: Path) -> None:
    function, count = _counter()
    module = FeatureModule.load(save(tmp_path / "m", function, count=count))
    with pytest.raises(ModelError, match="changes while it runs"):
        examine(module)


@pytest.mark.parametrize("engine", [Engine.AUTO, Engine.TENSORFLOW])
def test_a_keras_export_with_a_random_layer_is_refused(
    engine: Engine, tmp_path: Path, own_cache: Path
) -> None:
    import keras

    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.RandomFlip("horizontal", seed=1),
            keras.layers.Conv2D(4, 3, strides=2),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    directory = str(tmp_path / "m")
    network.export(directory, verbose=False)
    with pytest.raises(ModelError, match=r"random numbers \(StatelessRandomUniform"):
        prepare(directory, engine=engine)


@pytest.mark.parametrize(
    "function",
    [
        means,
        lambda batch: tf.where(means(batch) > 0.55, np.nan, means(batch)),
        lambda batch: means(batch) @ tf.random.stateless_uniform([3, 5], [1, 2]),
        lambda batch: tf.cond(
            tf.reduce_sum(batch) < 0, lambda: _dropout(batch), lambda: means(batch)
        ),
    ],
)
def test_chance_that_changes_nothing_is_none(function: Callable[..., Any], tmp_path: Path) -> None:
    assert examine(FeatureModule.load(save(tmp_path / "m", function, images(batch=5)))) is False


def test_a_module_that_takes_few_images_only(tmp_path: Path) -> None:
    directory = save(tmp_path / "m", lambda batch: tf.reshape(means(batch), [2, -1])[:, :3])
    module = FeatureModule.load(directory, batch_size=2)
    with pytest.raises(ModelError, match="fails on a batch of 8 images of 8x8 pixels"):
        examine(module)


def _heads(batch: Any) -> Any:
    return tf.reshape(tf.nn.softmax(tf.reshape(tf.tile(means(batch), [1, 2]), [-1, 2, 3])), [-1, 6])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda batch: tf.nn.softmax(means(batch)), True),
        (lambda batch: tf.cast(tf.nn.softmax(tf.cast(means(batch), tf.float16)), tf.float32), True),
        (lambda batch: tf.nn.softmax(means(batch))[:, None, None], True),
        (lambda batch: tf.nn.log_softmax(means(batch)), True),
        (_heads, True),
        (lambda batch: tf.sigmoid(means(batch)), False),
        (lambda batch: means(batch) * 0, False),
        (lambda batch: means(batch)[:, :1] * 0 + 1, False),
        (lambda batch: tf.nn.softmax(means(batch)) - 0.5, False),
        (lambda batch: tf.nn.l2_normalize(means(batch), 1), False),
    ],
)
def test_probabilities_are_told(
    function: Callable[..., Any], expected: bool, tmp_path: Path
) -> None:
    assert examine(FeatureModule.load(save(tmp_path / "m", function))) is expected


def test_probabilities_by_the_numbers_alone() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(1000), 16).astype(np.float32)
    assert are_probabilities(rows)
    assert are_probabilities(rows.astype(np.float16))
    assert are_probabilities(np.log(rows))
    assert not are_probabilities(rows * 1.01)
    assert not are_probabilities(np.ones((16, 1)))
    assert not are_probabilities(np.zeros((16, 4)))
    rows[3] *= 2
    assert not are_probabilities(rows)


def test_probabilities_are_taken_by_those_who_want_them(tmp_path: Path, own_cache: Path) -> None:
    directory = save(tmp_path / "m", lambda batch: tf.nn.softmax(means(batch)))
    for engine in (Engine.AUTO, Engine.TENSORFLOW):
        with pytest.raises(ModelError, match=r"probabilities.*--layer=NAME.*--allow_probabilities"):
            prepare(directory, engine=engine)
        assert prepare(directory, engine=engine, allow_probabilities=True).num_features == 3
