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
        "num_features": 1280,
        "gives_probabilities": False,
        "parameters": 706_224,
        "content_hash": content_hash(tf1_dir),
    }


@pytest.fixture(scope="module")
def weights() -> Any:
    return np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)


def _frozen(weights: Any) -> Any:
    def run(batch: Any) -> Any:
        return tf.nn.relu(means(batch) * 0.5 @ tf.constant(weights) + tf.ones([50]) * 1e-3)

    return run


def _half(weights: Any) -> Any:
    small = weights.astype(np.float16)
    return lambda batch: means(batch) @ tf.cast(tf.constant(small), tf.float32)


def _captured(weights: Any) -> Any:
    constant = tf.constant(weights)
    return lambda batch: means(batch) @ constant


@pytest.mark.parametrize(("make", "expected"), [(_frozen, 150), (_half, 150), (_captured, 150)])
def test_constants_are_parameters_too(
    make: Any, expected: int, weights: Any, tmp_path: Path
) -> None:
    assert describe(save(tmp_path / "m", make(weights)))["parameters"] == expected


def test_parameters_are_counted_once(weights: Any, tmp_path: Path) -> None:
    variable, unused = tf.Variable(weights), tf.Variable(weights)
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
    from image_features.models.saved_model_files import read_graph

    directory = save_tf1(tmp_path / "m", ["serve"])
    message = read_graph(directory)
    signatures = message.meta_graphs[0].signature_def
    for name in ("__saved_model_init_op", "__saved_model_train_op"):
        signatures[name].CopyFrom(signatures["serving_default"])
    Path(directory, "saved_model.pb").write_bytes(message.SerializeToString())
    told = describe(directory)
    assert (told["signatures"], told["format"]) == (["serving_default"], "tf1_saved_model")
    assert told["parameters"] == 12
