"""The graph of a SavedModel, cut at one of its tensors, which layers are told by the names of."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import re
from typing import Any

import numpy as np

from image_features.errors import ModelError

_NO_VALUES = frozenset({"Const", "ReadVariableOp", "Placeholder", "NoOp", "VarHandleOp"})
_COPIES = frozenset({"Identity", "StopGradient", "Snapshot"})
_PROBABILITIES = frozenset({"Softmax", "Sigmoid", "LogSoftmax"})
_SHAPING = frozenset({"Reshape", "Squeeze", "Cast"})
_SUMS = frozenset({"BiasAdd", "AddV2", "Add"})
_KEEPING = frozenset({"Cast", "ResizeBilinear", "ResizeNearestNeighbor", "ReverseV2"})
_FLOAT, _DOUBLE, _HALF = 1, 2, 19  # TensorFlow's numbers of types.
_LAYERS_SHOWN = 12


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class GraphCut:
    """Where a graph ends.

    Attributes:
      tensor: The name of the tensor that the features are.
      layer: The layer or node that gives it; empty for the model's own output.
      reason: Why it is there, in words.
    """

    tensor: str
    layer: str
    reason: str


class SavedGraph:
    """The nodes of an inlined graph, by name and by layer."""

    def __init__(self, definition: Any, concrete: Any) -> None:
        """Notes which node takes from which.

        Args:
          definition: The GraphDef of the function, without calls of others.
          concrete: The function.
        """
        self._nodes = {node.name: node for node in definition.node}
        self._output = concrete.outputs[0].name.partition(":")[0]
        self._takers: dict[str, list[str]] = collections.defaultdict(list)
        for node in definition.node:
            for name in node.input:
                self._takers[_node_of(name)].append(node.name)
        variables = {id(v.handle): v.name for v in concrete.graph.variables}
        self._variables = {
            inner.op.name: variables.get(id(outer), "")
            for inner, outer in zip(concrete.inputs[1:], concrete.captured_inputs, strict=True)
        }
        self._order = self._sorted()
        self._scopes, self._suffix = self._scopes_of_layers()
        self._names = {scope: layer for layer, scope in self._scopes.items()}

    def _sorted(self) -> list[str]:
        """Returns the nodes that the output depends on, each after what it takes."""
        order: dict[str, None] = {}
        left: list[tuple[str, bool]] = [(self._output, False)]
        while left:
            name, done = left.pop()
            if done:
                order[name] = None
            elif name not in order:
                left.append((name, True))
                left += [(_node_of(n), False) for n in self._nodes[name].input]
        return list(order)

    def _scopes_of_layers(self) -> tuple[dict[str, str], str]:
        """Returns the scopes of layers that have weights, and what others end in.

        Keras 3 numbers the scopes of its layers, as "conv_1" for "conv"; the variables that are
        read there have the layers' own names.
        """
        seen: dict[str, set[str]] = collections.defaultdict(set)
        for name in self._order:
            node = self._nodes[name]
            if node.op == "ReadVariableOp" and node.input:
                variable = self._variables.get(self._origin(_node_of(node.input[0])), "")
                layer = variable.split("/")[-2] if "/" in variable else ""
                for part in name.split("/"):
                    if layer and re.fullmatch(re.escape(layer) + r"(_\d+)?", part):
                        seen[layer].add(part)
        scopes = {layer: next(iter(parts)) for layer, parts in seen.items() if len(parts) == 1}
        ends = collections.Counter(scope.removeprefix(layer) for layer, scope in scopes.items())
        return scopes, ends.most_common(1)[0][0] if ends else ""

    def _layer_named(self, scope: str) -> str:
        return self._names.get(scope, scope.removesuffix(self._suffix))

    def _origin(self, name: str) -> str:
        while self._nodes[name].op in _COPIES and self._nodes[name].input:
            name = _node_of(self._nodes[name].input[0])
        return name

    def layers(self) -> list[str]:
        """Returns the names of the scopes that nodes are in: layers, and what holds them."""
        found: dict[str, None] = {}
        for name in self._order:
            if self._nodes[name].op not in _NO_VALUES:
                for part in _scopes(name):
                    found[self._layer_named(part)] = None
        return list(found)

    def cut_at(self, name: str, path: str) -> GraphCut:
        """Finds the output of a layer, or of a node of this name.

        Raises:
          ModelError: There is none.
        """
        wanted = [self._scopes.get(part, part + self._suffix) for part in name.split("/")]
        found = [node for node in self._order if self._leaves(node, wanted)]
        if found:
            return GraphCut(f"{found[-1]}:0", name, "as --layer says")
        if name in self._nodes:
            return GraphCut(f"{name}:0", name, "as --layer says")
        layers = self.layers()
        close = difflib.get_close_matches(name, layers, 3)
        last = [layer for layer in layers if layer not in close][-(_LAYERS_SHOWN - len(close)) :]
        raise ModelError(
            f"The graph of the model {path!r} has no layer {name!r}; some that are there: "
            f"{', '.join([*close, *last])}."
        )

    def first_arithmetic(self, images: str) -> tuple[str, list[float], str]:
        """Returns what is first done with the images: the operation, its numbers, the node."""
        import tensorflow as tf

        name = images.partition(":")[0]
        while True:
            takers = [n for n in self._takers[name] if self._nodes[n].op != "Shape"]
            if len(takers) != 1:
                return "", [], ""
            (name,) = takers
            node = self._nodes[name]
            if node.op not in _COPIES and node.op not in _KEEPING:
                break
        constants = [self._nodes[self._origin(_node_of(n))] for n in node.input]
        values = [
            np.asarray(tf.make_ndarray(constant.attr["value"].tensor), np.float64).ravel()
            for constant in constants
            if constant.op == "Const" and constant.attr["dtype"].type in (_FLOAT, _DOUBLE, _HALF)
        ]
        numbers = [float(n) for value in values if value.size <= 3 for n in value]
        return node.op, numbers, name

    def _leaves(self, name: str, wanted: list[str]) -> bool:
        """Whether a node is within a scope, and what it gives is taken outside of it."""
        if self._nodes[name].op in _NO_VALUES or not _within(name, wanted):
            return False
        takers = self._takers[name]
        return not takers or any(not _within(taker, wanted) for taker in takers)

    def cut_before_classifier(self, path: str) -> GraphCut:
        """Finds what the last matrix product takes, if probabilities are made of its result.

        Raises:
          ModelError: The model ends in a softmax of something else.
        """
        last = node = self._nodes[self._origin(self._output)]
        if node.op not in _PROBABILITIES:
            return GraphCut(f"{self._output}:0", "", "the model's output")
        while node.op in _PROBABILITIES | _SHAPING | _SUMS:
            node = self._nodes[self._origin(_node_of(node.input[0]))]
        if node.op == "MatMul":
            taken = self._origin(_node_of(node.input[0]))
            head = self._layer_of(node.name)
            reason = f"the last before the classifier {head!r}, which is cut off"
            return GraphCut(f"{taken}:0", self._layer_of(taken), reason)
        if last.op == "Sigmoid":
            return GraphCut(f"{self._output}:0", "", "the model's output")
        raise ModelError(
            f"The model {path!r} ends in probabilities, those of {self._layer_of(last.name)!r}, "
            "which are no features; name the layer whose output is wanted by --layer: some that "
            f"are there are {', '.join(self.layers()[-_LAYERS_SHOWN:])}."
        )

    def _layer_of(self, name: str) -> str:
        return self._layer_named((_scopes(name) or [name])[-1])


def _node_of(tensor: str) -> str:
    return tensor.partition(":")[0].removeprefix("^")


def _scopes(name: str) -> list[str]:
    """Returns the scopes of a node, without those of the functions that it was in."""
    parts = name.split("/")[:-1]
    if parts[:1] == ["Func"]:  # TensorFlow's own, where a function was put in its place.
        return []
    return [part for part in parts if not part.endswith("PartitionedCall")]


def _within(name: str, wanted: list[str]) -> bool:
    """Whether a node is in a scope, whose last parts are given."""
    parts = _scopes(name)
    width = len(wanted)
    return any(parts[i : i + width] == wanted for i in range(len(parts) - width + 1))
