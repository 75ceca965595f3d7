"""The network against Keras's own, and the weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from models import mobilenet_v2
from models.module import FeatureModule


def _keras_name(name: str) -> str:
    """Keras's layer name for a Slim scope, such as "block_1_expand"."""
    scope = name.removeprefix("MobilenetV2/")
    if scope in ("Conv", "Conv_1"):
        return {"Conv": "Conv1", "Conv_1": "Conv_1"}[scope]
    block, _, part = scope.partition("/")
    number = block.removeprefix("expanded_conv").removeprefix("_")
    return f"block_{number}_{part}" if number else f"expanded_conv_{part}"


def test_variables_are_slims() -> None:
    shapes = mobilenet_v2.variable_shapes(0.5)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 706_224
    assert shapes["MobilenetV2/Conv/weights"] == (3, 3, 3, 16)
    assert shapes["MobilenetV2/expanded_conv/depthwise/depthwise_weights"] == (3, 3, 16, 1)
    assert shapes["MobilenetV2/expanded_conv_1/expand/BatchNorm/gamma"] == (48,)
    assert shapes["MobilenetV2/Conv_1/weights"] == (1, 1, 160, 1280)
    assert "MobilenetV2/expanded_conv/expand/weights" not in shapes


@pytest.mark.parametrize(("depth", "rounded"), [(16, 16), (12, 16), (11.2, 16), (4, 8), (33.6, 32)])
def test_rounded_depth(depth: float, rounded: int) -> None:
    assert mobilenet_v2.rounded_depth(depth) == rounded


def test_wide_network_widens_the_last_convolution() -> None:
    assert mobilenet_v2.num_features(1.4) == 1792
    assert mobilenet_v2.num_features(0.35) == 1280
    with pytest.raises(ValueError, match="above 0"):
        mobilenet_v2.convolutions(0)


def test_equals_keras(
    weights: mobilenet_v2.Weights, tf1_module: FeatureModule, pixels: npt.NDArray[np.uint8]
) -> None:
    import keras

    model = keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), alpha=0.5, include_top=False, pooling="avg", weights=None)
    assert model.count_params() == 706_224
    for layer in mobilenet_v2.convolutions(0.5):
        name = _keras_name(layer.scope)
        model.get_layer(name).set_weights([weights[layer.weights]])
        norm = {"Conv1": "bn_Conv1", "Conv_1": "Conv_1_bn"}.get(name, f"{name}_BN")
        model.get_layer(norm).set_weights(
            [weights[f"{layer.scope}/BatchNorm/{key}"]
             for key in ("gamma", "beta", "moving_mean", "moving_variance")])
    expected = np.asarray(model(pixels[:24].astype(np.float32) / 127.5 - 1.0, training=False))
    np.testing.assert_allclose(tf1_module(pixels[:24]), expected, atol=1e-4)
    assert np.std(expected) > 0.1


def test_seeded_weights_repeat_and_differ_by_seed() -> None:
    first, again, other = (mobilenet_v2.seeded_weights(seed) for seed in (3, 3, 4))
    assert {name: value.shape for name, value in first.items()} == mobilenet_v2.variable_shapes()
    assert all(value.dtype == np.float32 for value in first.values())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["MobilenetV2/Conv/weights"], other["MobilenetV2/Conv/weights"])


def test_training_updates_move_towards_the_batch(weights: mobilenet_v2.Weights) -> None:
    import tensorflow as tf

    variables = {name: tf.Variable(value) for name, value in weights.items()}
    images = tf.constant(np.random.RandomState(0).random_sample((4, 32, 32, 3)), tf.float32)
    _, updates = mobilenet_v2.forward(
        images, lambda name, _: variables[name], training=True)
    assert len(updates) == 2 * len(mobilenet_v2.convolutions())
    mean = variables["MobilenetV2/Conv/BatchNorm/moving_mean"]
    kernel = variables["MobilenetV2/Conv/weights"]
    batch = tf.reduce_mean(tf.nn.conv2d(images * 2 - 1, kernel, 2, "SAME"), [0, 1, 2])
    np.testing.assert_allclose(updates[0][1], 0.997 * mean + 0.003 * batch, atol=1e-5)
    assert mobilenet_v2.forward(
        images, lambda name, _: variables[name], training=False)[1] == []
