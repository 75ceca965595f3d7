"""What is said of a module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from image_features.errors import ModelError
from image_features.models.describe import describe
from image_features.models.files import content_hash
from image_features.models.saved_model_files import read_graph
from tests.models.tiny import means, save, save_tf1


def test_describe(tf1_dir: str) -> None:
    assert describe(tf1_dir) == {
        "handle": tf1_dir,
        "directory": tf1_dir,
        "format": "tf1_hub",
        "signatures": [
            "default",
            "image_feature_vector",
            "image_feature_vector_with_bn_hparams",
        ],
        "entry": "image_feature_vector",
        "image_size": [96, 96],
        "input_range": [0.0, 1.0],
        "input_range_declared_by": "hub",
        "num_features": 1280,
        "gives_probabilities": False,
        "parameters": 706_224,
        "content_hash": content_hash(tf1_dir),
    }


@pytest.fixture(scope="module")
def numbers() -> Any:
    return np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)


def _frozen(numbers: Any) -> Any:
    def run(batch: Any) -> Any:
        return tf.nn.relu(means(batch) * 0.5 @ tf.constant(numbers) + tf.ones([50]) * 1e-3)

    return run


def _half(numbers: Any) -> Any:
    small = numbers.astype(np.float16)
    return lambda batch: means(batch) @ tf.cast(tf.constant(small), tf.float32)


def _captured(numbers: Any) -> Any:
    constant = tf.constant(numbers)
    return lambda batch: means(batch) @ constant


@pytest.mark.parametrize(("make", "expected"), [(_frozen, 200), (_half, 150), (_captured, 150)])
def test_constants_are_parameters_too(
    make: Any, expected: int, numbers: Any, tmp_path: Path
) -> None:
    assert describe(save(tmp_path / "m", make(numbers)))["parameters"] == expected


def test_parameters_are_counted_once(numbers: Any, tmp_path: Path) -> None:
    variable, unused = tf.Variable(numbers), tf.Variable(numbers)
    directory = save(
        tmp_path / "m",
        lambda batch: means(batch) @ variable @ tf.transpose(variable),
        a=variable,
        b=[variable],
        unused=unused,
    )
    assert describe(directory)["parameters"] == 150


def test_describing_probabilities_and_chance(tmp_path: Path) -> None:
    softmax = save(tmp_path / "softmax", lambda batch: tf.nn.softmax(means(batch)))
    assert describe(softmax)["gives_probabilities"] is True
    dropout = save(tmp_path / "dropout", lambda batch: tf.nn.dropout(means(batch), 0.5))
    with pytest.raises(ModelError, match="draws random numbers"):
        describe(dropout)


def test_signatures_of_tensorflows_own_are_not_listed(tmp_path: Path) -> None:
    directory = save_tf1(tmp_path / "m", ["serve"])
    message = read_graph(directory)
    name = "__saved_model_init_op"
    message.meta_graphs[0].signature_def[name].outputs[name].name = "init"
    Path(directory, "saved_model.pb").write_bytes(message.SerializeToString())
    assert name in tf.saved_model.load(directory).signatures
    told = describe(directory)
    assert (told["signatures"], told["format"]) == (["serving_default"], "tf1_saved_model")
    assert told["parameters"] == 12
