"""The variables that a source holds, each under the path by which the source knows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """A variable that is read when it is wanted; files hold many that are not.

    Attributes:
      path: The place of its layer in the source, and its own name in that, such as
        "layers/functional/layers/conv2d_1/kernel".
      shape: Its shape.
      load: The function that reads it.
      name: The path in names that people or programs gave, such as
        "layers/functional/layers/block_1_expand/kernel"; empty if it is the same.
    """

    path: str
    shape: tuple[int, ...]
    load: Callable[[], Any]
    name: str = ""

    @property
    def layer(self) -> str:
        """The path of the layer that has it."""
        return self.path.rpartition("/")[0]

    @property
    def leaf(self) -> str:
        """Its name within the layer, such as "kernel"."""
        return self.path.rpartition("/")[2]

    def read(self) -> Array:
        """Reads its values."""
        return np.asarray(self.load(), np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class Variables:
    """All variables of a source.

    Attributes:
      found: The variables.
      in_order: Whether layers come in their order of execution; otherwise only numbers in their
        names tell it.
    """

    found: list[Variable]
    in_order: bool = False
