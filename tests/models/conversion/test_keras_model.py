"""Modules of Keras models: their values are those of the layer that they end at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_features.errors import ModelError
from image_features.models.convert import Conversion, ModelFormat, convert
from image_features.models.metadata import read_metadata
from image_features.models.scaling import Scaling
from tests.models.conversion import networks


def _augmented(keras: Any, images: Any) -> Any:
    images = keras.layers.RandomFlip()(keras.layers.Rescaling(1 / 127.5, offset=-1)(images))
    return keras.layers.RandomContrast(0.5)(images)


def _rescaled(keras: Any, images: Any) -> Any:
    return keras.layers.Rescaling(1 / 127.5, offset=-1)(images)


def _features(directory: str, images: Any) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(directory)(tf.constant(images)).numpy()


@pytest.mark.parametrize("form", ["keras", "h5", "saved_model"])
@pytest.mark.parametrize("version", [3, 2])
def test_a_module_computes_what_the_layer_did(version: int, form: str, tmp_path: Path) -> None:
    """Preprocessing is kept, augmentation does nothing, the classifier is gone."""
    keras = networks.library(version)
    # Keras 3 exports layers such as RandomFlip active.
    before = _rescaled if form == "saved_model" else _augmented
    model = networks.network(keras, networks.classified, before=before)
    source = networks.save(keras, model, tmp_path, form)
    made = convert(source, str(tmp_path / "module"), Conversion())
    assert "'pool'" in made.cut
    assert "'classes'" in made.cut
    assert (made.image_size, made.num_features) == ((16, 16), 6)
    assert made.scaling == Scaling.of_range(0, 255)
    metadata = read_metadata(str(tmp_path / "module"))
    assert (metadata.layer, metadata.pooling) == ("pool", "")
    assert metadata.scaling == made.scaling
    images = networks.noise()
    expected = keras.Model(model.inputs, model.get_layer("pool").output)(images, training=False)
    np.testing.assert_allclose(
        _features(str(tmp_path / "module"), images), expected, rtol=1e-5, atol=1e-6
    )
    inner = model.get_layer("body")
    first = keras.Model(inner.inputs, inner.get_layer("first").output)
    wanted = np.asarray(first(images / np.float32(127.5) - 1)).max(axis=(1, 2))
    made = convert(source, str(tmp_path / "first"), Conversion(layer="first", pooling="max"))
    assert made.num_features == 4
    np.testing.assert_allclose(
        _features(str(tmp_path / "first"), images), wanted, rtol=1e-5, atol=1e-5
    )


def test_half_precision_other_types_and_other_names(tmp_path: Path) -> None:
    keras = networks.library(3)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = networks.network(keras, networks.classified, dtype="uint8")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    (tmp_path / "without_suffix").write_bytes(
        Path(networks.save(keras, model, tmp_path, "keras")).read_bytes()
    )
    target = str(tmp_path / "module")
    made = convert(str(tmp_path / "without_suffix"), target, Conversion())
    assert made.scaling == Scaling.of_range(0, 255)
    images = networks.noise()
    expected = keras.Model(model.inputs, model.get_layer("pool").output)(images.astype(np.uint8))
    # 254.99998 is 255, as pixels that went through [0, 1] are.
    found = _features(target, np.maximum(images - np.float32(2e-5), 0))
    np.testing.assert_allclose(found, np.asarray(expected, np.float32), rtol=2e-3)


def test_an_exported_graph_with_random_layers_is_refused(tmp_path: Path) -> None:
    keras = networks.library(3)
    model = networks.network(keras, networks.classified, before=_augmented)
    source = networks.save(keras, model, tmp_path, "saved_model")
    with pytest.raises(ModelError, match=r"random.*RandomFlip or Dropout.*\.keras"):
        convert(source, str(tmp_path / "module"), Conversion())
    assert not (tmp_path / "module").exists()


def test_names_of_layers_in_exported_graphs(tmp_path: Path) -> None:
    """Keras 3 numbers the scopes of layers, so that "conv_1" is the name of two."""
    keras = networks.library(3)
    layers = keras.layers
    images = keras.Input((16, 16, 3))
    values = layers.Conv2D(4, 3, name="conv")(layers.Rescaling(2.0, name="conv_0")(images))
    values = layers.Conv2D(5, 3, name="conv_1")(values)
    model = networks.seeded(keras.Model(images, layers.Conv2D(6, 3, name="conv_2")(values)))
    source = networks.save(keras, model, tmp_path, "saved_model")
    pixels = networks.noise() / 255
    for layer in ("conv", "conv_1", "conv_2"):
        target = str(tmp_path / layer)
        convert(source, target, Conversion(layer=layer))
        expected = keras.Model(images, model.get_layer(layer).output)(pixels)
        np.testing.assert_allclose(
            _features(target, pixels), np.mean(expected, axis=(1, 2)), rtol=1e-5
        )
    with pytest.raises(ModelError, match=r"no layer 'con_2'.*conv_2"):
        convert(source, str(tmp_path / "new"), Conversion(layer="con_2"))


def test_mobilenet_v2_is_told_from_what_is_built_on_it(tmp_path: Path) -> None:
    """Its own features are exported by its weights, for [0, 1]; others as they are."""
    keras = networks.library(3)
    keras.backend.clear_session()
    backbone = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=2
    )
    source = networks.save(keras, networks.seeded(backbone), tmp_path, "h5")
    made = convert(source, str(tmp_path / "own"), Conversion(image_size=96))
    assert made.source == "MobileNet V2 with depth multiplier 0.35"
    assert (made.scaling, made.image_size) == (Scaling(), (96, 96))
    last = keras.layers.Dense(7, activation="relu", name="embedding")
    whole = keras.Sequential([keras.Input((32, 32, 3)), backbone, last, keras.layers.Softmax()])
    source = networks.save(keras, whole, tmp_path, "keras")
    made = convert(source, str(tmp_path / "built_on"), Conversion(layer="embedding"))
    assert made.num_features == 7
    assert made.scaling is None
    assert "-1,1" in made.range_reason
    with pytest.raises(ModelError, match="--format=tf2"):
        convert(source, "new", Conversion(ModelFormat.SLIM, layer="embedding"))


def test_activations_with_gradients_of_their_own(tmp_path: Path) -> None:
    """EfficientNet's swish has one, which a graph names and does not hold."""
    keras = networks.library(2)
    model = networks.network(
        keras, lambda k, x: networks.pooled(k, k.layers.Activation("swish")(x))
    )
    source = networks.save(keras, model, tmp_path, "h5")
    convert(source, str(tmp_path / "module"), Conversion())
    images = networks.noise() / 255
    np.testing.assert_allclose(
        _features(str(tmp_path / "module"), images), model(images, training=False), rtol=1e-5
    )
