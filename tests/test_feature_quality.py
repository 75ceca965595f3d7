"""The measures of benchmarks.feature_quality on features whose accuracy is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.feature_quality import cosine_range, knn_accuracy, probe_accuracy


def test_known_accuracies() -> None:
    stream = np.random.RandomState(0)
    labels = np.repeat(np.arange(8, dtype=np.int32), 50)
    apart = np.eye(8, 16, dtype=np.float32)[labels] + 0.05 * stream.randn(400, 16)
    noise = stream.randn(400, 16)
    assert knn_accuracy(np.float32(apart), labels) == 1
    assert probe_accuracy(np.float32(apart), labels) == 1
    assert knn_accuracy(np.float32(noise), labels) < 0.25
    assert probe_accuracy(np.float32(noise), labels) < 0.25


def test_an_image_is_no_neighbour_of_itself() -> None:
    """Each image has a twin of another class: only itself would give the right answer."""
    directions = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)
    labels = np.array([0, 1] * 4, np.int32)
    assert knn_accuracy(directions, labels, k=1) == 0


def test_cosines_are_of_different_images() -> None:
    features = np.float32([[1, 0], [2, 0], [0, 3]])
    mean, least = cosine_range(features)
    assert mean == pytest.approx(1 / 3)  # The first two are alike, and the third like neither.
    assert least == 0
