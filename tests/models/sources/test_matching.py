"""What is told by names, and what by shapes and their order."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from image_features.models import mobilenet_v2
from image_features.models.sources.found import Found, find
from image_features.models.sources.keras_names import keras_names
from image_features.models.sources.refusal import NotOfFamilyError
from image_features.models.sources.variables import Variable, Variables
from tests.models.arrays import assert_same
from tests.models.sources.conftest import MULTIPLIER, random_weights

_KEYS = ("gamma", "beta", "moving_mean", "moving_variance")
Arrays = dict[str, np.ndarray]


def _named(
    weights: mobilenet_v2.Weights, name: Callable[[int, str, str], str], multiplier: float
) -> Arrays:
    """Gives the arrays other names: of a layer's number, its Keras name and the variable."""
    arrays: Arrays = {}
    for number, layer in enumerate(mobilenet_v2.convolutions(multiplier)):
        convolution, normalization = keras_names(layer.scope)
        kernel = "depthwise_kernel" if layer.depthwise else "kernel"
        arrays[name(number, convolution, kernel)] = weights[layer.weights]
        for key in _KEYS:
            value = weights[f"{layer.scope}/BatchNorm/{key}"]
            arrays[name(number, normalization, key)] = value
    return arrays


def _find(arrays: Arrays, wanted: float | None = None, in_order: bool = False) -> Found:
    found = [Variable(n, a.shape, functools.partial(np.asarray, a)) for n, a in arrays.items()]
    return find("it", Variables(found, in_order), wanted)


@pytest.mark.parametrize(
    "name",
    [
        lambda number, layer, key: f"{layer}/{key}",
        lambda number, layer, key: f"a/b/{layer}/{key}",
        lambda number, layer, key: f"model_{layer}_12/{key}",
        lambda number, layer, key: f"{layer}_{number % 3}/{key}",
        lambda number, layer, key: f"scope_{number % 2}/{layer}/{key}",
        lambda number, layer, key: f"mobilenetv2_1.00_224/{layer}/{key}",
    ],
)
def test_names_of_keras_under_anything(small: mobilenet_v2.Weights, name: object) -> None:
    arrays = _named(small, name, MULTIPLIER)  # type: ignore[arg-type]
    rest = {
        "head/kernel": np.ones((1280, 3), np.float32),
        "Adam/m/Conv1/kernel": np.ones((3, 3, 3, 16), np.float32),
        "head_conv/kernel": np.ones((1, 1, 1280, 8), np.float32),
    }
    found = _find(arrays | rest)
    assert found.matched == "names"
    assert_same(found.arrays, small)


def _numbered(number: int, layer: str, key: str) -> str:
    kind = {"kernel": "conv2d", "depthwise_kernel": "depthwise_conv2d"}.get(key, "batch_norm")
    # Depthwise convolutions are the second of three, and the first block has no expansion.
    count = {"conv2d": number - (number + 1) // 3, "depthwise_conv2d": (number - 1) // 3}
    return f"m/{kind}_{count.get(kind, number)}/{key}"


def test_order_where_names_say_nothing(small: mobilenet_v2.Weights) -> None:
    arrays = _named(small, _numbered, MULTIPLIER)
    before_and_after = {
        "m/conv2d_90/kernel": np.ones((1, 1, 1280, 8), np.float32),
        "m/batch_norm_90/gamma": np.ones(8, np.float32),
        "other/conv2d_1/kernel": np.ones((3, 3, 3, 16), np.float32),
    }
    names = sorted(arrays | before_and_after)  # As a file lists them, 10 before 9.
    found = _find({name: (arrays | before_and_after)[name] for name in names})
    assert found.matched.startswith("shapes and their order")
    assert_same(found.arrays, small)


def test_an_order_that_nothing_tells_is_not_guessed(small: mobilenet_v2.Weights) -> None:
    def lettered(number: int, layer: str, key: str) -> str:
        return f"m/{chr(97 + number // 26)}{chr(97 + number % 26)}{'n' * (key in _KEYS)}/{key}"

    lettered_arrays = _named(small, lettered, MULTIPLIER)
    with pytest.raises(NotOfFamilyError, match="holds no MobileNet V2: it has 260 variables"):
        _find(lettered_arrays)
    assert_same(_find(lettered_arrays, in_order=True).arrays, small)
    # Two lists that fit, of which neither is the network's more than the other.
    twice = _named(small, _numbered, MULTIPLIER) | _named(
        random_weights(8), lambda n, layer, key: "n" + _numbered(n, layer, key), MULTIPLIER
    )
    with pytest.raises(NotOfFamilyError, match="more than one MobileNet V2"):
        _find(twice)


def test_two_networks_by_name(small: mobilenet_v2.Weights) -> None:
    first = _named(small, lambda n, layer, key: f"a/{layer}/{key}", MULTIPLIER)
    same = _named(small, lambda n, layer, key: f"b/{layer}/{key}", MULTIPLIER)
    other = _named(random_weights(8), lambda n, layer, key: f"b/{layer}/{key}", MULTIPLIER)
    assert_same(_find(first | same).arrays, small)
    with pytest.raises(NotOfFamilyError, match="more than one MobileNet V2"):
        _find(first | other)
    slim = {f"x/{name}": array for name, array in random_weights(8).items()}
    with pytest.raises(NotOfFamilyError, match="more than one MobileNet V2"):
        _find(first | slim)


@pytest.mark.parametrize("multiplier", [0.1, 0.6, 1.25])
def test_any_multiplier(multiplier: float) -> None:
    weights = mobilenet_v2.seeded_weights(3, multiplier)
    assert_same(_find(dict(weights)).arrays, weights)


def test_what_is_near_is_told_by_its_own_multiplier(small: mobilenet_v2.Weights) -> None:
    arrays = _named(small, lambda n, layer, key: f"{layer}/{key}", MULTIPLIER)
    del arrays["block_5_project/kernel"]
    with pytest.raises(
        NotOfFamilyError, match=r"lacks .*_5/project/weights', which is \(1, 1, .*0.35"
    ):
        _find(arrays)
    arrays["block_5_project/kernel"] = np.ones((1, 1, 96, 24), np.float32)
    with pytest.raises(
        NotOfFamilyError, match=r"has shape \(1, 1, 96, 24\) for .* multiplier 0.35"
    ):
        _find(arrays)
    with pytest.raises(NotOfFamilyError, match=r"depth multiplier 1\.4"):
        _find(_named(small, lambda n, layer, key: f"{layer}/{key}", MULTIPLIER), 1.4)
    with pytest.raises(NotOfFamilyError, match="holds no MobileNet V2: it has no variables"):
        _find({})
    with pytest.raises(NotOfFamilyError, match=r"it has 4 variables \('w0', 'w1', 'w2', \.\.\.\)"):
        _find({f"w{n}": np.ones(n + 1, np.float32) for n in range(4)})
