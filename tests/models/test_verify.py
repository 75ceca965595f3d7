"""The comparison of features, each dimension by its own rule."""

from __future__ import annotations

import numpy as np

from image_features.models.verify import by_dimension, compare

RANDOM = np.random.default_rng(0)


def _features() -> np.ndarray:
    """Dimensions as networks have them: large, small, dead, and ones that hardly vary."""
    features = np.abs(RANDOM.normal(size=(16, 40)))
    features[:, 10:20] *= 1e-3
    features[:, 20:25] = 0
    features[:, 25:30] = 7 + 1e-2 * features[:, 25:30]
    return features


def test_noise_of_float32_is_no_difference() -> None:
    features = _features()
    noisy = features + 1e-6 * RANDOM.normal(size=features.shape)
    assert by_dimension(noisy, features).max() < 1e-3


def test_a_few_dimensions_or_small_ones_count_like_all() -> None:
    features = _features()
    for dimension in (0, 12, 27):
        other = features.copy()
        other[:, dimension] = RANDOM.permutation(features[:, dimension])
        assert by_dimension(other, features).max() > 0.1
    alive = features.copy()
    alive[:, 22] = RANDOM.uniform(0, 1e-4, 16)
    assert by_dimension(alive, features).max() > 1e-3
    tiny = 1e-6 * features
    assert by_dimension(RANDOM.permutation(tiny), tiny).max() > 0.1


def test_zeros_and_single_images() -> None:
    assert by_dimension(np.zeros((3, 2)), np.zeros((3, 2))).tolist() == [0, 0]
    one = np.array([[4.0, 0.5, 0.0]])
    np.testing.assert_allclose(by_dimension(one * 1.1, one), [0.1, 0.1, 0])


def test_a_comparison_tells_the_largest() -> None:
    class Fixed:
        parallelism = None

        def __init__(self, features: np.ndarray) -> None:
            self._features = features

        def __call__(self, pixels: np.ndarray) -> np.ndarray:
            return self._features.astype(np.float32)

    features = _features()
    other = features.copy()
    other[3, 12] += 1e-3
    told = compare(Fixed(other), Fixed(features), np.zeros((16, 8, 8, 3), np.uint8))
    assert told.max_abs < 2e-3 and told.max_cosine < 1e-5
    assert 0.1 < told.max_by_dimension < 2
