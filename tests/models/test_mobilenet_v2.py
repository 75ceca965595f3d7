"""The network against Keras's own, and the weights."""

from __future__ import annotations

import numpy as np
import pytest

from image_features.models import mobilenet_v2
from image_features.models.sources.keras_names import keras_names
from tests.models.keras_network import keras_network


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


@pytest.mark.parametrize(("depth_multiplier", "image_size"), [(0.5, 96), (0.35, 128), (1.4, 96)])
def test_equals_keras(
    weights: mobilenet_v2.Weights, depth_multiplier: float, image_size: int
) -> None:
    if depth_multiplier != 0.5:
        weights = mobilenet_v2.seeded_weights(2, depth_multiplier)
    model = keras_network(weights, depth_multiplier=depth_multiplier, image_size=image_size)
    shapes = mobilenet_v2.variable_shapes(depth_multiplier)
    assert model.count_params() == sum(int(np.prod(shape)) for shape in shapes.values())
    stream = np.random.RandomState(4)
    images = stream.random_sample((8, image_size, image_size, 3)).astype(np.float32)
    expected = np.asarray(model(images * 2 - 1, training=False))
    found, _ = mobilenet_v2.forward(
        images, lambda name, _: weights[name], training=False, depth_multiplier=depth_multiplier
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.std(expected) > 0.1


def test_output_shapes_are_keras(weights: mobilenet_v2.Weights) -> None:
    model = keras_network(weights)
    side = 96
    for layer in mobilenet_v2.convolutions(0.5):
        side = -(-side // layer.stride)
        shape = model.get_layer(keras_names(layer.scope)[0]).output.shape
        assert tuple(shape) == (None, side, side, layer.outputs), layer.scope


def _multiply_adds(image_size: int, depth_multiplier: float) -> int:
    """Multiplications of one image's inference, as the paper counts them: convolutions only."""
    total, side = 0, image_size
    for layer in mobilenet_v2.convolutions(depth_multiplier):
        side = -(-side // layer.stride)
        height, width, inputs, outputs = layer.shape
        total += side * side * height * width * inputs * outputs
    return total


@pytest.mark.parametrize(
    ("depth_multiplier", "image_size", "millions"),
    # The table of TF-Slim's mobilenet README: with the classifier, and rounded down.
    [(1.4, 224, 582), (1, 224, 300), (1, 96, 56), (0.75, 128, 69), (0.5, 96, 18), (0.35, 96, 11)],
)
def test_multiply_adds_are_the_published(
    depth_multiplier: float, image_size: int, millions: int
) -> None:
    classifier = 1001 * mobilenet_v2.num_features(depth_multiplier)
    count = _multiply_adds(image_size, depth_multiplier) + classifier
    assert count // 10**6 == millions


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
    _, updates = mobilenet_v2.forward(images, lambda name, _: variables[name], training=True)
    assert len(updates) == 2 * len(mobilenet_v2.convolutions())
    mean = variables["MobilenetV2/Conv/BatchNorm/moving_mean"]
    kernel = variables["MobilenetV2/Conv/weights"]
    batch = tf.reduce_mean(tf.nn.conv2d(images * 2 - 1, kernel, 2, "SAME"), [0, 1, 2])
    np.testing.assert_allclose(updates[0][1], 0.997 * mean + 0.003 * batch, atol=1e-5)
    assert mobilenet_v2.forward(images, lambda name, _: variables[name], training=False)[1] == []
