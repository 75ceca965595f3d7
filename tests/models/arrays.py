"""The comparison of weights, array by array."""

from __future__ import annotations

import numpy as np

from image_features.models import mobilenet_v2


def assert_same(found: mobilenet_v2.Weights, expected: mobilenet_v2.Weights) -> None:
    """Fails unless both have the same arrays by the same names."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
