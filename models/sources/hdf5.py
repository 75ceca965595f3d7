"""The variables in Keras's HDF5 formats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from image_features.models.sources.keras_names import NORMALIZATION
from image_features.models.sources.variables import Variable, Variables

_STATISTICS = NORMALIZATION[2:]


def variables_of(file: Any) -> Variables:
    """Lists the variables of an open file: of Keras 1 and 2, or of Keras 3.

    Their values can be read as long as the file is open.
    """
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:
        return _by_layer(root)
    return Variables(list(_by_place(file, "")))


def _by_layer(root: Any) -> Variables:
    """Reads the format of Keras 1 and 2: a group for each layer, which lists its weights.

    A model within a model is one layer.
    """
    found: list[Variable] = []
    in_order = True
    for layer in _listed(root, "layer_names"):
        names = _listed(root[layer], "weight_names")
        inner = {name.rpartition("/")[0] for name in names}
        for name in names:
            place = name.partition(":")[0]
            # A layer's own name is that of its group; TensorFlow may have changed its variables'.
            path = place if len(inner) > 1 else place.rpartition("/")[2]
            found.append(_variable(f"{layer}/{path}", root[layer][name]))
        in_order = in_order and (len(inner) < 2 or _tells_order(names))
    return Variables(found, in_order)


def _listed(group: Any, attribute: str) -> list[str]:
    """Reads a list of names; one that is too long is cut into several with numbers."""
    keys = [attribute] if attribute in group.attrs else []
    while (key := f"{attribute}{len(keys)}") in group.attrs:
        keys.append(key)
    names = [name for key in keys for name in group.attrs[key]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _tells_order(names: list[str]) -> bool:
    """Whether a model's list of weights has them in order of execution.

    It has first what is trained and then the rest: statistics, and layers that are frozen. So it
    does where all are trained, or none.
    """
    kinds = ["statistic" if n.partition(":")[0].endswith(_STATISTICS) else "" for n in names]
    trained = kinds.index("statistic") if "statistic" in kinds else len(kinds)
    if all(kinds[trained:]):
        return True
    # Frozen: every normalization is whole.
    leaves = [name.partition(":")[0].rpartition("/")[2] for name in names]
    return all(
        tuple(leaves[place : place + 4]) == NORMALIZATION
        for place, leaf in enumerate(leaves)
        if leaf == NORMALIZATION[0]
    )


def _by_place(group: Any, path: str) -> Iterator[Variable]:
    """Reads the format of Keras 3: groups as the objects are in one another, numbers for names."""
    import h5py

    for name in group:
        child = group[name]
        if not isinstance(child, h5py.Group):
            continue
        # The first files of this format have the other separator, and another name for layers.
        place = f"{path}/{name}".replace("\\", "/").removeprefix("/")
        place = place.replace("_layer_checkpoint_dependencies", "layers")
        if name != "vars":
            yield from _by_place(child, place)
            continue
        values = [child[key] for key in sorted(child, key=int)]
        shapes = [value.shape for value in values]
        leaves = [str(number) for number in range(len(values))]
        if len(shapes) == 4 and len(shapes[0]) == 1 and len(set(shapes)) == 1:
            leaves = list(NORMALIZATION)
        elif shapes and len(shapes[0]) > 1:
            leaves[0] = "kernel"
        container, _, layer = path.rpartition("/")
        layer = str(child.attrs.get("name", layer))
        for leaf, value in zip(leaves, values, strict=True):
            yield _variable(f"{path}/{leaf}", value, f"{container}/{layer}/{leaf}")


def _variable(path: str, dataset: Any, name: str = "") -> Variable:
    return Variable(path, tuple(dataset.shape), lambda: dataset[()], name)
