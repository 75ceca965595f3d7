"""Round trips through real files of every format the weights come in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_features.errors import ModelError
from image_features.models import export, mobilenet_v2
from image_features.models.weights import bundled_weights, read_weights, save_bundled
from tests.models.arrays import assert_same


def _save_slim(arrays: dict[str, Any], prefix: str) -> None:
    """Writes a checkpoint as Slim's trainer does, by a Saver in graph mode."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [
            tf.compat.v1.get_variable(name, initializer=array, use_resource=False)
            for name, array in arrays.items()
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(variables).save(session, prefix)


@pytest.mark.parametrize("name", ["prefix", "index", "directory"])
def test_slim_checkpoint(weights: mobilenet_v2.Weights, tmp_path: Path, name: str) -> None:
    prefix = str(tmp_path / "mobilenet_v2_0.5_96.ckpt")
    rest = {
        "MobilenetV2/Logits/Conv2d_1c_1x1/weights": np.zeros((1, 1, 1280, 1001), np.float32),
        "MobilenetV2/Conv/weights/RMSProp": np.zeros((3, 3, 3, 16), np.float32),
        "global_step": np.int64(1),
    }
    _save_slim(weights | rest, prefix)
    paths = {"prefix": prefix, "index": f"{prefix}.index", "directory": str(tmp_path)}
    found = read_weights(paths[name])
    assert (found.depth_multiplier, found.image_size) == (0.5, 96)
    assert_same(found.arrays, weights)


def test_slim_moving_averages_win(weights: mobilenet_v2.Weights, tmp_path: Path) -> None:
    prefix = str(tmp_path / "model.ckpt-7")
    trained = {name: np.zeros_like(array) for name, array in weights.items()}
    averages = {f"{name}/ExponentialMovingAverage": array for name, array in weights.items()}
    _save_slim(trained | averages, prefix)
    assert_same(read_weights(prefix).arrays, weights)


@pytest.mark.parametrize("multiplier", [0.35, 1.4])
@pytest.mark.parametrize("export_one", [export.export_tf1_hub, export.export_tf2])
def test_modules_of_the_family(
    export_one: Callable[..., None], multiplier: float, tmp_path: Path
) -> None:
    weights = mobilenet_v2.seeded_weights(3, multiplier)
    directory = str(tmp_path / "module")
    export_one(weights, directory, image_size=128, depth_multiplier=multiplier)
    found = read_weights(directory)
    assert (found.depth_multiplier, found.image_size) == (multiplier, 128)
    assert_same(found.arrays, weights)


def test_module_under_a_scope(weights: mobilenet_v2.Weights, tmp_path: Path) -> None:
    prefix = str(tmp_path / "scoped")
    _save_slim({f"module/{name}": array for name, array in weights.items()}, prefix)
    assert_same(read_weights(prefix).arrays, weights)


def test_missing_and_misshapen_variables_are_named(
    weights: mobilenet_v2.Weights, tmp_path: Path
) -> None:
    name = "MobilenetV2/expanded_conv_5/project/BatchNorm/beta"
    _save_slim({n: a for n, a in weights.items() if n != name}, str(tmp_path / "lacking"))
    with pytest.raises(ModelError, match=f"lacks the variable '{name}', which is .16,. in"):
        read_weights(str(tmp_path / "lacking"))
    _save_slim(weights | {name: np.zeros(17, np.float32)}, str(tmp_path / "misshapen"))
    with pytest.raises(ModelError, match=rf"has shape \(17,\) for the variable '{name}'"):
        read_weights(str(tmp_path / "misshapen"))
    _save_slim(weights | {name: np.full(16, np.nan, np.float32)}, str(tmp_path / "nan"))
    with pytest.raises(ModelError, match=f"not finite in '{name}'"):
        read_weights(str(tmp_path / "nan"))
    _save_slim(weights, str(tmp_path / "half"))
    with pytest.raises(ModelError, match=r"depth multiplier 1\.0"):
        read_weights(str(tmp_path / "half"), depth_multiplier=1.0)


def test_nothing_and_rubbish_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no MobileNet V2 weights at"):
        read_weights(str(tmp_path / "nowhere"))
    (tmp_path / "rubbish.h5").write_bytes(b"not HDF5")
    with pytest.raises(ModelError, match="cannot be read as HDF5"):
        read_weights(str(tmp_path / "rubbish.h5"))
    (tmp_path / "bad.index").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="cannot read the checkpoint"):
        read_weights(str(tmp_path / "bad"))


def test_bundled_weights_repeat_and_fit(weights: mobilenet_v2.Weights, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_bundled(weights, str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    bundled = bundled_weights()
    shapes = {name: array.shape for name, array in bundled.arrays.items()}
    assert shapes == mobilenet_v2.variable_shapes(0.5)
    path = os.path.join(os.path.dirname(mobilenet_v2.__file__), "builtin.npz")
    assert os.path.getsize(path) < 3_000_000
