"""The network's variables among those of a source: by their names, or by shape and order."""

from __future__ import annotations

import string
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np

from image_features.models import mobilenet_v2 as network
from image_features.models.sources import multipliers
from image_features.models.sources.keras_names import NORMALIZATION, slim_name
from image_features.models.sources.refusal import NotOfFamilyError, none_in, several_in
from image_features.models.sources.variables import Variable, Variables

_MOST_DIGITS = 18  # A longer number is none that Keras gave.
BY_NAME = "names"
BY_ORDER = "shapes and their order, since its names say nothing"

Network = dict[str, Variable]
Place = tuple[str, str]  # What goes before and after the name of a variable.
# Of one network, numbers at the ends of names may differ, and even the scopes.
_PLACES: tuple[Callable[[Place], Hashable], ...] = (
    lambda place: place,
    lambda place: place[0],
    lambda place: "",
)


def match(
    path: str, variables: Variables, wanted: float | None, holds: str
) -> tuple[network.Weights, float, str]:
    """Finds the network among variables by their paths and shapes alone.

    Args:
      path: The source, for messages.
      variables: All of its variables.
      wanted: The depth multiplier; None finds it.
      holds: What the source holds, for messages.

    Returns:
      The arrays by TF-Slim's names, the depth multiplier, and what they were told by.

    Raises:
      NotOfFamilyError: It is not there, or more than once, or differs.
    """
    named = by_name(path, variables.found)
    ordered = {} if _is_complete(named) else by_order(path, variables, wanted)
    found = ordered or named
    shapes = {name: variable.shape for name, variable in found.items()}
    multiplier, agreeing = multipliers.nearest(shapes, wanted)
    expected = network.variable_shapes(multiplier)
    is_near = agreeing > len(expected) // 2 or (wanted and _is_complete(found))
    for name, shape in expected.items() if is_near else ():
        if shapes.get(name) != shape:
            fault = f"has shape {shapes[name]} for" if name in shapes else "lacks"
            raise NotOfFamilyError(
                f"{path!r} {fault} the variable {name!r}, which is {shape} in MobileNet V2 with "
                f"depth multiplier {multiplier}; give a file of the MobileNet V2 family, or its "
                "own --depth_multiplier."
            )
    if agreeing < len(expected):
        raise none_in(path, holds)
    arrays = {name: found[name].read() for name in expected}
    return arrays, multiplier, BY_ORDER if ordered else BY_NAME


def inventory(variables: Sequence[Variable]) -> str:
    """Says in a few words what variables there are."""
    first = ", ".join(repr(variable.name or variable.path) for variable in variables[:3])
    more = ", ..." if len(variables) > 3 else ""
    return f"{len(variables)} variables ({first}{more})" if variables else "no variables"


def _is_complete(found: Network) -> bool:
    return len(found) == len(network.variable_shapes())


def by_name(path: str, variables: Iterable[Variable]) -> Network:
    """Finds the network's variables by their names, under whatever scope.

    Returns:
      Variables by TF-Slim's names: a whole network if there is one, or else the most that
      there is.

    Raises:
      NotOfFamilyError: There are several whole ones that differ.
    """
    named: list[tuple[Place, str, bool, Variable]] = []
    for variable in variables:
        if told := slim_name(variable.name or variable.path):
            named.append((*told, variable))
    # Moving averages go last, to take the places of what they are averages of.
    named.sort(key=lambda item: item[2])
    # What optimizers keep has the names of variables that are trained.
    whole_places = {place for place, name, _, _ in named if name.endswith(NORMALIZATION[2:])}
    named.sort(key=lambda item: item[0] in whole_places)
    most: Network = {}
    for key in _PLACES:
        groups: dict[Hashable, Network] = {}
        doubtful: set[Hashable] = set()
        places: dict[tuple[Hashable, str], Place] = {}
        for place, name, average, variable in named:
            group = groups.setdefault(key(place), {})
            other = places.get((key(place), name))
            is_better = average or (other not in whole_places and place in whole_places)
            if other is not None and not is_better and not _same(group[name], variable):
                doubtful.add(key(place))
            group[name] = variable
            places[key(place), name] = place
        whole = {place: group for place, group in groups.items() if _is_complete(group)}
        found = list(whole.values())
        if doubtful & whole.keys() or not all(_are_same(found[0], more) for more in found[1:]):
            raise several_in(path)
        if found:
            return found[0]
        most = max([most, *groups.values()], key=len)
    return most


