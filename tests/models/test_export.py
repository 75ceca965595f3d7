"""Both exports, as TensorFlow Hub sees them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from image_features.errors import ModelError
from image_features.models import export, files, mobilenet_v2
from image_features.models.module import FeatureModule


def test_formats_agree_and_load_with_hub(
    tf1_dir: str, tf2_dir: str, tf1_module: FeatureModule, pixels: npt.NDArray[np.uint8]
) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub

    images = tf.constant(pixels[:8].astype(np.float32) / 255)
    tf1, tf2 = hub.load(tf1_dir), hub.load(tf2_dir)
    for name in ("default", "image_feature_vector"):
        outputs = tf1.signatures[name](images=images)
        assert list(outputs) == ["default"]
        assert outputs["default"].shape == (8, 1280)
    features = tf2(images).numpy()
    np.testing.assert_allclose(outputs["default"], features, atol=1e-4)
    np.testing.assert_allclose(
        tf2.signatures["serving_default"](images)["default"], features, atol=1e-4
    )
    np.testing.assert_allclose(tf1_module(pixels[:8]), features, atol=1e-4)
    module = FeatureModule.load(tf2_dir)
    assert (module.format, module.entry) == ("tf2_saved_model", "__call__")
    np.testing.assert_array_equal(module(pixels[:8]), tf1_module(pixels[:8]))


def test_tf1_graphs_and_collections(tf1_dir: str) -> None:
    import tensorflow as tf

    with open(os.path.join(tf1_dir, "tfhub_module.pb"), "rb") as file:
        assert file.read() == b"\x08\x03"
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["train"], tf1_dir)
        shape = graph.get_tensor_by_name("images:0").shape.as_list()
        updates = graph.get_collection("update_ops")
        losses = graph.get_collection("regularization_losses")
        names = {variable.op.name for variable in graph.get_collection("variables")}
    assert shape == [None, 96, 96, 3]
    assert sorted(meta.signature_def) == [
        "default",
        "image_feature_vector",
        "image_feature_vector_with_bn_hparams",
    ]
    layers = mobilenet_v2.convolutions()
    assert len(updates) == 2 * len(layers)
    assert len(losses) == sum(not layer.depthwise for layer in layers)
    assert names == set(mobilenet_v2.variable_shapes())


@pytest.mark.parametrize("momentum", [None, 0.0, 0.9])
def test_tf1_batch_norm_momentum(
    tf1_dir: str, weights: mobilenet_v2.Weights, momentum: float | None
) -> None:
    import tensorflow as tf

    name = "MobilenetV2/Conv/BatchNorm/moving_mean"
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["train"], tf1_dir)
        signature = meta.signature_def["image_feature_vector_with_bn_hparams"]
        feed = {signature.inputs["images"].name: np.full((2, 96, 96, 3), 0.5, np.float32)}
        if momentum is not None:
            feed[signature.inputs["batch_norm_momentum"].name] = np.float32(momentum)
        session.run(graph.get_collection("update_ops"), feed)
        (variable,) = (v for v in graph.get_collection("variables") if v.op.name == name)
        moved = session.run(variable)
    # Grey is 0 to the network, and so is the batch's mean.
    kept = mobilenet_v2.BATCH_NORM_DECAY if momentum is None else momentum
    np.testing.assert_allclose(moved, kept * weights[name], atol=1e-6)


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_tf2_batch_norm_momentum(
    tf2_dir: str, weights: mobilenet_v2.Weights, momentum: float | None
) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub

    name = "MobilenetV2/Conv/BatchNorm/moving_mean"
    layer = hub.KerasLayer(
        tf2_dir,
        trainable=True,
        arguments=None if momentum is None else {"batch_norm_momentum": momentum},
    )
    layer(tf.fill([2, 96, 96, 3], 0.5), training=True)
    moved = {v.name.partition(":")[0]: v for v in layer.resolved_object.variables}[name].numpy()
    kept = mobilenet_v2.BATCH_NORM_DECAY if momentum is None else momentum
    np.testing.assert_allclose(moved, kept * weights[name], atol=1e-6)


def test_keras_layer_equals_load(tf1_dir: str, tf2_dir: str, pixels: npt.NDArray[np.uint8]) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub

    images = tf.constant(pixels[:4].astype(np.float32) / 255)
    expected = hub.load(tf2_dir)(images).numpy()
    layer = hub.KerasLayer(tf2_dir, trainable=True)
    np.testing.assert_allclose(layer(images), expected, atol=1e-5)
    assert len(layer.losses) == len(layer.resolved_object.regularization_losses) > 0
    assert len(layer.trainable_variables) == len(layer.resolved_object.trainable_variables)
    old = hub.KerasLayer(tf1_dir, signature="image_feature_vector", output_key="default")
    np.testing.assert_allclose(old(images), expected, atol=1e-4)


def test_tf1_bytes_repeat(weights: mobilenet_v2.Weights, tf1_dir: str, tmp_path: Path) -> None:
    export.export_tf1_hub(weights, str(tmp_path / "again"))
    assert files.content_hash(str(tmp_path / "again")) == files.content_hash(tf1_dir)


def test_tf2_trains(tf2_dir: str) -> None:
    import tensorflow as tf

    loaded = tf.saved_model.load(tf2_dir)
    trainable = [n for n in mobilenet_v2.variable_shapes() if mobilenet_v2.is_trainable(n)]
    assert len(loaded.variables) == len(mobilenet_v2.variable_shapes())
    assert len(loaded.trainable_variables) == len(trainable)
    assert float(tf.add_n([loss() for loss in loaded.regularization_losses])) > 0
    before = [variable.numpy() for variable in loaded.variables]
    loaded(tf.random.stateless_uniform([2, 96, 96, 3], [0, 1]), training=True)
    changed = sum(
        not np.array_equal(old, new) for old, new in zip(before, loaded.variables, strict=True)
    )
    assert changed == 2 * len(mobilenet_v2.convolutions())


def test_reference_variables_load(
    weights: mobilenet_v2.Weights,
    tf1_module: FeatureModule,
    pixels: npt.NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Modules that were exported before TensorFlow 2 hold variables of the older kind."""
    import tensorflow as tf

    get_variable = tf.compat.v1.get_variable
    with monkeypatch.context() as patch:
        patch.setattr(
            tf.compat.v1,
            "get_variable",
            lambda *args, **options: get_variable(*args, **options | {"use_resource": False}),
        )
        export.export_tf1_hub(weights, str(tmp_path / "old"))
    assert b"VariableV2" in (tmp_path / "old" / "saved_model.pb").read_bytes()
    module = FeatureModule.load(str(tmp_path / "old"))
    np.testing.assert_allclose(module(pixels), tf1_module(pixels), atol=1e-4)


@pytest.mark.parametrize("export_one", [export.export_tf1_hub, export.export_tf2])
def test_wrong_weights_and_full_target_are_refused(
    export_one: object, weights: mobilenet_v2.Weights, tmp_path: Path
) -> None:
    assert callable(export_one)
    with pytest.raises(ModelError, match=r"depth multiplier 1\.4 needs"):
        export_one(weights, str(tmp_path / "wide"), depth_multiplier=1.4)
    assert not os.listdir(tmp_path)
