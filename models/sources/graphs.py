"""The network of the family in a TensorFlow graph whose weights are constants.

Nothing is run: the graph is followed from node to node, and each tensor is told by the convolution
that it comes from.
"""

from __future__ import annotations

import dataclasses
import graphlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from image_features.models import mobilenet_v2 as network
from image_features.models.sources.flows import NO_PADS, Flow, added, padded, strange
from image_features.models.sources.operations import (
    ARITHMETIC,
    NORMALIZATIONS,
    clips,
    normalization_of,
)
from image_features.models.sources.refusal import NotOfFamilyError
from image_features.models.sources.units import Normalization, Unit, network_in, pads_as_same
from image_features.models.sources.variables import Array

_PASSING = frozenset(
    {
        "Identity",
        "StopGradient",
        "PreventGradient",
        "Snapshot",
        "IdentityN",
        "PlaceholderWithDefault",
        "Cast",  # Mixed precision computes in halves with weights in full.
        "EnsureShape",
        "CheckNumerics",
    }
)
_CONVOLUTIONS = frozenset({"Conv2D", "_FusedConv2D"})
_DEPTHWISE = frozenset(
    {"DepthwiseConv2dNative", "FusedDepthwiseConv2dNative", "_FusedDepthwiseConv2dNative"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution of the graph, and the tensor that it takes."""

    name: str
    kernel: Array
    depthwise: bool
    stride: int
    taken: Flow
    oddity: str

    @property
    def outputs(self) -> int:
        return math.prod(self.kernel.shape[2 if self.depthwise else 3 :])


class Graph:
    """A graph whose convolutions were followed.

    Attributes:
      image_sizes: The side in pixels, None if unknown, of what its convolutions take, by name.
    """

    def __init__(self, definition: Any, weights: Mapping[str, Array] | None = None) -> None:
        """Follows a graph.

        Args:
          definition: The GraphDef; functions that it calls are not followed.
          weights: The values of constants that are not in it, by the name of the node.
        """
        self._weights = weights or {}
        self._nodes = {node.name: node for node in definition.node}
        self._values: dict[str, Array | Flow] = {}
        self._convolutions: list[_Convolution] = []
        self._last: dict[int, Flow] = {}  # What a convolution's output has become at last.
        needed = {
            name: {_name(ref) for ref in node.input if not ref.startswith("^")} & self._nodes.keys()
            for name, node in self._nodes.items()
        }
        try:
            order = list(graphlib.TopologicalSorter(needed).static_order())
        except graphlib.CycleError:  # Only loops have one, and the family has none.
            order = []
        for name in order:
            value = self._value(self._nodes[name])
            self._values[name] = value
            if isinstance(value, Flow) and not value.strange:
                self._last[value.unit] = value
        self.image_sizes = {made.name: made.taken.size for made in self._convolutions}

    def chains(self) -> list[list[Unit]]:
        """Returns the convolutions that lead to each one that may be the network's last."""
        return [
            self._chain(index)
            for index, convolution in enumerate(self._convolutions)
            if convolution.kernel.shape[:2] == (1, 1)
            and convolution.outputs >= network.NUM_FEATURES
        ]

    def has_network(self) -> bool:
        """Whether a network of the family is in it."""
        try:
            return network_in("", self.chains(), None) is not None
        except NotOfFamilyError:
            return False

    def _chain(self, last: int) -> list[Unit]:
        places = [last]
        while (earlier := self._convolutions[places[0]].taken.unit) >= 0:
            places.insert(0, earlier)
        units = []
        for position, place in enumerate(places):
            convolution = self._convolutions[place]
            is_last = position + 1 == len(places)
            made = self._last[place] if is_last else self._convolutions[places[position + 1]].taken
            if made.strange:
                made = self._last.get(place, made)
            shortcut, before = made.added is not None, convolution.taken.strange
            if shortcut and position >= 2:
                # A block that ends one has two convolutions before.
                begin = self._convolutions[places[position - 2]].taken
                before = before or ("" if made.added is begin else "another shortcut")
            oddity = convolution.oddity
            units.append(
                Unit(
                    name=convolution.name,
                    kernel=convolution.kernel,
                    depthwise=convolution.depthwise,
                    normalization=made.normalization or Normalization.none(convolution.outputs),
                    stride=convolution.stride,
                    relu6=made.low and made.high,
                    shortcut=shortcut,
                    before=before,
                    oddity=oddity or ("" if made.low == made.high else "has another activation"),
                )
            )
        return units

    def _value(self, node: Any) -> Array | Flow:
        import tensorflow as tf

        if node.name in self._weights:
            return self._weights[node.name]
        if node.op == "Const":
            return np.asarray(tf.make_ndarray(node.attr["value"].tensor))
        if node.op == "Placeholder":
            sides = [dim.size for dim in node.attr["shape"].shape.dim[1:3]]
            return Flow(size=sides[0] if len(set(sides)) == 1 and sides[0] > 0 else None)
        given = [self._given(ref) for ref in node.input if not ref.startswith("^")]
        if node.op in _PASSING and given:
            return given[0]
        if any(isinstance(value, Flow) for value in given):
            return self._flow(node, given)
        if node.op in ARITHMETIC and given:
            with np.errstate(all="ignore"):
                return np.asarray(ARITHMETIC[node.op](*given))
        return Flow(strange=node.name)

    def _given(self, ref: str) -> Array | Flow:
        is_first = ref.partition(":")[2] in ("", "0")
        return self._values[_name(ref)] if is_first else Flow(strange=ref)

    def _flow(self, node: Any, given: list[Any]) -> Flow:
        """Tells what a node makes of tensors that depend on the image."""
        kind, (first, *others) = node.op, given
        kernel = others[0] if kind in _CONVOLUTIONS or kind in _DEPTHWISE else None
        if isinstance(kernel, np.ndarray) and kernel.ndim == 4 and isinstance(first, Flow):
            return self._fused(node, self._convolved(node, first, kernel), others[1:])
        flows = [value for value in given if isinstance(value, Flow)]
        if kind in ("Add", "AddV2") and len(flows) == 2:
            return added(node, *flows)
        if len(flows) == 1 and isinstance(first, Flow):
            return self._applied(node, kind, first, others)
        if len(flows) == 1 and kind in ("Add", "AddV2", "Mul", "Maximum", "Minimum"):
            return self._applied(node, kind, flows[0], [first])
        return strange(node, flows)

    def _fused(self, node: Any, flow: Flow, others: list[Any]) -> Flow:
        """Tells what the operations that are fused into a convolution make of its output."""
        for fused in node.attr["fused_ops"].list.s:
            count = {b"BiasAdd": 1, b"FusedBatchNorm": 4, b"Add": 1}.get(fused, 0)
            taken, others = others[:count], others[count:]
            if fused == b"Add" and taken and isinstance(taken[0], Flow):
                flow = added(node, flow, taken[0])
            elif all(isinstance(value, np.ndarray) for value in taken):
                flow = self._applied(node, fused.decode(), flow, taken)
            else:
                flow = strange(node, [flow])
        return flow

    def _convolved(self, node: Any, taken: Flow, kernel: Array) -> Flow:
        """Notes a convolution; returns its output."""
        strides = list(node.attr["strides"].list.i)
        stride = strides[1] if len(strides) == 4 and strides[1] == strides[2] else 0
        padding = node.attr["padding"].s
        pads, explicit = taken.pads, list(node.attr["explicit_paddings"].list.i)
        if padding == b"EXPLICIT" and pads == NO_PADS and len(explicit) == 8:
            pads = ((explicit[2], explicit[3]), (explicit[4], explicit[5]))
        oddity = ""
        if set(node.attr["dilations"].list.i) - {1}:
            oddity = "is dilated"
        elif node.attr["data_format"].s not in (b"", b"NHWC"):
            oddity = "has its channels first"
        elif (padding == b"SAME" and pads != NO_PADS) or not (
            padding == b"SAME" or pads_as_same(pads, kernel.shape[0], stride or 1, taken.size)
        ):
            oddity = "is padded otherwise than by TensorFlow's SAME"
        self._convolutions.append(
            _Convolution(
                name=node.name,
                kernel=np.asarray(kernel, np.float32),
                depthwise=node.op in _DEPTHWISE,
                stride=stride,
                taken=taken,
                oddity=oddity,
            )
        )
        size = -(-taken.size // stride) if taken.size and stride else None
        return Flow(unit=len(self._convolutions) - 1, size=size)

    def _applied(self, node: Any, kind: str, flow: Flow, others: list[Array]) -> Flow:
        """Tells what an operation with constants makes of a tensor."""
        if kind in ("Pad", "PadV2") and flow.pads == NO_PADS and not np.any(others[1:]):
            return padded(flow, others[0])
        if flow.unit < 0:
            # What is done to images is another's business, as long as their size is known.
            size = flow.size if kind in ARITHMETIC or kind in NORMALIZATIONS else None
            if kind in ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"):
                sides = {int(side) for side in np.ravel(others[0])}
                size = sides.pop() if len(sides) == 1 else None
            return dataclasses.replace(flow, size=size, strange="")
        clipped = clips(kind, others)
        if clipped and not (flow.added or flow.strange or flow.pads != NO_PADS):
            return dataclasses.replace(
                flow, low=flow.low or clipped[0], high=flow.high or clipped[1]
            )
        count = self._convolutions[flow.unit].outputs
        if flow.is_untouched and (normalization := normalization_of(node, kind, others, count)):
            if flow.normalization:
                normalization = flow.normalization.then(normalization)
            return dataclasses.replace(flow, normalization=normalization)
        return strange(node, [flow])


def _name(ref: str) -> str:
    return ref.partition(":")[0]