def _same(first: Variable, second: Variable) -> bool:
    return first.shape == second.shape and np.array_equal(first.read(), second.read())


def _are_same(first: Network, second: Network) -> bool:
    return all(_same(first[name], second[name]) for name in first)


def by_order(path: str, variables: Variables, wanted: float | None) -> Network:
    """Finds the network's variables by their shapes, in order of execution.

    The layers of one container are lists of three kinds: full and depthwise convolutions, and
    normalizations. The network must be a part of each list without a gap, in one place only.

    Returns:
      Variables by TF-Slim's names; empty if there is no network, or its order is not known.

    Raises:
      NotOfFamilyError: There are several that differ.
    """
    found: list[Network] = []
    for lists in _containers(variables):
        firsts = {item["kernel"].shape for items in lists["full"] for item in items}
        for multiplier in multipliers.candidates(wanted):
            if network.convolutions(multiplier)[0].shape not in firsts:
                continue
            parts = {
                kind: _parts(lists[kind], shapes) for kind, shapes in _shapes(multiplier).items()
            }
            if all(parts.values()):
                if any(len(places) > 1 for places in parts.values()):
                    raise several_in(path)
                found.append(_assembled({kind: places[0] for kind, places in parts.items()}))
                break
    if not all(_are_same(found[0], other) for other in found[1:]):
        raise several_in(path)
    return found[0] if found else {}


def _containers(variables: Variables) -> Iterator[dict[str, list[list[Network]]]]:
    """Gives for each container the lists of its layers, by kind; a list is in order.

    Unless the source tells the order, it is that of the numbers in the layers' names, and each
    way of naming makes a list of its own.
    """
    containers: dict[str, dict[str, Network]] = {}
    for variable in variables.found:
        container, _, layer = variable.layer.rpartition("/")
        containers.setdefault(container, {}).setdefault(layer, {})[variable.leaf] = variable
    for layers in containers.values():
        lists: dict[str, dict[str, list[tuple[int, Network]]]] = {
            "full": {},
            "depthwise": {},
            "normalization": {},
        }
        for place, (name, leaves) in enumerate(layers.items()):
            stem = name.rstrip(string.digits)
            number = int(name[len(stem) :][-_MOST_DIGITS:] or 0)
            stem = stem.removesuffix("_")
            if variables.in_order:
                stem, number = "", place
            for kind, of_kind in _kinds(leaves):
                lists[kind].setdefault(stem, []).append((number, of_kind))
        yield {
            kind: [
                [layer for _, layer in sorted(items, key=lambda item: item[0])]
                for items in stems.values()
            ]
            for kind, stems in lists.items()
        }


def _kinds(leaves: Network) -> Iterator[tuple[str, Network]]:
    """Gives the kind of a layer, and its variables; nothing for layers of other kinds."""
    kernels = [variable for variable in leaves.values() if len(variable.shape) == 4]
    if len(kernels) == 1:
        depthwise = kernels[0].shape[3] == 1 < kernels[0].shape[2]
        yield "depthwise" if depthwise else "full", {"kernel": kernels[0]}
    if all(key in leaves for key in NORMALIZATION):
        yield "normalization", {key: leaves[key] for key in NORMALIZATION}


def _shapes(multiplier: float) -> dict[str, list[network.Shape]]:
    """Returns the shapes of the network's layers by kind, in order of execution."""
    layers = network.convolutions(multiplier)
    return {
        "full": [layer.shape for layer in layers if not layer.depthwise],
        "depthwise": [layer.shape for layer in layers if layer.depthwise],
        "normalization": [(layer.outputs,) for layer in layers],
    }


def _parts(lists: list[list[Network]], shapes: list[network.Shape]) -> list[list[Network]]:
    """Returns the parts of lists, without a gap, whose layers have the shapes."""
    found = []
    for items in lists:
        have = [next(iter(item.values())).shape for item in items]
        for start in range(len(have) - len(shapes) + 1):
            if have[start : start + len(shapes)] == shapes:
                found.append(items[start : start + len(shapes)])
    return found


def _assembled(parts: dict[str, list[Network]]) -> Network:
    """Returns the variables of the network's layers, given in order by kind, by their names."""
    left = {kind: iter(layers) for kind, layers in parts.items()}
    found: Network = {}
    for layer in network.convolutions():
        found[layer.weights] = next(left["depthwise" if layer.depthwise else "full"])["kernel"]
        for key, variable in next(left["normalization"]).items():
            found[f"{layer.scope}/BatchNorm/{key}"] = variable
    return found
