"""Networks in SavedModels and checkpoints of Keras, and in modules that were frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from image_features.errors import ModelError
from image_features.models import mobilenet_v2
from image_features.models.sources.found import find_in_graphs
from image_features.models.sources.graphs import Graph
from image_features.models.weights import NotOfFamilyError, read_weights
from tests.models.arrays import assert_same
from tests.models.sources.conftest import MULTIPLIER, assert_same_features
from tests.models.sources.graphs import graph_of


@pytest.fixture(scope="module")
def whole(backbone: Any) -> Any:
    import keras

    return keras.Sequential(
        [keras.Sequential([keras.Input((96, 96, 3)), backbone]), keras.layers.Dense(3)]
    )


@pytest.mark.long
def test_saved_models_of_keras(whole: Any, small: mobilenet_v2.Weights, tmp_path: Path) -> None:
    import tensorflow as tf

    whole.export(tmp_path / "exported", verbose=False)
    tf.saved_model.save(whole, str(tmp_path / "saved"))
    for name in ("exported", "saved"):
        found = read_weights(str(tmp_path / name))
        assert (found.depth_multiplier, found.image_size) == (MULTIPLIER, 96)
        assert_same(found.arrays, small)


def test_a_graph_of_keras(backbone: Any, expected: npt.NDArray[np.float32]) -> None:
    """Keras 3 has batch normalization in several operations."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    run = tf.function(lambda x: backbone(x, training=False), autograph=False)
    concrete = run.get_concrete_function(tf.TensorSpec([1, 96, 96, 3], tf.float32))
    graph = Graph(convert_variables_to_constants_v2(concrete).graph.as_graph_def())
    found = find_in_graphs("it", [graph], None)
    assert found is not None
    assert_same_features(found.arrays, expected)


def test_a_graph_without_variables(
    small: mobilenet_v2.Weights, expected: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    """A SavedModel whose weights are constants, with and without its batch normalization."""
    import tensorflow as tf

    for fold in (True, False):
        directory = str(tmp_path / f"frozen_{fold}")
        with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
            tf.import_graph_def(graph_of(small, MULTIPLIER, fold=fold), name="")
            tf.compat.v1.saved_model.simple_save(
                session,
                directory,
                {"images": graph.get_tensor_by_name("images:0")},
                {"classes": graph.get_tensor_by_name("classes:0")},
            )
        found = read_weights(directory)
        assert (found.image_size, found.matched) == (96, "the connections of its graph")
        assert_same_features(found.arrays, expected)
        if not fold:
            assert_same(found.arrays, small)


def test_another_saved_model(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(np.ones((3, 3, 3, 8), np.float32), name="first/kernel")
    spec = tf.TensorSpec([None, 32, 32, 3], tf.float32)
    run = tf.function(lambda x: tf.nn.conv2d(x, module.kernel, 2, "SAME"), input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures=run)
    with pytest.raises(NotOfFamilyError, match=r"no MobileNet V2: it has 1 variables .*first/kern"):
        read_weights(str(tmp_path / "other"))


@pytest.mark.parametrize("name", ["of_objects", "of_a_list"])
def test_checkpoints_of_objects(
    whole: Any, small: mobilenet_v2.Weights, tmp_path: Path, name: str
) -> None:
    import tensorflow as tf

    if name == "of_objects":
        checkpoint = tf.train.Checkpoint(model=whole)
    else:  # Nothing is named, and the variables are a list of layers.
        layers = []
        for layer in mobilenet_v2.convolutions(MULTIPLIER):
            keys = ("gamma", "beta", "moving_mean", "moving_variance")
            norm = {k: tf.Variable(small[f"{layer.scope}/BatchNorm/{k}"]) for k in keys}
            layers += [{"kernel": tf.Variable(small[layer.weights])}, norm]
        checkpoint = tf.train.Checkpoint(layers=layers)
    prefix = checkpoint.save(str(tmp_path / "model"))
    for path in (str(tmp_path), prefix, f"{prefix}.index"):
        found = read_weights(path)
    assert found.matched.startswith("names" if name == "of_objects" else "shapes and their order")
    assert_same(found.arrays, small)


def test_several_checkpoints_and_parts_of_one(tmp_path: Path) -> None:
    import tensorflow as tf

    for name in ("a", "b"):
        tf.train.Checkpoint(v=tf.Variable([1.0])).write(str(tmp_path / name))
    with pytest.raises(
        ModelError, match=r"has 2 checkpoints; name the prefix of one, such as .*/b"
    ):
        read_weights(str(tmp_path))
    (tmp_path / "a.data-00000-of-00001").unlink()
    with pytest.raises(ModelError, match="cannot read the checkpoint"):
        read_weights(str(tmp_path / "a"))
    with pytest.raises(NotOfFamilyError, match="holds no MobileNet V2: it has 1 variables"):
        read_weights(str(tmp_path / "b"))
