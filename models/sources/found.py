"""The network of the family that a source holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from image_features.models import mobilenet_v2 as network
from image_features.models.sources import keras_config
from image_features.models.sources.graphs import Graph
from image_features.models.sources.keras_names import slim_name
from image_features.models.sources.matching import BY_NAME, inventory, match
from image_features.models.sources.units import Unit, arrays_of, network_in
from image_features.models.sources.variables import Variables

BY_CONFIG = "the order of the layers in its configuration, since their names say nothing"

BY_GRAPH = "the connections of its graph"


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A network of the family.

    Attributes:
      arrays: The arrays by TF-Slim's names.
      depth_multiplier: The factor of all its depths.
      image_size: The side of its images in pixels; None if the source does not say.
      matched: What its layers were told by, in words.
    """

    arrays: network.Weights
    depth_multiplier: float
    image_size: int | None
    matched: str


def find(
    path: str,
    variables: Variables,
    wanted: float | None,
    model: Mapping[str, Any] | None = None,
) -> Found:
    """Finds the network among variables.

    Args:
      path: The source, for messages.
      variables: All of its variables.
      wanted: The depth multiplier; None finds it.
      model: The configuration of the Keras model that has them, if the source holds it.

    Raises:
      NotOfFamilyError: It is not there, or more than once, or differs.
    """
    holds, size = f"it has {inventory(variables.found)}", None
    if model:
        layers = list(keras_config.layers_of(model))
        size = keras_config.image_size_of(layers)
        if found := network_in(path, [keras_config.units_of(layers, variables)], wanted):
            units, multiplier = found
            named = all(map(_is_named, units, network.convolutions()))
            return Found(arrays_of(units), multiplier, size, BY_NAME if named else BY_CONFIG)
        holds = f"it is a {keras_config.architecture_of(model)}, with {inventory(variables.found)}"
    arrays, multiplier, matched = match(path, variables, wanted, holds)
    return Found(arrays, multiplier, size, matched)


def find_in_graphs(path: str, graphs: Sequence[Graph], wanted: float | None) -> Found | None:
    """Finds the network in graphs; None if no convolutions have its shapes.

    Raises:
      NotOfFamilyError: It is there more than once, or differs.
    """
    # Of one name in several graphs, the sizes of images are the same.
    sizes = {name: size for graph in graphs for name, size in graph.image_sizes.items()}
    found = network_in(path, [chain for graph in graphs for chain in graph.chains()], wanted)
    if not found:
        return None
    units, multiplier = found
    return Found(arrays_of(units), multiplier, sizes[units[0].name], BY_GRAPH)


def _is_named(unit: Unit, layer: network.Convolution) -> bool:
    told = slim_name(f"{unit.name}/kernel")
    return told is not None and told[1] == layer.weights
