"""One network, whose weights the tests of this folder save in many forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from image_features.models import mobilenet_v2
from tests.models.keras_network import keras_network

MULTIPLIER = 0.35


def random_weights(seed: int) -> mobilenet_v2.Weights:
    """Weights in which no two arrays are alike, so that a swap of layers shows."""
    stream = np.random.RandomState(seed)
    weights = mobilenet_v2.seeded_weights(seed, MULTIPLIER)
    for name, array in weights.items():
        if name.endswith(("gamma", "moving_variance")):
            weights[name] = stream.uniform(0.5, 1.5, array.shape).astype(np.float32)
        elif name.endswith(("beta", "moving_mean")):
            weights[name] = stream.normal(0.0, 0.1, array.shape).astype(np.float32)
    return weights


@pytest.fixture(scope="session")
def small() -> mobilenet_v2.Weights:
    return random_weights(7)


@pytest.fixture(scope="session")
def backbone(small: mobilenet_v2.Weights) -> Any:
    """Keras's network with these weights, which gives pooled features."""
    return keras_network(small, depth_multiplier=MULTIPLIER)


@pytest.fixture(scope="session")
def expected(small: mobilenet_v2.Weights) -> npt.NDArray[np.float32]:
    return features(small)


def features(weights: mobilenet_v2.Weights) -> npt.NDArray[np.float32]:
    """What the network makes of two small images of noise."""
    import tensorflow as tf

    images = np.random.RandomState(1).random_sample((2, 32, 32, 3)).astype(np.float32)
    return mobilenet_v2.forward(
        tf.constant(images),
        lambda name, _: tf.constant(weights[name]),
        training=False,
        depth_multiplier=MULTIPLIER,
    )[0].numpy()


def assert_same_features(
    weights: mobilenet_v2.Weights, expected: npt.NDArray[np.float32], limit: float = 1e-5
) -> None:
    """Fails unless features differ by less than a part of the largest value."""
    difference = np.abs(features(weights) - expected).max()
    assert difference <= limit * np.abs(expected).max()
