"""Networks in files of Keras 3 and Keras 2, within other models and under other names."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from image_features.errors import ModelError
from image_features.models import limits, mobilenet_v2
from image_features.models.weights import NotOfFamilyError, read_weights
from tests.models.arrays import assert_same
from tests.models.sources.conftest import MULTIPLIER, random_weights


@pytest.fixture(scope="module")
def nested(backbone: Any) -> dict[str, Any]:
    """Models that have the network within them, as transfer learning makes them."""
    import keras

    images = keras.Input((96, 96, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    spread = keras.layers.Lambda(lambda x: x * 2.0, output_shape=lambda s: s)(backbone(scaled))
    return {
        "sequential": keras.Sequential([keras.Input((96, 96, 3)), backbone, keras.layers.Dense(3)]),
        "functional": keras.Model(images, keras.layers.Dense(3)(spread)),
        "deep": keras.Sequential(
            [
                keras.Sequential([keras.Input((96, 96, 3)), backbone]),
                keras.Sequential([keras.Input((1280,)), keras.layers.Dense(3, use_bias=False)]),
            ]
        ),
        "extended": keras.Model(backbone.input, keras.layers.Dense(3)(backbone.output)),
    }


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
@pytest.mark.parametrize("name", ["sequential", "functional", "deep", "extended"])
def test_a_network_within_another_model(
    nested: dict[str, Any], small: mobilenet_v2.Weights, tmp_path: Path, name: str, suffix: str
) -> None:
    path = str(tmp_path / f"model{suffix}")
    save = nested[name].save_weights if suffix == ".weights.h5" else nested[name].save
    save(path)
    renamed = path + ".bin"  # What it is is told by its content.
    Path(path).rename(renamed)
    found = read_weights(renamed)
    assert found.image_size == (None if suffix == ".weights.h5" else 96)
    assert (found.depth_multiplier, found.matched) == (MULTIPLIER, "names")
    assert_same(found.arrays, small)


@pytest.fixture(scope="module")
def keras_2(small: mobilenet_v2.Weights) -> Any:
    """A model of Keras 2 whose network is partly frozen, and listed in another order so."""
    import tf_keras

    backbone = tf_keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), alpha=MULTIPLIER, include_top=False, weights=None, pooling="avg"
    )
    names = {variable.name.partition(":")[0]: variable for variable in backbone.variables}
    from image_features.models.sources.keras_names import slim_name

    for name, variable in names.items():
        told = slim_name(name)
        assert told
        variable.assign(small[told[1]])
    for layer in backbone.layers[60:]:
        layer.trainable = False
    whole = tf_keras.Sequential(
        [tf_keras.Sequential([backbone]), tf_keras.Sequential([tf_keras.layers.Dense(3)])]
    )
    whole.build((None, 96, 96, 3))
    return whole


@pytest.mark.parametrize("name", ["model.h5", "weights.h5", "v3.weights.h5", "model.keras"])
def test_files_of_keras_2(
    keras_2: Any, small: mobilenet_v2.Weights, tmp_path: Path, name: str
) -> None:
    path = str(tmp_path / name)
    (keras_2.save if name.startswith("model") else keras_2.save_weights)(path)
    found = read_weights(path)
    assert found.image_size == (96 if name.startswith("model") else None)
    assert_same(found.arrays, small)


def test_the_first_files_of_the_format(
    keras_2: Any, small: mobilenet_v2.Weights, tmp_path: Path
) -> None:
    """Their groups have backslashes, and layers are the dependencies of a checkpoint."""
    keras_2.layers[0].layers[0].save_weights(tmp_path / "now.weights.h5")
    path = tmp_path / "first.weights.h5"
    with h5py.File(tmp_path / "now.weights.h5") as now, h5py.File(path, "w") as first:
        for name, group in now["layers"].items():
            for number, value in group["vars"].items():
                first[f"_layer_checkpoint_dependencies\\{name}/vars/{number}"] = value[()]
    assert_same(read_weights(str(path)).arrays, small)


def _renamed(path: Path, target: Path, rename: Callable[[str], str], config: bool) -> str:
    """Copies a whole .h5 model with other names of layers, in its groups and its configuration."""
    with h5py.File(path, "r") as source, h5py.File(target, "w") as file:
        root = file.create_group("model_weights")
        layers = [str(name) for name in source["model_weights"].attrs["layer_names"]]
        root.attrs["layer_names"] = [rename(name) for name in layers]
        for name in layers:
            group = root.create_group(rename(name))
            variables = [str(v) for v in source["model_weights"][name].attrs["weight_names"]]
            group.attrs["weight_names"] = [f"{rename(name)}/{v.split('/')[-1]}" for v in variables]
            for variable in variables:
                value = source["model_weights"][name][variable][()]
                group[f"{rename(name)}/{variable.split('/')[-1]}"] = value
        model = json.loads(source.attrs["model_config"])
        for layer in model["config"]["layers"]:
            layer["name"] = layer["config"]["name"] = rename(layer["name"])
        if config:
            file.attrs["model_config"] = json.dumps(model)
    return str(target)


def test_renamed_layers(
    backbone: Any, small: mobilenet_v2.Weights, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone.save(tmp_path / "model.h5")
    path = tmp_path / "model.h5"
    numbers = {layer.name: f"layer_{i}" for i, layer in enumerate(backbone.layers)}
    for rename, config, words in (
        (lambda name: f"rgb_{name}_3", True, "names"),
        (lambda name: f"rgb_{name}_3", False, "names"),
        (numbers.__getitem__, True, "the order of the layers in its configuration"),
        (numbers.__getitem__, False, "shapes and their order"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = read_weights(_renamed(path, tmp_path / "renamed.h5", rename, config))
        assert found.matched.startswith(words)
        assert (words in caplog.text) == (words != "names")
        assert_same(found.arrays, small)


def _edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> str:
    """Edits the configuration of each layer of a .keras archive of the backbone."""
    target = path.with_name("edited.keras")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                model = json.loads(content)
                for layer in model["config"]["layers"]:
                    edit(layer)
                content = json.dumps(model).encode()
            copy.writestr(name, content)
    return str(target)


def test_what_a_configuration_says(
    backbone: Any, small: mobilenet_v2.Weights, tmp_path: Path
) -> None:
    path = tmp_path / "model.keras"
    backbone.save(path)

    def other_epsilon(layer: dict[str, Any]) -> None:
        if layer["class_name"] == "BatchNormalization":
            layer["config"]["epsilon"] = 1e-5
            layer["class_name"] = "BatchNormalizationV1"  # As Keras of TensorFlow 1.14 has it.

    found = read_weights(_edited(path, other_epsilon))
    scope = "MobilenetV2/expanded_conv_3/expand/BatchNorm"
    variance = small[f"{scope}/moving_variance"]
    np.testing.assert_allclose(
        found.arrays[f"{scope}/gamma"] / np.sqrt(variance + 1e-3),
        small[f"{scope}/gamma"] / np.sqrt(variance + 1e-5),
        rtol=1e-6,
    )
    for name, key, value, words in (
        ("block_6_depthwise", "strides", [1, 1], "has stride 1, not 2"),
        ("block_7_depthwise", "dilation_rate", [2, 2], "is dilated"),
        ("block_3_pad", "padding", [[1, 1], [1, 1]], "is padded otherwise"),
        ("block_3_expand_relu", "max_value", None, "is followed by 'block_3_expand_relu'"),
        ("Conv1", "data_format", "channels_first", "has its channels first"),
    ):

        def change(layer: dict[str, Any]) -> None:
            if layer["config"]["name"] == name:  # noqa: B023
                layer["config"][key] = value  # noqa: B023

        with pytest.raises(NotOfFamilyError, match=f"multiplier 0.35: its convolution .*{words}"):
            read_weights(_edited(path, change))


def test_other_networks_are_said_to_be_others(backbone: Any, tmp_path: Path) -> None:
    import keras

    other = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(16, 3), keras.layers.Dense(2)], name="mine"
    )
    for name, words in (
        ("other.keras", "it is a Sequential model 'mine', with 4 variables"),
        ("other.h5", "it is a Sequential model 'mine', with 4 variables"),
        ("other.weights.h5", "it has 4 variables"),
    ):
        path = str(tmp_path / name)
        (other.save_weights if "weights" in name else other.save)(path)
        with pytest.raises(NotOfFamilyError, match=f"holds no MobileNet V2: {words}"):
            read_weights(path)
    images = keras.Input((96, 96, 3))
    twin = keras.models.clone_model(backbone)
    twin.name = "twin"
    both = keras.Model(images, keras.layers.Add()([backbone(images), twin(images)]))
    for name in ("both.keras", "both.h5", "both.weights.h5"):
        path = str(tmp_path / name)
        (both.save_weights if "weights" in name else both.save)(path)
        with pytest.raises(NotOfFamilyError, match="holds more than one MobileNet V2"):
            read_weights(path)


def test_damaged_files(backbone: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    backbone.save(path)
    content = path.read_bytes()
    backbone.save_weights(tmp_path / "model.weights.h5")
    weights = (tmp_path / "model.weights.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(weights[: len(weights) // 2])
    (tmp_path / "cut.keras").write_bytes(content[: len(content) // 2])
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        archive.writestr("config.json", "{")
        archive.writestr("model.weights.h5", weights)
    for name in ("cut.h5", "cut.keras", "odd.keras"):
        with pytest.raises(ModelError, match=name) as raised:
            read_weights(str(tmp_path / name))
        assert not isinstance(raised.value, NotOfFamilyError)
        assert "\n" not in str(raised.value)


def test_an_archive_that_unpacks_to_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"\0" * 2**20)
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 2**19)
    with pytest.raises(ModelError, match=r"bomb\.keras' unpacks to more than"):
        read_weights(str(tmp_path / "bomb.keras"))


def test_two_networks_of_one_name(small: mobilenet_v2.Weights, tmp_path: Path) -> None:
    """Names of an old file do not say which of two networks a weight is of."""
    from image_features.models.sources.keras_names import keras_names

    path = str(tmp_path / "two.h5")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["left", "right"]
        for group, weights in (("left", small), ("right", random_weights(8))):
            names = []
            for layer in mobilenet_v2.convolutions(MULTIPLIER):
                convolution, normalization = keras_names(layer.scope)
                file[f"{group}/{convolution}/kernel:0"] = weights[layer.weights]
                names.append(f"{convolution}/kernel:0")
                for key in ("gamma", "beta", "moving_mean", "moving_variance"):
                    value = weights[f"{layer.scope}/BatchNorm/{key}"]
                    file[f"{group}/{normalization}/{key}:0"] = value
                    names.append(f"{normalization}/{key}:0")
            file[group].attrs["weight_names"] = names
    with pytest.raises(NotOfFamilyError, match="more than one MobileNet V2"):
        read_weights(path)
