"""A tensor of a graph, told by the convolution that it comes from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from image_features.models.sources.units import Normalization, Pads
from image_features.models.sources.variables import Array

NO_PADS: Pads = ((0, 0), (0, 0))


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Flow:
    """A tensor that depends on the image.

    Attributes:
      unit: The index of the last convolution that it comes from; -1 before the first one.
      normalization: What was done to the convolution's output; None while nothing was.
      low: Whether it is clipped at 0.
      high: Whether it is clipped at 6.
      added: What was added to it, where a shortcut ends.
      pads: The zeros that are around it.
      strange: The node that no network of the family has there; empty if there is none.
      size: Its height and width in pixels, None if unknown.
    """

    unit: int = -1
    normalization: Normalization | None = None
    low: bool = False
    high: bool = False
    added: Flow | None = None
    pads: Pads = NO_PADS
    strange: str = ""
    size: int | None = None

    @property
    def is_untouched(self) -> bool:
        """Whether nothing but normalization was done to the convolution's output."""
        return not (self.low or self.high or self.added or self.strange or self.pads != NO_PADS)


def added(node: Any, first: Flow, second: Flow) -> Flow:
    """Returns the sum of two tensors, which ends a shortcut of the convolution that came later."""
    earlier, later = sorted((first, second), key=lambda flow: flow.unit)
    if later.is_untouched and earlier.unit < later.unit:
        return dataclasses.replace(later, added=earlier)
    return strange(node, [first, second])


def strange(node: Any, flows: list[Flow]) -> Flow:
    """Returns what comes out of an operation that no network of the family has."""
    latest = max(flows, key=lambda flow: flow.unit)
    return Flow(unit=latest.unit, strange=repr(f"{node.op} {node.name}"))


def padded(flow: Flow, pads: Array) -> Flow:
    """Returns a tensor with zeros around it, as the operand of Pad says: [[before, after], ...]."""
    rows = np.asarray(pads).tolist()
    if len(rows) != 4 or any(rows[0]) or any(rows[3]):
        return dataclasses.replace(flow, strange="padding")
    return dataclasses.replace(flow, pads=(tuple(rows[1]), tuple(rows[2])))
