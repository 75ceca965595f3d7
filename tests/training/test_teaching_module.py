"""Modules as teachers, and the network that PyTorch pads otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_features.models import mobilenet_v2 as network
from image_features.models.batches import Pixels
from training import teacher
from training.config import DataConfig
from training.targets import compute_targets, target_path, teacher_name
from training.teaching_module import open_module, open_teacher, turned_around
from training.views import LabelledImages, crop, crop_boxes


def _as_pytorch(wide: teacher.Arrays, images: Any) -> Any:
    """Computes the teacher's features with PyTorch's padding and normalization."""
    import tensorflow as tf

    x = (images - teacher.MEAN) / teacher.STD
    block_input = x
    for layer in network.convolutions(1.0):
        if layer.shortcut is network.Shortcut.BEGINS:
            block_input = x
        edge = [layer.kernel // 2] * 2
        x = tf.pad(x, [[0, 0], edge, edge, [0, 0]])
        strides = [1, layer.stride, layer.stride, 1]
        convolve = tf.nn.depthwise_conv2d if layer.depthwise else tf.nn.conv2d
        x = convolve(x, wide[layer.weights], strides, "VALID")
        gamma, beta, mean, variance = (
            wide[f"{layer.scope}/BatchNorm/{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        x = (x - mean) * (gamma / np.sqrt(variance + teacher.BATCH_NORM_EPSILON)) + beta
        if layer.relu6:
            x = tf.nn.relu6(x)
        if layer.shortcut is network.Shortcut.ENDS:
            x = x + block_input
    return x.numpy().mean(axis=(1, 2))


def _pictures() -> Pixels:
    return np.random.RandomState(2).randint(0, 256, (3, 64, 64, 3)).astype(np.uint8)


def _cosines(found: Any, expected: Any) -> Any:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return (found * expected).sum(axis=1) / lengths


def test_the_network_turned_around_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are equal if the colour beyond the border is, and alike with ImageNet's mean."""
    wide = network.seeded_weights(5, 1.0)
    images = _pictures() / np.float32(255)
    for mean, least in ((teacher.MEAN, 0.98), (np.float32([0.5, 0.5, 0.5]), 0.99999)):
        monkeypatch.setattr(teacher, "MEAN", mean)
        turned = turned_around(wide)
        found, _ = network.forward(
            images[:, ::-1, ::-1],
            lambda name, _, turned=turned: turned[name],
            training=False,
            depth_multiplier=1.0,
        )
        assert (_cosines(found.numpy(), _as_pytorch(wide, images)) > least).all()


@pytest.mark.long
def test_the_teacher_as_a_module_is_pytorchs() -> None:
    wide = network.seeded_weights(5, 1.0)
    images = _pictures() / np.float32(255)
    found = open_teacher(wide, 64).features(images)
    assert (_cosines(found, _as_pytorch(wide, images)) > 0.98).all()


def test_only_kernels_are_turned_around() -> None:
    wide = network.seeded_weights(5, 1.0)
    turned = turned_around(wide)
    assert {n: a.shape for n, a in turned.items()} == network.variable_shapes(1.0)
    last = network.convolutions(1.0)[-1]
    np.testing.assert_array_equal(turned[last.weights], wide[last.weights])  # It is 1x1.


def test_a_teacher_has_even_sides() -> None:
    with pytest.raises(ValueError, match="a multiple of 32 pixels, not 80"):
        open_teacher({}, 80)


def _save_module(directory: str, height: int, width: int) -> None:
    """Writes a module whose features are twice the pixels."""
    import tensorflow as tf

    def serve(images: Any) -> Any:
        return {"default": tf.reshape(images, [-1, height * width * 3]) * 2}

    module = tf.Module()
    spec = tf.TensorSpec([None, height, width, 3], tf.float32, name="images")
    module.serve = tf.function(serve, input_signature=[spec])
    tf.saved_model.save(module, directory, signatures=module.serve)


def test_any_module_teaches_each_view_once(images: LabelledImages, tmp_path: Path) -> None:
    _save_module(str(tmp_path / "module"), 8, 8)
    config = DataConfig(teacher=str(tmp_path / "module"), views=2, seed=4)
    paths = [target_path(str(tmp_path), teacher_name(config), view) for view in range(2)]
    assert Path(paths[0]).name.startswith("module-")
    np.save(paths[0], np.float16([7]))
    compute_targets(images.pixels, str(tmp_path), config)
    assert np.load(paths[0]).tolist() == [7]
    found = np.load(paths[1])
    assert found.dtype == np.float16
    seen = crop(images.pixels, crop_boxes(1, 48, seed=4), 8).numpy().reshape(48, -1)
    np.testing.assert_allclose(found, 2 * seen, atol=0.006)  # Half a pixel's step, and float16.


def test_a_teacher_takes_square_images(tmp_path: Path) -> None:
    _save_module(str(tmp_path / "wide"), 8, 16)
    with pytest.raises(ValueError, match="images of 16x8 pixels, which must be square"):
        open_module(str(tmp_path / "wide"))
