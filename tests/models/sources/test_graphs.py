"""Networks in graphs whose names say nothing, folded, fused and frozen."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from image_features.models import mobilenet_v2
from image_features.models.sources.found import find_in_graphs
from image_features.models.sources.graphs import Graph
from image_features.models.sources.refusal import NotOfFamilyError
from tests.models.arrays import assert_same
from tests.models.sources.conftest import MULTIPLIER, assert_same_features
from tests.models.sources.graphs import as_tfjs_names, graph_of, optimized


def test_a_frozen_graph(small: mobilenet_v2.Weights) -> None:
    found = find_in_graphs("it", [Graph(graph_of(small, MULTIPLIER, fold=False))], None)
    assert found is not None
    assert (found.depth_multiplier, found.image_size) == (MULTIPLIER, 96)
    assert found.matched == "the connections of its graph"
    assert_same(found.arrays, small)


def test_folded_and_fused_graphs(
    small: mobilenet_v2.Weights, expected: npt.NDArray[np.float32]
) -> None:
    plain = graph_of(small, MULTIPLIER)
    fused = optimized(plain, "remap", "constfold", "arithmetic", "dependency")
    kinds = collections.Counter(node.op for node in fused.node)
    assert (kinds["_FusedConv2D"], kinds["_FusedDepthwiseConv2dNative"]) == (35, 17)
    as_tfjs_names(fused)
    for definition in (plain, fused):
        found = find_in_graphs("it", [Graph(definition)], None)
        assert found is not None
        assert_same_features(found.arrays, expected)


def _at(scope: str, what: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda tf, layer, x: what(tf, x) if layer.scope.endswith(scope) else x


@pytest.mark.parametrize(
    "change",
    [
        _at("Conv", lambda tf, x: tf.identity(x)),
        _at("Conv_1", lambda tf, x: tf.nn.l2_normalize(x * 3.0, axis=-1)),
        _at("conv_7/expand", lambda tf, x: tf.stop_gradient(x)),
        _at("conv_7/expand", lambda tf, x: tf.cast(tf.cast(x, tf.float16), tf.float32)),
    ],
)
def test_what_changes_nothing_is_passed(
    small: mobilenet_v2.Weights, change: Any, expected: npt.NDArray[np.float32]
) -> None:
    found = find_in_graphs("it", [Graph(graph_of(small, MULTIPLIER, change=change))], None)
    assert found is not None
    assert_same_features(found.arrays, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_at("conv_3/project", lambda tf, x: tf.nn.relu(x)), "has another activation"),
        (_at("conv_3/project", lambda tf, x: tf.nn.relu6(x)), "has a relu6 after it"),
        (_at("conv_3/project", lambda tf, x: x * 2.0), None),
        (_at("conv_3/expand", lambda tf, x: x * 2.0), "is followed by 'Mul "),
        (_at("conv_3/expand", lambda tf, x: tf.nn.softplus(x)), "is followed by 'Softplus "),
        (_at("conv_3/expand", lambda tf, x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])), "padded"),
        (_at("conv_3/project", lambda tf, x: x + tf.nn.relu(x)), "is followed by 'AddV2 "),
        (_at("conv_4/project", lambda tf, x: tf.nn.relu6(x)), "is followed by 'Relu6"),
    ],
)
def test_deviations_are_named(small: mobilenet_v2.Weights, change: Any, words: str | None) -> None:
    graphs = [Graph(graph_of(small, MULTIPLIER, change=change))]
    if words is None:  # Only the scale of the layer has changed.
        found = find_in_graphs("it", graphs, None)
        assert found is not None
        scope = "MobilenetV2/expanded_conv_3/project/BatchNorm/gamma"
        np.testing.assert_allclose(found.arrays[scope], 2.0, rtol=1e-5)
        return
    with pytest.raises(NotOfFamilyError, match=f"'it' deviates from .* multiplier 0.35: .*{words}"):
        find_in_graphs("it", graphs, None)


def test_several_and_none(small: mobilenet_v2.Weights) -> None:
    two = graph_of(small, MULTIPLIER, towers=2)
    with pytest.raises(NotOfFamilyError, match="more than one MobileNet V2"):
        find_in_graphs("it", [Graph(two)], None)
    one = graph_of(small, MULTIPLIER)
    assert find_in_graphs("it", [Graph(one), Graph(one)], None) is not None
    assert find_in_graphs("it", [Graph(one)], 1.0) is None
    for node in one.node:
        if node.op == "Relu6" and node.name == "Relu6":
            node.input.append("classes")  # A loop, which no network of the family has.
    assert find_in_graphs("it", [Graph(one)], None) is None
