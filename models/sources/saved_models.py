"""The network in a SavedModel, whatever its variables are called, and where it has none."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from image_features.models import mobilenet_v2 as network
from image_features.models.sources import checkpoints
from image_features.models.sources.found import Found, find, find_in_graphs
from image_features.models.sources.graphs import Graph
from image_features.models.sources.keras_names import NORMALIZATION
from image_features.models.sources.matching import BY_NAME, by_name
from image_features.models.sources.refusal import NotOfFamilyError
from image_features.models.sources.units import Normalization
from image_features.models.sources.variables import Variables


def read_saved_model(path: str, loaded: Any, wanted: float | None) -> Found:
    """Finds the network in a SavedModel: by its graphs, or else among its variables.

    Args:
      path: The directory.
      loaded: What tf.saved_model.load has made of it.
      wanted: The depth multiplier; None finds it.

    Raises:
      ModelError: It cannot be read, or holds no network of the family.
    """
    prefix = os.path.join(path, "variables", "variables")
    has_variables = os.path.isfile(f"{prefix}.index")
    variables = checkpoints.variables_of(prefix) if has_variables else Variables([])
    found = find_in_graphs(path, list(_graphs(loaded)), wanted)
    return _unfolded(path, found, variables) if found else find(path, variables, wanted)


def _graphs(loaded: Any) -> Iterator[Graph]:
    """Gives the graphs of the functions that may compute features, with constants in them."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    functions = list(getattr(loaded, "signatures", {}).values())
    if callable(loaded):
        functions += getattr(loaded.__call__, "concrete_functions", [])
    covered: set[int] = set()
    for function in functions:
        variables = {id(captured) for captured in function.captured_inputs}
        if variables and variables <= covered:
            continue  # Another function has the same network, and freezing takes its time.
        try:
            graph = Graph(convert_variables_to_constants_v2(function).graph.as_graph_def())
        except Exception:  # TensorFlow raises many types here; the variables are left then.
            continue
        if graph.has_network():
            covered |= variables
        yield graph


def _unfolded(path: str, found: Found, variables: Variables) -> Found:
    """Returns the network with the variables that it was computed with, if their names tell them.

    Where a graph has batch normalization in several operations, only what they come to is seen.
    """
    try:
        named = by_name(path, variables.found)
    except NotOfFamilyError:
        return found
    arrays = {name: variable.read() for name, variable in named.items()}
    if all(_do_the_same(arrays, found, layer) for layer in network.convolutions()):
        ordered = {name: arrays[name] for name in found.arrays}
        return dataclasses.replace(found, arrays=ordered, matched=BY_NAME)
    return found


def _do_the_same(arrays: network.Weights, found: Found, layer: network.Convolution) -> bool:
    names = [layer.weights, *(f"{layer.scope}/BatchNorm/{key}" for key in NORMALIZATION)]
    if any(name not in arrays or arrays[name].shape != found.arrays[name].shape for name in names):
        return False
    kernel, *statistics = names
    first, second = (
        Normalization(*(held[name] for name in statistics)).affine()
        for held in (arrays, found.arrays)
    )
    return np.array_equal(arrays[kernel], found.arrays[kernel]) and all(
        np.allclose(one, other, rtol=1e-5, atol=1e-6)
        for one, other in zip(first, second, strict=True)
    )
