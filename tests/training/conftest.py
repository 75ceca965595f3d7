"""Labelled images that the tests of this folder share."""

from __future__ import annotations

import numpy as np
import pytest

from training.views import LabelledImages


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    stream = np.random.RandomState(0)
    labels = np.repeat(np.arange(4, dtype=np.int32), 12)
    colours = stream.randint(0, 256, (4, 1, 1, 3))
    pixels = (colours[labels] + stream.randint(0, 64, (48, 16, 16, 3))) // 2
    return LabelledImages(pixels.astype(np.uint8), labels, ("a", "b", "c", "d"))
