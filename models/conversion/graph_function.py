"""A part of a TensorFlow graph as a function: from images to one tensor, and nothing beside it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from image_features.errors import ModelError
from image_features.models.first_line import first_line

_RANDOM = re.compile(
    r"(Stateless|Stateful|Parameterized)?(Random|Uniform|Truncated|Rng|Multinomial)"
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class GraphFunction:
    """What of a graph is needed for one of its tensors.

    Attributes:
      definition: The GraphDef, without functions that could be put in their places.
      images: The name of the tensor that it begins with.
      result: The name of the tensor that it ends with.
      captures: The tensors from outside by the names that they have in the graph.
      variables: The variables among them.
    """

    definition: Any
    images: str
    result: str
    captures: dict[str, Any]
    variables: list[Any]

    def __call__(self, images: Any) -> Any:
        """Puts the part into the graph that is being made; returns its tensor."""
        import tensorflow as tf

        graph = tf.compat.v1.get_default_graph()
        outside = {name: graph.capture(tensor) for name, tensor in self.captures.items()}
        (result,) = tf.import_graph_def(
            self.definition,
            input_map={self.images: images, **outside},
            return_elements=[self.result],
            name="",
        )
        return result


def inlined(concrete: Any, path: str) -> Any:
    """Returns a concrete function's GraphDef with the functions that it calls in their places.

    What happens beside the way to the outputs, such as the counting of random seeds, is left out.

    Raises:
      ModelError: TensorFlow cannot do it.
    """
    from tensorflow.python.framework.convert_to_constants import _run_inline_graph_optimization

    try:
        definition = _run_inline_graph_optimization(
            concrete, lower_control_flow=False, aggressive_inlining=True
        )
    except Exception as error:  # TensorFlow raises many types here.
        raise ModelError(
            f"The graph of the model {path!r} cannot be taken apart ({first_line(error)}); export "
            "it again without the layers that are not wanted."
        ) from error
    for node in _all_nodes(definition):
        # It names a Python function, which only eases training, as that of swish does.
        node.attr.pop("_gradient_op_type", None)
        data = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data)
    return definition


def graph_function(concrete: Any, definition: Any, result: str, path: str) -> GraphFunction:
    """Takes the part of a graph that a tensor depends on.

    Args:
      concrete: The concrete function, whose first input is the images.
      definition: Its graph, `inlined`.
      result: The name of the tensor.
      path: The model, for messages.

    Raises:
      ModelError: The tensor does not depend on the images, or on chance too.
    """
    import tensorflow as tf

    part = tf.compat.v1.graph_util.extract_sub_graph(definition, [result.partition(":")[0]])
    present = {node.name for node in part.node}
    images = concrete.inputs[0]
    if images.op.name not in present:
        raise ModelError(
            f"What the model {path!r} computes at {result.partition(':')[0]!r} does not depend on "
            "its images; name another layer by --layer."
        )
    _refuse_chance(part, path)
    captures = {
        inner.name: outer
        for inner, outer in zip(concrete.inputs[1:], concrete.captured_inputs, strict=True)
        if inner.op.name in present
    }
    taken = {id(outer) for outer in captures.values()}
    variables = [v for v in concrete.graph.variables if id(v.handle) in taken]
    return GraphFunction(part, images.name, result, captures, variables)


def _refuse_chance(part: Any, path: str) -> None:
    """Raises ModelError for random layers that are active, whose seeds would never change here."""
    for node in _all_nodes(part):
        if _RANDOM.match(node.op) and node.op != "RandomDataset":
            scopes = [n for n in node.name.split("/")[:-1] if not n.endswith("PartitionedCall")]
            where = "/".join(scopes[:3]) or node.name
            raise ModelError(
                f"The model {path!r} draws random numbers at {where!r} in inference, as it was "
                "exported with layers such as RandomFlip or Dropout active; save the model as a "
                ".keras file and convert that, or export a call of it with training=False."
            )


def _all_nodes(part: Any) -> Iterator[Any]:
    """Gives the nodes of a graph, and of the functions that they call."""
    functions = {function.signature.name: function for function in part.library.function}
    left = [list(part.node)]
    while left:
        for node in left.pop():
            yield node
            for value in node.attr.values():
                for called in (value.func, *value.list.func):
                    if function := functions.pop(called.name, None):
                        left.append(list(function.node_def))
