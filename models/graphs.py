"""What can be read in the graph of a TensorFlow function without running it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from image_features.models.saved_model_files import nodes

# Operations that give their input as it is, or in another shape or type.
_PASSING = frozenset(
    {"Identity", "IdentityN", "Reshape", "Cast", "Squeeze", "ExpandDims", "EnsureShape"}
)
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# Those that only make the keys of others say nothing to people.
_RANDOM = re.compile(
    r"(Random|Multinomial|Stateful(Uniform|StandardNormal|Trunc)|Truncated|Distort)"
)
_KEYS = re.compile(r"Get(Alg|Key)")


class Graph:
    """The graph of a concrete function of one output, with all the functions that it calls."""

    def __init__(self, function: Any) -> None:
        """Takes a tf.types.experimental.ConcreteFunction."""
        self._graph = function.graph.as_graph_def()
        self._output: str = function.graph.outputs[0].name
        self._captured, self._variables = function.captured_inputs, function.variables
        self._functions = {f.signature.name: f for f in self._graph.library.function}

    @property
    def random_operations(self) -> list[str]:
        """The names of the operations that draw random numbers, sorted."""
        found = {node.op for node in nodes(self._graph)}
        return sorted(op for op in found if _RANDOM.search(op) and not _KEYS.search(op))

    @property
    def last_operation(self) -> str:
        """The operation that computes the output; "" if the output is an input."""
        return self._computing(self._graph.node, self._output)

    @property
    def parameters(self) -> int:
        """How many floating-point numbers the output is computed from, moving statistics included.

        They are those of variables and of constants; a single number in the graph, such as an
        epsilon, does not count.
        """
        shapes = [list(item.shape) for item in self._captured if item.dtype.is_floating]
        shapes += [_shape_of(node) for node in nodes(self._graph) if _is_floating_constant(node)]
        constants = sum(n for n in map(math.prod, shapes) if n > 1)
        # One that is used in several places may be listed as often.
        variables = {id(v): math.prod(v.shape) for v in self._variables if v.dtype.is_floating}
        return constants + sum(variables.values())

    def _computing(self, scope: Iterable[Any], output: str) -> str:
        """Follows an output, "name", "name:0" or "name:field:0", to what computes it."""
        known = {node.name: node for node in scope}
        while True:
            name, *rest = output.split(":")
            index = int(rest[-1]) if rest else 0
            node = known.get(name)
            if node is None:
                return ""
            if node.op not in _PASSING:
                break
            output = node.input[index if node.op == "IdentityN" else 0]
        called = node.attr["f"].func.name if node.op in _CALLS else node.op
        function = self._functions.get(called)
        if function is None:
            return str(node.op)
        result = function.signature.output_arg[index].name
        return self._computing(function.node_def, function.ret[result])


def _is_floating_constant(node: Any) -> bool:
    import tensorflow as tf

    return node.op == "Const" and tf.dtypes.as_dtype(node.attr["dtype"].type).is_floating


def _shape_of(node: Any) -> list[int]:
    return [axis.size for axis in node.attr["value"].tensor.tensor_shape.dim]
